/* harness.c: the library, the WAV reader and writer, the command line, the payload parser and the co-simulation's end as
 * one host program for sanitizers. Records on stdin: kind, 32-bit length, 32-bit limit, bytes. Answers a line each.
 *
 *   W  a WAV file: enhanced to another one     F  float hops     I  int16 hops
 *   A  a command line     P  a driver payload     C  what the NPU simulator answers
 *
 * The limit is how many bytes a file may take or give before it fails. Each signal is enhanced twice, in memory
 * that held other bytes before: whoever reads what nobody wrote answers differently. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "cosim.h"
#include "files.h"
#include "payload.h"
#include "tinyse.h"
#include "wav.h"

#define DELAY TINYSE_DELAY
#define ANSWER_BYTES 256
#define STREAM_ARENA 64

static const uint8_t fills[2] = {0xA5, 0x3C};
static tinyse_state *state;
static void *arena;

#define REQUIRE(condition)                                             \
  do {                                                                 \
    if (!(condition)) {                                                \
      fprintf(stderr, "harness.c:%d: %s\n", __LINE__, #condition);     \
      abort();                                                         \
    }                                                                  \
  } while (0)

static void *exactly(size_t bytes) {
  void *block = aligned_alloc(16, (bytes + 15) & ~(size_t)15); /* ASan guards what was asked for, rounded */
  REQUIRE(block);
  return block;
}

static bool start(uint8_t fill) {
  memset(state, fill, sizeof *state);
  memset(arena, fill, TINYSE_NETWORK_BYTES);
  return tinyse_init(state, arena, NULL) == TINYSE_OK;
}

static uint32_t digest(uint32_t sum, const void *data, size_t bytes) {
  const uint8_t *octets = data;
  for (size_t i = 0; i < bytes; i++) sum = (sum ^ octets[i]) * 16777619u;
  return sum;
}

static const char *enhance_wav(uint32_t *samples) {
  wav_reader reader;
  wav_writer writer;
  int16_t hop[TINYSE_HOP];
  const char *wrong = wav_open(&reader, FILES_INPUT);
  if (wrong) return wrong;
  *samples = reader.samples;
  wrong = wav_create(&writer, FILES_OUTPUT, reader.samples);
  uint32_t skip = DELAY;
  for (uint32_t left = reader.samples; left && !wrong;) {
    wrong = wav_read(&reader, hop, TINYSE_HOP);
    if (left == reader.samples && skip == DELAY) REQUIRE(tinyse_hold(state, (float)hop[0] / 32768.0f) == TINYSE_OK);
    if (!wrong) REQUIRE(tinyse_process_int16(state, hop, hop) == TINYSE_OK);
    const uint32_t cut = skip < TINYSE_HOP ? skip : TINYSE_HOP;
    const uint32_t ready = TINYSE_HOP - cut < left ? TINYSE_HOP - cut : left;
    skip -= cut;
    if (!wrong) wrong = wav_write(&writer, hop + cut, ready);
    left -= ready;
  }
  return wrong ? wrong : wav_close(&writer);
}

static void try_wav(const uint8_t *data, uint32_t bytes, uint32_t limit, char *answer) {
  char again[ANSWER_BYTES];
  for (int turn = 0; turn < 2; turn++) {
    uint32_t samples = 0;
    files_begin(data, bytes, limit);
    REQUIRE(start(fills[turn]));
    const char *wrong = enhance_wav(&samples);
    const files_result made = files_end();
    if (wrong) snprintf(again, sizeof again, "refused %s", wrong);
    else snprintf(again, sizeof again, "ok %u %u %08x", samples, made.bytes, digest(0, made.data, made.bytes));
    REQUIRE(!turn || strcmp(again, answer) == 0);
    strcpy(answer, again);
  }
}

/* Hops of `size` bytes; output of floats must be finite. */
static void try_hops(const uint8_t *data, uint32_t bytes, bool floats, char *answer) {
  const size_t size = TINYSE_HOP * (floats ? sizeof(float) : sizeof(int16_t));
  float *in = exactly(TINYSE_HOP * sizeof(float)), *out = exactly(TINYSE_HOP * sizeof(float));
  uint32_t sums[2] = {0, 0};
  for (int turn = 0; turn < 2; turn++) {
    REQUIRE(start(fills[turn]));
    for (size_t at = 0; at + size <= bytes; at += size) {
      memcpy(in, data + at, size);
      const tinyse_status status = floats ? tinyse_process(state, in, out)
                                          : tinyse_process_int16(state, (int16_t *)(void *)in, (int16_t *)(void *)out);
      REQUIRE(status == TINYSE_OK);
      for (int i = 0; floats && i < TINYSE_HOP; i++) REQUIRE(out[i] - out[i] == 0.0f);
      sums[turn] = digest(sums[turn], out, size);
    }
  }
  REQUIRE(sums[0] == sums[1]);
  snprintf(answer, ANSWER_BYTES, "ok %u %08x", (unsigned)(bytes / size), sums[0]);
  free(in);
  free(out);
}

static void try_arguments(const uint8_t *data, uint32_t bytes, char *answer) {
  char *line = exactly(bytes + 1u);
  arguments parsed;
  memcpy(line, data, bytes);
  line[bytes] = '\0';
  const char *wrong = arguments_parse(&parsed, line);
  size_t words = 0;
  if (!wrong) words = strlen(parsed.input) + strlen(parsed.output) + strlen(parsed.results);
  snprintf(answer, ANSWER_BYTES, wrong ? "refused" : "ok %u", (unsigned)words);
  free(line);
}

static void try_payload(const uint8_t *data, uint32_t bytes, char *answer) {
  tinyse_payload parsed;
  const char *wrong = tinyse_payload_parse(data, bytes, &parsed);
  REQUIRE(wrong || (parsed.stream >= data && parsed.stream + parsed.stream_bytes <= data + bytes));
  if (wrong) snprintf(answer, ANSWER_BYTES, "refused %s", wrong);
  else snprintf(answer, ANSWER_BYTES, "ok %u %08x", parsed.stream_bytes, digest(0, parsed.stream, parsed.stream_bytes));
}

/* The bytes are all that the simulator ever says; the payload is a good one. */
static void try_cosim(const uint8_t *data, uint32_t bytes, uint32_t limit, char *answer) {
  static const _Alignas(16) uint32_t payload[] = {0x31504F43, 0x00000001, 0x01000000, 0x10010000, 5, 5, 5,
                                                  0x00010002, 0xFFFF0000};
  tinyse_cosim cosim;
  files_begin(data, bytes, limit);
  tinyse_cosim_init(&cosim, FILES_OUTPUT, FILES_INPUT);
  const tinyse_npu npu = tinyse_cosim_npu(&cosim);
  uint8_t *memory = exactly(STREAM_ARENA);
  memset(memory, 0, STREAM_ARENA);
  const tinyse_npu_job job = {.payload = (const uint8_t *)payload, .payload_bytes = sizeof payload,
                              .weights = (const uint8_t *)payload, .weights_bytes = 16,
                              .arena = memory, .arena_bytes = STREAM_ARENA, .fast = memory, .fast_bytes = STREAM_ARENA};
  tinyse_status status = npu.open(npu.context, &job);
  tinyse_npu_counts counts = {0};
  while (status == TINYSE_OK) status = npu.run(npu.context, &job);
  npu.counts(npu.context, &counts);
  REQUIRE(strlen(npu.reason(npu.context)) > 0);
  snprintf(answer, ANSWER_BYTES, "refused %u %d", (unsigned)counts.runs, (int)status);
  (void)files_end();
  free(memory);
}

int main(void) {
  uint8_t kind;
  uint32_t sizes[2];
  setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* answers tell how far it came */
  state = exactly(sizeof *state);
  arena = exactly(TINYSE_NETWORK_BYTES);
  while (fread(&kind, 1, 1, stdin) == 1 && fread(sizes, sizeof sizes, 1, stdin) == 1) {
    uint8_t *data = malloc(sizes[0] ? sizes[0] : 1); /* exact: one byte too many is seen */
    char answer[ANSWER_BYTES] = "";
    if (!data || fread(data, 1, sizes[0], stdin) != sizes[0]) return 1;
    switch (kind) {
      case 'W': try_wav(data, sizes[0], sizes[1], answer); break;
      case 'F': try_hops(data, sizes[0], true, answer); break;
      case 'I': try_hops(data, sizes[0], false, answer); break;
      case 'A': try_arguments(data, sizes[0], answer); break;
      case 'P': try_payload(data, sizes[0], answer); break;
      case 'C': try_cosim(data, sizes[0], sizes[1], answer); break;
      default: return 1;
    }
    puts(answer);
    free(data);
  }
  free(state);
  free(arena);
  return 0;
}
