/* kernels_window_scalar.c: depthwise convolution and maximum over windows, one value at a time. */
#include "fixedpoint.h"

#define POSITIONS(patch)                             \
  for (uint32_t row = 0; row < (patch)->rows; ++row) \
    for (uint32_t column = 0; column < (patch)->width; ++column)

/* Position of tap j in the width; beyond the width where it is in the padding, on either side. */
static inline uint32_t place(const tinyse_patch *patch, uint32_t column, uint32_t j) {
  return column * patch->stride[1] + j * patch->dilation[1] - patch->before;
}

static inline uint32_t line(const tinyse_patch *patch, uint32_t row, uint32_t i) {
  return (row * patch->stride[0] + i * patch->dilation[0]) * patch->in_width;
}

/* Taps first to end - 1 of a column lie in the map, the others in its padding. */
typedef struct inside {
  uint32_t first;
  uint32_t end;
} inside;

static inline inside taps_inside(const tinyse_patch *patch, uint32_t column) {
  inside found = {0, patch->kernel[1]};
  while (found.first < found.end && place(patch, column, found.first) >= patch->in_width) {
    ++found.first;
  }
  while (found.end > found.first && place(patch, column, found.end - 1u) >= patch->in_width) {
    --found.end;
  }
  return found;
}

/* The sums of every position and channel. `padded`: what a weight in the padding adds. */
#define DEPTHWISE(sum_type, start, padded, finish)                                            \
  const tinyse_patch patch = op->patch; /* y could be anything */                                   \
  const tinyse_scaling output = op->output;                                                          \
  const uint32_t channels = output.channels, taps = patch.kernel[1];                                \
  const uint32_t across = patch.dilation[1] * channels;                                             \
  POSITIONS(&patch) {                                                                               \
    const inside range = taps_inside(&patch, column);                                               \
    for (uint32_t channel = 0; channel < channels; ++channel) {                                     \
      const int8_t *weight = op->weights + channel;                                                 \
      sum_type sum = start;                                                                         \
      for (uint32_t i = 0; i < patch.kernel[0]; ++i) {                                              \
        uint32_t j = 0;                                                                             \
        for (; j < range.first; ++j, weight += channels) {                                          \
          sum += padded;                                                                            \
        }                                                                                           \
        uint32_t at = (line(&patch, row, i) + place(&patch, column, j)) * channels + channel;       \
        for (; j < range.end; ++j, weight += channels, at += across) {                              \
          sum += *weight * x[at];                                                                   \
        }                                                                                           \
        for (; j < taps; ++j, weight += channels) {                                                 \
          sum += padded;                                                                            \
        }                                                                                           \
      }                                                                                             \
      *y++ = finish;                                                                                \
    }                                                                                               \
  }

/* The same for every processor: its sums have 64 bits. */
void tinyse_depthwise16(const tinyse_depthwise *op, const int16_t *x, int16_t *y) {
  DEPTHWISE(int64_t, 0, 0, tinyse_scale16(&output, channel, sum))
}

#ifndef TINYSE_KERNELS_MVE

static inline int8_t scaled(const tinyse_scaling *output, uint32_t channel, int32_t sum) {
  const int32_t out = tinyse_rescale(sum, output->mantissa[channel], output->shift[channel]) + output->zero_point;
  return (int8_t)tinyse_clamp(out, output->low, output->high);
}

void tinyse_depthwise8(const tinyse_depthwise *op, const int8_t *x, int8_t *y) {
  DEPTHWISE(int32_t, op->start[channel], *weight * patch.zero_point, scaled(&output, channel, sum))
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
