/* kernels_map_scalar.c: operators of single values, one at a time. */
#include "fixedpoint.h"

#ifndef TINYSE_KERNELS_MVE

#define ADD(name, type)                                                                                          \
  void name(const tinyse_binary *given, const type *a, uint32_t a_step, const type *b, uint32_t b_step, type *y, \
            uint32_t count) {                                                                                    \
    const tinyse_binary by = *given, *op = &by; /* y could be anything */                                        \
    for (uint32_t i = 0; i < count; ++i, a += a_step, b += b_step) {                                             \
      const int32_t first = (*a - op->a_zero) * (1 << op->left), second = (*b - op->b_zero) * (1 << op->left);   \
      const int32_t sum = tinyse_rescale(first, op->a_scale.mantissa, op->a_scale.shift) +                       \
                          op->sign * tinyse_rescale(second, op->b_scale.mantissa, op->b_scale.shift);            \
      const int32_t out = tinyse_rescale(sum, op->out_scale.mantissa, op->out_scale.shift) + op->zero_point;     \
      y[i] = (type)tinyse_clamp(out, op->low, op->high);                                                         \
    }                                                                                                            \
  }

ADD(tinyse_kernel_add8, int8_t)
ADD(tinyse_kernel_add16, int16_t)

#define MUL(name, type)                                                                                          \
  void name(const tinyse_binary *given, const type *a, uint32_t a_step, const type *b, uint32_t b_step, type *y, \
            uint32_t count) {                                                                                    \
    const tinyse_binary by = *given, *op = &by;                                                                  \
    for (uint32_t i = 0; i < count; ++i, a += a_step, b += b_step) {                                             \
      const int32_t product = (*a - op->a_zero) * (*b - op->b_zero);                                             \
      const int32_t out = tinyse_rescale(product, op->out_scale.mantissa, op->out_scale.shift) + op->zero_point; \
      y[i] = (type)tinyse_clamp(out, op->low, op->high);                                                         \
    }                                                                                                            \
  }

MUL(tinyse_kernel_mul8, int8_t)
MUL(tinyse_kernel_mul16, int16_t)

#define MAX(name, type)                                                                                \
  void name(const type *a, uint32_t a_step, const type *b, uint32_t b_step, type *y, uint32_t count) { \
    for (uint32_t i = 0; i < count; ++i, a += a_step, b += b_step) {                                   \
      y[i] = *a > *b ? *a : *b;                                                                        \
    }                                                                                                  \
  }

MAX(tinyse_kernel_max8, int8_t)
MAX(tinyse_kernel_max16, int16_t)

void tinyse_lookup(const int8_t *table, const int8_t *x, int8_t *y, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    y[i] = table[(uint8_t)x[i]];
  }
}

static inline int32_t steps(const tinyse_curve *op, int16_t x) {
  return (x * op->multiplier + (1 << op->shift >> 1)) >> op->shift;
}

void tinyse_sigmoid_map(const tinyse_curve *op, const int16_t *x, int16_t *y) {
  for (uint32_t i = 0; i < op->count; ++i) {
    y[i] = (int16_t)tinyse_sigmoid_steps(steps(op, x[i]));
  }
}

void tinyse_tanh_map(const tinyse_curve *op, const int16_t *x, int16_t *y) {
  for (uint32_t i = 0; i < op->count; ++i) {
    y[i] = (int16_t)tinyse_tanh_steps(steps(op, x[i]), 0);
  }
}

void tinyse_prelu8(const tinyse_prelu *given, const int8_t *x, int8_t *y) {
  const tinyse_prelu by = *given, *op = &by;
  for (uint32_t position = 0; position < op->positions; ++position) {
    for (uint32_t channel = 0; channel < op->channels; ++channel, ++x, ++y) {
      const int32_t value = *x - op->in_zero;
      const tinyse_scale scale = value >= 0 ? op->positive : op->negative;
      const int32_t out = tinyse_rescale(value >= 0 ? value : value * op->alpha[channel], scale.mantissa, scale.shift);
      *y = (int8_t)tinyse_clamp(out + op->zero_point, op->low, op->high);
    }
  }
}

#define REQUANTIZE(name, from, to)                                                                 \
  void name(const tinyse_requantize *given, const from *x, to *y) {                                \
    const tinyse_requantize by = *given, *op = &by;                                                \
    for (uint32_t i = 0; i < op->count; ++i) {                                                     \
      const int32_t out = tinyse_rescale(x[i] - op->in_zero, op->scale.mantissa, op->scale.shift); \
      y[i] = (to)tinyse_clamp(out + op->zero_point, op->low, op->high);                            \
    }                                                                                              \
  }

REQUANTIZE(tinyse_requantize_8_16, int8_t, int16_t)
REQUANTIZE(tinyse_requantize_16_8, int16_t, int8_t)
REQUANTIZE(tinyse_requantize_16_16, int16_t, int16_t)

#else
typedef int tinyse_kernels_map_scalar_unused;
#endif
