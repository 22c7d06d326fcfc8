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

_Static_assert(TINYSE_ROWS == 1, "a gate tells of every frame");

static void gate_open(tinyse_state *state) { state->urge = GATE_DUE; }

static void gate_add(tinyse_state *state, uint32_t urge) {
  const uint32_t p = (uint32_t)(state->mask[TINYSE_RESULTS] + 128);
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

/* Parts of the network: where to stop, and which ran. */
#if TINYSE_PARTS > 1
static uint32_t exit_wanted(const tinyse_state *state) { return state->exit; }

static void parts_count(tinyse_state *state, uint32_t ran) {
  state->ran = ran;
  for (uint32_t part = 0; part < TINYSE_PARTS; ++part) state->part_runs[part] += ran >> part & 1u;
}

static void parts_reset(tinyse_state *state) {
  state->ran = 0;
  memset(state->part_runs, 0, sizeof state->part_runs);
}
#else
static uint32_t exit_wanted(const tinyse_state *state) {
  (void)state;
  return 0;
}
static void parts_count(tinyse_state *state, uint32_t ran) { (void)state, (void)ran; }
static void parts_reset(tinyse_state *state) { (void)state; }
#endif

static void close_mask(tinyse_state *state) {
#if TINYSE_OUTPUT_BITS == 16
  for (int i = 0; i < TINYSE_OUTPUTS; ++i) state->mask[i] = TINYSE_OUTPUT_ZERO_POINT;
#else
  memset(state->mask, TINYSE_OUTPUT_ZERO_POINT, sizeof state->mask);
#endif
}

/* Where the next row of features goes. */
static tinyse_input *next_row(tinyse_state *state) {
#if TINYSE_ROWS > 1
  return state->feature + TINYSE_ROW * state->row++;
#else
  return state->feature;
#endif
}

/* Whether all rows are there. */
static int complete(tinyse_state *state) {
#if TINYSE_ROWS > 1
  if (state->row < TINYSE_ROWS) return 0;
  state->row = 0;
  ++state->runs;
#else
  (void)state;
#endif
  return 1;
}

/* The answer to this frame; zeros where there is none. */
static tinyse_status update(tinyse_state *state) {
#if TINYSE_FEATURE == TINYSE_FEATURE_SAMPLES
  const float *values = state->past + TINYSE_FRAME - TINYSE_HOP;
#if TINYSE_LEVEL
  for (int i = 0; i < TINYSE_HOP; ++i) state->work[i] = values[i] * state->gain;
  values = state->work;
#endif
#else
  const float *values = state->bands;
  tinyse_features(state->spectrum, state->work, state->bands);
#if TINYSE_MEAN_FRAMES
  if (state->heard < TINYSE_MEAN_FRAMES) ++state->heard;
  tinyse_less_mean(state->bands, state->mean, 1.0f / (float)state->heard);
#endif
#endif
  done(state, TINYSE_STAGE_FEATURES);
  tinyse_quantize(values, next_row(state));
  done(state, TINYSE_STAGE_QUANTIZE);
  tinyse_status status = TINYSE_OK;
  if (complete(state)) {
    uint32_t ran = 0;
    status = tinyse_network_run(state->arena, state->config.npu, exit_wanted(state), state->feature, state->mask, &ran);
    parts_count(state, ran);
    gate_add(state, 0);
  }
  if (status != TINYSE_OK) {
    close_mask(state);
    gate_open(state);
  }
  done(state, TINYSE_STAGE_NETWORK);
  return status;
}

/* One frame; the finished hop is in state->work. */
static tinyse_status enhance(tinyse_state *state) {
  ++state->frames;
#if TINYSE_PARTS > 1
  state->ran = 0;
#endif
#if TINYSE_TRANSFORMS
  tinyse_transform(state->past, state->work, state->spectrum);
#endif
#if TINYSE_LEVEL
  state->gain = tinyse_level(state->past + TINYSE_FRAME - TINYSE_HOP, &state->level);
#endif
  done(state, TINYSE_STAGE_TRANSFORM);
  const tinyse_status status = gate_passes(state) ? update(state) : TINYSE_OK;
#if TINYSE_SYNTHESIZES
  tinyse_apply_mask(state->mask, state->work, state->spectrum);
  done(state, TINYSE_STAGE_MASK);
  tinyse_synthesize(state->spectrum, state->work, state->overlap);
#else
#if TINYSE_RESULT == TINYSE_RESULT_SAMPLES
#if TINYSE_LEVEL
  const float back = 1.0f / state->gain;
#else
  const float back = 1.0f;
#endif
  for (int i = 0; i < TINYSE_HOP; ++i) state->work[i] = tinyse_answer(state->mask, i) * back;
#else
  memcpy(state->work, state->past + TINYSE_FRAME - TINYSE_HOP, TINYSE_HOP * sizeof *state->work);
#endif
  done(state, TINYSE_STAGE_MASK);
#endif
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
#if TINYSE_SYNTHESIZES
  memset(state->overlap, 0, sizeof state->overlap);
#endif
#if TINYSE_RESULT == TINYSE_RESULT_SCORE
  close_mask(state);
#endif
#if TINYSE_ROWS > 1
  state->row = state->runs = 0;
#endif
#if TINYSE_MEAN_FRAMES
  memset(state->mean, 0, sizeof state->mean);
  state->heard = 0;
#endif
  tinyse_network_reset(state->arena);
  parts_reset(state);
  state->frames = 0;
#if TINYSE_LEVEL
  state->level = 0.0f;
#endif
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
#elif TINYSE_ROWS > 1
  return (tinyse_counts){state->frames, state->runs};
#else
  return (tinyse_counts){state->frames, state->frames};
#endif
}

uint32_t tinyse_counted_part(const tinyse_state *state, uint32_t part) {
#if TINYSE_PARTS > 1
  return ready(state) && part < TINYSE_PARTS ? state->part_runs[part] : 0;
#else
  return part == 0 ? tinyse_counted(state).updates : 0;
#endif
}

tinyse_status tinyse_set_exit(tinyse_state *state, uint32_t number) {
  if (!ready(state) || number > TINYSE_EXITS) return TINYSE_ERROR_ARGUMENT;
#if TINYSE_PARTS > 1
  state->exit = number;
#endif
  return TINYSE_OK;
}

#if TINYSE_RESULT == TINYSE_RESULT_SCORE
float tinyse_score(const tinyse_state *state, uint32_t index) {
  return ready(state) && index < TINYSE_RESULTS ? tinyse_answer(state->mask, (int)index) : 0.0f;
}
#endif

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
