/* kernels_product_dsp.c: the int8 product with the DSP extension: two 16-bit products at a time. */
#include "kernels.h"

#ifdef TINYSE_KERNELS_DSP

#include <arm_acle.h>

#define TILE 16u
#define WORDS 4u /* 32-bit words of a row of a tile */

typedef uint32_t __attribute__((may_alias)) word; /* four int8 or two int16 */

static inline int16x2_t even_bytes(word bytes) { return __sxtb16((int8x4_t)bytes); }

/* The rotation is free in the instruction, but GCC 12 does not find it. */
static inline int16x2_t odd_bytes(word bytes) {
  int16x2_t odd;
  __asm("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(bytes));
  return odd;
}

/* Four columns become the pairs (0, 2) and (1, 3), in which the weights will be unpacked. */
const tinyse_operand *tinyse_kernel_operand(const int8_t *x, uint32_t columns, int16_t *scratch) {
  const word *from = (const word *)(const void *)x;
  word *to = (word *)(void *)scratch;
  for (uint32_t i = 0; i < columns * WORDS; ++i) {
    const word bytes = *from++;
    *to++ = (word)even_bytes(bytes);
    *to++ = (word)odd_bytes(bytes);
  }
  return scratch;
}

static inline int32_t four(int32_t sum, word weights, int16x2_t even, int16x2_t odd) {
  return __smlad(odd_bytes(weights), odd, __smlad(even_bytes(weights), even, sum));
}

/* Two of four rows, four columns: 5 instructions for 4 products, no one waiting for the one before. */
#define TWO_ROWS(first, second, sum0, sum1)                                                      \
  "ldr %[a], [%[w], #" first "]\n ldr %[b], [%[w], #" second "]\n"                               \
  "sxtb16 %[t], %[a]\n sxtb16 %[a], %[a], ror #8\n smlad %[" sum0 "], %[t], %[even], %[" sum0 "]\n" \
  "sxtb16 %[t], %[b]\n smlad %[" sum0 "], %[a], %[odd], %[" sum0 "]\n sxtb16 %[b], %[b], ror #8\n"  \
  "smlad %[" sum1 "], %[t], %[even], %[" sum1 "]\n smlad %[" sum1 "], %[b], %[odd], %[" sum1 "]\n"
#define FOUR_COLUMNS(row0, row1, row2, row3) \
  "ldrd %[even], %[odd], [%[x]], #8\n" TWO_ROWS(row0, row1, "s0", "s1") TWO_ROWS(row2, row3, "s2", "s3")

/* Four rows of one tile. Assembly, because GCC 12 loads everything first and runs out of registers. */
static inline __attribute__((always_inline)) void tile_of_4(const word *weights, const word *x, int32_t sum[4]) {
  uint32_t a, b, t, even, odd;
  __asm(FOUR_COLUMNS("0", "16", "32", "48") FOUR_COLUMNS("4", "20", "36", "52")
        FOUR_COLUMNS("8", "24", "40", "56") FOUR_COLUMNS("12", "28", "44", "60")
        : [s0] "+r"(sum[0]), [s1] "+r"(sum[1]), [s2] "+r"(sum[2]), [s3] "+r"(sum[3]), [x] "+r"(x), [a] "=&r"(a),
          [b] "=&r"(b), [t] "=&r"(t), [even] "=&r"(even), [odd] "=&r"(odd)
        : [w] "r"(weights), "m"(*(const word(*)[16])weights), "m"(*(const word(*)[8])x));
}

static void dense_rows(tinyse_cursor *at, const word *x, int32_t *sums, uint32_t rows) {
  const word *tiles = (const word *)(const void *)at->tiles;
  const int32_t *start = at->start;
  const uint32_t columns = at->columns;
  for (uint32_t row = 0; row < rows; row += 8) {
    /* Eight sums would not leave registers for the rest: first the upper halves of the tiles, then the lower. */
    for (uint32_t half = 0; half < 2; ++half) {
      const word *weights = tiles + half * 4 * WORDS;
      int32_t sum[4] = {start[0], start[1], start[2], start[3]};
      for (uint32_t tile = 0; tile < columns; ++tile, weights += 8 * WORDS) {
        tile_of_4(weights, x + tile * 2 * WORDS, sum);
      }
      for (uint32_t i = 0; i < 4; ++i) {
        *sums++ = sum[i];
      }
      start += 4;
    }
    tiles += columns * 8 * WORDS;
  }
  at->tiles = (const int8_t *)tiles;
  at->start = start;
}

static void sparse_rows_of_4(tinyse_cursor *at, const word *x, int32_t *sums, uint32_t rows) {
  const word *tiles = (const word *)(const void *)at->tiles;
  const int32_t *start = at->start;
  const uint8_t *index = at->index;
  for (uint32_t row = 0; row < rows; row += 4, start += 4) {
    int32_t sum[4] = {start[0], start[1], start[2], start[3]};
    for (uint32_t count = *index++; count > 0; --count, tiles += 4 * WORDS) {
      tile_of_4(tiles, x + *index++ * 2 * WORDS, sum);
    }
    for (uint32_t i = 0; i < 4; ++i) {
      *sums++ = sum[i];
    }
  }
  at->tiles = (const int8_t *)tiles;
  at->start = start;
  at->index = index;
}

static void sparse_rows_of_1(tinyse_cursor *at, const word *x, int32_t *sums, uint32_t rows) {
  const word *tiles = (const word *)(const void *)at->tiles;
  const int32_t *start = at->start;
  const uint8_t *index = at->index;
  for (uint32_t row = 0; row < rows; ++row) {
    int32_t sum = *start++;
    for (uint32_t count = *index++; count > 0; --count) {
      const word *part = x + *index++ * 2 * WORDS;
#pragma GCC unroll 4
      for (uint32_t i = 0; i < WORDS; ++i) {
        sum = four(sum, *tiles++, (int16x2_t)part[2 * i], (int16x2_t)part[2 * i + 1]);
      }
    }
    *sums++ = sum;
  }
  at->tiles = (const int8_t *)tiles;
  at->start = start;
  at->index = index;
}

void tinyse_kernel_multiply(tinyse_cursor *at, const tinyse_operand *x, int32_t *sums, uint32_t rows) {
  const word *words = (const word *)(const void *)x;
  if (at->index == 0) {
    dense_rows(at, words, sums, rows);
  } else if (at->block == 4) {
    sparse_rows_of_4(at, words, sums, rows);
  } else {
    sparse_rows_of_1(at, words, sums, rows);
  }
}

#else
typedef int tinyse_kernels_product_dsp_unused;
#endif
