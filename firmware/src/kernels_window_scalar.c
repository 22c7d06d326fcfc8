/* kernels_window_scalar.c: depthwise convolution and maximum over windows, one value at a time. */
#include "fixedpoint.h"

/* Depthwise in int16 is the same for every processor: its sums have 64 bits. */
#define POSITIONS(patch)                             \
  for (uint32_t row = 0; row < (patch)->rows; ++row) \
    for (uint32_t column = 0; column < (patch)->width; ++column)

/* Position of tap j in the width; outside where it is in the padding. */
static inline uint32_t place(const tinyse_patch *patch, uint32_t column, uint32_t j) {
  return column * patch->stride[1] + j * patch->dilation[1] - patch->before;
}

static inline uint32_t line(const tinyse_patch *patch, uint32_t row, uint32_t i) {
  return (row * patch->stride[0] + i * patch->dilation[0]) * patch->in_width;
}

void tinyse_depthwise16(const tinyse_depthwise *op, const int16_t *x, int16_t *y) {
  const tinyse_patch *patch = &op->patch;
  const uint32_t channels = op->output.channels;
  POSITIONS(patch) {
    for (uint32_t channel = 0; channel < channels; ++channel) {
      const int8_t *weight = op->weights + channel;
      int64_t sum = 0;
      for (uint32_t i = 0; i < patch->kernel[0]; ++i) {
        for (uint32_t j = 0; j < patch->kernel[1]; ++j, weight += channels) {
          const uint32_t at = place(patch, column, j);
          sum += at < patch->in_width ? *weight * x[(line(patch, row, i) + at) * channels + channel] : 0;
        }
      }
      *y++ = tinyse_scale16(&op->output, channel, sum);
    }
  }
}

#ifndef TINYSE_KERNELS_MVE

void tinyse_depthwise8(const tinyse_depthwise *op, const int8_t *x, int8_t *y) {
  const tinyse_patch *patch = &op->patch;
  const tinyse_scaling *output = &op->output;
  const uint32_t channels = output->channels;
  POSITIONS(patch) {
    for (uint32_t channel = 0; channel < channels; ++channel) {
      const int8_t *weight = op->weights + channel;
      int32_t sum = op->start[channel];
      for (uint32_t i = 0; i < patch->kernel[0]; ++i) {
        for (uint32_t j = 0; j < patch->kernel[1]; ++j, weight += channels) {
          const uint32_t at = place(patch, column, j);
          sum += *weight * (at < patch->in_width ? x[(line(patch, row, i) + at) * channels + channel]
                                                 : patch->zero_point);
        }
      }
      const int32_t out = tinyse_rescale(sum, output->mantissa[channel], output->shift[channel]) + output->zero_point;
      *y++ = (int8_t)tinyse_clamp(out, output->low, output->high);
    }
  }
}

#define MAXPOOL(name, type)                                                                       \
  void name(const tinyse_patch *op, const type *x, type *y) {                                     \
    const uint32_t channels = op->step / sizeof(type);                                            \
    POSITIONS(op) {                                                                               \
      for (uint32_t channel = 0; channel < channels; ++channel) {                                 \
        type most = x[(line(op, row, 0) + place(op, column, 0)) * channels + channel];            \
        for (uint32_t i = 0; i < op->kernel[0]; ++i) {                                            \
          for (uint32_t j = 0; j < op->kernel[1]; ++j) {                                          \
            const type value = x[(line(op, row, i) + place(op, column, j)) * channels + channel]; \
            most = value > most ? value : most;                                                   \
          }                                                                                       \
        }                                                                                         \
        *y++ = most;                                                                              \
      }                                                                                           \
    }                                                                                             \
  }

MAXPOOL(tinyse_maxpool8, int8_t)
MAXPOOL(tinyse_maxpool16, int16_t)

#endif
