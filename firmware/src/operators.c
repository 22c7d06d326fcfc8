/* operators.c: the operators that take more than one kernel, the same for every processor. */
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

/* The new h goes to y, because every gate of every unit reads the old one. */
void tinyse_lstm_step(const tinyse_lstm *lstm, const int8_t *x, int8_t *y, int8_t *h, int16_t *c, uint8_t *scratch) {
  const uint32_t most = lstm->most;
  int32_t *input = (int32_t *)(void *)scratch;
  int32_t *hidden = input + GATES * most;
  int16_t *operands = (int16_t *)(void *)(hidden + GATES * most);
  const tinyse_operand *from_input = tinyse_kernel_operand(x, lstm->kernel.columns, operands);
  const tinyse_operand *from_hidden =
    tinyse_kernel_operand(h, lstm->recurrent.columns, operands + TILE * lstm->kernel.columns);
  tinyse_cursor kernel = begin(&lstm->kernel);
  tinyse_cursor recurrent = begin(&lstm->recurrent);
  const uint32_t units = lstm->kernel.rows / GATES;
  for (uint32_t unit = 0, count; unit < units; unit += count) {
    count = units - unit < most ? units - unit : most;
    tinyse_kernel_multiply(&kernel, from_input, input, GATES * count);
    tinyse_kernel_multiply(&recurrent, from_hidden, hidden, GATES * count);
    tinyse_kernel_cells(lstm, input, hidden, c + unit, y + unit, count);
  }
  memcpy(h, y, lstm->units);
}

/* The window at (row, column), its first value at `at` positions of the width, which may be in the padding: where it
 * lies, if it lies in one piece and its address has no bit of `mask`, else gathered. */
static const uint8_t *window(const tinyse_patch *patch, const uint8_t *x, uint32_t row, int32_t at, uint32_t mask,
                             uint8_t *gathered) {
  const int32_t step = patch->step, width = patch->in_width;
  /* Without dilation the window's values of one row are one run. */
  const int32_t run = patch->dilation[1] == 1 ? patch->kernel[1] : 1;
  const uint8_t *line = x + (int32_t)(row * patch->stride[0]) * width * step;
  if (patch->kernel[0] == 1 && run == patch->kernel[1] && at >= 0 && at + run <= width &&
      ((uintptr_t)(line + at * step) & mask) == 0) {
    return line + at * step;
  }
  uint8_t *to = gathered;
  for (uint32_t i = 0; i < patch->kernel[0]; ++i, line += patch->dilation[0] * width * step) {
    int32_t first = at;
    for (int32_t j = 0; j < patch->kernel[1]; j += run, first += patch->dilation[1]) {
      const int32_t before = first < 0 ? (first + run < 0 ? run : -first) : 0;
      const int32_t rest = width - first;
      const int32_t end = rest < run ? (rest < before ? before : rest) : run;
      memset(to, patch->zero_point, (size_t)(before * step));
      memcpy(to + before * step, line + (first + before) * step, (size_t)((end - before) * step));
      memset(to + end * step, patch->zero_point, (size_t)((run - end) * step));
      to += run * step;
    }
  }
  return gathered;
}

/* Of a matrix within a wider one: group by group, which leaves the kernels as they are. */
static void multiply_within(const tinyse_matrix *matrix, const tinyse_operand *x, int32_t *sums) {
  tinyse_cursor at = begin(matrix);
  for (uint32_t row = 0; row < matrix->rows; row += GROUP, at.tiles += matrix->skip) {
    tinyse_kernel_multiply(&at, x, sums + row, GROUP);
  }
}

static inline __attribute__((always_inline)) void product8(const tinyse_product *product, const int8_t *x, int8_t *y,
                                                           uint8_t *scratch, bool within) {
  const tinyse_matrix *weights = &product->weights;
  const tinyse_patch *patch = &product->patch;
  int32_t *sums = (int32_t *)(void *)scratch;
  int16_t *operand = (int16_t *)(void *)(sums + weights->rows);
  uint8_t *gathered = (uint8_t *)(operand + TILE * weights->columns);
  uint32_t mask = 3; /* words */
  if (within) {
    /* What follows a window meets the wider matrix' weights: zeros behind a copy of it, for none is taken as it lies. */
    const uint32_t taken = (uint32_t)patch->kernel[0] * patch->kernel[1] * patch->step;
    memset(gathered + taken, 0, TILE * weights->columns - taken);
    mask = UINT32_MAX;
  }
  for (uint32_t row = 0; row < patch->rows; ++row) {
    int32_t at = -(int32_t)patch->before;
    for (uint32_t column = 0; column < patch->width; ++column, at += patch->stride[1], y += product->output.channels) {
      const int8_t *from =
        product->gathers ? (const int8_t *)window(patch, (const uint8_t *)x, row, at, mask, gathered)
                         : x + ((int32_t)(row * patch->stride[0] * patch->in_width) + at) * patch->step;
      const tinyse_operand *by = tinyse_kernel_operand(from, weights->columns, operand);
      if (within) {
        multiply_within(weights, by, sums);
      } else {
        tinyse_cursor cursor = begin(weights);
        tinyse_kernel_multiply(&cursor, by, sums, weights->rows);
      }
      tinyse_kernel_scale(&product->output, sums, y);
    }
  }
}

void tinyse_product8(const tinyse_product *product, const int8_t *x, int8_t *y, uint8_t *scratch) {
  product8(product, x, y, scratch, false);
}

void tinyse_product_within8(const tinyse_product *product, const int8_t *x, int8_t *y, uint8_t *scratch) {
  product8(product, x, y, scratch, true);
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
  for (uint32_t row = 0; row < patch->rows; ++row) {
    int32_t at = -(int32_t)patch->before;
    for (uint32_t column = 0; column < patch->width; ++column, at += patch->stride[1], y += output.channels) {
      const uint8_t *from = window(patch, (const uint8_t *)x, row, at, 1, gathered);
      tinyse_kernel_multiply16(&product->weights, (const int16_t *)(const void *)from, sums);
      for (uint32_t i = 0; i < output.channels; ++i) {
        y[i] = tinyse_scale16(&output, i, sums[i]);
      }
    }
  }
}

/* Every run of a map of two operands. */
#define PAIRS(pairs, a, b, y, CALL)                                                                        \
  for (uint32_t i = 0; i < (pairs)->outer; ++i, a += (pairs)->a[0], b += (pairs)->b[0]) {                  \
    for (uint32_t j = 0; j < (pairs)->inner; ++j, y += (pairs)->count) {                                   \
      CALL(a + j * (pairs)->a[1], (pairs)->a[2], b + j * (pairs)->b[1], (pairs)->b[2], y, (pairs)->count); \
    }                                                                                                      \
  }

void tinyse_add8(const tinyse_binary *op, const int8_t *a, const int8_t *b, int8_t *y) {
#define CALL(...) tinyse_kernel_add8(op, __VA_ARGS__)
  PAIRS(&op->pairs, a, b, y, CALL)
#undef CALL
}

void tinyse_add16(const tinyse_binary *op, const int16_t *a, const int16_t *b, int16_t *y) {
#define CALL(...) tinyse_kernel_add16(op, __VA_ARGS__)
  PAIRS(&op->pairs, a, b, y, CALL)
#undef CALL
}

void tinyse_mul8(const tinyse_binary *op, const int8_t *a, const int8_t *b, int8_t *y) {
#define CALL(...) tinyse_kernel_mul8(op, __VA_ARGS__)
  PAIRS(&op->pairs, a, b, y, CALL)
#undef CALL
}

void tinyse_mul16(const tinyse_binary *op, const int16_t *a, const int16_t *b, int16_t *y) {
#define CALL(...) tinyse_kernel_mul16(op, __VA_ARGS__)
  PAIRS(&op->pairs, a, b, y, CALL)
#undef CALL
}

void tinyse_max8(const tinyse_pairs *op, const int8_t *a, const int8_t *b, int8_t *y) {
  PAIRS(op, a, b, y, tinyse_kernel_max8)
}

void tinyse_max16(const tinyse_pairs *op, const int16_t *a, const int16_t *b, int16_t *y) {
  PAIRS(op, a, b, y, tinyse_kernel_max16)
}

void tinyse_copy_blocks(const tinyse_copy *op, const uint8_t *x, uint8_t *y) {
  for (uint32_t i = 0; i < op->outer; ++i) {
    for (uint32_t j = 0; j < op->inner; ++j) {
      memcpy(y + i * op->to[0] + j * op->to[1], x + i * op->from[0] + j * op->from[1], op->bytes);
    }
  }
}
