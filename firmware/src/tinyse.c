/* tinyse.c: the library's calls, see tinyse.h. */
#include "tinyse.h"

#include <string.h>

#include "frontend.h"
#include "network.h"
#include "vector.h"

static int misaligned(const void *pointer, size_t alignment) { return (uintptr_t)pointer % alignment != 0; }

static int overlapping(const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
  return (uintptr_t)a < (uintptr_t)b + b_bytes && (uintptr_t)b < (uintptr_t)a + a_bytes;
}

static int ready(const tinyse_state *state) {
  return state && !misaligned(state, TINYSE_STATE_ALIGNMENT) && state->arena;
}

/* `in` and `out` of `bytes` each, of elements of `element` bytes. */
static int usable(const tinyse_state *state, const void *in, const void *out, size_t bytes, size_t element) {
  return ready(state) && in && !misaligned(in, element) && !misaligned(out, element) &&
         (in == out || !overlapping(in, bytes, out, bytes));
}

static void done(const tinyse_state *state, tinyse_stage stage) {
  if (state->config.stage_done) state->config.stage_done(state->config.context, stage);
}

/* The newest hop's place in the frame, after moving the frame on. */
static float *next_hop(tinyse_state *state) {
  memmove(state->past, state->past + TINYSE_HOP, (TINYSE_FRAME - TINYSE_HOP) * sizeof *state->past);
  return state->past + TINYSE_FRAME - TINYSE_HOP;
}

/* One frame; the finished hop is in state->work. */
static tinyse_status enhance(tinyse_state *state) {
  tinyse_transform(state->past, state->work, state->spectrum);
  done(state, TINYSE_STAGE_TRANSFORM);
  tinyse_features(state->spectrum, state->work, state->bands);
  done(state, TINYSE_STAGE_FEATURES);
  tinyse_quantize(state->bands, state->feature);
  done(state, TINYSE_STAGE_QUANTIZE);
  tinyse_status status = tinyse_network_run(state->arena, state->config.npu, state->feature, state->mask);
  if (status != TINYSE_OK) memset(state->mask, TINYSE_OUTPUT_ZERO_POINT, sizeof state->mask); /* closed */
  done(state, TINYSE_STAGE_NETWORK);
  tinyse_apply_mask(state->mask, state->work, state->spectrum);
  done(state, TINYSE_STAGE_MASK);
  tinyse_synthesize(state->spectrum, state->work, state->overlap);
  done(state, TINYSE_STAGE_SYNTHESIS);
  return status;
}

tinyse_status tinyse_init(tinyse_state *state, void *arena, const tinyse_config *config) {
  if (!state || misaligned(state, TINYSE_STATE_ALIGNMENT)) return TINYSE_ERROR_ARGUMENT;
  const tinyse_config given = config ? *config : (tinyse_config){0}; /* it may lie where the state will */
  memset(state, 0, sizeof *state);
  if (!arena || misaligned(arena, TINYSE_ARENA_ALIGNMENT) ||
      overlapping(state, sizeof *state, arena, TINYSE_NETWORK_BYTES))
    return TINYSE_ERROR_ARGUMENT;
  state->config = given;
  tinyse_status status = tinyse_network_init(arena, given.npu);
  if (status != TINYSE_OK) return status;
  state->arena = arena;
  return tinyse_reset(state);
}

tinyse_status tinyse_reset(tinyse_state *state) {
  if (!ready(state)) return TINYSE_ERROR_ARGUMENT;
  memset(state->past, 0, sizeof state->past);
  memset(state->overlap, 0, sizeof state->overlap);
  tinyse_network_reset(state->arena);
  return TINYSE_OK;
}

tinyse_status tinyse_process(tinyse_state *state, const float in[TINYSE_HOP], float out[TINYSE_HOP]) {
  const size_t bytes = TINYSE_HOP * sizeof *out;
  if (!out) return TINYSE_ERROR_ARGUMENT;
  tinyse_status status = TINYSE_ERROR_ARGUMENT;
  if (usable(state, in, out, bytes, sizeof *out)) {
    tinyse_copy_usable(next_hop(state), in, TINYSE_HOP);
    status = enhance(state);
  }
  if (status == TINYSE_OK)
    memcpy(out, state->work, bytes);
  else
    memset(out, 0, bytes);
  return status;
}

tinyse_status tinyse_process_int16(tinyse_state *state, const int16_t in[TINYSE_HOP], int16_t out[TINYSE_HOP]) {
  const size_t bytes = TINYSE_HOP * sizeof *out;
  if (!out) return TINYSE_ERROR_ARGUMENT;
  tinyse_status status = TINYSE_ERROR_ARGUMENT;
  if (usable(state, in, out, bytes, sizeof *out)) {
    tinyse_from_int16(next_hop(state), in, TINYSE_HOP);
    status = enhance(state);
  }
  if (status == TINYSE_OK)
    tinyse_to_int16(out, state->work, TINYSE_HOP);
  else
    memset(out, 0, bytes);
  return status;
}
