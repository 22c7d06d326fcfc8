/* Runs the library on in.bin, writes out.bin. */
#include "driver.h"

#include <string.h>

#include "frontend.h"
#include "vector.h"

driver_job job;
driver_result result;

static TINYSE_ALIGNAS(TINYSE_ARENA_ALIGNMENT) uint8_t arena[TINYSE_NETWORK_BYTES];
static tinyse_state state;
static uint32_t before, hop;

static void stage_done(void *context, tinyse_stage stage) {
  uint32_t now = tick();
  (void)context;
  result.ticks[hop][stage] = (before - now) & 0xffffffu;
  before = tick();
}

/* As many of the hop's values as a row has, or the other way round. */
static void quantize(void) {
  static float row[TINYSE_ROW];
  memcpy(row, job.samples[hop], TINYSE_ROW < TINYSE_HOP ? sizeof row : sizeof job.samples[hop]);
  tinyse_quantize(row, state.feature);
}

static tinyse_status one(void) {
  int16_t integers[TINYSE_HOP], enhanced[TINYSE_HOP];
  tinyse_status status;
  switch (job.mode) {
    case POWER:
      memcpy(result.samples[hop], job.samples[hop], sizeof result.samples[hop]);
      tinyse_power(result.samples[hop], TINYSE_FEATURE_POWER, TINYSE_HOP);
      return TINYSE_OK;
    case QUANTIZE:
      quantize();
      return TINYSE_OK;
    case INTEGERS:
      memcpy(integers, job.samples[hop], sizeof integers);
      status = tinyse_process_int16(&state, integers, enhanced);
      memcpy(result.samples[hop], enhanced, sizeof enhanced);
      return status;
    case IN_PLACE:
      memcpy(result.samples[hop], job.samples[hop], sizeof result.samples[hop]);
      return tinyse_process(&state, result.samples[hop], result.samples[hop]);
    default:
      return tinyse_process(&state, job.samples[hop], result.samples[hop]);
  }
}

#define EXPECT(condition) \
  do {                    \
    if (!(condition)) return __LINE__; \
  } while (0)

static int silent(const void *data, size_t bytes) {
  const uint8_t *octets = data;
  for (size_t i = 0; i < bytes; ++i)
    if (octets[i]) return 0;
  return 1;
}

static int counted(uint32_t frames, uint32_t updates) {
  const tinyse_counts counts = tinyse_counted(&state);
  return counts.frames == frames && counts.updates == updates;
}

int contract(void) {
  static float in[TINYSE_HOP + 1], out[TINYSE_HOP + 1];
  static int16_t narrow[TINYSE_HOP];
  const tinyse_config config = {.stage_done = stage_done};
  EXPECT(tinyse_init(NULL, arena, NULL) == TINYSE_ERROR_ARGUMENT);
  EXPECT(tinyse_init(&state, NULL, NULL) == TINYSE_ERROR_ARGUMENT);
  EXPECT(tinyse_reset(&state) == TINYSE_ERROR_ARGUMENT);
  EXPECT(counted(0, 0) && tinyse_counted(NULL).frames == 0);
  EXPECT(tinyse_init(&state, arena + 8, NULL) == TINYSE_ERROR_ARGUMENT);
  EXPECT(tinyse_init((tinyse_state *)(void *)((uint8_t *)&state + 4), arena, NULL) == TINYSE_ERROR_ARGUMENT);
  EXPECT(tinyse_init(&state, &state, NULL) == TINYSE_ERROR_ARGUMENT);
  memset(out, 1, sizeof out);
  EXPECT(tinyse_process(&state, in, out) == TINYSE_ERROR_ARGUMENT && silent(out, sizeof in - sizeof *in));
  job.init_status = TINYSE_ERROR_MODEL;
  EXPECT(tinyse_init(&state, arena, NULL) == TINYSE_ERROR_MODEL);
  EXPECT(tinyse_reset(&state) == TINYSE_ERROR_ARGUMENT);
  job.init_status = TINYSE_OK;
  EXPECT(tinyse_init(&state, arena, &config) == TINYSE_OK);
  for (int i = 0; i < TINYSE_HOP; ++i) in[i] = 0.5f;
  EXPECT(tinyse_process(&state, in, NULL) == TINYSE_ERROR_ARGUMENT);
  memset(out, 1, sizeof out);
  EXPECT(tinyse_process(&state, NULL, out) == TINYSE_ERROR_ARGUMENT && silent(out, sizeof in - sizeof *in));
  memset(narrow, 1, sizeof narrow);
  EXPECT(tinyse_process_int16(NULL, narrow, narrow) == TINYSE_ERROR_ARGUMENT && silent(narrow, sizeof narrow));
  memset(out, 1, sizeof out);
  EXPECT(tinyse_process(&state, out + 1, out) == TINYSE_ERROR_ARGUMENT && silent(out, sizeof in - sizeof *in));
  memset(out, 1, sizeof out);
  EXPECT(tinyse_process(&state, in, (float *)(void *)((uint8_t *)out + 2)) == TINYSE_ERROR_ARGUMENT);
  EXPECT(silent((uint8_t *)out + 2, sizeof in - sizeof *in));
  EXPECT(silent(state.past, sizeof state.past)); /* none of these has moved it */
  EXPECT(counted(0, 0));
  EXPECT(tinyse_process(&state, in, out) == TINYSE_OK && !silent(state.past, sizeof state.past));
  EXPECT(counted(1, TINYSE_ROWS == 1));
  EXPECT(tinyse_reset(&state) == TINYSE_OK && counted(0, 0));
  EXPECT(silent(state.past, sizeof state.past));
#if TINYSE_SYNTHESIZES
  EXPECT(silent(state.overlap, sizeof state.overlap));
#endif
  return 0;
}

int main(void) {
  const tinyse_config config = {.stage_done = stage_done};
  load();
  if (job.mode == CONTRACT) {
    result.status[0] = (uint32_t)contract();
  } else {
    result.status[0] = tinyse_init(&state, arena, &config);
    for (hop = 0; hop < job.hops; ++hop) {
      if (hop == job.reset_at) (void)tinyse_reset(&state);
      uint32_t start = before = tick();
      result.status[hop] = one();
      result.ticks[hop][TINYSE_STAGES] = (start - tick()) & 0xffffffu;
#if TINYSE_FEATURE == TINYSE_FEATURE_SAMPLES
      memcpy(result.bands[hop], state.past + TINYSE_FRAME - TINYSE_HOP, sizeof result.bands[hop]);
#if TINYSE_LEVEL
      for (int i = 0; i < TINYSE_ROW; ++i) result.bands[hop][i] *= state.gain;
#endif
#else
      memcpy(result.bands[hop], state.bands, sizeof state.bands);
#endif
#if TINYSE_RESULT == TINYSE_RESULT_SCORE
      for (uint32_t i = 0; i < TINYSE_RESULTS; ++i) result.scores[hop][i] = tinyse_score(&state, i);
#endif
      memcpy(result.feature[hop], state.feature, sizeof state.feature);
      memcpy(result.mask[hop], state.mask, sizeof state.mask);
      const tinyse_counts counts = tinyse_counted(&state);
      result.counts[hop][0] = counts.frames;
      result.counts[hop][1] = counts.updates;
    }
  }
  store();
  return 0;
}
