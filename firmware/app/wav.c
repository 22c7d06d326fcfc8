#include "wav.h"

#include <string.h>

#include "semihosting.h"
#include "tinyse.h"

#define PCM 1u
#define EXTENSIBLE 0xFFFEu
#define HEADER_BYTES 44u
#define PLACEHOLDER 0x7FFF0000u /* from here on, a length that is not kept is what a writer on a pipe left */
#define MAX_SAMPLES ((UINT32_MAX - HEADER_BYTES) / 2u)

static uint32_t word(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t half(const uint8_t *at) { return (uint32_t)at[0] | (uint32_t)at[1] << 8; }

static bool tagged(const uint8_t *at, const char *tag) { return memcmp(at, tag, 4) == 0; }

static bool read_whole(int32_t file, void *data, size_t bytes) { return tinyse_semihost_read(file, data, bytes) == bytes; }

static const char *check_format(const uint8_t *chunk, uint32_t bytes) {
  uint32_t code = half(chunk);
  if (code == EXTENSIBLE && bytes >= 26) code = half(chunk + 24);
  if (code != PCM || half(chunk + 14) != 16) return "the WAV is not 16-bit PCM";
  if (half(chunk + 2) != 1) return "the WAV is not mono";
  if (word(chunk + 4) != TINYSE_SAMPLE_RATE) return "the WAV has another sample rate than the model";
  return NULL;
}

/* Whether a data chunk of 0 bytes is empty: what follows is nothing, or a further chunk that ends within `rest`. */
static bool further_chunk(int32_t file, uint32_t rest) {
  uint8_t head[8];
  if (rest < sizeof head || !read_whole(file, head, sizeof head)) return true;
  for (int i = 0; i < 4; i++) {
    if (head[i] < ' ' || head[i] > '~') return false;
  }
  return word(head + 4) <= rest - sizeof head;
}

/* The rule of tinyse/sound/wav.py: `position` is where the samples start, `rest` what there is of them. */
static const char *judge_length(wav_reader *reader, uint32_t bytes, uint32_t position, uint32_t rest) {
  if (bytes == 0 && !further_chunk(reader->file, rest)) bytes = UINT32_MAX;
  if (bytes > rest) {
    const uint32_t over = bytes - rest;
    if (bytes < PLACEHOLDER && over != position && over != position - 8) {
      return "the WAV's data goes beyond the end of the file";
    }
    bytes = rest & ~1u;
  }
  if (bytes % 2) return "the WAV's data is no whole number of samples";
  reader->samples = reader->left = bytes / 2;
  return tinyse_semihost_seek(reader->file, position) == 0 ? NULL : "the WAV cannot be read";
}

static const char *find_data(wav_reader *reader, uint32_t length) {
  uint8_t chunk[40];
  bool format = false;
  uint32_t position = 12;
  if (length < position || !read_whole(reader->file, chunk, 12)) return "the WAV's header is cut off";
  if (!tagged(chunk, "RIFF") || !tagged(chunk + 8, "WAVE")) return "not a WAV file";
  for (;;) {
    if (length - position < 8 || !read_whole(reader->file, chunk, 8)) {
      return format ? "the WAV has no data" : "the WAV's header is cut off";
    }
    position += 8;
    const uint32_t bytes = word(chunk + 4), rest = length - position;
    if (tagged(chunk, "data")) {
      return format ? judge_length(reader, bytes, position, rest) : "the WAV has no format before its data";
    }
    if (bytes > rest) return "the WAV's header is cut off";
    if (tagged(chunk, "fmt ")) {
      const uint32_t used = bytes < sizeof chunk ? bytes : (uint32_t)sizeof chunk;
      if (bytes < 16 || !read_whole(reader->file, chunk, used)) return "the WAV's header is cut off";
      const char *wrong = check_format(chunk, bytes);
      if (wrong) return wrong;
      format = true;
    }
    position += bytes;
    if (tinyse_semihost_seek(reader->file, position) != 0) return "the WAV cannot be read";
    /* Chunks are even: a zero follows an odd one, which some writers forget. */
    if (bytes % 2 && length > position && read_whole(reader->file, chunk, 1)) {
      if (chunk[0] == 0) position++;
      else if (tinyse_semihost_seek(reader->file, position) != 0) return "the WAV cannot be read";
    }
  }
}

const char *wav_open(wav_reader *reader, const char *path) {
  *reader = (wav_reader){.file = tinyse_semihost_open(path, TINYSE_SEMIHOST_READ)};
  if (reader->file < 0) return "the WAV cannot be opened";
  const int32_t length = tinyse_semihost_flen(reader->file);
  const char *wrong = length < 0 ? "the WAV cannot be read" : find_data(reader, (uint32_t)length);
  if (wrong) tinyse_semihost_close(reader->file);
  return wrong;
}

const char *wav_read(wav_reader *reader, int16_t *samples, uint32_t count) {
  const uint32_t now = count < reader->left ? count : reader->left;
  if (now && !read_whole(reader->file, samples, now * sizeof *samples)) return "the WAV cannot be read to its end";
  if (now) reader->last = samples[now - 1];
  for (uint32_t i = now; i < count; i++) samples[i] = reader->last;
  reader->left -= now;
  return NULL;
}

const char *wav_create(wav_writer *writer, const char *path, uint32_t samples) {
  if (samples > MAX_SAMPLES) return "the WAV is too long to be written";
  const uint32_t bytes = 2 * samples, rate = TINYSE_SAMPLE_RATE;
  const uint32_t words[HEADER_BYTES / 4] = {0x46464952u /* RIFF */, HEADER_BYTES - 8 + bytes, 0x45564157u /* WAVE */,
                                            0x20746D66u /* fmt */,  16,   1u << 16 | PCM, rate, 2 * rate,
                                            16u << 16 | 2,          0x61746164u /* data */, bytes};
  writer->file = tinyse_semihost_open(path, TINYSE_SEMIHOST_WRITE);
  if (writer->file < 0) return "the output WAV cannot be opened";
  return tinyse_semihost_write(writer->file, words, sizeof words) == sizeof words
             ? NULL
             : "the output WAV cannot be written";
}

const char *wav_write(wav_writer *writer, const int16_t *samples, uint32_t count) {
  const size_t bytes = count * sizeof *samples;
  return tinyse_semihost_write(writer->file, samples, bytes) == bytes ? NULL : "the output WAV cannot be written";
}

const char *wav_close(wav_writer *writer) {
  return tinyse_semihost_close(writer->file) == 0 ? NULL : "the output WAV cannot be written";
}
