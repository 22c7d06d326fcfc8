/* kernels.h: what network_cpu.c asks of a processor. One of three answers: kernels_mve.c (Cortex-M55), kernels_dsp.c
 * (Cortex-M4, M7, M33), kernels_portable.c (any C11); the last two share kernels_scalar.c. All give the bits of
 * TFLM's reference kernels. -DTINYSE_KERNELS_PORTABLE chooses the last anywhere.
 *
 * Vectors are 16-byte aligned and readable, and where written writable, up to the next multiple of 16 elements.
 */
#ifndef TINYSE_KERNELS_H
#define TINYSE_KERNELS_H

#include <stdint.h>

#include "packed.h"

#ifndef TINYSE_KERNELS_PORTABLE
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define TINYSE_KERNELS_MVE
#elif defined(__ARM_FEATURE_SIMD32)
#define TINYSE_KERNELS_DSP
#else
#define TINYSE_KERNELS_PORTABLE
#endif
#endif

#if defined(TINYSE_KERNELS_MVE)
#define TINYSE_KERNELS "mve"
#elif defined(TINYSE_KERNELS_DSP)
#define TINYSE_KERNELS "dsp"
#else
#define TINYSE_KERNELS "portable"
#endif

/* The vector that a matrix is multiplied with, as the kernel wants it. */
#ifdef TINYSE_KERNELS_DSP
typedef int16_t tinyse_operand;
#else
typedef int8_t tinyse_operand;
#endif

/* How far a matrix has been read. */
typedef struct tinyse_cursor {
  const int8_t *tiles;
  const uint8_t *index;
  const int32_t *start;
  uint32_t columns;
  uint32_t block;
} tinyse_cursor;

/* `x` of `columns` tiles of 16, as an operand; in `scratch` (int16 [16 * columns]) unless x serves as it is. */
const tinyse_operand *tinyse_kernel_operand(const int8_t *x, uint32_t columns, int16_t *scratch);

/* sums = start + weights * x for the next `rows` rows, a multiple of 8. */
void tinyse_kernel_multiply(tinyse_cursor *at, const tinyse_operand *x, int32_t *sums, uint32_t rows);

/* Gates, cell and hidden state of `units` units, a multiple of 8. `input` and `hidden` are [units / 8][gate][8];
 * `input` is overwritten. The order of values inside `c` is the kernel's own. */
void tinyse_kernel_cells(const tinyse_lstm *lstm, int32_t *input, const int32_t *hidden, int16_t *c, int8_t *h,
                         uint32_t units);

/* y = clamp(rescaled sums + zero point) for every row of the layer. */
void tinyse_kernel_dense(const tinyse_dense *dense, const int32_t *sums, int8_t *y);

void tinyse_kernel_lookup(const int8_t *table, const int8_t *x, int8_t *y, uint32_t count);

#endif /* TINYSE_KERNELS_H */
