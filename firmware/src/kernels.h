/* kernels.h: what the emitted network (packed.c) and operators.c ask of a processor. One of three answers: *_mve.c
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

/* A rescaling of TFLM's: times mantissa / 2^31, times 2^shift, each rounded. */
typedef struct tinyse_scale {
  int32_t mantissa;
  int32_t shift;
} tinyse_scale;

/* How sums become values, one multiplier a channel. */
typedef struct tinyse_scaling {
  const int32_t *mantissa; /* int8: as in tinyse_scale; int16: 16 bits of it */
  const int32_t *shift;    /* int8: as in tinyse_scale; int16: what the product is shifted right by, 8..46 */
  const int64_t *bias;     /* int16; an int8 sum starts with it */
  int32_t zero_point;
  int32_t low; /* range of the result */
  int32_t high;
  uint32_t channels;
} tinyse_scaling;

/* Where a window's values lie in a map. */
typedef struct tinyse_patch {
  uint16_t rows; /* of the output */
  uint16_t width;
  uint16_t in_width;
  uint16_t step; /* bytes of one position of the input */
  uint16_t kernel[2]; /* rows, width; so are the others */
  uint16_t stride[2];
  uint16_t dilation[2];
  uint16_t before;   /* positions of padding before the width's first */
  int16_t zero_point; /* what padding holds */
} tinyse_patch;

/* int8 weights in tiles of `block` rows x 16 columns, each stored row by row, 16-byte aligned. Of fewer than 8 bits a
 * row of a tile is 2 * bits bytes: (weight + 2^(bits - 1)) in planes of 4, 2 and 1 bits, those that bits is the sum of,
 * lowest first. Weight 4 w + i is in byte i of word w, words 0 and 1 in the low half of the bytes of 4 bits, all four
 * from the lowest on in those of 2, and bit w + 4 i of the single ones. */
typedef struct tinyse_matrix {
  const int8_t *tiles;
  const uint8_t *index; /* per group of `block` rows: number of tiles, then their column / 16; null: all are there */
  const int32_t *start; /* int8: [rows] what the sum of a row starts at: bias - zero point * sum of the row */
  uint16_t rows;        /* a multiple of 8 */
  uint16_t columns;     /* tiles of 16 */
  uint16_t block;       /* 8 (dense), 4 or 1 */
  uint16_t bits;        /* of a stored weight, 2..8 */
  uint32_t skip;        /* within a wider matrix: bytes from the end of a group's tiles to the next group's */
} tinyse_matrix;

/* A matrix times the window at every position: MatMul, Conv. Columns are [row][width][channel] of the window. */
typedef struct tinyse_product {
  tinyse_matrix weights;
  tinyse_scaling output;
  tinyse_patch patch;
  uint16_t gathers; /* 0: every window lies in the input as it is, aligned */
} tinyse_product;

/* The same where the input, the output or both have a bit a value. Weights that meet bits are dense and stored as 128
 * more than they are, and sums of bits start where 0 is the least sum that gives 1: output says channels alone. */
typedef tinyse_product tinyse_bits;

/* Weights int8 [row][width][channel] of the window, readable for 7 bytes more; the other arrays are padded to 8. */
typedef struct tinyse_depthwise {
  const int8_t *weights;
  const int32_t *start; /* int8: as in tinyse_matrix */
  tinyse_scaling output;
  tinyse_patch patch;
} tinyse_depthwise;

/* 0 and 1 (126, 127) by every channel itself: 1 where x lies within low..high, both [channels]. */
typedef struct tinyse_steps {
  const int8_t *low;
  const int8_t *high;
  uint32_t positions;
  uint32_t channels;
} tinyse_steps;

/* A depthwise convolution at one position, times a gate of 126 and 127, times a matrix. Of a channel whose gate is 126
 * nothing is computed, and none of its weights is read. The convolution's zero point is -128, as a ReLU's. */
typedef struct tinyse_gated {
  tinyse_depthwise depthwise;
  const uint8_t *weights; /* [rows][columns]: 128 more than they are */
  const int32_t *start;   /* [rows] */
  tinyse_scaling output;
  uint16_t rows;    /* a multiple of 8 */
  uint16_t columns; /* a multiple of 16, at most 256 */
} tinyse_gated;

/* Open channels of 16 up to which their weights are picked; above, rows are read whole. By instructions counted: with
 * MVE and plain C picking is never dearer by much (docs/channel-gates.md). */
#if defined(TINYSE_KERNELS_MVE)
#define TINYSE_PICKED 14u
#elif defined(TINYSE_KERNELS_DSP)
#define TINYSE_PICKED 11u
#else
#define TINYSE_PICKED 14u
#endif

/* Rows of both matrices: [8 units][gate i, f, g, o][unit]. */
typedef struct tinyse_lstm {
  tinyse_matrix kernel;
  tinyse_matrix recurrent;
  tinyse_scale input[4]; /* to Q3.12, one per gate */
  tinyse_scale hidden[4];
  tinyse_scale update; /* of i * g to the cell */
  tinyse_scale output; /* of o * tanh(c) to h */
  int16_t cell_power;  /* real = c * 2^-cell_power */
  int16_t cell_low;
  int16_t cell_high;
  int16_t zero_point; /* of h */
  uint16_t units;
  uint16_t most; /* units whose sums scratch holds at a time, a multiple of 8 */
} tinyse_lstm;

/* Where the elements of two maps meet: output [outer][inner][count]; steps in elements, 0 where a map is repeated. */
typedef struct tinyse_pairs {
  uint32_t outer;
  uint32_t inner;
  uint32_t count;
  uint32_t a[3];
  uint32_t b[3];
} tinyse_pairs;

/* ADD, SUB: out = (a - zero) by a_scale + sign * (b - zero) by b_scale, by out_scale. MUL: out_scale alone. */
typedef struct tinyse_binary {
  tinyse_pairs pairs;
  tinyse_scale a_scale;
  tinyse_scale b_scale;
  tinyse_scale out_scale;
  int32_t a_zero;
  int32_t b_zero;
  int32_t zero_point;
  int32_t low;
  int32_t high;
  int32_t left; /* what a - zero and b - zero are shifted left by first */
  int32_t sign; /* 1 or -1; shifts of a_scale and b_scale are not above 0 */
} tinyse_binary;

/* int16 sigmoid and tanh: (x * multiplier + half) >> shift is x in 1 / 12288. */
typedef struct tinyse_curve {
  int32_t multiplier;
  int32_t shift;
  uint32_t count;
} tinyse_curve;

typedef struct tinyse_prelu {
  const int8_t *alpha; /* [channels] */
  tinyse_scale positive;
  tinyse_scale negative;
  int32_t in_zero;
  int32_t zero_point;
  int32_t low;
  int32_t high;
  uint32_t positions;
  uint32_t channels;
} tinyse_prelu;

typedef struct tinyse_requantize {
  tinyse_scale scale;
  int32_t in_zero;
  int32_t zero_point;
  int32_t low;
  int32_t high;
  uint32_t count;
} tinyse_requantize;

/* Blocks of bytes [outer][inner][bytes] from one place to another. */
typedef struct tinyse_copy {
  uint32_t outer;
  uint32_t inner;
  uint32_t bytes;
  uint32_t from[2]; /* steps in bytes */
  uint32_t to[2];
} tinyse_copy;

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

/* Operators that take several kernels: operators.c. Scratch is as large as tinyse/export/cproducts.py says. */
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
