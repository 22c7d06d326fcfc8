/* fixedpoint.h: TFLM's integer arithmetic on one value, bit for bit; tinyse/export/fixedpoint.py is the same in NumPy.
 *
 * Right shifts of negative numbers are arithmetic here, as in every compiler for Arm and for the host.
 */
#ifndef TINYSE_FIXEDPOINT_H
#define TINYSE_FIXEDPOINT_H

#include <stdint.h>

#include "packed.h"

static inline int32_t tinyse_clamp(int32_t value, int32_t low, int32_t high) {
  return value < low ? low : value > high ? high : value;
}

static inline int32_t tinyse_saturate16(int32_t value) { return tinyse_clamp(value, INT16_MIN, INT16_MAX); }

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

static inline int32_t tinyse_rescale(int32_t value, int32_t mantissa, int32_t shift) {
  const int32_t shifted = shift > 0 ? (int32_t)((uint32_t)value << shift) : value;
  return tinyse_divide_by_power(tinyse_high_multiply(shifted, mantissa), shift < 0 ? (uint32_t)-shift : 0u);
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

/* Scale 2^-power to Q0.15; tanh(x) = 2 sigmoid(2x) - 1 on the same table. */
static inline int32_t tinyse_tanh16(int32_t value, int32_t power) {
  int32_t scaled = 3 * value;
  if (power <= 12) {
    scaled *= 1 << (12 - power);
  } else {
    scaled = (scaled + (1 << (power - 13))) >> (power - 12);
  }
  const uint32_t size = (uint32_t)(scaled < 0 ? -scaled : scaled);
  const uint32_t at = size >> 8 < 255u ? size >> 8 : 255u;
  const uint32_t above = ((size & 0xFFu) * tinyse_sigmoid_step[at] + 128u) >> 8;
  const int32_t result = (int32_t)(tinyse_sigmoid[at] + above) - 32768;
  return value < 0 ? -result : result;
}

#endif /* TINYSE_FIXEDPOINT_H */
