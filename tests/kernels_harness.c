/* Activations of every int16 and rescalings of the values given, to compare with tinyse/graph/fixedpoint.py.
 * frames.bin: int32 [4096] values, then (mantissa, shift) pairs. masks.bin: int16 [65536] sigmoid, int16 [31][65536]
 * tanh for powers 0..30 (order of values as given), then int32 [4096] per pair. */
#define HARNESS_PARTS
#include "network_harness.c"

#include "packed.h"
#include "fixedpoint.h"
#ifdef TINYSE_KERNELS_MVE
#include "kernels_mve.h"
#endif

#define VALUES 4096

static _Alignas(16) int32_t values[VALUES], results[VALUES];
static _Alignas(16) int16_t gates_of[65536];

static void activate(stream out, int power) {
  for (int32_t i = 0; i < 65536; i += 8) {
#ifdef TINYSE_KERNELS_MVE
    int16_t *at = gates_of + i;
    int16x8_t value = vld1q_s16(at);
    value = power < 0 ? sigmoid(value) : tanh_of_cell(value, power);
    vst1q_s16(at, value);
#else
    for (int32_t j = i; j < i + 8; ++j) {
      gates_of[j] = (int16_t)(power < 0 ? tinyse_sigmoid16(gates_of[j]) : tinyse_tanh16(gates_of[j], power));
    }
#endif
  }
  write(out, gates_of, sizeof gates_of);
}

static void rescale_all(tinyse_scale by) {
#ifdef TINYSE_KERNELS_MVE
  for (int32_t i = 0; i < VALUES; i += 4) {
    const int32x4_t value = vld1q_s32(values + i);
    vst1q_s32(results + i, rescale(value, by, by.shift >= 0 || i % 8 == 0)); /* both codes where both serve */
  }
#else
  const tinyse_rescaler small = tinyse_rescaler_of(by);
  for (int32_t i = 0; i < VALUES; ++i) {
    results[i] = tinyse_rescale(values[i], by.mantissa, by.shift);
    if (by.shift <= 0 && values[i] > -(1 << 30) && values[i] < 1 << 30 &&
        results[i] != tinyse_rescale_small(values[i], small)) {
      results[i] = 0x7EADBEEF;
    }
  }
#endif
}

int main(void) {
  stream in = open("frames.bin", 0), out = open("masks.bin", 1), times = open("ticks.bin", 1);
  if (!read(in, values, sizeof values)) {
    return 1;
  }
  for (int power = -1; power <= 30; ++power) {
    for (int32_t i = 0; i < 65536; ++i) {
      gates_of[i] = (int16_t)(i - 32768);
    }
    activate(out, power);
  }
  tinyse_scale by;
  while (read(in, &by, sizeof by)) {
    rescale_all(by);
    write(out, results, sizeof results);
  }
  const uint32_t end = ticks();
  write(times, &end, sizeof end);
  close(out);
  close(times);
  return 0;
}
