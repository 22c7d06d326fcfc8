#include "files.h"

#include <stdlib.h>
#include <string.h>

#include "semihosting.h"

enum { CLOSED = -1, INPUT = 3, OUTPUT = 4 };

static const uint8_t *input;
static uint8_t *output;
static uint32_t input_bytes, position, output_bytes, capacity, allowance;

void files_begin(const uint8_t *data, uint32_t bytes, uint32_t limit) {
  input = data;
  input_bytes = bytes;
  position = output_bytes = 0;
  allowance = limit;
}

files_result files_end(void) { return (files_result){output, output_bytes}; }

/* How much of `bytes` goes through. */
static uint32_t granted(size_t bytes) {
  const uint32_t now = bytes < allowance ? (uint32_t)bytes : allowance;
  allowance -= now;
  return now;
}

int32_t tinyse_semihost_open(const char *path, int mode) {
  if (strcmp(path, FILES_INPUT) == 0) return mode == TINYSE_SEMIHOST_READ ? INPUT : CLOSED;
  return strcmp(path, FILES_OUTPUT) == 0 && mode == TINYSE_SEMIHOST_WRITE && allowance ? OUTPUT : CLOSED;
}

size_t tinyse_semihost_read(int32_t handle, void *data, size_t bytes) {
  if (handle != INPUT) abort();
  const uint32_t left = input_bytes - position;
  const uint32_t now = granted(bytes < left ? bytes : left);
  memcpy(data, input + position, now);
  position += now;
  return now;
}

size_t tinyse_semihost_write(int32_t handle, const void *data, size_t bytes) {
  if (handle != OUTPUT) abort();
  const uint32_t now = granted(bytes);
  if (output_bytes + now > capacity) {
    capacity = 2 * (output_bytes + now);
    output = realloc(output, capacity);
    if (!output) abort();
  }
  if (now) memcpy(output + output_bytes, data, now);
  output_bytes += now;
  return now;
}

int tinyse_semihost_close(int32_t handle) { return (handle == INPUT || handle == OUTPUT) && allowance ? 0 : -1; }

int tinyse_semihost_seek(int32_t handle, uint32_t to) {
  if (handle != INPUT || to > input_bytes) return -1;
  position = to;
  return 0;
}

int32_t tinyse_semihost_flen(int32_t handle) { return handle == INPUT && allowance ? (int32_t)input_bytes : -1; }
