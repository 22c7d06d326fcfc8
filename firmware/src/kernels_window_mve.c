/* kernels_window_mve.c: depthwise convolution and maximum over windows with MVE: channels are the lanes. */
#include "kernels.h"

#ifdef TINYSE_KERNELS_MVE

#include "kernels_mve.h"

/* Sums of four channels at one position; `x` is the row's first value of the first of them. */
INLINE int32x4_t window(const tinyse_patch *patch, const int8_t *x, int32_t at, const int8_t *weights, int32x4_t sum,
                        uint32_t channels, mve_pred16_t lanes) {
  const int32x4_t padding = vdupq_n_s32(patch->zero_point);
  for (uint32_t i = 0; i < patch->kernel[0]; ++i, x += patch->dilation[0] * patch->in_width * channels) {
    uint32_t place = (uint32_t)at;
    for (uint32_t j = 0; j < patch->kernel[1]; ++j, weights += channels, place += patch->dilation[1]) {
      const int32x4_t value = place < patch->in_width ? vldrbq_z_s32(x + place * channels, lanes) : padding;
      sum = vaddq_s32(sum, vmulq_s32(value, vldrbq_z_s32(weights, lanes)));
    }
  }
  return sum;
}

void tinyse_depthwise8(const tinyse_depthwise *op, const int8_t *x, int8_t *y) {
  const tinyse_patch *patch = &op->patch;
  const tinyse_output *output = &op->output;
  const uint32_t channels = output->channels;
  for (uint32_t row = 0; row < patch->rows; ++row, x += patch->stride[0] * patch->in_width * channels) {
    int32_t at = -(int32_t)patch->before;
    for (uint32_t column = 0; column < patch->width; ++column, at += patch->stride[1], y += channels) {
      for (uint32_t channel = 0; channel < channels; channel += 4) {
        const mve_pred16_t lanes = vctp32q(channels - channel);
        int32x4_t sum = vldrwq_z_s32(op->start + channel, lanes);
        sum = window(patch, x + channel, at, op->weights + channel, sum, channels, lanes);
        sum = rescale_lanes(sum, vldrwq_z_s32(output->mantissa + channel, lanes),
                            vldrwq_z_s32(output->shift + channel, lanes));
        sum = clamped(vqaddq_n_s32(sum, output->zero_point), output->low, output->high);
        vstrbq_p_s32(y + channel, sum, lanes);
      }
    }
  }
}

#define MAXPOOL(name, type, vector, lanes_of, lanes_each, load, store, maximum)                                       \
  void name(const tinyse_patch *op, const type *x, type *y) {                                                      \
    const uint32_t channels = op->step / sizeof(type);                                                             \
    const uint32_t line = op->in_width * channels;                                                                 \
    for (uint32_t row = 0; row < op->rows; ++row, x += op->stride[0] * line) {                                      \
      for (uint32_t column = 0; column < op->width; ++column, y += channels) {                                      \
        for (uint32_t channel = 0; channel < channels; channel += lanes_each) {                                          \
          const mve_pred16_t lanes = lanes_of(channels - channel);                                                  \
          const type *from = x + column * op->stride[1] * channels + channel;                                       \
          vector most = load(from, lanes);                                                                          \
          for (uint32_t i = 0; i < op->kernel[0]; ++i) {                                                            \
            for (uint32_t j = 0; j < op->kernel[1]; ++j) {                                                          \
              most = maximum(most, load(from + i * line + j * channels, lanes));                                    \
            }                                                                                                       \
          }                                                                                                         \
          store(y + channel, most, lanes);                                                                          \
        }                                                                                                           \
      }                                                                                                             \
    }                                                                                                               \
  }

MAXPOOL(tinyse_maxpool8, int8_t, int8x16_t, vctp8q, 16u, vldrbq_z_s8, vstrbq_p_s8, vmaxq_s8)
MAXPOOL(tinyse_maxpool16, int16_t, int16x8_t, vctp16q, 8u, vldrhq_z_s16, vstrhq_p_s16, vmaxq_s16)

#else
typedef int tinyse_kernels_window_mve_unused;
#endif
