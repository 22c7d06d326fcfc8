/* kernels.h: what the emitted network (packed.c) and operators*.c ask of a processor. One of three answers: *_mve.c
 * (Cortex-M55), *_dsp.c (Cortex-M4, M7, M33), *_portable.c (any C11); the last two share *_scalar.c. All give the
 * bits of TFLM's reference kernels. -DTINYSE_KERNELS_PORTABLE chooses the last anywhere.
 *
 * A map is [rows][width][channels]. Readers may read up to 15 bytes past the end of a map, which are never used; what
 * they write ends with it, but for tinyse_kernel_cells, which writes units in eights. An operand of a product is
 * aligned to 4 bytes, LSTM states and scratch to 16. Inputs and output of a call are apart.
 *
 * A map of steps may have a bit a value: channels, then a multiple of 8, from the lowest bit of a position's first byte
 * on. Readers of such a map may read one byte past its end.
 */
#ifndef TINYSE_KERNELS_H
#define TINYSE_KERNELS_H

#include <stdint.h>

#include "constants.h"

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

#ifdef __cplusplus
extern "C" {
#endif

/* 65536 sigmoid(i / 24) as TFLM rounds it, and the step to the next entry; past TFLM's end it stays. In packed.c. */
#define TINYSE_GATE_TABLE 385
extern const uint16_t tinyse_sigmoid[TINYSE_GATE_TABLE];
extern const uint16_t tinyse_sigmoid_step[TINYSE_GATE_TABLE];

/* Open channels of 16 up to which their weights are picked; above, rows are read whole. By instructions counted: with
 * MVE and plain C picking is never dearer by much (docs/channel-gates.md). */
#if defined(TINYSE_KERNELS_MVE)
#define TINYSE_PICKED 14u
#elif defined(TINYSE_KERNELS_DSP)
#define TINYSE_PICKED 11u
#else
#define TINYSE_PICKED 14u
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

/* Operators that take several kernels: operators*.c. Scratch is as large as tinyse/export/cproducts.py says. */
void tinyse_lstm_step(const tinyse_lstm *lstm, const int8_t *x, int8_t *y, int8_t *h, int16_t *c, uint8_t *scratch);
void tinyse_product8(const tinyse_product *product, const int8_t *x, int8_t *y, uint8_t *scratch);
void tinyse_product_within8(const tinyse_product *product, const int8_t *x, int8_t *y, uint8_t *scratch);
void tinyse_product_8_1(const tinyse_bits *product, const int8_t *x, uint8_t *y, uint8_t *scratch);
void tinyse_product_1_1(const tinyse_bits *product, const uint8_t *x, uint8_t *y, uint8_t *scratch);
void tinyse_product_1_8(const tinyse_bits *product, const uint8_t *x, int8_t *y, uint8_t *scratch);
void tinyse_gated8(const tinyse_gated *gated, const int8_t *x, const int8_t *gate, int8_t *y, uint8_t *scratch);
void tinyse_product16(const tinyse_product *product, const int16_t *x, int16_t *y, uint8_t *scratch);
void tinyse_add8(const tinyse_binary *op, const int8_t *a, const int8_t *b, int8_t *y);
void tinyse_add16(const tinyse_binary *op, const int16_t *a, const int16_t *b, int16_t *y);
void tinyse_mul8(const tinyse_binary *op, const int8_t *a, const int8_t *b, int8_t *y);
void tinyse_mul16(const tinyse_binary *op, const int16_t *a, const int16_t *b, int16_t *y);
void tinyse_max8(const tinyse_pairs *op, const int8_t *a, const int8_t *b, int8_t *y);
void tinyse_max16(const tinyse_pairs *op, const int16_t *a, const int16_t *b, int16_t *y);
void tinyse_copy_blocks(const tinyse_copy *op, const uint8_t *x, uint8_t *y);

/* Products: kernels_product_*.c. */

/* `x` of `columns` tiles of 16, as an operand; in `scratch` (int16 [16 * columns]) unless x serves as it is. */
const tinyse_operand *tinyse_kernel_operand(const int8_t *x, uint32_t columns, int16_t *scratch);

/* sums = start + weights * x for the next `rows` rows, a multiple of 8. */
void tinyse_kernel_multiply(tinyse_cursor *at, const tinyse_operand *x, int32_t *sums, uint32_t rows);

/* sums = weights * x for every row; x of `columns` tiles of 16, aligned to 2 bytes. */
void tinyse_kernel_multiply16(const tinyse_matrix *matrix, const int16_t *x, int64_t *sums);

/* y = clamp(rescaled sums + zero point) for every channel. */
void tinyse_kernel_scale(const tinyse_scaling *output, const int32_t *sums, int8_t *y);

/* The same of sums that are each too large by `less`. */
void tinyse_kernel_scale_less(const tinyse_scaling *output, const int32_t *sums, int32_t less, int8_t *y);

/* Channel gates: kernels_gate_*.c. The numbers of open channels into `list`, zeros up to a multiple of 16; how many. */
uint32_t tinyse_kernel_open(const int8_t *gate, uint32_t channels, uint8_t *list);

/* Those channels' values, 128 more than they are, zeros up to a multiple of 16; their sum. */
uint32_t tinyse_kernel_depthwise_open(const tinyse_depthwise *op, const int8_t *x, const uint8_t *list, uint32_t count,
                                      uint8_t *values);

/* sums = start + the stored weights times values: of the channels in `list`, or of all columns. */
void tinyse_kernel_multiply_open(const tinyse_gated *gated, const uint8_t *list, const uint8_t *values, uint32_t count,
                                 int32_t *sums);
void tinyse_kernel_multiply_all(const tinyse_gated *gated, const uint8_t *values, int32_t *sums);

/* all[list[i]] = values[i] */
void tinyse_kernel_spread(const uint8_t *list, const uint8_t *values, uint32_t count, uint8_t *all);

void tinyse_step8(const tinyse_steps *op, const int8_t *x, int8_t *y);

/* Bits: kernels_bits_*.c. Tiles of 16 bits as a byte each, 1 with MVE, else 255, and 0; how many are set. */
uint32_t tinyse_kernel_spread_bits(const uint8_t *bits, uint32_t tiles, uint8_t *bytes);

/* sums = start + those stored weights whose byte is not 0, of every row of a dense matrix. */
void tinyse_kernel_multiply_bits(const tinyse_matrix *matrix, const uint8_t *bytes, int32_t *sums);

/* Bits of `channels` sums, a multiple of 8: 1 from `least` on. No sum is 2^31 or more away from it. */
void tinyse_kernel_bits(const int32_t *sums, int32_t least, uint32_t channels, uint8_t *y);

/* The maximum of maps of bits; patch.step is the bytes of a position. */
void tinyse_maxpool1(const tinyse_patch *op, const uint8_t *x, uint8_t *y);

/* LSTM: kernels_lstm_*.c. Gates, cell and hidden state of `units` units, a multiple of 8. `input` and `hidden` are
 * [units / 8][gate][8]; `input` is overwritten. The order of values inside `c` is the kernel's own. */
void tinyse_kernel_cells(const tinyse_lstm *lstm, int32_t *input, const int32_t *hidden, int16_t *c, int8_t *h,
                         uint32_t units);

/* Windows: kernels_window_*.c. For maximum patch.step is the bytes of the channels, and nothing is padded. */
void tinyse_depthwise8(const tinyse_depthwise *op, const int8_t *x, int8_t *y);
void tinyse_depthwise16(const tinyse_depthwise *op, const int16_t *x, int16_t *y);
void tinyse_maxpool8(const tinyse_patch *op, const int8_t *x, int8_t *y);
void tinyse_maxpool16(const tinyse_patch *op, const int16_t *x, int16_t *y);

/* Maps: kernels_map_*.c. A step is 1, or 0 where one value meets all. */
void tinyse_kernel_add8(const tinyse_binary *op, const int8_t *a, uint32_t a_step, const int8_t *b, uint32_t b_step,
                        int8_t *y, uint32_t count);
void tinyse_kernel_add16(const tinyse_binary *op, const int16_t *a, uint32_t a_step, const int16_t *b, uint32_t b_step,
                         int16_t *y, uint32_t count);
void tinyse_kernel_mul8(const tinyse_binary *op, const int8_t *a, uint32_t a_step, const int8_t *b, uint32_t b_step,
                        int8_t *y, uint32_t count);
void tinyse_kernel_mul16(const tinyse_binary *op, const int16_t *a, uint32_t a_step, const int16_t *b, uint32_t b_step,
                         int16_t *y, uint32_t count);
void tinyse_kernel_max8(const int8_t *a, uint32_t a_step, const int8_t *b, uint32_t b_step, int8_t *y, uint32_t count);
void tinyse_kernel_max16(const int16_t *a, uint32_t a_step, const int16_t *b, uint32_t b_step, int16_t *y,
                         uint32_t count);
void tinyse_lookup(const int8_t *table, const int8_t *x, int8_t *y, uint32_t count); /* table [256], by the byte */
void tinyse_sigmoid_map(const tinyse_curve *op, const int16_t *x, int16_t *y);
void tinyse_tanh_map(const tinyse_curve *op, const int16_t *x, int16_t *y);
void tinyse_prelu8(const tinyse_prelu *op, const int8_t *x, int8_t *y);
void tinyse_requantize_8_16(const tinyse_requantize *op, const int8_t *x, int16_t *y);
void tinyse_requantize_16_8(const tinyse_requantize *op, const int16_t *x, int8_t *y);
void tinyse_requantize_16_16(const tinyse_requantize *op, const int16_t *x, int16_t *y);

#ifdef __cplusplus
}
#endif

#endif /* TINYSE_KERNELS_H */
