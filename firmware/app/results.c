#include "results.h"

#include "accelerator.h"
#include "board.h"
#include "json.h"
#include "kernels.h"

#define SCHEMA 1

#if TINYSE_BACKEND == TINYSE_BACKEND_CPU
#define BACKEND "cpu"
#elif TINYSE_BACKEND == TINYSE_BACKEND_NPU
#define BACKEND "npu"
#else
#define BACKEND "tflm"
#endif

static const char *const stage_names[TINYSE_STAGES] = {"transform", "features", "quantize",
                                                       "network",   "mask",     "synthesis"};

static void ticks(json *out, const char *name, const stage_ticks *sum) {
  json_open(out, name, '{');
  json_number(out, "total", sum->total);
  json_number(out, "max", sum->max);
  json_close(out, '}');
}

static void npu(json *out, const tinyse_npu *unit) {
  if (!unit) {
    json_null(out, "npu");
    return;
  }
  tinyse_npu_counts counts;
  unit->counts(unit->context, &counts);
  json_open(out, "npu", '{');
  json_text(out, "name", unit->name);
  json_number(out, "runs", counts.runs);
  json_number(out, "cycles", counts.cycles);
  json_number(out, "active", counts.active);
  json_number(out, "axi0_read", counts.axi0_read);
  json_number(out, "axi0_write", counts.axi0_write);
  json_number(out, "axi1_read", counts.axi1_read);
  json_close(out, '}');
}

static void adapters(json *out) {
  uint32_t count;
  const tinyse_timing *timing = accelerator_timing(&count);
  if (!count) {
    json_null(out, "timing_adapters");
    return;
  }
  json_open(out, "timing_adapters", '[');
  for (uint32_t i = 0; i < count; i++) {
    json_open(out, NULL, '{');
    json_text(out, "name", timing[i].memory);
    json_number(out, "port", timing[i].port);
    json_number(out, "max_reads", timing[i].max_reads);
    json_number(out, "max_writes", timing[i].max_writes);
    json_number(out, "read_latency", timing[i].read_latency);
    json_number(out, "write_latency", timing[i].write_latency);
    json_number(out, "pulse_on", timing[i].pulse_on);
    json_number(out, "pulse_off", timing[i].pulse_off);
    json_number(out, "words_per_pulse", timing[i].words_per_pulse);
    json_close(out, '}');
  }
  json_close(out, ']');
}

#if TINYSE_RESULT == TINYSE_RESULT_SCORE
static void scored(json *out, const scores *all) {
  char text[SCORES_BYTES];
  json_open(out, "scores", '{');
  json_number(out, "count", all->count);
  json_text(out, "mean", scores_text(scores_mean(all), text));
  json_text(out, "least", scores_text(all->least, text));
  json_text(out, "most", scores_text(all->most, text));
  json_text(out, "last", scores_text(all->last, text));
  json_close(out, '}');
}
#endif

const char *results_text(const results *run, char text[RESULTS_BYTES]) {
  json out;
  json_start(&out, text, RESULTS_BYTES);
  json_open(&out, NULL, '{');
  json_number(&out, "schema", SCHEMA);
  json_text(&out, "board", BOARD_NAME);
  json_text(&out, "core", BOARD_CORE);
  json_text(&out, "backend", BACKEND);
  json_text(&out, "kernels", TINYSE_KERNELS);
  json_text(&out, "status", "ok");
  const tinyse_counts counts = tinyse_counted(run->state);
  json_number(&out, "frames", counts.frames);
  json_number(&out, "updates", counts.updates);
  json_open(&out, "parts", '[');
  for (uint32_t part = 0; part < TINYSE_PARTS; part++) json_number(&out, NULL, tinyse_counted_part(run->state, part));
  json_close(&out, ']');
  json_open(&out, "counter", '{');
  json_text(&out, "name", board_counter_name());
  json_number(&out, "hz", board_counter_hz());
  json_close(&out, '}');
  json_open(&out, "stages", '{');
  for (int stage = 0; stage < TINYSE_STAGES; stage++) {
    ticks(&out, stage_names[stage], &run->clock->stage[stage]);
  }
  json_close(&out, '}');
  ticks(&out, "frame", &run->clock->frame);
  npu(&out, run->npu);
  adapters(&out);
  json_number(&out, "arena_bytes", TINYSE_NETWORK_BYTES);
  json_number(&out, "state_bytes", TINYSE_STATE_BYTES);
#if TINYSE_RESULT == TINYSE_RESULT_SCORE
  scored(&out, run->scores);
#endif
  json_open(&out, "stack", '{');
  json_number(&out, "bytes", run->stack_bytes);
  json_number(&out, "used", run->stack_used);
  json_close(&out, '}');
  json_close(&out, '}');
  return out.full ? "the results do not fit their buffer" : NULL;
}
