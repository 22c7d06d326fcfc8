/* operators.c: matrix products over positions and the LSTM, of several kernels each, the same for every processor. */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "fixedpoint.h"

#define GATES 4u
#define TILE 16u
#define GROUP 8u /* rows of a dense tile */

static tinyse_cursor begin(const tinyse_matrix *matrix) {
  return (tinyse_cursor){matrix->tiles, matrix->index, matrix->start, matrix->columns, matrix->block};
}

/* Tiles of the next eight rows. */
static uint32_t tiles_of_8(const uint8_t *index, uint32_t columns, uint32_t block) {
  uint32_t tiles = index == NULL ? columns : 0;
  for (uint32_t row = 0; index != NULL && row < 8; row += block, index += 1u + *index) {
    tiles += *index;
  }
  return tiles;
}

/* `rows` rows of tiles of fewer than 8 bits, four weights at a time (constants.h); gives the end of what was read. */
static const uint8_t *unpack(const uint8_t *from, uint32_t bits, uint32_t rows, int8_t *to) {
  const uint32_t sign = 0x80808080u, half = 0x01010101u << (bits - 1u);
  for (; rows > 0; --rows, to += TILE) {
    uint32_t word[4] = {0}, shift = 0;
    if (bits & 4u) {
      uint32_t halves[2];
      memcpy(halves, from, sizeof halves);
      for (uint32_t i = 0; i < 4; ++i) {
        word[i] = (halves[i & 1u] >> (i & 2u ? 4 : 0)) & 0x0F0F0F0Fu;
      }
      from += sizeof halves;
      shift = 4;
    }
    if (bits & 2u) {
      uint32_t quarters;
      memcpy(&quarters, from, sizeof quarters);
      for (uint32_t i = 0; i < 4; ++i) {
        word[i] |= ((quarters >> (2u * i)) & 0x03030303u) << shift;
      }
      from += sizeof quarters;
      shift += 2u;
    }
    if (bits & 1u) {
      const uint32_t single = from[0] | (uint32_t)from[1] << 8;
      for (uint32_t i = 0; i < 4; ++i) {
        uint32_t spread = (single >> i) & 0x1111u; /* bits 0, 4, 8, 12 to 0, 8, 16, 24 */
        spread = (spread & 0x11u) | (spread & 0x1100u) << 8;
        word[i] |= ((spread & 0x10001u) | (spread & 0x100010u) << 4) << shift;
      }
      from += 2;
    }
    for (uint32_t i = 0; i < 4; ++i) {
      word[i] = ((word[i] | sign) - half) ^ sign; /* no byte borrows from the next */
    }
    memcpy(to, word, sizeof word);
  }
  return from;
}

static void multiply_packed(tinyse_cursor *at, uint32_t bits, int8_t *room, const tinyse_operand *x, int32_t *sums,
                            uint32_t rows) {
  for (; rows > 0; rows -= 8u, sums += 8) {
    const uint32_t tiles = tiles_of_8(at->index, at->columns, at->block);
    const uint8_t *rest = unpack((const uint8_t *)at->tiles, bits, tiles * at->block, room);
    at->tiles = room;
    tinyse_kernel_multiply(at, x, sums, 8);
    at->tiles = (const int8_t *)rest;
  }
}

/* sums of the next `rows` rows; `room` for eight of them where they are packed. */
static inline void multiply(tinyse_cursor *at, uint32_t bits, int8_t *room, const tinyse_operand *x, int32_t *sums,
                            uint32_t rows) {
  if (bits == 8) {
    tinyse_kernel_multiply(at, x, sums, rows);
  } else {
    multiply_packed(at, bits, room, x, sums, rows);
  }
}

static void multiply16(const tinyse_matrix *matrix, int8_t *room, const int16_t *x, int64_t *sums) {
  if (matrix->bits == 8) {
    tinyse_kernel_multiply16(matrix, x, sums);
    return;
  }
  tinyse_matrix part = *matrix; /* eight rows */
  const uint8_t *packed = (const uint8_t *)matrix->tiles;
  part.tiles = room;
  part.rows = 8;
  for (uint32_t row = 0; row < matrix->rows; row += 8, sums += 8) {
    const uint32_t tiles = tiles_of_8(part.index, part.columns, part.block);
    packed = unpack(packed, matrix->bits, tiles * part.block, room);
    tinyse_kernel_multiply16(&part, x, sums);
    part.index = part.index == NULL ? NULL : part.index + tiles + 8u / part.block;
  }
}

/* The matrix, or `made` of it with its tiles as int8 where several positions read them. */
static const tinyse_matrix *unpacked(const tinyse_matrix *matrix, uint32_t positions, int8_t *room,
                                     tinyse_matrix *made) {
  if (matrix->bits == 8 || positions == 1) {
    return matrix;
  }
  uint32_t tiles = 0;
  const uint8_t *index = matrix->index;
  for (uint32_t row = 0; row < matrix->rows; row += matrix->block) {
    tiles += index == NULL ? matrix->columns : *index;
    index = index == NULL ? NULL : index + 1u + *index;
  }
  unpack((const uint8_t *)matrix->tiles, matrix->bits, tiles * matrix->block, room);
  *made = *matrix;
  made->tiles = room;
  made->bits = 8;
  return made;
}

/* The new h goes to y, because every gate of every unit reads the old one. */
void tinyse_lstm_step(const tinyse_lstm *lstm, const int8_t *x, int8_t *y, int8_t *h, int16_t *c, uint8_t *scratch) {
  const uint32_t most = lstm->most;
  int32_t *input = (int32_t *)(void *)scratch;
  int32_t *hidden = input + GATES * most;
  int16_t *operands = (int16_t *)(void *)(hidden + GATES * most);
  const tinyse_operand *from_input = tinyse_kernel_operand(x, lstm->kernel.columns, operands);
  int16_t *after = operands + TILE * lstm->kernel.columns;
  const tinyse_operand *from_hidden = tinyse_kernel_operand(h, lstm->recurrent.columns, after);
  int8_t *room = (int8_t *)(after + TILE * lstm->recurrent.columns);
  tinyse_cursor kernel = begin(&lstm->kernel);
  tinyse_cursor recurrent = begin(&lstm->recurrent);
  const uint32_t units = lstm->kernel.rows / GATES;
  for (uint32_t unit = 0, count; unit < units; unit += count) {
    count = units - unit < most ? units - unit : most;
    multiply(&kernel, lstm->kernel.bits, room, from_input, input, GATES * count);
    multiply(&recurrent, lstm->recurrent.bits, room, from_hidden, hidden, GATES * count);
    tinyse_kernel_cells(lstm, input, hidden, c + unit, y + unit, count);
  }
  memcpy(h, y, lstm->units);
}

/* The window at (row, column), its first value at `at` positions of the width, which may be in the padding: where it
 * lies, if it lies in one piece and aligned to `words`, else gathered. */
static const uint8_t *window(const tinyse_patch *patch, const uint8_t *x, uint32_t row, int32_t at, uint32_t words,
                             uint8_t *gathered) {
  const int32_t step = patch->step, width = patch->in_width;
  /* Without dilation the window's values of one row are one run. */
  const int32_t run = patch->dilation[1] == 1 ? patch->kernel[1] : 1;
  const uint8_t *line = x + (int32_t)(row * patch->stride[0]) * width * step;
  if (patch->kernel[0] == 1 && run == patch->kernel[1] && at >= 0 && at + run <= width &&
      (uintptr_t)(line + at * step) % words == 0) {
    return line + at * step;
  }
  uint8_t *to = gathered;
  for (uint32_t i = 0; i < patch->kernel[0]; ++i, line += patch->dilation[0] * width * step) {
    int32_t first = at;
    for (int32_t j = 0; j < patch->kernel[1]; j += run, first += patch->dilation[1]) {
      const int32_t before = first < 0 ? (first + run < 0 ? run : -first) : 0;
      const int32_t rest = width - first;
      const int32_t end = rest < run ? (rest < before ? before : rest) : run;
      if (before > 0) {
        memset(to, patch->zero_point, (size_t)(before * step));
      }
      memcpy(to + before * step, line + (first + before) * step, (size_t)((end - before) * step));
      if (end < run) {
        memset(to + end * step, patch->zero_point, (size_t)((run - end) * step));
      }
      to += run * step;
    }
  }
  return gathered;
}

/* The window at (row, column) of a product, aligned to `words`; `at`: its first position of the width. */
static inline const uint8_t *window_of(const tinyse_product *product, const void *x, uint32_t row, int32_t at,
                                       uint32_t words, uint8_t *gathered) {
  const tinyse_patch *patch = &product->patch;
  return product->gathers
           ? window(patch, x, row, at, words, gathered)
           : (const uint8_t *)x + ((int32_t)(row * patch->stride[0] * patch->in_width) + at) * patch->step;
}

/* Of int8; a value of y is an int8, or a bit. */
static inline void product_of_8(const tinyse_product *product, const int8_t *x, uint8_t *y, uint8_t *scratch,
                                bool bits) {
  const tinyse_patch *patch = &product->patch;
  const uint32_t columns = product->weights.columns, channels = product->output.channels;
  const uint32_t step = bits ? channels / 8u : channels;
  int32_t *sums = (int32_t *)(void *)scratch;
  int16_t *operand = (int16_t *)(void *)(sums + product->weights.rows);
  uint8_t *gathered = (uint8_t *)(operand + TILE * columns);
  int8_t *room = (int8_t *)(gathered + (product->gathers ? TILE * columns : 0));
  tinyse_matrix made;
  const tinyse_matrix *weights = unpacked(&product->weights, (uint32_t)patch->rows * patch->width, room, &made);
  for (uint32_t row = 0; row < patch->rows; ++row) {
    int32_t at = -(int32_t)patch->before;
    for (uint32_t column = 0; column < patch->width; ++column, at += patch->stride[1], y += step) {
      const int8_t *from = (const int8_t *)window_of(product, x, row, at, 4, gathered);
      tinyse_cursor cursor = begin(weights);
      multiply(&cursor, weights->bits, room, tinyse_kernel_operand(from, columns, operand), sums, weights->rows);
      if (bits) {
        tinyse_kernel_bits(sums, 0, channels, y);
      } else {
        tinyse_kernel_scale(&product->output, sums, (int8_t *)y);
      }
    }
  }
}

void tinyse_product8(const tinyse_product *product, const int8_t *x, int8_t *y, uint8_t *scratch) {
  product_of_8(product, x, (uint8_t *)y, scratch, false);
}

void tinyse_product_8_1(const tinyse_bits *product, const int8_t *x, uint8_t *y, uint8_t *scratch) {
  product_of_8(product, x, y, scratch, true);
}

/* Of bits: a sum is of stored weights, and too large by 128 for each bit that is set. */
static inline void product_of_1(const tinyse_bits *product, const uint8_t *x, uint8_t *y, uint8_t *scratch,
                                bool bits) {
  const tinyse_patch *patch = &product->patch;
  const uint32_t tiles = product->weights.columns, channels = product->output.channels;
  const uint32_t step = bits ? channels / 8u : channels;
  int32_t *sums = (int32_t *)(void *)scratch;
  uint8_t *bytes = (uint8_t *)(sums + product->weights.rows);
  for (uint32_t row = 0; row < patch->rows; ++row) {
    int32_t at = -(int32_t)patch->before;
    for (uint32_t column = 0; column < patch->width; ++column, at += patch->stride[1], y += step) {
      const uint8_t *from = window_of(product, x, row, at, 1, bytes + TILE * tiles);
      const int32_t less = (int32_t)(128u * tinyse_kernel_spread_bits(from, tiles, bytes));
      tinyse_kernel_multiply_bits(&product->weights, bytes, sums);
      if (bits) {
        tinyse_kernel_bits(sums, less, channels, y);
      } else {
        tinyse_kernel_scale_less(&product->output, sums, less, (int8_t *)y);
      }
    }
  }
}

void tinyse_product_1_1(const tinyse_bits *product, const uint8_t *x, uint8_t *y, uint8_t *scratch) {
  product_of_1(product, x, y, scratch, true);
}

void tinyse_product_1_8(const tinyse_bits *product, const uint8_t *x, int8_t *y, uint8_t *scratch) {
  product_of_1(product, x, (uint8_t *)y, scratch, false);
}

/* The matrix begins the rows of a wider one, of 8 bits: group by group, which leaves the kernels as they are. A window
 * that ends within a tile meets weights of the wider one: zeros follow a copy of it, for none is taken as it lies. */
void tinyse_product_within8(const tinyse_product *product, const int8_t *x, int8_t *y, uint8_t *scratch) {
  const tinyse_matrix *weights = &product->weights;
  const tinyse_patch *patch = &product->patch;
  const uint32_t taken = (uint32_t)patch->kernel[0] * patch->kernel[1] * patch->step;
  int32_t *sums = (int32_t *)(void *)scratch;
  int16_t *operand = (int16_t *)(void *)(sums + weights->rows);
  uint8_t *gathered = (uint8_t *)(operand + TILE * weights->columns);
  memset(gathered + taken, 0, TILE * weights->columns - taken);
  for (uint32_t row = 0; row < patch->rows; ++row) {
    int32_t at = -(int32_t)patch->before;
    for (uint32_t column = 0; column < patch->width; ++column, at += patch->stride[1], y += product->output.channels) {
      const int8_t *from = (const int8_t *)window_of(product, x, row, at, UINT32_MAX, gathered);
      const tinyse_operand *by = tinyse_kernel_operand(from, weights->columns, operand);
      tinyse_cursor cursor = begin(weights);
      for (uint32_t first = 0; first < weights->rows; first += GROUP, cursor.tiles += weights->skip) {
        tinyse_kernel_multiply(&cursor, by, sums + first, GROUP);
      }
      tinyse_kernel_scale(&product->output, sums, y);
    }
  }
}

/* Stored weights are 128 too large: what that adds is the same in every row. */
void tinyse_gated8(const tinyse_gated *gated, const int8_t *x, const int8_t *gate, int8_t *y, uint8_t *scratch) {
  int32_t *sums = (int32_t *)(void *)scratch;
  uint8_t *list = (uint8_t *)(sums + gated->rows);
  uint8_t *values = list + gated->columns;
  const uint32_t count = tinyse_kernel_open(gate, gated->depthwise.output.channels, list);
  const uint32_t sum = tinyse_kernel_depthwise_open(&gated->depthwise, x, list, count, values);
  if (count * TILE <= TINYSE_PICKED * gated->columns) {
    tinyse_kernel_multiply_open(gated, list, values, count, sums);
  } else {
    uint8_t *all = values + gated->columns;
    memset(all, 0, gated->columns);
    tinyse_kernel_spread(list, values, count, all);
    tinyse_kernel_multiply_all(gated, all, sums);
  }
  tinyse_kernel_scale_less(&gated->output, sums, (int32_t)(128u * sum), y);
}

void tinyse_product16(const tinyse_product *product, const int16_t *x, int16_t *y, uint8_t *scratch) {
  const tinyse_patch *patch = &product->patch;
  const tinyse_scaling output = product->output;
  int64_t *sums = (int64_t *)(void *)scratch;
  uint8_t *gathered = (uint8_t *)(sums + product->weights.rows);
  int8_t *room = (int8_t *)(gathered + (product->gathers ? 2u * TILE * product->weights.columns : 0));
  tinyse_matrix made;
  const tinyse_matrix *weights = unpacked(&product->weights, (uint32_t)patch->rows * patch->width, room, &made);
  for (uint32_t row = 0; row < patch->rows; ++row) {
    int32_t at = -(int32_t)patch->before;
    for (uint32_t column = 0; column < patch->width; ++column, at += patch->stride[1], y += output.channels) {
      const uint8_t *from = window(patch, (const uint8_t *)x, row, at, 2, gathered);
      multiply16(weights, room, (const int16_t *)(const void *)from, sums);
      for (uint32_t i = 0; i < output.channels; ++i) {
        y[i] = tinyse_scale16(&output, i, sums[i]);
      }
    }
  }
}
