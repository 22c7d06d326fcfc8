/* stages.h: ticks of every stage of a frame. */
#ifndef TINYSE_STAGES_H
#define TINYSE_STAGES_H

#include <stdint.h>

#include "tinyse.h"

typedef struct stage_ticks {
  uint64_t total;
  uint32_t max;
} stage_ticks;

typedef struct stages {
  stage_ticks stage[TINYSE_STAGES];
  stage_ticks frame; /* all stages and what lies between them, less the measuring itself */
  uint32_t since, frame_ticks;
} stages;

/* Around every frame; stages_done is tinyse_config.stage_done. */
void stages_begin(stages *clock);
void stages_done(void *clock, tinyse_stage stage);
void stages_end(stages *clock);

#endif /* TINYSE_STAGES_H */
