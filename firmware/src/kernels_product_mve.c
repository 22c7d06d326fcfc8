/* kernels_product_mve.c: products with the M-profile vector extension, integer part (Cortex-M55, M85).
 *
 * The int8 products are written in assembly: GCC 12 spills accumulators and makes no low-overhead loops. A product of
 * 16 weights takes two instructions, a load and VMLADAVA, whose sum must be in an even core register. Loads and
 * multiplications alternate, and no instruction uses the result of the one before, so that their beats overlap.
 */
#include "kernels.h"

#ifdef TINYSE_KERNELS_MVE

#include <stddef.h>

#include "kernels_mve.h"

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
#define PRODUCT(type, sum, weights) "vmladava." type " " sum ", q0, " weights "\n"
#define WEIGHTS(to) "vldrw.u32 " to ", [r1], #16\n"
#define TILE_OF_8(type)                                                                                          \
  "vldrw.u32 q0, [r3], #16\n" WEIGHTS("q1") WEIGHTS("q2") PRODUCT(type, "r0", "q1") WEIGHTS("q1")                \
  PRODUCT(type, "r2", "q2") WEIGHTS("q2") PRODUCT(type, "r4", "q1") WEIGHTS("q1") PRODUCT(type, "r6", "q2")      \
  WEIGHTS("q2") PRODUCT(type, "r8", "q1") WEIGHTS("q1") PRODUCT(type, "r10", "q2") WEIGHTS("q2")                 \
  PRODUCT(type, "r12", "q1") PRODUCT(type, "lr", "q2")

/* Eight rows share a load of x. r5 start, r7 sums, r9 groups left, r11 tiles left; s12, s13 x and columns. */
#define DENSE_ROWS(name, type)                                                                          \
  NAKED static void name(tinyse_cursor *at __attribute__((unused)), const void *x __attribute__((unused)), \
                         int32_t *sums __attribute__((unused)), uint32_t groups __attribute__((unused))) { \
    __asm volatile("push {r0, r4-r11, lr}\n"                                                            \
                   "mov r7, r2\n"                                                                       \
                   "mov r9, r3\n"                                                                       \
                   "ldr r4, [r0, #12]\n"                                                                \
                   "vmov s12, s13, r1, r4\n"                                                            \
                   "ldr r1, [r0]\n"                                                                     \
                   "ldr r5, [r0, #8]\n"                                                                 \
                   "1: ldmia r5!, {r0, r2, r4, r6, r8, r10, r12, lr}\n"                                 \
                   "vmov r3, r11, s12, s13\n"                                                           \
                   "subs r11, r11, #4\n"                                                                \
                   "blo 3f\n"                                                                           \
                   "2:\n" TILE_OF_8(type) TILE_OF_8(type) TILE_OF_8(type) TILE_OF_8(type)               \
                   "subs r11, r11, #4\n"                                                                \
                   "bhs 2b\n"                                                                           \
                   "3: adds r11, r11, #4\n"                                                             \
                   "beq 5f\n"                                                                           \
                   "4:\n" TILE_OF_8(type)                                                               \
                   "subs r11, r11, #1\n"                                                                \
                   "bne 4b\n"                                                                           \
                   "5: stmia r7!, {r0, r2, r4, r6, r8, r10, r12, lr}\n"                                 \
                   "subs r9, r9, #1\n"                                                                  \
                   "bne 1b\n"                                                                           \
                   "pop {r0, r4}\n"                                                                     \
                   "str r1, [r0]\n"                                                                     \
                   "str r5, [r0, #8]\n"                                                                 \
                   "pop {r5-r11, pc}\n");                                                               \
  }

DENSE_ROWS(dense_rows, "s8")
DENSE_ROWS(dense_rows_of_bits, "u8")

void tinyse_kernel_multiply_bits(const tinyse_matrix *matrix, const uint8_t *bytes, int32_t *sums) {
  tinyse_cursor at = {matrix->tiles, NULL, matrix->start, matrix->columns, matrix->block};
  dense_rows_of_bits(&at, bytes, sums, matrix->rows / 8u);
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

/* int16 x int8: two vectors of 8 a tile and row, 64-bit sums; one row after the other through its group's tiles. */
INLINE void rows16(const tinyse_matrix *matrix, const int16_t *x, int64_t *sums, bool sparse) {
  const int8_t *tiles = matrix->tiles;
  const uint8_t *index = matrix->index;
  const uint32_t stride = 16u * matrix->block, rows = matrix->rows;
  uint32_t count = matrix->columns;
  for (uint32_t row = 0; row < rows; row += matrix->block) {
    count = sparse ? *index++ : count;
    for (uint32_t i = 0; i < stride; i += 16) {
      const int8_t *weights = tiles + i;
      const int16_t *part = x;
      int64_t sum = 0;
      for (uint32_t tile = 0; tile < count; ++tile, weights += stride, part += 16) {
        part = sparse ? x + 16u * index[tile] : part;
        sum = vmlaldavaq_s16(sum, vldrhq_s16(part), vldrbq_s16(weights));
        sum = vmlaldavaq_s16(sum, vldrhq_s16(part + 8), vldrbq_s16(weights + 8));
      }
      *sums++ = sum;
    }
    tiles += stride * count;
    index = sparse ? index + count : index;
  }
}

void tinyse_kernel_multiply16(const tinyse_matrix *matrix, const int16_t *x, int64_t *sums) {
  if (matrix->index != NULL) {
    rows16(matrix, x, sums, true);
  } else {
    rows16(matrix, x, sums, false);
  }
}

INLINE void scale(const tinyse_scaling *output, const int32_t *sums, int32_t less, int8_t *y) {
  const tinyse_scaling by = *output; /* y could be anything */
  const int32x4_t low = vdupq_n_s32(by.low), high = vdupq_n_s32(by.high);
  uint32_t row = 0;
  for (; row + 4 <= by.channels; row += 4) {
    const int32x4_t value =
      rescale_lanes(vsubq_n_s32(vldrwq_s32(sums + row), less), vldrwq_s32(by.mantissa + row),
                    vldrwq_s32(by.shift + row));
    vstrbq_s32(y + row, vminq_s32(vmaxq_s32(vqaddq_n_s32(value, by.zero_point), low), high));
  }
  if (row < by.channels) {
    const mve_pred16_t rest = vctp32q(by.channels - row);
    const int32x4_t value = rescale_lanes(vsubq_n_s32(vldrwq_s32(sums + row), less),
                                          vldrwq_z_s32(by.mantissa + row, rest), vldrwq_z_s32(by.shift + row, rest));
    vstrbq_p_s32(y + row, vminq_s32(vmaxq_s32(vqaddq_n_s32(value, by.zero_point), low), high), rest);
  }
}

void tinyse_kernel_scale(const tinyse_scaling *output, const int32_t *sums, int8_t *y) {
  scale(output, sums, 0, y);
}

void tinyse_kernel_scale_less(const tinyse_scaling *output, const int32_t *sums, int32_t less, int8_t *y) {
  scale(output, sums, less, y);
}

#else
typedef int tinyse_kernels_product_mve_unused;
#endif
