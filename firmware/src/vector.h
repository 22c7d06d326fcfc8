/* vector.h: the loops that front and back end are made of, with MVE and in portable C.
 *
 * Both forms round alike: fmaf is one rounding, as the vector instruction is. MVE takes subnormals as 0.
 */
#ifndef TINYSE_VECTOR_H
#define TINYSE_VECTOR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2) && !defined(TINYSE_KERNELS_PORTABLE)
#include <arm_mve.h>
#define TINYSE_VECTOR_MVE 1
#define TINYSE_TAIL(count) ((count) & ~(size_t)3) /* what full vectors leave over */
#else
#define TINYSE_VECTOR_MVE 0
#define TINYSE_TAIL(count) ((size_t)0)
#endif

/* Samples of 2^40 and more, infinities and NaN: their spectra would not stay finite. */
#define TINYSE_TOO_LARGE 0x53800000u
#define TINYSE_SMALLEST 1.17549435e-38f /* below are subnormals */

/* log2(1 + u) = u * L(u) for 1 + u in [sqrt(1/2), sqrt(2)], absolute error 7e-9 before rounding;
 * 2^t - 1 = t * E(t) for t in [-1/2, 1/2], relative error 2e-9. Minimax fits, highest power first. */
static const float tinyse_log2_fit[9] = {0.125412441f,  -0.210303343f, 0.217379382f,  -0.238519437f, 0.287656675f,
                                         -0.360721195f, 0.480922529f,  -0.721347128f, 1.44269487f};
static const float tinyse_exp2_fit[6] = {0.000153533619f, 0.00133988744f, 0.00961843736f,
                                         0.0555033247f,   0.240226479f,   0.693147203f};
#define TINYSE_SQRT_HALF_BITS 0x3f3504f3u

/* out = in, but 0 where a sample is unusable. */
static inline void tinyse_copy_usable(float *out, const float *in, size_t count) {
  const size_t tail = TINYSE_TAIL(count);
#if TINYSE_VECTOR_MVE
  for (size_t i = 0; i < tail; i += 4) {
    uint32x4_t bits = vldrwq_u32((const uint32_t *)(const void *)(in + i));
    mve_pred16_t usable = vcmpcsq_u32(vdupq_n_u32(TINYSE_TOO_LARGE - 1), vbicq_u32(bits, vdupq_n_u32(0x80000000u)));
    vstrwq_u32((uint32_t *)(void *)(out + i), vpselq_u32(bits, vdupq_n_u32(0), usable));
  }
#endif
  for (size_t i = tail; i < count; ++i) {
    uint32_t bits;
    memcpy(&bits, in + i, sizeof bits);
    out[i] = (bits & 0x7fffffffu) < TINYSE_TOO_LARGE ? in[i] : 0.0f;
  }
}

/* Full scale 32768 to 1. */
static inline void tinyse_from_int16(float *out, const int16_t *in, size_t count) {
  const size_t tail = TINYSE_TAIL(count);
#if TINYSE_VECTOR_MVE
  for (size_t i = 0; i < tail; i += 4) vst1q_f32(out + i, vcvtq_n_f32_s32(vldrhq_s32(in + i), 15));
#endif
  for (size_t i = tail; i < count; ++i) out[i] = (float)in[i] * (1.0f / 32768.0f);
}

/* 1 to full scale 32768; halves to even, saturated. */
static inline void tinyse_to_int16(int16_t *out, const float *in, size_t count) {
  const size_t tail = TINYSE_TAIL(count);
#if TINYSE_VECTOR_MVE
  for (size_t i = 0; i < tail; i += 4) {
    int32x4_t value = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(in + i), 32768.0f));
    vstrhq_s32(out + i, vmaxq_s32(vminq_s32(value, vdupq_n_s32(32767)), vdupq_n_s32(-32768)));
  }
#endif
  for (size_t i = tail; i < count; ++i) {
    float value = rintf(in[i] * 32768.0f);
    out[i] = (int16_t)(value > 32767.0f ? 32767.0f : value < -32768.0f ? -32768.0f : value);
  }
}

/* out = a * b; out may be a or b. */
static inline void tinyse_multiply(float *out, const float *a, const float *b, size_t count) {
  const size_t tail = TINYSE_TAIL(count);
#if TINYSE_VECTOR_MVE
  for (size_t i = 0; i < tail; i += 4) vst1q_f32(out + i, vmulq_f32(vld1q_f32(a + i), vld1q_f32(b + i)));
#endif
  for (size_t i = tail; i < count; ++i) out[i] = a[i] * b[i];
}

/* out = sum + a * b; out may be any of them, or lie before sum in the same array. */
static inline void tinyse_multiply_add(float *out, const float *sum, const float *a, const float *b, size_t count) {
  const size_t tail = TINYSE_TAIL(count);
#if TINYSE_VECTOR_MVE
  for (size_t i = 0; i < tail; i += 4)
    vst1q_f32(out + i, vfmaq_f32(vld1q_f32(sum + i), vld1q_f32(a + i), vld1q_f32(b + i)));
#endif
  for (size_t i = tail; i < count; ++i) out[i] = fmaf(a[i], b[i], sum[i]);
}

/* out[k] = |spectrum[k]|^2, spectrum as re, im. */
static inline void tinyse_square(float *out, const float *spectrum, size_t count) {
  const size_t tail = TINYSE_TAIL(count);
#if TINYSE_VECTOR_MVE
  for (size_t k = 0; k < tail; k += 4) {
    float32x4x2_t value = vld2q_f32(spectrum + 2 * k);
    vst1q_f32(out + k, vfmaq_f32(vmulq_f32(value.val[0], value.val[0]), value.val[1], value.val[1]));
  }
#endif
  for (size_t k = tail; k < count; ++k) {
    float re = spectrum[2 * k], im = spectrum[2 * k + 1];
    out[k] = fmaf(im, im, re * re);
  }
}

/* out[k] = |spectrum[k]|. */
static inline void tinyse_magnitude(float *out, const float *spectrum, size_t count) {
  tinyse_square(out, spectrum, count);
  for (size_t k = 0; k < count; ++k) out[k] = sqrtf(out[k]);
}

/* spectrum *= gain, bin by bin. */
static inline void tinyse_scale_bins(float *spectrum, const float *gain, size_t count) {
  const size_t tail = TINYSE_TAIL(count);
#if TINYSE_VECTOR_MVE
  for (size_t k = 0; k < tail; k += 4) {
    float32x4x2_t value = vld2q_f32(spectrum + 2 * k);
    float32x4_t factor = vld1q_f32(gain + k);
    value.val[0] = vmulq_f32(value.val[0], factor);
    value.val[1] = vmulq_f32(value.val[1], factor);
    vst2q_f32(spectrum + 2 * k, value);
  }
#endif
  for (size_t k = tail; k < count; ++k) {
    spectrum[2 * k] *= gain[k];
    spectrum[2 * k + 1] *= gain[k];
  }
}

/* spectrum *= gain, both as re, im. */
static inline void tinyse_turn_bins(float *spectrum, const float *gain, size_t count) {
  const size_t tail = TINYSE_TAIL(count);
#if TINYSE_VECTOR_MVE
  for (size_t k = 0; k < tail; k += 4) {
    float32x4x2_t value = vld2q_f32(spectrum + 2 * k), factor = vld2q_f32(gain + 2 * k), product;
    product.val[0] = vfmsq_f32(vmulq_f32(value.val[0], factor.val[0]), value.val[1], factor.val[1]);
    product.val[1] = vfmaq_f32(vmulq_f32(value.val[0], factor.val[1]), value.val[1], factor.val[0]);
    vst2q_f32(spectrum + 2 * k, product);
  }
#endif
  for (size_t k = tail; k < count; ++k) {
    const float re = spectrum[2 * k], im = spectrum[2 * k + 1];
    spectrum[2 * k] = fmaf(-im, gain[2 * k + 1], re * gain[2 * k]);
    spectrum[2 * k + 1] = fmaf(im, gain[2 * k], re * gain[2 * k + 1]);
  }
}

/* mean += (x - mean) * share, then x -= mean. */
static inline void tinyse_follow(float *mean, float *x, float share, size_t count) {
  const size_t tail = TINYSE_TAIL(count);
#if TINYSE_VECTOR_MVE
  for (size_t i = 0; i < tail; i += 4) {
    float32x4_t value = vld1q_f32(x + i), middle = vld1q_f32(mean + i);
    middle = vfmaq_n_f32(middle, vsubq_f32(value, middle), share);
    vst1q_f32(mean + i, middle);
    vst1q_f32(x + i, vsubq_f32(value, middle));
  }
#endif
  for (size_t i = tail; i < count; ++i) {
    mean[i] = fmaf(x[i] - mean[i], share, mean[i]);
    x[i] -= mean[i];
  }
}

/* x = scale * log2(x + floor) + bias in place, for finite x >= 0 and a normal floor > 0. */
static inline void tinyse_log(float *x, float floor, float scale, float bias, size_t count) {
  const size_t tail = TINYSE_TAIL(count);
#if TINYSE_VECTOR_MVE
  for (size_t i = 0; i < tail; i += 4) {
    uint32x4_t bits = vreinterpretq_u32_f32(vaddq_n_f32(vld1q_f32(x + i), floor));
    int32x4_t whole = vshrq_n_s32(vreinterpretq_s32_u32(vsubq_n_u32(bits, TINYSE_SQRT_HALF_BITS)), 23);
    float32x4_t u = vreinterpretq_f32_u32(vsubq_u32(bits, vreinterpretq_u32_s32(vshlq_n_s32(whole, 23))));
    u = vsubq_n_f32(u, 1.0f);
    float32x4_t fit = vdupq_n_f32(tinyse_log2_fit[0]);
    for (int k = 1; k < 9; ++k) fit = vfmaq_f32(vdupq_n_f32(tinyse_log2_fit[k]), fit, u);
    vst1q_f32(x + i, vfmaq_n_f32(vdupq_n_f32(bias), vfmaq_f32(vcvtq_f32_s32(whole), fit, u), scale));
  }
#endif
  for (size_t i = tail; i < count; ++i) {
    float u = x[i] + floor;
    uint32_t bits;
    memcpy(&bits, &u, sizeof bits);
    const int32_t whole = (int32_t)((bits - TINYSE_SQRT_HALF_BITS) & 0xff800000u) / (1 << 23);
    bits -= (uint32_t)whole << 23;
    memcpy(&u, &bits, sizeof u);
    u -= 1.0f;
    float fit = tinyse_log2_fit[0];
    for (int k = 1; k < 9; ++k) fit = fmaf(fit, u, tinyse_log2_fit[k]);
    x[i] = fmaf(fmaf(fit, u, (float)whole), scale, bias);
  }
}

/* x = x^power in place, for finite x >= 0 and -1 < power <= 1; 0 and subnormals give 0. Relative error below 3e-7. */
static inline void tinyse_power(float *x, float power, size_t count) {
  const size_t tail = TINYSE_TAIL(count);
  /* x = 2^e * (1 + u); e * power is split into a whole and a rest that loses nothing to rounding. */
#if TINYSE_VECTOR_MVE
  for (size_t i = 0; i < tail; i += 4) {
    float32x4_t value = vld1q_f32(x + i);
    uint32x4_t bits = vreinterpretq_u32_f32(value);
    int32x4_t whole = vshrq_n_s32(vreinterpretq_s32_u32(vsubq_n_u32(bits, TINYSE_SQRT_HALF_BITS)), 23);
    float32x4_t exponent = vcvtq_f32_s32(whole);
    float32x4_t u = vreinterpretq_f32_u32(vsubq_u32(bits, vreinterpretq_u32_s32(vshlq_n_s32(whole, 23))));
    u = vsubq_n_f32(u, 1.0f);
    float32x4_t fit = vdupq_n_f32(tinyse_log2_fit[0]);
    for (int k = 1; k < 9; ++k) fit = vfmaq_f32(vdupq_n_f32(tinyse_log2_fit[k]), fit, u);
    float32x4_t log = vmulq_f32(fit, u);
    float32x4_t nearest = vrndnq_f32(vmulq_n_f32(vaddq_f32(exponent, log), power));
    float32x4_t rest = vfmaq_n_f32(vnegq_f32(nearest), exponent, power);
    rest = vfmaq_n_f32(rest, log, power);
    fit = vdupq_n_f32(tinyse_exp2_fit[0]);
    for (int k = 1; k < 6; ++k) fit = vfmaq_f32(vdupq_n_f32(tinyse_exp2_fit[k]), fit, rest);
    fit = vfmaq_f32(vdupq_n_f32(1.0f), fit, rest);
    bits = vaddq_u32(vreinterpretq_u32_f32(fit), vreinterpretq_u32_s32(vshlq_n_s32(vcvtq_s32_f32(nearest), 23)));
    vst1q_f32(x + i, vpselq_f32(vreinterpretq_f32_u32(bits), vdupq_n_f32(0.0f),
                                vcmpgeq_n_f32(value, TINYSE_SMALLEST)));
  }
#endif
  for (size_t i = tail; i < count; ++i) {
    if (!(x[i] >= TINYSE_SMALLEST)) {
      x[i] = 0.0f;
      continue;
    }
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    int32_t whole = (int32_t)((bits - TINYSE_SQRT_HALF_BITS) & 0xff800000u) / (1 << 23);
    float exponent = (float)whole, u;
    bits -= (uint32_t)whole << 23;
    memcpy(&u, &bits, sizeof u);
    u -= 1.0f;
    float fit = tinyse_log2_fit[0];
    for (int k = 1; k < 9; ++k) fit = fmaf(fit, u, tinyse_log2_fit[k]);
    float log = fit * u;
    float nearest = rintf((exponent + log) * power);
    float rest = fmaf(exponent, power, -nearest);
    rest = fmaf(log, power, rest);
    fit = tinyse_exp2_fit[0];
    for (int k = 1; k < 6; ++k) fit = fmaf(fit, rest, tinyse_exp2_fit[k]);
    fit = fmaf(fit, rest, 1.0f);
    memcpy(&bits, &fit, sizeof bits);
    bits += (uint32_t)(int32_t)nearest << 23;
    memcpy(x + i, &bits, sizeof bits);
  }
}

#endif /* TINYSE_VECTOR_H */
