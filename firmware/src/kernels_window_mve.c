/* kernels_window_mve.c: depthwise convolution and maximum over windows with MVE: channels are the lanes. */
#include "kernels.h"

#ifdef TINYSE_KERNELS_MVE

#include "kernels_mve.h"

/* Even and odd of eight channels. */
typedef struct halves {
  int32x4_t even;
  int32x4_t odd;
} halves;

INLINE halves halves_at(const int32_t *values) {
  const int32x4x2_t both = vld2q_s32(values);
  return (halves){both.val[0], both.val[1]};
}

/* sums + one tap of eight channels. */
INLINE halves tap(halves sums, int16x8_t x, const int8_t *weights) {
  const int16x8_t by = vldrbq_s16(weights);
  return (halves){vaddq_s32(sums.even, vmullbq_int_s16(x, by)), vaddq_s32(sums.odd, vmulltq_int_s16(x, by))};
}

INLINE int32x4_t finished(int32x4_t sums, int32x4_t mantissa, int32x4_t shift, const tinyse_scaling *by) {
  return clamped(vqaddq_n_s32(rescale_lanes(sums, mantissa, shift), by->zero_point), by->low, by->high);
}

void tinyse_depthwise8(const tinyse_depthwise *op, const int8_t *x, int8_t *y) {
  const tinyse_patch patch = op->patch; /* y could be anything */
  const tinyse_scaling output = op->output;
  const uint32_t channels = output.channels, taps = patch.kernel[1];
  const uint32_t across = patch.dilation[1] * channels, down = patch.dilation[0] * patch.in_width * channels;
  const int32_t dilation = patch.dilation[1], width = patch.in_width;
  for (uint32_t row = 0; row < patch.rows; ++row, x += patch.stride[0] * patch.in_width * channels) {
    int32_t at = -(int32_t)patch.before;
    for (uint32_t column = 0; column < patch.width; ++column, at += patch.stride[1], y += channels) {
      /* Taps first to end - 1 lie in the map, the others in its padding. */
      uint32_t first = at < 0 ? (uint32_t)((dilation - 1 - at) / dilation) : 0;
      uint32_t end = at < width ? (uint32_t)((width - at + dilation - 1) / dilation) : 0;
      first = first < taps ? first : taps;
      end = end < first ? first : end < taps ? end : taps;
      for (uint32_t channel = 0; channel < channels; channel += 8) {
        halves sums = halves_at(op->start + channel);
        const int8_t *weights = op->weights + channel;
        const int8_t *line = x + (at + (int32_t)first * dilation) * (int32_t)channels + (int32_t)channel;
        for (uint32_t i = 0; i < patch.kernel[0]; ++i, line += down) {
          for (uint32_t j = 0; j < first; ++j, weights += channels) {
            sums = tap(sums, vdupq_n_s16(patch.zero_point), weights);
          }
          const int8_t *value = line;
          for (uint32_t j = first; j < end; ++j, weights += channels, value += across) {
            sums = tap(sums, vldrbq_s16(value), weights);
          }
          for (uint32_t j = end; j < taps; ++j, weights += channels) {
            sums = tap(sums, vdupq_n_s16(patch.zero_point), weights);
          }
        }
        const halves mantissa = halves_at(output.mantissa + channel), shift = halves_at(output.shift + channel);
        const int16x8_t even = vreinterpretq_s16_s32(finished(sums.even, mantissa.even, shift.even, &output));
        const int32x4_t odd = finished(sums.odd, mantissa.odd, shift.odd, &output);
        vstrbq_p_s16(y + channel, vmovntq_s32(even, odd), vctp16q(channels - channel));
      }
    }
  }
}

#define MAXPOOL(name, type, vector, lanes_of, lanes_each, load, store, maximum)  \
  void name(const tinyse_patch *op, const type *x, type *y) {                    \
    const uint32_t channels = op->step / sizeof(type);                           \
    const uint32_t line = op->in_width * channels;                               \
    for (uint32_t row = 0; row < op->rows; ++row, x += op->stride[0] * line) {   \
      for (uint32_t column = 0; column < op->width; ++column, y += channels) {   \
        for (uint32_t channel = 0; channel < channels; channel += lanes_each) {  \
          const mve_pred16_t lanes = lanes_of(channels - channel);               \
          const type *from = x + column * op->stride[1] * channels + channel;    \
          vector most = load(from, lanes);                                       \
          for (uint32_t i = 0; i < op->kernel[0]; ++i) {                         \
            for (uint32_t j = 0; j < op->kernel[1]; ++j) {                       \
              most = maximum(most, load(from + i * line + j * channels, lanes)); \
            }                                                                    \
          }                                                                      \
          store(y + channel, most, lanes);                                       \
        }                                                                        \
      }                                                                          \
    }                                                                            \
  }

MAXPOOL(tinyse_maxpool8, int8_t, int8x16_t, vctp8q, 16u, vldrbq_z_s8, vstrbq_p_s8, vmaxq_s8)
MAXPOOL(tinyse_maxpool16, int16_t, int16x8_t, vctp16q, 8u, vldrhq_z_s16, vstrhq_p_s16, vmaxq_s16)

#else
typedef int tinyse_kernels_window_mve_unused;
#endif
