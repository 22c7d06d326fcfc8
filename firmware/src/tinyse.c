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

/* A Skip RNN's gate: the rule of tinyse/graph/skip.py, without its upper bound, which changes no decision. */
#if TINYSE_SKIP
#define GATE_DUE 128u

_Static_assert(TINYSE_OUTPUT_ZERO_POINT == -128, "the last output is P - 128");

static void gate_open(tinyse_state *state) { state->urge = GATE_DUE; }

static void gate_add(tinyse_state *state, uint32_t urge) {
  const uint32_t p = (uint32_t)(state->mask[TINYSE_BANDS] + 128);
  state->urge = urge + (p ? p : 1u);
}

/* Whether this frame runs the network. */
static int gate_passes(tinyse_state *state) {
  if (state->urge < GATE_DUE) {
    gate_add(state, state->urge);
    return 0;
  }
  ++state->updates;
  return 1;
}
#else
static void gate_open(tinyse_state *state) { (void)state; }
static void gate_add(tinyse_state *state, uint32_t urge) { (void)state, (void)urge; }
static int gate_passes(tinyse_state *state) {
  (void)state;
  return 1;
}
#endif

/* The mask of this frame; closed where there is none. */
static tinyse_status update(tinyse_state *state) {
  tinyse_features(state->spectrum, state->work, state->bands);
  done(state, TINYSE_STAGE_FEATURES);
  tinyse_quantize(state->bands, state->feature);
  done(state, TINYSE_STAGE_QUANTIZE);
  tinyse_status status = tinyse_network_run(state->arena, state->config.npu, state->feature, state->mask);
  gate_add(state, 0);
  if (status != TINYSE_OK) {
    memset(state->mask, TINYSE_OUTPUT_ZERO_POINT, sizeof state->mask);
    gate_open(state);
  }
  done(state, TINYSE_STAGE_NETWORK);
  return status;
}

/* One frame; the finished hop is in state->work. */
static tinyse_status enhance(tinyse_state *state) {
  ++state->frames;
  tinyse_transform(state->past, state->work, state->spectrum);
  done(state, TINYSE_STAGE_TRANSFORM);
  const tinyse_status status = gate_passes(state) ? update(state) : TINYSE_OK;
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
  state->frames = 0;
#if TINYSE_SKIP
  state->updates = 0;
#endif
  gate_open(state);
  return TINYSE_OK;
}

tinyse_status tinyse_hold(tinyse_state *state, float value) {
  if (!ready(state)) return TINYSE_ERROR_ARGUMENT;
  float usable_value;
  tinyse_copy_usable(&usable_value, &value, 1);
  for (int i = 0; i < TINYSE_FRAME; ++i) state->past[i] = usable_value;
  return TINYSE_OK;
}

tinyse_counts tinyse_counted(const tinyse_state *state) {
  if (!ready(state)) return (tinyse_counts){0, 0};
#if TINYSE_SKIP
  return (tinyse_counts){state->frames, state->updates};
#else
  return (tinyse_counts){state->frames, state->frames};
#endif
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
