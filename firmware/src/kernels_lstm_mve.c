/* kernels_lstm_mve.c: gates, cell and hidden state with MVE, eight units at a time. */
#include "kernels.h"

#ifdef TINYSE_KERNELS_MVE

#include "kernels_mve.h"

INLINE void gate_loop(int32_t *input, const int32_t *hidden, tinyse_scale x, tinyse_scale h, uint32_t units,
                      bool is_tanh, bool any_shift) {
  for (uint32_t unit = 0; unit < units; unit += 8, input += 32, hidden += 32) {
    const int16x8_t from_input =
      narrow(rescale(vldrwq_s32(input), x, any_shift), rescale(vldrwq_s32(input + 4), x, any_shift));
    const int16x8_t from_hidden =
      narrow(rescale(vldrwq_s32(hidden), h, any_shift), rescale(vldrwq_s32(hidden + 4), h, any_shift));
    const int16x8_t sum = vqaddq_s16(from_input, from_hidden);
    vst1q_s16((int16_t *)(void *)input, is_tanh ? tanh_of_gate(sum) : sigmoid(sum));
  }
}

/* One gate of every unit, left as int16 [8] where the gate's sums were. One gate at a time, because GCC 12 runs out
 * of registers with all four. Multipliers below a half, nearly all, have the shorter code. */
static void gates(const tinyse_lstm *lstm, uint32_t gate, int32_t *input, const int32_t *hidden, uint32_t units) {
  const tinyse_scale x = lstm->input[gate];
  const tinyse_scale h = lstm->hidden[gate];
  input += 8 * gate;
  hidden += 8 * gate;
  const bool any_shift = x.shift >= 0 || h.shift >= 0;
  if (gate == 2 && any_shift) {
    gate_loop(input, hidden, x, h, units, true, true);
  } else if (gate == 2) {
    gate_loop(input, hidden, x, h, units, true, false);
  } else if (any_shift) {
    gate_loop(input, hidden, x, h, units, false, true);
  } else {
    gate_loop(input, hidden, x, h, units, false, false);
  }
}

INLINE int16x8_t gate_at(const int32_t *sums) { return vld1q_s16((const int16_t *)(const void *)sums); }

/* f * c / 2^15 in TFLM's two steps, of which the first is an immediate shift. */
INLINE int16x8_t keep(int16x8_t f, int16x8_t c) {
  int32x4_t first = vrshrq_n_s32(vmullbq_int_s16(f, c), 1);
  int32x4_t second = vrshrq_n_s32(vmulltq_int_s16(f, c), 1);
  first = vaddq_s32(first, vshrq_n_s32(first, 31));
  second = vaddq_s32(second, vshrq_n_s32(second, 31));
  return vqrshrntq_n_s32(vqrshrnbq_n_s32(vreinterpretq_s16_s32(first), first, 14), second, 14);
}

INLINE void update(const tinyse_lstm *lstm, const int32_t *sums, int16_t *c, uint32_t units, bool any_shift) {
  const tinyse_scale by = lstm->update;
  const int16x8_t low = vdupq_n_s16(lstm->cell_low);
  const int16x8_t high = vdupq_n_s16(lstm->cell_high);
  for (uint32_t unit = 0; unit < units; unit += 8, sums += 32, c += 8) {
    const int16x8_t i = gate_at(sums);
    const int16x8_t g = gate_at(sums + 16);
    const int16x8_t added =
      narrow(rescale(vmullbq_int_s16(i, g), by, any_shift), rescale(vmulltq_int_s16(i, g), by, any_shift));
    const int16x8_t sum = vqaddq_s16(keep(gate_at(sums + 8), vld1q_s16(c)), added);
    vst1q_s16(c, vminq_s16(vmaxq_s16(sum, low), high));
  }
}

INLINE void output(const tinyse_lstm *lstm, const int32_t *sums, const int16_t *c, int8_t *h, uint32_t units,
                   int32_t power, bool any_shift) {
  const tinyse_scale by = lstm->output;
  const int32_t zero_point = lstm->zero_point;
  for (uint32_t unit = 0; unit < units; unit += 8, sums += 32, c += 8, h += 8) {
    const int16x8_t o = gate_at(sums + 24);
    const int16x8_t t = tanh_of_cell(vld1q_s16(c), power);
    const int32x4_t first = vqaddq_n_s32(rescale(vmullbq_int_s16(o, t), by, any_shift), zero_point);
    const int32x4_t second = vqaddq_n_s32(rescale(vmulltq_int_s16(o, t), by, any_shift), zero_point);
    const int16x8_t wide = narrow(first, second);
    const int8x16_t both = vqmovnbq_s16(vreinterpretq_s8_s16(wide), wide);
    /* Lanes of 16 bits again: 0, 4, 1, 5, ... */
    vstrbq_s32(h, vreinterpretq_s32_s8(both));
    vstrbq_s32(h + 4, vshrq_n_s32(vreinterpretq_s32_s8(both), 16));
  }
}

void tinyse_kernel_cells(const tinyse_lstm *lstm, int32_t *input, const int32_t *hidden, int16_t *c, int8_t *h,
                         uint32_t units) {
  for (uint32_t gate = 0; gate < 4; ++gate) {
    gates(lstm, gate, input, hidden, units);
  }
  /* What tinyse trains has cells of 12 fraction bits. */
  if (lstm->cell_power == 12 && lstm->output.shift < 0) {
    update(lstm, input, c, units, false);
    output(lstm, input, c, h, units, 12, false);
  } else {
    update(lstm, input, c, units, true);
    output(lstm, input, c, h, units, lstm->cell_power, true);
  }
}

#else
typedef int tinyse_kernels_lstm_mve_unused;
#endif
