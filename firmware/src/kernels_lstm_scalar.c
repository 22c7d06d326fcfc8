/* kernels_lstm_scalar.c: gates, cell and hidden state, one value at a time. */
#include "kernels.h"

#ifndef TINYSE_KERNELS_MVE

#include <stdbool.h>

#include "fixedpoint.h"

#define INLINE static inline __attribute__((always_inline))

/* One gate of every unit, left where its sums were. `down`: both multipliers are below a half, as nearly all are. */
INLINE void gates(int32_t *input, const int32_t *hidden, tinyse_rescaler x, tinyse_rescaler h, uint32_t units,
                  bool is_tanh, bool down) {
  if (down) {
    x.left = h.left = x.rounds = h.rounds = 1;
  }
  for (uint32_t unit = 0; unit < units; unit += 8, input += 24, hidden += 24) {
    for (uint32_t i = 0; i < 8; ++i, ++input, ++hidden) {
      const int32_t from_input = tinyse_saturate16(tinyse_rescale_small(*input, x));
      const int32_t from_hidden = tinyse_saturate16(tinyse_rescale_small(*hidden, h));
      const int32_t sum = tinyse_saturate16(from_input + from_hidden);
      *input = is_tanh ? tinyse_tanh16(sum, 12) : tinyse_sigmoid16(sum);
    }
  }
}

static void gate(const tinyse_lstm *lstm, uint32_t number, int32_t *input, const int32_t *hidden, uint32_t units) {
  const tinyse_rescaler x = tinyse_rescaler_of(lstm->input[number]);
  const tinyse_rescaler h = tinyse_rescaler_of(lstm->hidden[number]);
  input += 8 * number;
  hidden += 8 * number;
  if (number == 2) {
    gates(input, hidden, x, h, units, true, false);
  } else if (x.rounds + h.rounds == 2) {
    gates(input, hidden, x, h, units, false, true);
  } else {
    gates(input, hidden, x, h, units, false, false);
  }
}

INLINE void cells(const tinyse_lstm *lstm, const int32_t *sums, int16_t *c, int8_t *h, uint32_t units, int32_t power) {
  const tinyse_rescaler forget = {1 << 30, 1, 13, 1};
  const tinyse_rescaler update = tinyse_rescaler_of(lstm->update);
  const tinyse_rescaler output = tinyse_rescaler_of(lstm->output);
  const int32_t low = lstm->cell_low, high = lstm->cell_high, zero_point = lstm->zero_point;
  for (uint32_t unit = 0; unit < units; unit += 8, sums += 24) {
    for (uint32_t i = 0; i < 8; ++i, ++sums, ++c, ++h) {
      const int32_t kept = tinyse_rescale_small(sums[8] * *c, forget);
      const int32_t added = tinyse_saturate16(tinyse_rescale_small(sums[0] * sums[16], update));
      const int32_t cell = tinyse_clamp(tinyse_saturate16(kept + added), low, high);
      const int32_t out = tinyse_rescale_small(sums[24] * tinyse_tanh16(cell, power), output) + zero_point;
      *c = (int16_t)cell;
      *h = (int8_t)tinyse_clamp(out, INT8_MIN, INT8_MAX);
    }
  }
}

void tinyse_kernel_cells(const tinyse_lstm *lstm, int32_t *input, const int32_t *hidden, int16_t *c, int8_t *h,
                         uint32_t units) {
  for (uint32_t number = 0; number < 4; ++number) {
    gate(lstm, number, input, hidden, units);
  }
  if (lstm->cell_power == 12) { /* what tinyse trains */
    cells(lstm, input, c, h, units, 12);
  } else {
    cells(lstm, input, c, h, units, lstm->cell_power);
  }
}

#else
typedef int tinyse_kernels_lstm_scalar_unused;
#endif
