/* kernels_map_mve.c: operators of single values with MVE; the last vector is predicated. */
#include "kernels.h"

#ifdef TINYSE_KERNELS_MVE

#include "kernels_mve.h"

INLINE int32x4_t sum_of(const tinyse_binary *op, int32x4_t a, int32x4_t b) {
  const int32x4_t first = rescale_down(vshlq_r_s32(vsubq_n_s32(a, op->a_zero), op->left), op->a_scale);
  const int32x4_t second = rescale_down(vshlq_r_s32(vsubq_n_s32(b, op->b_zero), op->left), op->b_scale);
  const int32x4_t sum = op->sign > 0 ? vaddq_s32(first, second) : vsubq_s32(first, second);
  return vqaddq_n_s32(rescale(sum, op->out_scale, true), op->zero_point);
}

INLINE int32x4_t product_of(const tinyse_binary *op, int32x4_t a, int32x4_t b) {
  const int32x4_t product = vmulq_s32(vsubq_n_s32(a, op->a_zero), vsubq_n_s32(b, op->b_zero));
  return vqaddq_n_s32(rescale(product, op->out_scale, true), op->zero_point);
}

/* Where a step is 0 the vector is the one value. */
#define BINARY(name, type, load, store, make)                                                                    \
  void name(const tinyse_binary *given, const type *a, uint32_t a_step, const type *b, uint32_t b_step, type *y, \
            uint32_t count) {                                                                                    \
    const tinyse_binary by = *given, *op = &by; /* y could be anything */                                        \
    const int32x4_t every_a = vdupq_n_s32(*a), every_b = vdupq_n_s32(*b);                                        \
    for (uint32_t i = 0; i < count; i += 4) {                                                                    \
      const mve_pred16_t lanes = vctp32q(count - i);                                                             \
      const int32x4_t first = a_step ? load(a + i, lanes) : every_a;                                             \
      const int32x4_t second = b_step ? load(b + i, lanes) : every_b;                                            \
      store(y + i, clamped(make(op, first, second), op->low, op->high), lanes);                                  \
    }                                                                                                            \
  }

BINARY(tinyse_kernel_add8, int8_t, vldrbq_z_s32, vstrbq_p_s32, sum_of)
BINARY(tinyse_kernel_add16, int16_t, vldrhq_z_s32, vstrhq_p_s32, sum_of)
BINARY(tinyse_kernel_mul8, int8_t, vldrbq_z_s32, vstrbq_p_s32, product_of)
BINARY(tinyse_kernel_mul16, int16_t, vldrhq_z_s32, vstrhq_p_s32, product_of)

#define MAX(name, type, vector, lanes_of, width, every, load, store, maximum)                          \
  void name(const type *a, uint32_t a_step, const type *b, uint32_t b_step, type *y, uint32_t count) { \
    const vector every_a = every(*a), every_b = every(*b);                                             \
    for (uint32_t i = 0; i < count; i += width) {                                                      \
      const mve_pred16_t lanes = lanes_of(count - i);                                                  \
      const vector first = a_step ? load(a + i, lanes) : every_a;                                      \
      const vector second = b_step ? load(b + i, lanes) : every_b;                                     \
      store(y + i, maximum(first, second), lanes);                                                     \
    }                                                                                                  \
  }

MAX(tinyse_kernel_max8, int8_t, int8x16_t, vctp8q, 16u, vdupq_n_s8, vldrbq_z_s8, vstrbq_p_s8, vmaxq_s8)
MAX(tinyse_kernel_max16, int16_t, int16x8_t, vctp16q, 8u, vdupq_n_s16, vldrhq_z_s16, vstrhq_p_s16, vmaxq_s16)

void tinyse_lookup(const int8_t *table, const int8_t *x, int8_t *y, uint32_t count) {
  uint32_t i = 0;
  for (; i + 16 <= count; i += 16) {
    vstrbq_s8(y + i, vldrbq_gather_offset_s8(table, vreinterpretq_u8_s8(vldrbq_s8(x + i))));
  }
  if (i < count) {
    const mve_pred16_t rest = vctp8q(count - i);
    vstrbq_p_s8(y + i, vldrbq_gather_offset_s8(table, vreinterpretq_u8_s8(vldrbq_z_s8(x + i, rest))), rest);
  }
}

/* The scales that are trained in full vectors, the rest one value at a time. */
#define STEPS(op, x) (((x) * (op)->multiplier + (1 << (op)->shift >> 1)) >> (op)->shift)

void tinyse_sigmoid_map(const tinyse_curve *op, const int16_t *x, int16_t *y) {
  uint32_t i = 0;
  if (op->multiplier == 3 && op->shift == 0) {
    for (; i + 8 <= op->count; i += 8) {
      vstrhq_s16(y + i, sigmoid(vldrhq_s16(x + i)));
    }
  }
  for (; i < op->count; ++i) {
    y[i] = (int16_t)tinyse_sigmoid_steps(STEPS(op, x[i]));
  }
}

void tinyse_tanh_map(const tinyse_curve *op, const int16_t *x, int16_t *y) {
  uint32_t i = 0;
  if ((op->multiplier == 3 || op->multiplier == 6) && op->shift == 0) {
    const int32_t power = op->multiplier == 3 ? 12 : 11;
    for (; i + 8 <= op->count; i += 8) {
      vstrhq_s16(y + i, tanh_of_cell(vldrhq_s16(x + i), power));
    }
  }
  for (; i < op->count; ++i) {
    y[i] = (int16_t)tinyse_tanh_steps(STEPS(op, x[i]), false);
  }
}

void tinyse_prelu8(const tinyse_prelu *given, const int8_t *x, int8_t *y) {
  const tinyse_prelu by = *given, *op = &by;
  for (uint32_t position = 0; position < op->positions; ++position, x += op->channels, y += op->channels) {
    for (uint32_t channel = 0; channel < op->channels; channel += 4) {
      const mve_pred16_t lanes = vctp32q(op->channels - channel);
      const int32x4_t value = vsubq_n_s32(vldrbq_z_s32(x + channel, lanes), op->in_zero);
      const int32x4_t bent = vmulq_s32(value, vldrbq_z_s32(op->alpha + channel, lanes));
      const int32x4_t out = vpselq_s32(rescale(value, op->positive, true), rescale(bent, op->negative, true),
                                       vcmpgeq_n_s32(value, 0));
      vstrbq_p_s32(y + channel, clamped(vqaddq_n_s32(out, op->zero_point), op->low, op->high), lanes);
    }
  }
}

#define REQUANTIZE(name, from, to, load, store)                                                       \
  void name(const tinyse_requantize *given, const from *x, to *y) {                                   \
    const tinyse_requantize by = *given, *op = &by;                                                   \
    for (uint32_t i = 0; i < op->count; i += 4) {                                                     \
      const mve_pred16_t lanes = vctp32q(op->count - i);                                              \
      const int32x4_t value = rescale(vsubq_n_s32(load(x + i, lanes), op->in_zero), op->scale, true); \
      store(y + i, clamped(vqaddq_n_s32(value, op->zero_point), op->low, op->high), lanes);           \
    }                                                                                                 \
  }

REQUANTIZE(tinyse_requantize_8_16, int8_t, int16_t, vldrbq_z_s32, vstrhq_p_s32)
REQUANTIZE(tinyse_requantize_16_8, int16_t, int8_t, vldrhq_z_s32, vstrbq_p_s32)
REQUANTIZE(tinyse_requantize_16_16, int16_t, int16_t, vldrhq_z_s32, vstrhq_p_s32)

#else
typedef int tinyse_kernels_map_mve_unused;
#endif
