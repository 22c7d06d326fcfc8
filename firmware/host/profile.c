/* profile.c: the library as a host program, timed. Raw 16-bit mono on stdin, the results as JSON on stdout. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "accelerator.h"
#include "board.h"
#include "results.h"
#include "stages.h"
#include "tinyse.h"

#define WARM_UP 8 /* frames before the clock counts: caches, page faults */

static _Alignas(TINYSE_ARENA_ALIGNMENT) uint8_t arena[TINYSE_NETWORK_BYTES];
static tinyse_state state;
static stages stage_clock;
static char text[RESULTS_BYTES];

uint32_t board_ticks(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint32_t)((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

const char *board_counter_name(void) { return "clock_gettime"; }

uint32_t board_counter_hz(void) { return 1000000000u; }

const tinyse_timing *accelerator_timing(uint32_t *count) {
  *count = 0;
  return NULL;
}

int main(void) {
  const tinyse_config config = {.stage_done = stages_done, .context = &stage_clock};
  if (tinyse_init(&state, arena, &config) != TINYSE_OK) return 1;
  int16_t hop[TINYSE_HOP] = {0};
  for (int frame = 0; frame < WARM_UP; frame++) {
    if (tinyse_process_int16(&state, hop, hop) != TINYSE_OK) return 1;
    memset(hop, 0, sizeof hop);
  }
  if (tinyse_reset(&state) != TINYSE_OK) return 1;
  stage_clock = (stages){0};
  while (fread(hop, sizeof hop[0], TINYSE_HOP, stdin) == TINYSE_HOP) {
    stages_begin(&stage_clock);
    const tinyse_status status = tinyse_process_int16(&state, hop, hop);
    stages_end(&stage_clock);
    if (status != TINYSE_OK) return 1;
  }
  const results run = {.state = &state, .clock = &stage_clock};
  if (results_text(&run, text)) return 1;
  return puts(text) < 0;
}
