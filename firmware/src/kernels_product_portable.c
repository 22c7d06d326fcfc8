/* kernels_product_portable.c: the int8 product in plain C. */
#include "kernels.h"

#ifdef TINYSE_KERNELS_PORTABLE

#define TILE 16u

const tinyse_operand *tinyse_kernel_operand(const int8_t *x, uint32_t columns, int16_t *scratch) {
  (void)columns;
  (void)scratch;
  return x;
}

static int32_t dot(const int8_t *weights, const int8_t *x) {
  int32_t sum = 0;
#pragma GCC unroll 16
  for (uint32_t i = 0; i < TILE; ++i) {
    sum += weights[i] * x[i];
  }
  return sum;
}

void tinyse_kernel_multiply(tinyse_cursor *at, const tinyse_operand *x, int32_t *sums, uint32_t rows) {
  for (uint32_t row = 0; row < rows; row += at->block) {
    int32_t sum[8] = {0};
    const uint32_t count = at->index != 0 ? *at->index++ : at->columns;
    for (uint32_t tile = 0; tile < count; ++tile) {
      const int8_t *part = x + TILE * (at->index != 0 ? *at->index++ : tile);
      for (uint32_t i = 0; i < at->block; ++i, at->tiles += TILE) {
        sum[i] += dot(at->tiles, part);
      }
    }
    for (uint32_t i = 0; i < at->block; ++i) {
      sums[row + i] = *at->start++ + sum[i];
    }
  }
}

#else
typedef int tinyse_kernels_product_portable_unused;
#endif
