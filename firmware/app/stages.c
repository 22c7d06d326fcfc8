#include "stages.h"

#include "board.h"

static void add(stage_ticks *sum, uint32_t ticks) {
  sum->total += ticks;
  if (ticks > sum->max) sum->max = ticks;
}

void stages_begin(stages *clock) {
  clock->frame_ticks = 0;
  clock->since = board_ticks();
}

void stages_done(void *context, tinyse_stage stage) {
  const uint32_t now = board_ticks();
  stages *clock = context;
  const uint32_t ticks = now - clock->since;
  add(&clock->stage[stage], ticks);
  clock->frame_ticks += ticks;
  clock->since = board_ticks();
}

void stages_end(stages *clock) { add(&clock->frame, clock->frame_ticks + (board_ticks() - clock->since)); }
