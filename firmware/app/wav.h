/* wav.h: 16-bit PCM mono WAV files of TINYSE_SAMPLE_RATE, by semihosting. */
#ifndef TINYSE_WAV_H
#define TINYSE_WAV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wav_reader {
  int32_t file;
  uint32_t samples; /* in the whole file */
  uint32_t left;    /* not yet read */
  int16_t last;     /* the one read last */
} wav_reader;

typedef struct wav_writer {
  int32_t file;
} wav_writer;

/* NULL, or why not, in one line. */
const char *wav_open(wav_reader *reader, const char *path);

/* The next `count` samples; after the end the last one again, so that an offset makes no step. NULL, or why not. */
const char *wav_read(wav_reader *reader, int16_t *samples, uint32_t count);

/* The header says `samples` from the start: that many must follow. */
const char *wav_create(wav_writer *writer, const char *path, uint32_t samples);
const char *wav_write(wav_writer *writer, const int16_t *samples, uint32_t count);
const char *wav_close(wav_writer *writer);

#endif /* TINYSE_WAV_H */
