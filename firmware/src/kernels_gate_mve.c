/* kernels_gate_mve.c: channel gates with MVE: sixteen open channels at a time, whose weights a gather load picks.
 *
 * The products are in assembly, as those of kernels_product_mve.c: two rows at a time, a low-overhead loop, loads and
 * multiplications by turns. A row of up to 256 columns is what the 8-bit offsets of a gather load of bytes reach.
 */
#include "kernels.h"

#ifdef TINYSE_KERNELS_MVE

#include <string.h>

#include "kernels_mve.h"

#define ONE 127

/* 1 where neither low - value nor value - high is above 0; GCC 12 moves predicates through core registers. */
INLINE int8x16_t stepped(int8x16_t value, int8x16_t low, int8x16_t high) {
  const int8x16_t outside = vmaxq_s8(vqsubq_s8(low, value), vqsubq_s8(value, high));
  return vsubq_s8(vdupq_n_s8(ONE), vminq_s8(vmaxq_s8(outside, vdupq_n_s8(0)), vdupq_n_s8(1)));
}

void tinyse_step8(const tinyse_steps *op, const int8_t *x, int8_t *y) {
  const int8_t *low = op->low, *high = op->high;
  const uint32_t channels = op->channels, whole = channels & ~15u;
  for (uint32_t position = op->positions; position > 0; --position, x += channels, y += channels) {
    for (uint32_t channel = 0; channel < whole; channel += 16) {
      vst1q_s8(y + channel, stepped(vld1q_s8(x + channel), vld1q_s8(low + channel), vld1q_s8(high + channel)));
    }
    if (whole < channels) {
      const int8x16_t made = stepped(vld1q_s8(x + whole), vld1q_s8(low + whole), vld1q_s8(high + whole));
      vstrbq_p_s8(y + whole, made, vctp8q(channels - whole));
    }
  }
}

/* Which of four channels are open, as bytes one after the other, and how many; of the fours of sixteen. */
#define FOURS(n)                                                                                                            \
  {                                                                                                                         \
    { 0u, 0u }, { (n + 0u), 1u },                                                                                           \
    { (n + 1u), 1u }, { (n + 0u) | (n + 1u) << 8, 2u },                                                                     \
    { (n + 2u), 1u }, { (n + 0u) | (n + 2u) << 8, 2u },                                                                     \
    { (n + 1u) | (n + 2u) << 8, 2u }, { (n + 0u) | (n + 1u) << 8 | (n + 2u) << 16, 3u },                                    \
    { (n + 3u), 1u }, { (n + 0u) | (n + 3u) << 8, 2u },                                                                     \
    { (n + 1u) | (n + 3u) << 8, 2u }, { (n + 0u) | (n + 1u) << 8 | (n + 3u) << 16, 3u },                                    \
    { (n + 2u) | (n + 3u) << 8, 2u }, { (n + 0u) | (n + 2u) << 8 | (n + 3u) << 16, 3u },                                    \
    { (n + 1u) | (n + 2u) << 8 | (n + 3u) << 16, 3u }, { (n + 0u) | (n + 1u) << 8 | (n + 2u) << 16 | (n + 3u) << 24, 4u },  \
  }
static const struct four {
  uint32_t numbers;
  uint32_t count;
} fours[4][16] = {FOURS(0u), FOURS(4u), FOURS(8u), FOURS(12u)};

INLINE uint8_t *listed(uint8_t *to, uint32_t open, uint32_t from, const struct four *table) {
  if (open != 0) {
    const uint32_t numbers = table[open].numbers + from;
    memcpy(to, &numbers, sizeof numbers);
    to += table[open].count;
  }
  return to;
}

/* Four bytes are written where fewer count; the zeros that follow the last are written at the end. */
uint32_t tinyse_kernel_open(const int8_t *gate, uint32_t channels, uint8_t *list) {
  uint8_t *to = list;
  for (uint32_t channel = 0, from = 0; channel < channels; channel += 16, from += 0x10101010u) {
    uint32_t open = vcmpeqq_s8(vld1q_s8(gate + channel), vdupq_n_s8(ONE)); /* GCC 12 fails on vcmpeqq_n_s8 */
    if (channels - channel < 16) {
      open &= (1u << (channels - channel)) - 1u;
    }
    to = listed(to, open & 15u, from, fours[0]);
    to = listed(to, (open >> 4) & 15u, from, fours[1]);
    to = listed(to, (open >> 8) & 15u, from, fours[2]);
    to = listed(to, open >> 12, from, fours[3]);
  }
  const uint32_t count = (uint32_t)(to - list);
  vstrbq_p_u8(to, vdupq_n_u8(0), vctp8q((16u - count) & 15u));
  return count;
}

INLINE int32x4_t sum_at(int32x4_t sums, int32x4_t mantissa, int32x4_t shift, int32_t low, int32_t high) {
  return clamped(rescale_lanes(sums, mantissa, shift), low, high);
}

uint32_t tinyse_kernel_depthwise_open(const tinyse_depthwise *op, const int8_t *x, const uint8_t *list, uint32_t count,
                                      uint8_t *values) {
  const tinyse_scaling output = op->output; /* values could be anything */
  const uint32_t taps = op->patch.kernel[0], channels = output.channels, down = op->patch.dilation[0] * channels;
  const int32_t low = output.low - output.zero_point, high = output.high - output.zero_point;
  const int32_t *start = op->start;
  uint32_t total = 0;
  for (uint32_t i = 0; i < count; i += 8) {
    const mve_pred16_t lanes = vctp16q(count - i);
    const uint16x8_t at = vldrbq_z_u16(list + i, lanes);
    const uint32x4_t even = vmovlbq_u16(at), odd = vmovltq_u16(at);
    int32x4_t first = vldrwq_gather_shifted_offset_s32(start, even);
    int32x4_t second = vldrwq_gather_shifted_offset_s32(start, odd);
    const int8_t *value = x, *weight = op->weights;
    for (uint32_t tap = 0; tap < taps; ++tap, value += down, weight += channels) {
      const int16x8_t a = vldrbq_gather_offset_s16(value, at), b = vldrbq_gather_offset_s16(weight, at);
      first = vaddq_s32(first, vmullbq_int_s16(a, b));
      second = vaddq_s32(second, vmulltq_int_s16(a, b));
    }
    first = sum_at(first, vldrwq_gather_shifted_offset_s32(output.mantissa, even),
                   vldrwq_gather_shifted_offset_s32(output.shift, even), low, high);
    second = sum_at(second, vldrwq_gather_shifted_offset_s32(output.mantissa, odd),
                    vldrwq_gather_shifted_offset_s32(output.shift, odd), low, high);
    const uint16x8_t made = vreinterpretq_u16_s16(vmovntq_s32(vreinterpretq_s16_s32(first), second));
    total = vaddvaq_p_u16(total, made, lanes);
    vstrbq_p_u16(values + i, made, lanes);
  }
  vstrbq_p_u8(values + count, vdupq_n_u8(0), vctp8q((16u - count) & 15u));
  return total;
}

#define LOAD_OPEN(to, n) "vldrb.u8 %q[" to "], [%[w], %q[i" n "]]\n"
#define LOAD_ALL(to, n) "vldrw.u32 %q[" to "], [%[w], #" n "]\n"
#define ADD(sum, n, of) "vmladava.u8 %[s" sum "], %q[x" n "], %q[" of "]\n"
#define ROW "add %[w], %[columns]\n"

/* Two rows a turn: sums from `from` to `to`, which may be the same. */
#define ROWS(BODY, ...)                                                                                          \
  do {                                                                                                           \
    uint8x16_t a, b;                                                                                             \
    int32_t s0, s1;                                                                                              \
    const uint8_t *w = weights;                                                                                  \
    const int32_t *in = from;                                                                                    \
    int32_t *out = to;                                                                                           \
    __asm volatile("wls lr, %[pairs], 2f\n1: ldrd %[s0], %[s1], [%[in]], #8\n" BODY                              \
                   "strd %[s0], %[s1], [%[out]], #8\nle lr, 1b\n2:\n"                                            \
                   : [a] "=&t"(a), [b] "=&t"(b), [s0] "=&Te"(s0), [s1] "=&Te"(s1), [w] "+r"(w), [in] "+r"(in),   \
                     [out] "+r"(out)                                                                             \
                   : [pairs] "r"(pairs), [columns] "r"(columns), __VA_ARGS__                                     \
                   : "lr", "memory");                                                                            \
  } while (0)

#define AT(n) vldrbq_u8(list + 16 * (n))
#define X(n) vldrbq_u8(values + 16 * (n))

void tinyse_kernel_multiply_open(const tinyse_gated *gated, const uint8_t *list, const uint8_t *values, uint32_t count,
                                 int32_t *sums) {
  const uint8_t *weights = gated->weights;
  const uint32_t pairs = gated->rows / 2u, columns = gated->columns;
  const int32_t *from = gated->start;
  int32_t *to = sums;
  if (count == 0) {
    memcpy(sums, from, 4u * gated->rows);
  }
  for (uint32_t left = (count + 15u) / 16u; left > 0; from = sums) {
    if (left >= 3) {
      ROWS(LOAD_OPEN("a", "0") LOAD_OPEN("b", "1") ADD("0", "0", "a") LOAD_OPEN("a", "2") ADD("0", "1", "b") ROW
           LOAD_OPEN("b", "0") ADD("0", "2", "a") LOAD_OPEN("a", "1") ADD("1", "0", "b") LOAD_OPEN("b", "2")
           ADD("1", "1", "a") ROW ADD("1", "2", "b"),
           [i0] "t"(AT(0)), [i1] "t"(AT(1)), [i2] "t"(AT(2)), [x0] "t"(X(0)), [x1] "t"(X(1)), [x2] "t"(X(2)));
      left -= 3;
      list += 48;
      values += 48;
    } else if (left == 2) {
      ROWS(LOAD_OPEN("a", "0") LOAD_OPEN("b", "1") ADD("0", "0", "a") ROW LOAD_OPEN("a", "0") ADD("0", "1", "b")
           LOAD_OPEN("b", "1") ADD("1", "0", "a") ROW ADD("1", "1", "b"),
           [i0] "t"(AT(0)), [i1] "t"(AT(1)), [x0] "t"(X(0)), [x1] "t"(X(1)));
      left = 0;
    } else {
      ROWS(LOAD_OPEN("a", "0") ROW LOAD_OPEN("b", "0") ADD("0", "0", "a") ROW ADD("1", "0", "b"),
           [i0] "t"(AT(0)), [x0] "t"(X(0)));
      left = 0;
    }
  }
}

#define FOUR(sum)                                                                             \
  LOAD_ALL("a", "0") LOAD_ALL("b", "16") ADD(sum, "0", "a") LOAD_ALL("a", "32") ADD(sum, "1", "b") \
  LOAD_ALL("b", "48") ADD(sum, "2", "a") ROW ADD(sum, "3", "b")

void tinyse_kernel_multiply_all(const tinyse_gated *gated, const uint8_t *values, int32_t *sums) {
  const uint8_t *weights = gated->weights;
  const uint32_t pairs = gated->rows / 2u, columns = gated->columns;
  const int32_t *from = gated->start;
  int32_t *to = sums;
  for (uint32_t left = columns / 16u; left > 0; from = sums) {
    const uint32_t tiles = left >= 4 ? 4 : 1;
    if (tiles == 4) {
      ROWS(FOUR("0") FOUR("1"), [x0] "t"(X(0)), [x1] "t"(X(1)), [x2] "t"(X(2)), [x3] "t"(X(3)));
    } else {
      ROWS(LOAD_ALL("a", "0") ROW LOAD_ALL("b", "0") ADD("0", "0", "a") ROW ADD("1", "0", "b"), [x0] "t"(X(0)));
    }
    left -= tiles;
    values += 16 * tiles;
    weights += 16 * tiles;
  }
}

void tinyse_kernel_spread(const uint8_t *list, const uint8_t *values, uint32_t count, uint8_t *all) {
  for (uint32_t i = 0; i < count; i += 16) {
    const mve_pred16_t lanes = vctp8q(count - i);
    vstrbq_scatter_offset_p_u8(all, vldrbq_u8(list + i), vldrbq_u8(values + i), lanes);
  }
}

#else
typedef int tinyse_kernels_gate_mve_unused;
#endif
