/* results.h: what a run has to say, as one line of JSON; tinyse/firmware/results.py reads it. */
#ifndef TINYSE_RESULTS_H
#define TINYSE_RESULTS_H

#include <stdint.h>

#include "npu.h"
#include "scores.h"
#include "stages.h"

#define RESULTS_BYTES 4096
#define RESULTS_BEGIN "tinyse results begin\n"
#define RESULTS_END "\ntinyse results end\n"

typedef struct results {
  const stages *clock;
  const tinyse_state *state;
  const tinyse_npu *npu; /* NULL where the CPU runs the network */
  const scores *scores;  /* of a network that scores */
  uint32_t stack_bytes, stack_used;
} results;

/* NULL, or why not, in one line. */
const char *results_text(const results *run, char text[RESULTS_BYTES]);

#endif /* TINYSE_RESULTS_H */
