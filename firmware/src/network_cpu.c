/* network_cpu.c: the packed network on the processor. The work is in the kernels; this file is the order of it. */
#include "network.h"

#include <string.h>

#include "kernels.h"

#define GATES 4u

static int8_t *bytes_at(void *arena, uint32_t offset) { return (int8_t *)arena + offset; }
static int16_t *halves_at(void *arena, uint32_t offset) { return (int16_t *)(void *)bytes_at(arena, offset); }
static int32_t *words_at(void *arena, uint32_t offset) { return (int32_t *)(void *)bytes_at(arena, offset); }

static tinyse_cursor begin(const tinyse_matrix *matrix) {
  return (tinyse_cursor){matrix->tiles, matrix->index, matrix->start, matrix->columns, matrix->block};
}

/* The new h goes to y, because every gate of every unit reads the old one. */
static void run_lstm(void *arena, const tinyse_lstm *lstm, const int8_t *x, int8_t *y) {
  const tinyse_network *network = &tinyse_packed;
  int8_t *h = bytes_at(arena, lstm->h);
  int16_t *c = halves_at(arena, lstm->c);
  const tinyse_operand *from_input =
    tinyse_kernel_operand(x, lstm->kernel.columns, halves_at(arena, network->operands[0]));
  const tinyse_operand *from_hidden =
    tinyse_kernel_operand(h, lstm->recurrent.columns, halves_at(arena, network->operands[1]));
  int32_t *input = words_at(arena, network->sums);
  int32_t *hidden = input + network->sum_count / 2u;
  tinyse_cursor kernel = begin(&lstm->kernel);
  tinyse_cursor recurrent = begin(&lstm->recurrent);
  const uint32_t units = lstm->kernel.rows / GATES;
  const uint32_t most = network->sum_count / (2u * GATES) & ~7u;
  for (uint32_t unit = 0, count; unit < units; unit += count) {
    count = units - unit < most ? units - unit : most;
    tinyse_kernel_multiply(&kernel, from_input, input, GATES * count);
    tinyse_kernel_multiply(&recurrent, from_hidden, hidden, GATES * count);
    tinyse_kernel_cells(lstm, input, hidden, c + unit, y + unit, count);
  }
  memcpy(h, y, lstm->units);
}

static void run_dense(void *arena, const tinyse_dense *dense, const int8_t *x, int8_t *y) {
  int32_t *sums = words_at(arena, tinyse_packed.sums);
  const tinyse_operand *operand =
    tinyse_kernel_operand(x, dense->weights.columns, halves_at(arena, tinyse_packed.operands[0]));
  tinyse_cursor weights = begin(&dense->weights);
  tinyse_kernel_multiply(&weights, operand, sums, dense->weights.rows);
  tinyse_kernel_dense(dense, sums, y);
}

tinyse_status tinyse_network_init(void *arena, const struct tinyse_npu *npu) {
  (void)npu;
  return arena == NULL || (uintptr_t)arena % TINYSE_ARENA_ALIGNMENT != 0 ? TINYSE_ERROR_ARGUMENT : TINYSE_OK;
}

void tinyse_network_reset(void *arena) {
  memset(arena, 0, TINYSE_PACKED_ARENA_BYTES);
  for (uint32_t i = 0; i < TINYSE_PACKED_LAYERS; ++i) {
    const tinyse_lstm *lstm = tinyse_packed.layers[i].lstm;
    if (lstm != NULL) {
      memset(bytes_at(arena, lstm->h), lstm->zero_point, lstm->units);
    }
  }
}

tinyse_status tinyse_network_run(void *arena, const struct tinyse_npu *npu, const tinyse_input feature[TINYSE_INPUTS],
                                 tinyse_output mask[TINYSE_OUTPUTS]) {
  (void)npu;
  int8_t *x = bytes_at(arena, tinyse_packed.buffers[0]);
  int8_t *y = bytes_at(arena, tinyse_packed.buffers[1]);
  memcpy(x, feature, TINYSE_INPUTS);
  for (uint32_t i = 0; i < TINYSE_PACKED_LAYERS; ++i) {
    const tinyse_layer *layer = &tinyse_packed.layers[i];
    if (layer->lstm != NULL) {
      run_lstm(arena, layer->lstm, x, y);
    } else if (layer->dense != NULL) {
      run_dense(arena, layer->dense, x, y);
    } else {
      tinyse_kernel_lookup(layer->lookup, x, y, layer->outputs);
    }
    int8_t *swap = x;
    x = y;
    y = swap;
  }
  memcpy(mask, x, TINYSE_OUTPUTS);
  return TINYSE_OK;
}
