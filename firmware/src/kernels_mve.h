/* kernels_mve.h: what the MVE kernels share: rescaling, sigmoid and tanh on vectors. */
#ifndef TINYSE_KERNELS_MVE_H
#define TINYSE_KERNELS_MVE_H

#include <arm_mve.h>
#include <stdbool.h>

#include "fixedpoint.h"

#define INLINE static inline __attribute__((always_inline))

/* VQRDMULH rounds as TFLM's first step. Its second rounds ties away from zero, VRSHL up: one less where negative.
 * `any_shift` allows shifts >= 0, which take no second step but may need a left shift. */
INLINE int32x4_t rescale(int32x4_t value, tinyse_scale by, bool any_shift) {
  if (!any_shift) {
    const int32x4_t high = vqrdmulhq_n_s32(value, by.mantissa);
    return vrshlq_n_s32(vaddq_s32(high, vshrq_n_s32(high, 31)), by.shift);
  }
  const int32_t right = by.shift < 0 ? by.shift : 0;
  const int32x4_t high = vqrdmulhq_n_s32(vshlq_r_s32(value, by.shift - right), by.mantissa);
  return vrshlq_n_s32(vaddq_s32(high, vshrq_n_s32(vandq_s32(high, vdupq_n_s32(right)), 31)), right);
}

/* Shifts of 0 and below, as ADD and SUB have: a right shift of 0 takes no second step. */
INLINE int32x4_t rescale_down(int32x4_t value, tinyse_scale by) {
  const int32x4_t high = vqrdmulhq_n_s32(value, by.mantissa);
  return vrshlq_n_s32(vaddq_s32(high, vshrq_n_s32(vandq_s32(high, vdupq_n_s32(by.shift)), 31)), by.shift);
}

/* One multiplier a lane. */
INLINE int32x4_t rescale_lanes(int32x4_t value, int32x4_t mantissa, int32x4_t shift) {
  const int32x4_t zero = vdupq_n_s32(0);
  const int32x4_t right = vminq_s32(shift, zero);
  const int32x4_t high = vqrdmulhq_s32(vshlq_s32(value, vmaxq_s32(shift, zero)), mantissa);
  return vrshlq_s32(vaddq_s32(high, vshrq_n_s32(vandq_s32(high, right), 31)), right);
}

INLINE int32x4_t clamped(int32x4_t value, int32_t low, int32_t high) {
  return vminq_s32(vmaxq_s32(value, vdupq_n_s32(low)), vdupq_n_s32(high));
}

/* Units 0..3 to the even lanes, 4..7 to the odd ones: the order of c, undone when h is stored. */
INLINE int16x8_t narrow(int32x4_t first, int32x4_t second) {
  return vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(first), first), second);
}

/* GCC 12 moves predicates through core registers: hence the two instructions of assembly. It does not know that they
 * change VPR: where sigmoid and tanh are used no other predicate may be alive. */
INLINE int16x8_t negative_from(int16x8_t result, int16x8_t value, int16x8_t one) {
  __asm("vpt.s16 lt, %q1, zr\n vsubt.i16 %q0, %q2, %q0" : "+t"(result) : "t"(value), "t"(one));
  return result;
}

INLINE int16x8_t negative(int16x8_t result, int16x8_t value) {
  __asm("vpt.s16 lt, %q1, zr\n vnegt.s16 %q0, %q0" : "+t"(result) : "t"(value));
  return result;
}

/* The same steps as in fixedpoint.h, on eight values. |-32768| may be 32767: both give 0.9997. */
INLINE int16x8_t sigmoid(int16x8_t value) {
  const int16x8_t size = vqabsq_s16(value);
  const uint16x8_t at = vreinterpretq_u16_s16(vqdmulhq_n_s16(size, 192));
  const uint16x8_t part = vmulq_n_u16(vreinterpretq_u16_s16(size), 384);
  const uint16x8_t above = vmulhq_u16(part, vldrhq_gather_shifted_offset_u16(tinyse_sigmoid_step, at));
  const uint16x8_t result = vrhaddq_u16(vldrhq_gather_shifted_offset_u16(tinyse_sigmoid, at), above);
  return negative_from(vreinterpretq_s16_u16(result), value, vdupq_n_s16(INT16_MIN));
}

INLINE int16x8_t tanh_at(int16x8_t value, uint16x8_t at, uint16x8_t part) {
  const uint16x8_t above = vrmulhq_u16(part, vldrhq_gather_shifted_offset_u16(tinyse_sigmoid_step, at));
  const uint16x8_t sum = vaddq_u16(vldrhq_gather_shifted_offset_u16(tinyse_sigmoid, at), above);
  return negative(vreinterpretq_s16_u16(vaddq_n_u16(sum, 0x8000)), value);
}

INLINE int16x8_t tanh_of_gate(int16x8_t value) {
  const int16x8_t size = vqabsq_s16(value);
  const uint16x8_t at = vreinterpretq_u16_s16(vqdmulhq_n_s16(size, 384));
  return tanh_at(value, at, vmulq_n_u16(vreinterpretq_u16_s16(size), 768));
}

INLINE int16x8_t tanh_of_cell(int16x8_t value, int32_t power) {
  if (power == 12) {
    return tanh_of_gate(value);
  }
  if (power < 12) {
    const uint16x8_t size = vqshlq_r_u16(vreinterpretq_u16_s16(vabsq_s16(value)), 12 - power);
    const uint16x8_t at = vminq_u16(vmulhq_u16(size, vdupq_n_u16(768)), vdupq_n_u16(TINYSE_GATE_TABLE - 1));
    return tanh_at(value, at, vmulq_n_u16(size, 768));
  }
  const int16x8_t three = vdupq_n_s16(3);
  const int32x4_t first = vabsq_s32(vrshlq_n_s32(vmullbq_int_s16(value, three), 12 - power));
  const int32x4_t second = vabsq_s32(vrshlq_n_s32(vmulltq_int_s16(value, three), 12 - power));
  const uint16x8_t size = vreinterpretq_u16_s16(vmovntq_s32(vmovnbq_s32(vreinterpretq_s16_s32(first), first), second));
  return tanh_at(value, vshrq_n_u16(size, 8), vshlq_n_u16(size, 8));
}

#endif /* TINYSE_KERNELS_MVE_H */
