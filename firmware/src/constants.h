/* constants.h: what the emitted network (packed.c) tells the operators: their matrices, rescalings and sizes. */
#ifndef TINYSE_CONSTANTS_H
#define TINYSE_CONSTANTS_H

#include <stdint.h>

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

#endif /* TINYSE_CONSTANTS_H */
