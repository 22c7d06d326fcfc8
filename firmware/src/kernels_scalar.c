/* kernels_scalar.c: everything but the matrix product, one value at a time. */
#include "kernels.h"

#ifndef TINYSE_KERNELS_MVE

#include "fixedpoint.h"

static int32_t gate(const tinyse_lstm *lstm, uint32_t gate, int32_t input, int32_t hidden) {
  const tinyse_scale *x = &lstm->input[gate];
  const tinyse_scale *h = &lstm->hidden[gate];
  return tinyse_saturate16(tinyse_saturate16(tinyse_rescale(input, x->mantissa, x->shift)) +
                           tinyse_saturate16(tinyse_rescale(hidden, h->mantissa, h->shift)));
}

void tinyse_kernel_cells(const tinyse_lstm *lstm, int32_t *input, const int32_t *hidden, int16_t *c, int8_t *h,
                         uint32_t units) {
  for (uint32_t unit = 0; unit < units; ++unit) {
    const uint32_t at = (unit & ~7u) * 4u + (unit & 7u);
    const int32_t i = tinyse_sigmoid16(gate(lstm, 0, input[at], hidden[at]));
    const int32_t f = tinyse_sigmoid16(gate(lstm, 1, input[at + 8], hidden[at + 8]));
    const int32_t g = tinyse_tanh16(gate(lstm, 2, input[at + 16], hidden[at + 16]), 12);
    const int32_t o = tinyse_sigmoid16(gate(lstm, 3, input[at + 24], hidden[at + 24]));
    const int32_t kept = tinyse_rescale(f * c[unit], 1 << 30, -14);
    const int32_t added = tinyse_saturate16(tinyse_rescale(i * g, lstm->update.mantissa, lstm->update.shift));
    const int32_t cell = tinyse_clamp(tinyse_saturate16(kept + added), lstm->cell_low, lstm->cell_high);
    const int32_t out = tinyse_rescale(o * tinyse_tanh16(cell, lstm->cell_power), lstm->output.mantissa,
                                       lstm->output.shift);
    c[unit] = (int16_t)cell;
    h[unit] = (int8_t)tinyse_clamp(out + lstm->zero_point, INT8_MIN, INT8_MAX);
  }
}

void tinyse_kernel_dense(const tinyse_dense *dense, const int32_t *sums, int8_t *y) {
  for (uint32_t row = 0; row < dense->outputs; ++row) {
    const int32_t out = tinyse_rescale(sums[row], dense->mantissa[row], dense->shift[row]) + dense->zero_point;
    y[row] = (int8_t)tinyse_clamp(out, dense->low, INT8_MAX);
  }
}

void tinyse_kernel_lookup(const int8_t *table, const int8_t *x, int8_t *y, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    y[i] = table[(uint8_t)x[i]];
  }
}

#else
typedef int tinyse_kernels_scalar_unused;
#endif
