/* kernels_mve.c: the kernels with the M-profile vector extension, integer part (Cortex-M55, M85).
 *
 * The three products are written in assembly: GCC 12 spills accumulators and makes no low-overhead loops. A product of
 * 16 weights takes two instructions, a load and VMLADAVA, whose sum must be in an even core register. Loads and
 * multiplications alternate, and no instruction uses the result of the one before, so that their beats overlap.
 */
#include "kernels.h"

#ifdef TINYSE_KERNELS_MVE

#include <arm_mve.h>
#include <stdbool.h>
#include <stddef.h>

#include "fixedpoint.h"

_Static_assert(offsetof(tinyse_cursor, tiles) == 0 && offsetof(tinyse_cursor, index) == 4 &&
                 offsetof(tinyse_cursor, start) == 8 && offsetof(tinyse_cursor, columns) == 12,
               "the assembly reads the cursor");

const tinyse_operand *tinyse_kernel_operand(const int8_t *x, uint32_t columns, int16_t *scratch) {
  (void)columns;
  (void)scratch;
  return x;
}

/* noipa: what the assembly does to memory is not to be guessed. Their 40 bytes of stack are not in GCC's stack usage;
 * tinyse_kernel_cells, called from the same place, takes more. */
#define NAKED __attribute__((naked, noipa))

/* One tile: r1 weights, r3 x. */
#define TILE_OF_8                                                                                               \
  "vldrw.u32 q0, [r3], #16\n vldrw.u32 q1, [r1], #16\n"                                                         \
  "vldrw.u32 q2, [r1], #16\n vmladava.s8 r0, q0, q1\n vldrw.u32 q1, [r1], #16\n vmladava.s8 r2, q0, q2\n"       \
  "vldrw.u32 q2, [r1], #16\n vmladava.s8 r4, q0, q1\n vldrw.u32 q1, [r1], #16\n vmladava.s8 r6, q0, q2\n"       \
  "vldrw.u32 q2, [r1], #16\n vmladava.s8 r8, q0, q1\n vldrw.u32 q1, [r1], #16\n vmladava.s8 r10, q0, q2\n"      \
  "vldrw.u32 q2, [r1], #16\n vmladava.s8 r12, q0, q1\n vmladava.s8 lr, q0, q2\n"

/* Eight rows share a load of x. r5 start, r7 sums, r9 groups left, r11 tiles left; s12, s13 x and columns. */
NAKED static void dense_rows(tinyse_cursor *at __attribute__((unused)),
                                                        const int8_t *x __attribute__((unused)),
                                                        int32_t *sums __attribute__((unused)),
                                                        uint32_t groups __attribute__((unused))) {
  __asm volatile(
    "push {r0, r4-r11, lr}\n"
    "mov r7, r2\n"
    "mov r9, r3\n"
    "ldr r4, [r0, #12]\n"
    "vmov s12, s13, r1, r4\n"
    "ldr r1, [r0]\n"
    "ldr r5, [r0, #8]\n"
    "1: ldmia r5!, {r0, r2, r4, r6, r8, r10, r12, lr}\n"
    "vmov r3, r11, s12, s13\n"
    "subs r11, r11, #4\n"
    "blo 3f\n"
    "2:\n" TILE_OF_8 TILE_OF_8 TILE_OF_8 TILE_OF_8
    "subs r11, r11, #4\n"
    "bhs 2b\n"
    "3: adds r11, r11, #4\n"
    "beq 5f\n"
    "4:\n" TILE_OF_8
    "subs r11, r11, #1\n"
    "bne 4b\n"
    "5: stmia r7!, {r0, r2, r4, r6, r8, r10, r12, lr}\n"
    "subs r9, r9, #1\n"
    "bne 1b\n"
    "pop {r0, r4}\n"
    "str r1, [r0]\n"
    "str r5, [r0, #8]\n"
    "pop {r5-r11, pc}\n");
}

/* r1 x, r3 weights, r5 sums, r7 index, r9 groups left, r10 start. */
#define SPARSE_BEGIN            \
  "push {r0, r4-r11, lr}\n"     \
  "mov r5, r2\n"                \
  "mov r9, r3\n"                \
  "ldr r3, [r0]\n"              \
  "ldr r7, [r0, #4]\n"          \
  "ldr r10, [r0, #8]\n"

#define SPARSE_END              \
  "subs r9, r9, #1\n"           \
  "bne 1b\n"                    \
  "pop {r0, r4}\n"              \
  "str r3, [r0]\n"              \
  "str r7, [r0, #4]\n"          \
  "str r10, [r0, #8]\n"         \
  "pop {r5-r11, pc}\n"

NAKED static void sparse_rows_of_4(tinyse_cursor *at __attribute__((unused)),
                                                              const int8_t *x __attribute__((unused)),
                                                              int32_t *sums __attribute__((unused)),
                                                              uint32_t groups __attribute__((unused))) {
  __asm volatile(
    SPARSE_BEGIN
    "1: ldrb r11, [r7], #1\n"
    "ldmia r10!, {r2, r4, r6, r8}\n"
    "wls lr, r11, 3f\n"
    "2: ldrb r11, [r7], #1\n"
    "vldrw.u32 q1, [r3], #16\n"
    "add r12, r1, r11, lsl #4\n"
    "vldrw.u32 q0, [r12]\n"
    "vldrw.u32 q2, [r3], #16\n"
    "vmladava.s8 r2, q0, q1\n"
    "vldrw.u32 q1, [r3], #16\n"
    "vmladava.s8 r4, q0, q2\n"
    "vldrw.u32 q2, [r3], #16\n"
    "vmladava.s8 r6, q0, q1\n"
    "vmladava.s8 r8, q0, q2\n"
    "le lr, 2b\n"
    "3: stmia r5!, {r2, r4, r6, r8}\n"
    SPARSE_END);
}

NAKED static void sparse_rows_of_1(tinyse_cursor *at __attribute__((unused)),
                                                              const int8_t *x __attribute__((unused)),
                                                              int32_t *sums __attribute__((unused)),
                                                              uint32_t groups __attribute__((unused))) {
  __asm volatile(
    SPARSE_BEGIN
    "1: ldrb r11, [r7], #1\n"
    "ldr r2, [r10], #4\n"
    "wls lr, r11, 3f\n"
    "2: ldrb r11, [r7], #1\n"
    "vldrw.u32 q1, [r3], #16\n"
    "add r12, r1, r11, lsl #4\n"
    "vldrw.u32 q0, [r12]\n"
    "vmladava.s8 r2, q0, q1\n"
    "le lr, 2b\n"
    "3: str r2, [r5], #4\n"
    SPARSE_END);
}

void tinyse_kernel_multiply(tinyse_cursor *at, const tinyse_operand *x, int32_t *sums, uint32_t rows) {
  if (at->index == NULL) {
    dense_rows(at, x, sums, rows / 8u);
  } else if (at->block == 4) {
    sparse_rows_of_4(at, x, sums, rows / 4u);
  } else {
    sparse_rows_of_1(at, x, sums, rows);
  }
}

#define INLINE static inline __attribute__((always_inline))

/* VQRDMULH rounds as TFLM's first step. Its second rounds ties away from zero, VRSHL up: one less where negative.
 * `any_shift` allows shifts >= 0, which take no second step but may need a left shift. */
INLINE int32x4_t rescale(int32x4_t value, tinyse_scale by, bool any_shift) {
  if (!any_shift) {
    const int32x4_t high = vqrdmulhq_n_s32(value, by.mantissa);
    return vrshlq_n_s32(vaddq_s32(high, vshrq_n_s32(high, 31)), by.shift);
  }
  const int32_t right = by.shift < 0 ? by.shift : 0;
  const int32x4_t high = vqrdmulhq_n_s32(vshlq_r_s32(value, by.shift - right), by.mantissa);
  return vrshlq_n_s32(vaddq_s32(high, vshrq_n_s32(vandq_s32(high, vdupq_n_s32(right)), 31)), right);
}

/* Units 0..3 to the even lanes, 4..7 to the odd ones: the order of c, undone when h is stored. */
INLINE int16x8_t narrow(int32x4_t first, int32x4_t second) {
  return vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(first), first), second);
}

/* GCC 12 moves predicates through core registers: hence the two instructions of assembly. */
INLINE int16x8_t negative_from(int16x8_t result, int16x8_t value, int16x8_t one) {
  __asm("vpt.s16 lt, %q1, zr\n vsubt.i16 %q0, %q2, %q0" : "+t"(result) : "t"(value), "t"(one));
  return result;
}

INLINE int16x8_t negative(int16x8_t result, int16x8_t value) {
  __asm("vpt.s16 lt, %q1, zr\n vnegt.s16 %q0, %q0" : "+t"(result) : "t"(value));
  return result;
}

/* The same steps as in fixedpoint.h, on eight values. |-32768| may be 32767: both give 0.9997. */
INLINE int16x8_t sigmoid(int16x8_t value) {
  const int16x8_t size = vqabsq_s16(value);
  const uint16x8_t at = vreinterpretq_u16_s16(vqdmulhq_n_s16(size, 192));
  const uint16x8_t part = vmulq_n_u16(vreinterpretq_u16_s16(size), 384);
  const uint16x8_t above = vmulhq_u16(part, vldrhq_gather_shifted_offset_u16(tinyse_sigmoid_step, at));
  const uint16x8_t result = vrhaddq_u16(vldrhq_gather_shifted_offset_u16(tinyse_sigmoid, at), above);
  return negative_from(vreinterpretq_s16_u16(result), value, vdupq_n_s16(INT16_MIN));
}

INLINE int16x8_t tanh_at(int16x8_t value, uint16x8_t at, uint16x8_t part) {
  const uint16x8_t above = vrmulhq_u16(part, vldrhq_gather_shifted_offset_u16(tinyse_sigmoid_step, at));
  const uint16x8_t sum = vaddq_u16(vldrhq_gather_shifted_offset_u16(tinyse_sigmoid, at), above);
  return negative(vreinterpretq_s16_u16(vaddq_n_u16(sum, 0x8000)), value);
}

INLINE int16x8_t tanh_of_gate(int16x8_t value) {
  const int16x8_t size = vqabsq_s16(value);
  return tanh_at(value, vreinterpretq_u16_s16(vqdmulhq_n_s16(size, 384)), vmulq_n_u16(vreinterpretq_u16_s16(size), 768));
}

INLINE int16x8_t tanh_of_cell(int16x8_t value, int32_t power) {
  if (power == 12) {
    return tanh_of_gate(value);
  }
  if (power < 12) {
    const uint16x8_t size = vqshlq_r_u16(vreinterpretq_u16_s16(vabsq_s16(value)), 12 - power);
    const uint16x8_t at = vminq_u16(vmulhq_u16(size, vdupq_n_u16(768)), vdupq_n_u16(TINYSE_PACKED_GATE_TABLE - 1));
    return tanh_at(value, at, vmulq_n_u16(size, 768));
  }
  const int16x8_t three = vdupq_n_s16(3);
  const int32x4_t first = vabsq_s32(vrshlq_n_s32(vmullbq_int_s16(value, three), 12 - power));
  const int32x4_t second = vabsq_s32(vrshlq_n_s32(vmulltq_int_s16(value, three), 12 - power));
  const uint16x8_t size = vreinterpretq_u16_s16(vmovntq_s32(vmovnbq_s32(vreinterpretq_s16_s32(first), first), second));
  return tanh_at(value, vshrq_n_u16(size, 8), vshlq_n_u16(size, 8));
}

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

void tinyse_kernel_dense(const tinyse_dense *dense, const int32_t *sums, int8_t *y) {
  const int32x4_t zero = vdupq_n_s32(0);
  const int32x4_t low = vdupq_n_s32(dense->low);
  const int32x4_t top = vdupq_n_s32(INT8_MAX);
  for (uint32_t row = 0; row < dense->weights.rows; row += 4) {
    const int32x4_t shift = vldrwq_s32(dense->shift + row);
    const int32x4_t right = vminq_s32(shift, zero);
    const int32x4_t value = vshlq_s32(vldrwq_s32(sums + row), vmaxq_s32(shift, zero));
    const int32x4_t high = vqrdmulhq_s32(value, vldrwq_s32(dense->mantissa + row));
    const int32x4_t fixed = vaddq_s32(high, vshrq_n_s32(vandq_s32(high, right), 31));
    const int32x4_t out = vqaddq_n_s32(vrshlq_s32(fixed, right), dense->zero_point);
    vstrbq_s32(y + row, vminq_s32(vmaxq_s32(out, low), top));
  }
}

void tinyse_kernel_lookup(const int8_t *table, const int8_t *x, int8_t *y, uint32_t count) {
  for (uint32_t i = 0; i < count; i += 16) {
    vstrbq_s8(y + i, vldrbq_gather_offset_s8(table, vreinterpretq_u8_s8(vldrbq_s8(x + i))));
  }
}

#else
typedef int tinyse_kernels_mve_unused;
#endif
