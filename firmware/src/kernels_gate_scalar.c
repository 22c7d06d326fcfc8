/* kernels_gate_scalar.c: channel gates without MVE: four rows share what is read of an open channel. */
#include "fixedpoint.h"

#ifndef TINYSE_KERNELS_MVE

#ifdef TINYSE_KERNELS_DSP
#include <arm_acle.h>
#endif

#define ONE 127
#define ROWS 4u

void tinyse_step8(const tinyse_steps *op, const int8_t *x, int8_t *y) {
  for (uint32_t position = 0; position < op->positions; ++position) {
    for (uint32_t channel = 0; channel < op->channels; ++channel, ++x) {
      *y++ = (int8_t)(ONE - 1 + (*x >= op->low[channel] && *x <= op->high[channel]));
    }
  }
}

uint32_t tinyse_kernel_open(const int8_t *gate, uint32_t channels, uint8_t *list) {
  uint32_t count = 0;
  for (uint32_t channel = 0; channel < channels; ++channel) {
    list[count] = (uint8_t)channel;
    count += gate[channel] == ONE;
  }
  return count;
}

uint32_t tinyse_kernel_depthwise_open(const tinyse_depthwise *op, const int8_t *x, const uint8_t *list, uint32_t count,
                                      uint8_t *values) {
  const tinyse_scaling output = op->output; /* values could be anything */
  const uint32_t taps = op->patch.kernel[0], down = op->patch.dilation[0] * output.channels;
  const int32_t low = output.low - output.zero_point, high = output.high - output.zero_point;
  uint32_t total = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t channel = list[i];
    const int8_t *value = x + channel, *weight = op->weights + channel;
    int32_t sum = op->start[channel];
    for (uint32_t tap = 0; tap < taps; ++tap, value += down, weight += output.channels) {
      sum += *weight * *value;
    }
    const int32_t made = tinyse_clamp(tinyse_rescale(sum, output.mantissa[channel], output.shift[channel]), low, high);
    values[i] = (uint8_t)made;
    total += (uint32_t)made;
  }
  return total;
}

void tinyse_kernel_multiply_open(const tinyse_gated *gated, const uint8_t *list, const uint8_t *values, uint32_t count,
                                 int32_t *sums) {
  const uint32_t columns = gated->columns;
  const uint8_t *weights = gated->weights;
  for (uint32_t row = 0; row < gated->rows; row += ROWS, weights += ROWS * columns) {
    const uint8_t *second = weights + columns, *third = second + columns, *fourth = third + columns;
    uint32_t a = 0, b = 0, c = 0, d = 0;
#pragma GCC unroll 4
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t at = list[i], value = values[i];
      a += weights[at] * value;
      b += second[at] * value;
      c += third[at] * value;
      d += fourth[at] * value;
    }
    const uint32_t made[ROWS] = {a, b, c, d};
    for (uint32_t i = 0; i < ROWS; ++i) {
      sums[row + i] = (int32_t)((uint32_t)gated->start[row + i] + made[i]);
    }
  }
}

#ifdef TINYSE_KERNELS_DSP
typedef uint32_t __attribute__((may_alias)) word; /* four bytes */

static inline int16x2_t even(word bytes) { return (int16x2_t)__uxtb16((uint8x4_t)bytes); }

/* The rotation is free in the instruction, but GCC 12 does not find it. */
static inline int16x2_t odd(word bytes) {
  int16x2_t made;
  __asm("uxtb16 %0, %1, ror #8" : "=r"(made) : "r"(bytes));
  return made;
}

static inline int32_t four(int32_t sum, word weights, int16x2_t even_values, int16x2_t odd_values) {
  return __smlad(odd(weights), odd_values, __smlad(even(weights), even_values, sum));
}

void tinyse_kernel_multiply_all(const tinyse_gated *gated, const uint8_t *values, int32_t *sums) {
  const uint32_t words = gated->columns / 4u;
  const word *from = (const word *)(const void *)gated->weights, *x = (const word *)(const void *)values;
  for (uint32_t row = 0; row < gated->rows; row += ROWS, from += ROWS * words) {
    const word *a = from, *b = a + words, *c = b + words, *d = c + words;
    int32_t sum[ROWS] = {gated->start[row], gated->start[row + 1], gated->start[row + 2], gated->start[row + 3]};
#pragma GCC unroll 4
    for (uint32_t i = 0; i < words; ++i) {
      const int16x2_t first = even(x[i]), second = odd(x[i]);
      sum[0] = four(sum[0], a[i], first, second);
      sum[1] = four(sum[1], b[i], first, second);
      sum[2] = four(sum[2], c[i], first, second);
      sum[3] = four(sum[3], d[i], first, second);
    }
    for (uint32_t i = 0; i < ROWS; ++i) {
      sums[row + i] = sum[i];
    }
  }
}
#else
void tinyse_kernel_multiply_all(const tinyse_gated *gated, const uint8_t *values, int32_t *sums) {
  const uint8_t *weights = gated->weights;
  for (uint32_t row = 0; row < gated->rows; ++row, weights += gated->columns) {
    uint32_t sum = (uint32_t)gated->start[row];
#pragma GCC unroll 16
    for (uint32_t i = 0; i < gated->columns; ++i) {
      sum += (uint32_t)weights[i] * values[i];
    }
    sums[row] = (int32_t)sum;
  }
}
#endif

void tinyse_kernel_spread(const uint8_t *list, const uint8_t *values, uint32_t count, uint8_t *all) {
  for (uint32_t i = 0; i < count; ++i) {
    all[list[i]] = values[i];
  }
}

#else
typedef int tinyse_kernels_gate_scalar_unused;
#endif
