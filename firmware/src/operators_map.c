/* operators_map.c: a map of two operands as kernels over its runs, and moves, the same for every processor. */
#include <string.h>

#include "kernels.h"

/* Every run of a map of two operands. */
#define PAIRS(pairs, a, b, y, CALL)                                                                        \
  for (uint32_t i = 0; i < (pairs)->outer; ++i, a += (pairs)->a[0], b += (pairs)->b[0]) {                  \
    for (uint32_t j = 0; j < (pairs)->inner; ++j, y += (pairs)->count) {                                   \
      CALL(a + j * (pairs)->a[1], (pairs)->a[2], b + j * (pairs)->b[1], (pairs)->b[2], y, (pairs)->count); \
    }                                                                                                      \
  }

void tinyse_add8(const tinyse_binary *op, const int8_t *a, const int8_t *b, int8_t *y) {
#define CALL(...) tinyse_kernel_add8(op, __VA_ARGS__)
  PAIRS(&op->pairs, a, b, y, CALL)
#undef CALL
}

void tinyse_add16(const tinyse_binary *op, const int16_t *a, const int16_t *b, int16_t *y) {
#define CALL(...) tinyse_kernel_add16(op, __VA_ARGS__)
  PAIRS(&op->pairs, a, b, y, CALL)
#undef CALL
}

void tinyse_mul8(const tinyse_binary *op, const int8_t *a, const int8_t *b, int8_t *y) {
#define CALL(...) tinyse_kernel_mul8(op, __VA_ARGS__)
  PAIRS(&op->pairs, a, b, y, CALL)
#undef CALL
}

void tinyse_mul16(const tinyse_binary *op, const int16_t *a, const int16_t *b, int16_t *y) {
#define CALL(...) tinyse_kernel_mul16(op, __VA_ARGS__)
  PAIRS(&op->pairs, a, b, y, CALL)
#undef CALL
}

void tinyse_max8(const tinyse_pairs *op, const int8_t *a, const int8_t *b, int8_t *y) {
  PAIRS(op, a, b, y, tinyse_kernel_max8)
}

void tinyse_max16(const tinyse_pairs *op, const int16_t *a, const int16_t *b, int16_t *y) {
  PAIRS(op, a, b, y, tinyse_kernel_max16)
}

void tinyse_copy_blocks(const tinyse_copy *op, const uint8_t *x, uint8_t *y) {
  for (uint32_t i = 0; i < op->outer; ++i) {
    for (uint32_t j = 0; j < op->inner; ++j) {
      memcpy(y + i * op->to[0] + j * op->to[1], x + i * op->from[0] + j * op->from[1], op->bytes);
    }
  }
}
