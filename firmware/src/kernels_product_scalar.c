/* kernels_product_scalar.c: what the products without MVE share: rescaling, and int16. */
#include "fixedpoint.h"

#ifndef TINYSE_KERNELS_MVE

#define TILE 16u

void tinyse_kernel_scale(const tinyse_scaling *output, const int32_t *sums, int8_t *y) {
  tinyse_kernel_scale_less(output, sums, 0, y);
}

void tinyse_kernel_scale_less(const tinyse_scaling *output, const int32_t *sums, int32_t less, int8_t *y) {
  for (uint32_t row = 0; row < output->channels; ++row) {
    const int32_t sum = (int32_t)((uint32_t)sums[row] - (uint32_t)less);
    const int32_t out = tinyse_rescale(sum, output->mantissa[row], output->shift[row]) + output->zero_point;
    y[row] = (int8_t)tinyse_clamp(out, output->low, output->high);
  }
}

void tinyse_kernel_multiply16(const tinyse_matrix *matrix, const int16_t *x, int64_t *sums) {
  const int8_t *tiles = matrix->tiles;
  const uint8_t *index = matrix->index;
  const uint32_t block = matrix->block;
  for (uint32_t row = 0; row < matrix->rows; row += block, sums += block) {
    for (uint32_t i = 0; i < block; ++i) {
      sums[i] = 0;
    }
    const uint32_t count = index != 0 ? *index++ : matrix->columns;
    for (uint32_t tile = 0; tile < count; ++tile) {
      const int16_t *part = x + TILE * (index != 0 ? *index++ : tile);
      for (uint32_t i = 0; i < block; ++i, tiles += TILE) {
        int32_t sum = 0; /* of 16 products below 2^22 */
#pragma GCC unroll 16
        for (uint32_t j = 0; j < TILE; ++j) {
          sum += tiles[j] * part[j];
        }
        sums[i] += sum;
      }
    }
  }
}

#else
typedef int tinyse_kernels_product_scalar_unused;
#endif
