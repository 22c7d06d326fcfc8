/* What the test asks for (in.bin) and gets (out.bin); little-endian, without padding. */
#ifndef DRIVER_H
#define DRIVER_H

#include "tinyse.h"

#define MAX_HOPS 256

enum { FLOATS, INTEGERS, IN_PLACE, POWER, QUANTIZE, CONTRACT };

typedef struct {
  uint32_t mode, hops;
  uint32_t reset_at; /* before this hop, counted from 0; beyond hops: never */
  uint32_t fail_at;  /* the network's call of this number fails, from 1; 0: none */
  uint32_t init_status;
  tinyse_output masks[MAX_HOPS][TINYSE_OUTPUTS]; /* answers of the network, in the order of its calls */
  float samples[MAX_HOPS][TINYSE_HOP]; /* int16 in the lower halves of memory for INTEGERS */
} driver_job;

typedef struct {
  uint32_t status[MAX_HOPS];
  uint32_t ticks[MAX_HOPS][TINYSE_STAGES + 1]; /* last: the whole call */
  float bands[MAX_HOPS][TINYSE_ROW];
  tinyse_input feature[MAX_HOPS][TINYSE_INPUTS];
  tinyse_output mask[MAX_HOPS][TINYSE_OUTPUTS];
  uint32_t counts[MAX_HOPS][2];
  float scores[MAX_HOPS][TINYSE_RESULTS]; /* where the result is a score */
  float samples[MAX_HOPS][TINYSE_HOP];
} driver_result;

extern driver_job job;
extern driver_result result;

/* target.c or host.c */
void load(void);
void store(void);
uint32_t tick(void); /* counts down, 24 bits */

int contract(void); /* the line of the first broken promise, or 0 */

#endif
