/* main.c: enhance or score a WAV file of the host; where there is none, noise, and tell the UART how long it took. */
#include <string.h>

#include "accelerator.h"
#include "arguments.h"
#include "board.h"
#include "console.h"
#include "results.h"
#include "scores.h"
#include "semihosting.h"
#include "stack.h"
#include "stages.h"
#include "tinyse.h"
#include "wav.h"

#define DELAY TINYSE_DELAY
#define LINE_BYTES 512
#if TINYSE_RESULT == TINYSE_RESULT_SCORE && TINYSE_SCORE_WINDOW * TINYSE_ROWS > 64
#define NOISE_FRAMES (TINYSE_SCORE_WINDOW * TINYSE_ROWS) /* one score */
#else
#define NOISE_FRAMES 64
#endif
#define UNUSED 0xA5 /* memory is never zeroed by luck on a part */

enum { EXIT_OK = 0, EXIT_INPUT = 1, EXIT_USAGE = 2, EXIT_ENGINE = 3 };

__attribute__((section(".tinyse_arena"))) static _Alignas(TINYSE_ARENA_ALIGNMENT) uint8_t arena[TINYSE_NETWORK_BYTES];
static tinyse_state state;
static stages stage_clock;
static scores said;
static char line[LINE_BYTES], text[RESULTS_BYTES];
static int16_t hop[TINYSE_HOP];

static _Noreturn void fail(int code, const char *message, const char *subject) {
  console_text("tinyse: error: ");
  if (subject) {
    console_text(subject);
    console_text(": ");
  }
  console_text(message);
  console_text("\n\004");
  tinyse_semihost_exit(code);
}

static void check(const char *wrong, const char *path) {
  if (wrong) fail(EXIT_INPUT, wrong, path);
}

static void check_status(tinyse_status status, const tinyse_npu *npu) {
  if (status == TINYSE_OK) return;
  const char *reason = npu ? npu->reason(npu->context) : "";
  if (*reason) fail(EXIT_ENGINE, reason, npu->name);
  fail(EXIT_ENGINE, status == TINYSE_ERROR_MODEL ? "the model is damaged, or made for another NPU"
                    : status == TINYSE_ERROR_NPU ? "the NPU failed" : "the library refuses its arguments", NULL);
}

static void start(const tinyse_npu *npu) {
  const tinyse_config config = {.npu = npu, .stage_done = stages_done, .context = &stage_clock};
  memset(arena, UNUSED, sizeof arena);
  memset(&state, UNUSED, sizeof state);
  check_status(tinyse_init(&state, arena, &config), npu);
  if (npu) npu->clear(npu->context);
  stage_clock = (stages){0};
  said = (scores){0};
}

static void enhance_hop(const tinyse_npu *npu) {
  stages_begin(&stage_clock);
  const tinyse_status status = tinyse_process_int16(&state, hop, hop);
  stages_end(&stage_clock);
  check_status(status, npu);
#if TINYSE_RESULT == TINYSE_RESULT_SCORE
  const tinyse_counts heard = tinyse_counted(&state);
  if (heard.frames % TINYSE_ROWS == 0) scores_add(&said, heard.updates, tinyse_score(&state, 0));
#endif
}

/* Ends with the text on the UART; `path` may be NULL. */
static void report(const tinyse_npu *npu, const char *path) {
  const results run = {.state = &state,
                       .clock = &stage_clock,
                       .npu = npu,
                       .scores = &said,
                       .stack_bytes = tinyse_stack_bytes(),
                       .stack_used = tinyse_stack_used()};
  check(results_text(&run, text), NULL);
  if (path) {
    const int32_t file = tinyse_semihost_open(path, TINYSE_SEMIHOST_WRITE);
    const size_t bytes = strlen(text);
    if (file < 0 || tinyse_semihost_write(file, text, bytes) != bytes || tinyse_semihost_close(file) != 0) {
      fail(EXIT_INPUT, "the results cannot be written", path);
    }
  }
  console_text(RESULTS_BEGIN);
  console_text(text);
  console_text(RESULTS_END "\004");
}

static void write_bytes(int32_t file, const char *path, const void *data, size_t bytes) {
  if (tinyse_semihost_write(file, data, bytes) != bytes) fail(EXIT_INPUT, "the network's bytes cannot be written", path);
}

/* Features, mask; where frames may be skipped, P and whether this one ran the network: 1, or 0 with what was kept; where
 * the network has parts, the bits of those that ran. */
static void write_network(int32_t file, const char *path, uint32_t updates) {
  if (file < 0) return;
  write_bytes(file, path, state.feature, sizeof state.feature);
  write_bytes(file, path, state.mask, sizeof state.mask);
  const uint8_t ran = (uint8_t)(tinyse_counted(&state).updates - updates);
  if (TINYSE_SKIP) write_bytes(file, path, &ran, sizeof ran);
#if TINYSE_PARTS > 1
  write_bytes(file, path, &state.ran, sizeof state.ran);
#endif
}

static int32_t created(const char *path, const char *wrong) {
  const int32_t file = path ? tinyse_semihost_open(path, TINYSE_SEMIHOST_WRITE) : -1;
  if (path && file < 0) fail(EXIT_INPUT, wrong, path);
  return file;
}

#if TINYSE_RESULT == TINYSE_RESULT_SCORE
/* Whole hops alone, from silence on, as `tinyse score-quality` hears them; a line a score. */
static void run_file(const arguments *files) {
  wav_reader reader;
  check(wav_open(&reader, files->input), files->input);
  const tinyse_npu *npu = accelerator(files->request, files->reply);
  start(npu);
  if (tinyse_set_exit(&state, files->exit) != TINYSE_OK) fail(EXIT_USAGE, "--exit: the network has no such exit", NULL);
  const int32_t lines = created(files->output, "the scores cannot be written");
  const int32_t network = created(files->network, "the network's bytes cannot be written");
  for (uint32_t left = reader.samples; left >= TINYSE_HOP; left -= TINYSE_HOP) {
    check(wav_read(&reader, hop, TINYSE_HOP), files->input);
    const uint32_t updates = tinyse_counted(&state).updates, before = said.count;
    enhance_hop(npu);
    write_network(network, files->network, updates);
    if (said.count > before) check(scores_write(&said, tinyse_counted(&state).updates, lines), files->output);
  }
  tinyse_semihost_close(lines);
  if (network >= 0) tinyse_semihost_close(network);
  report(npu, files->results);
}
#else
/* The output is aligned with the input, and as long: the first DELAY samples are dropped, the last sample, held, flushes
 * the end, and the first one is the past: an offset makes no step. */
static void run_file(const arguments *files) {
  wav_reader reader;
  wav_writer writer;
  check(wav_open(&reader, files->input), files->input);
  const tinyse_npu *npu = accelerator(files->request, files->reply);
  start(npu);
  if (tinyse_set_exit(&state, files->exit) != TINYSE_OK) fail(EXIT_USAGE, "--exit: the network has no such exit", NULL);
  check(wav_create(&writer, files->output, reader.samples), files->output);
  const int32_t network = created(files->network, "the network's bytes cannot be written");
  uint32_t skip = DELAY;
  for (uint32_t left = reader.samples; left;) {
    check(wav_read(&reader, hop, TINYSE_HOP), files->input);
    if (left == reader.samples && skip == DELAY) check_status(tinyse_hold(&state, (float)hop[0] / 32768.0f), npu);
    const uint32_t updates = tinyse_counted(&state).updates;
    enhance_hop(npu);
    write_network(network, files->network, updates);
    const uint32_t cut = skip < TINYSE_HOP ? skip : TINYSE_HOP;
    const uint32_t ready = TINYSE_HOP - cut < left ? TINYSE_HOP - cut : left;
    skip -= cut;
    check(wav_write(&writer, hop + cut, ready), files->output);
    left -= ready;
  }
  check(wav_close(&writer), files->output);
  if (network >= 0) tinyse_semihost_close(network);
  report(npu, files->results);
}
#endif

/* Again and again: whoever opens the UART finds a whole report within seconds. */
static _Noreturn void enhance_noise(void) {
  uint32_t random = 1;
  const tinyse_npu *npu = accelerator(NULL, NULL);
  for (;;) {
    start(npu);
    for (int frame = 0; frame < NOISE_FRAMES; frame++) {
      for (int sample = 0; sample < TINYSE_HOP; sample++) {
        random = random * 1664525u + 1013904223u;
        hop[sample] = (int16_t)((int)(random >> 19) - 4096);
      }
      enhance_hop(npu);
    }
    report(npu, NULL);
  }
}

int main(void) {
  board_init();
  if (tinyse_semihost_cmdline(line, sizeof line) != 0) enhance_noise();
  arguments files;
  const char *wrong = arguments_parse(&files, line);
  if (wrong) fail(EXIT_USAGE, wrong, NULL);
  run_file(&files);
  tinyse_semihost_exit(EXIT_OK);
}
