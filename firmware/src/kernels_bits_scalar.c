/* kernels_bits_scalar.c: maps of a bit a value without MVE: four weights of a word are kept by a mask and added. */
#include <string.h>

#include "kernels.h"

static inline uint32_t load(const void *from) {
  uint32_t word;
  memcpy(&word, from, sizeof word);
  return word;
}

/* The same for every processor. */
void tinyse_maxpool1(const tinyse_patch *op, const uint8_t *x, uint8_t *y) {
  const uint32_t step = op->step, line = op->in_width * step;
  for (uint32_t row = 0; row < op->rows; ++row, x += op->stride[0] * line) {
    for (uint32_t column = 0; column < op->width; ++column, y += step) {
      const uint8_t *first = x + column * op->stride[1] * step;
      for (uint32_t at = 0, size; at < step; at += size) {
        size = step - at < 4 ? 1 : 4;
        uint32_t any = 0;
        for (uint32_t i = 0; i < op->kernel[0]; ++i) {
          const uint8_t *from = first + i * line + at;
          for (uint32_t j = 0; j < op->kernel[1]; ++j, from += step) {
            any |= size == 4 ? load(from) : *from;
          }
        }
        if (size == 4) {
          memcpy(y + at, &any, sizeof any);
        } else {
          y[at] = (uint8_t)any;
        }
      }
    }
  }
}

#ifndef TINYSE_KERNELS_MVE

#define WORDS 4u /* of a row of a tile */

uint32_t tinyse_kernel_spread_bits(const uint8_t *bits, uint32_t tiles, uint8_t *bytes) {
  uint32_t set = 0;
  for (uint32_t i = 0; i < 2u * tiles; ++i) {
    const uint32_t both[2] = {bits[i] & 15u, bits[i] >> 4};
    for (uint32_t half = 0; half < 2; ++half, bytes += 4) {
      const uint32_t ones = both[half] * 0x00204081u & 0x01010101u; /* bits 0 to 3 to bits 0, 8, 16, 24 */
      const uint32_t mask = ones * 255u;
      memcpy(bytes, &mask, sizeof mask);
      set += ones * 0x01010101u >> 24;
    }
  }
  return set;
}

void tinyse_kernel_bits(const int32_t *sums, int32_t least, uint32_t channels, uint8_t *y) {
  for (; channels > 0; channels -= 8, sums += 8) {
    uint32_t made = 0;
#pragma GCC unroll 8
    for (uint32_t i = 0; i < 8; ++i) {
      made |= (uint32_t)~(sums[i] - least) >> 31 << i;
    }
    *y++ = (uint8_t)made;
  }
}

#ifdef TINYSE_KERNELS_DSP

/* A row of a tile: 10 instructions for 16 weights. USADA8 from 0 adds four bytes. */
#define TWO_WORDS(sum, at, first, second)                                                           \
  "ldrd %[a], %[b], [%[w], #" at "]\n and %[a], %[" first "]\n and %[b], %[" second "]\n"           \
  "usada8 %[" sum "], %[a], %[zero], %[" sum "]\n usada8 %[" sum "], %[b], %[zero], %[" sum "]\n"
#define ROW(sum, at, then) TWO_WORDS(sum, at, "m0", "m1") TWO_WORDS(sum, then, "m2", "m3")

void tinyse_kernel_multiply_bits(const tinyse_matrix *matrix, const uint8_t *bytes, int32_t *sums) {
  const int8_t *group = matrix->tiles;
  const uint32_t tiles = matrix->columns;
  for (uint32_t row = 0; row < matrix->rows; row += 4, sums += 4) {
    /* Of eight rows first the upper halves of the tiles, then the lower. */
    const int8_t *weights = group + (row & 4u) * 16u, *end = weights + tiles * 128u;
    const uint8_t *masks = bytes;
    uint32_t s0 = (uint32_t)matrix->start[row], s1 = (uint32_t)matrix->start[row + 1];
    uint32_t s2 = (uint32_t)matrix->start[row + 2], s3 = (uint32_t)matrix->start[row + 3];
    for (; weights != end; weights += 128) {
      uint32_t a, b, m0, m1, m2, m3;
      __asm("ldrd %[m0], %[m1], [%[m]], #8\n ldrd %[m2], %[m3], [%[m]], #8\n" ROW("s0", "0", "8") ROW("s1", "16", "24")
            ROW("s2", "32", "40") ROW("s3", "48", "56")
            : [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [m] "+r"(masks), [a] "=&r"(a), [b] "=&r"(b),
              [m0] "=&r"(m0), [m1] "=&r"(m1), [m2] "=&r"(m2), [m3] "=&r"(m3)
            : [w] "r"(weights), [zero] "r"(0), "m"(*(const uint8_t(*)[64])weights), "m"(*(const uint8_t(*)[16])masks));
    }
    sums[0] = (int32_t)s0;
    sums[1] = (int32_t)s1;
    sums[2] = (int32_t)s2;
    sums[3] = (int32_t)s3;
    group += row & 4u ? tiles * 128u : 0;
  }
}

#else

#define AT_ONCE 32u /* tiles: halves of a word hold 8 bytes of each */

void tinyse_kernel_multiply_bits(const tinyse_matrix *matrix, const uint8_t *bytes, int32_t *sums) {
  const uint32_t tiles = matrix->columns;
  for (uint32_t row = 0; row < matrix->rows; ++row) {
    const int8_t *weights = matrix->tiles + (row / 8u * tiles * 8u + row % 8u) * 16u;
    const uint8_t *masks = bytes;
    uint32_t sum = (uint32_t)matrix->start[row];
    for (uint32_t tile = 0; tile < tiles;) {
      uint32_t halves = 0;
      for (const uint32_t end = tile + AT_ONCE < tiles ? tile + AT_ONCE : tiles; tile < end; ++tile, weights += 128) {
#pragma GCC unroll 4
        for (uint32_t i = 0; i < WORDS; ++i, masks += 4) {
          const uint32_t kept = load(weights + 4u * i) & load(masks);
          halves += (kept & 0x00FF00FFu) + (kept >> 8 & 0x00FF00FFu);
        }
      }
      sum += (halves & 0xFFFFu) + (halves >> 16);
    }
    sums[row] = (int32_t)sum;
  }
}

#endif
#endif
