/* fixedpoint.h: TFLM's integer arithmetic on one value, bit for bit; tinyse/graph/fixedpoint.py is the same in NumPy.
 *
 * Right shifts of negative numbers are arithmetic here, as in every compiler for Arm and for the host.
 */
#ifndef TINYSE_FIXEDPOINT_H
#define TINYSE_FIXEDPOINT_H

#include <stdint.h>

#include "kernels.h"

static inline int32_t tinyse_clamp(int32_t value, int32_t low, int32_t high) {
  return value < low ? low : value > high ? high : value;
}

static inline int32_t tinyse_saturate16(int32_t value) {
#ifdef TINYSE_KERNELS_DSP
  int32_t result; /* GCC 12 does not find it, and its __ssat warns */
  __asm("ssat %0, #16, %1" : "=r"(result) : "r"(value));
  return result;
#else
  return tinyse_clamp(value, INT16_MIN, INT16_MAX);
#endif
}

/* a * b / 2^31, ties up: gemmlowp's doubling high multiply for b >= 0, where it cannot saturate. */
static inline int32_t tinyse_high_multiply(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* value / 2^exponent, ties away from zero; exponent 0..31. */
static inline int32_t tinyse_divide_by_power(int32_t value, uint32_t exponent) {
  const uint32_t mask = (UINT32_C(1) << exponent) - 1u;
  const uint32_t rest = (uint32_t)value & mask;
  const uint32_t half = (mask >> 1) + (value < 0 ? 1u : 0u);
  return (value >> exponent) + (rest > half ? 1 : 0);
}

/* a * b / 2^32, ties up. */
static inline int32_t tinyse_high_half(int32_t a, int32_t b) {
#ifdef TINYSE_KERNELS_DSP
  int32_t high;
  __asm("smmulr %0, %1, %2" : "=r"(high) : "r"(a), "r"(b));
  return high;
#else
  return (int32_t)(((int64_t)a * b + INT64_C(0x80000000)) >> 32);
#endif
}

/* What tinyse_rescale does, without a branch, for |value| * 2^max(shift, 0) < 2^30. */
typedef struct tinyse_rescaler {
  int32_t mantissa;
  uint32_t left;   /* one more than the left shift */
  uint32_t half;   /* one less than the right shift */
  uint32_t rounds; /* 1 if there is a right shift */
} tinyse_rescaler;

static inline tinyse_rescaler tinyse_rescaler_of(tinyse_scale by) {
  return (tinyse_rescaler){by.mantissa, by.shift > 0 ? (uint32_t)by.shift + 1u : 1u,
                           by.shift < 0 ? (uint32_t)(-1 - by.shift) : 0u, by.shift < 0 ? 1u : 0u};
}

/* A tie away from zero is, where negative, a tie up of one less. */
static inline int32_t tinyse_rescale_small(int32_t value, tinyse_rescaler by) {
  const int32_t high = tinyse_high_half((int32_t)((uint32_t)value << by.left), by.mantissa);
  const int32_t nudged = high + ((high >> 31) & -(int32_t)by.rounds);
  return ((nudged >> by.half) + (int32_t)by.rounds) >> by.rounds;
}

static inline int32_t tinyse_rescale(int32_t value, int32_t mantissa, int32_t shift) {
  const int32_t shifted = shift > 0 ? (int32_t)((uint32_t)value << shift) : value;
  return tinyse_divide_by_power(tinyse_high_multiply(shifted, mantissa), shift < 0 ? (uint32_t)-shift : 0u);
}

/* A 64-bit sum of channel i to int16: the multiplier has 16 bits, and the product is rounded once, ties up. */
static inline int16_t tinyse_scale16(const tinyse_scaling *output, uint32_t i, int64_t sum) {
  const uint32_t shift = (uint32_t)output->shift[i];
  const int64_t product = (sum + output->bias[i]) * output->mantissa[i];
  const int64_t value = (product + (INT64_C(1) << (shift - 1u))) >> shift;
  return (int16_t)tinyse_clamp((int32_t)value + output->zero_point, output->low, output->high);
}

/* Q3.12 to Q0.15. 384 is 3 * 2^7: the table's step is 1 / 24, so 3 |x| has 9 fraction bits, of which two roundings
 * of TFLM's leave what the high half of a 16-bit product holds. docs/kernels.md shows that nothing is lost. */
static inline int32_t tinyse_sigmoid16(int32_t value) {
  const uint32_t product = (uint32_t)(value < 0 ? -value : value) * 384u;
  const uint32_t at = product >> 16;
  const uint32_t above = ((product & 0xFFFFu) * tinyse_sigmoid_step[at]) >> 16;
  const int32_t result = (int32_t)((tinyse_sigmoid[at] + above + 1u) >> 1);
  return value < 0 ? 32768 - result : result;
}

/* Any int32 in the table's units, 1 / 12288, to Q0.15: what the operator LOGISTIC makes of other scales. */
static inline int32_t tinyse_sigmoid_steps(int32_t steps) {
  const uint32_t size = steps < 0 ? 0u - (uint32_t)steps : (uint32_t)steps;
  const uint32_t at = size >> 9;
  const uint32_t above = at < 255u ? ((size & 0x1FFu) * tinyse_sigmoid_step[at]) >> 9 : 0u;
  const int32_t result = at < 255u ? (int32_t)((tinyse_sigmoid[at] + above + 1u) >> 1) : INT16_MAX;
  return steps < 0 ? 32768 - result : result;
}

/* The same for tanh(x) = 2 sigmoid(2x) - 1 on the same table. `inside`: |steps| is below that of an int16 of Q3.12. */
static inline int32_t tinyse_tanh_steps(int32_t steps, int inside) {
  const uint32_t size = steps < 0 ? 0u - (uint32_t)steps : (uint32_t)steps;
  const uint32_t end = TINYSE_GATE_TABLE - 1u;
  const uint32_t at = inside || size >> 8 < end ? size >> 8 : end;
  const uint32_t above = ((size & 0xFFu) * tinyse_sigmoid_step[at] + 128u) >> 8;
  const int32_t result = (int32_t)(tinyse_sigmoid[at] + above) - 32768;
  return steps < 0 ? -result : result;
}

/* Scale 2^-power to Q0.15. */
static inline int32_t tinyse_tanh16(int32_t value, int32_t power) {
  int32_t scaled = 3 * value;
  if (power <= 12) {
    scaled *= 1 << (12 - power);
  } else {
    scaled = (scaled + (1 << (power - 13))) >> (power - 12);
  }
  return tinyse_tanh_steps(scaled, power == 12);
}

#endif /* TINYSE_FIXEDPOINT_H */
