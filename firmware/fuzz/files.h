/* files.h: semihosting over memory: one file to read, one to write, which fail after so many bytes. */
#ifndef TINYSE_FUZZ_FILES_H
#define TINYSE_FUZZ_FILES_H

#include <stdint.h>

#define FILES_INPUT "in"
#define FILES_OUTPUT "out"

/* What was written; valid until the next files_begin. */
typedef struct files_result {
  const uint8_t *data;
  uint32_t bytes;
} files_result;

void files_begin(const uint8_t *input, uint32_t bytes, uint32_t limit);
files_result files_end(void);

#endif /* TINYSE_FUZZ_FILES_H */
