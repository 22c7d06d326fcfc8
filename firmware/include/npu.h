/* npu.h: what the library asks of an Ethos-U; implemented by ethosu.c (the real one), cosim.c (tinyse's
 * simulator on the host, through semihosting pipes) and core_driver.c (the user's Ethos-U core driver). */
#ifndef TINYSE_NPU_H
#define TINYSE_NPU_H

#include <stdint.h>

#include "tinyse.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One run of a compiled part of a network. Addresses are the CPU's; an implementation maps them to the NPU's. */
typedef struct tinyse_npu_job {
  uint32_t part;           /* of the network, from 0 on; each has its own payload and weights */
  const uint8_t *payload;  /* the driver payload (COP1), 16-byte aligned */
  uint32_t payload_bytes;
  const uint8_t *weights;  /* region 0: read-only data */
  uint32_t weights_bytes;
  uint8_t *arena;          /* region 1 */
  uint32_t arena_bytes;
  uint8_t *fast;           /* region 2; the arena again where there is no separate fast scratch */
  uint32_t fast_bytes;
} tinyse_npu_job;

/* What the PMU counted over all runs since tinyse_npu.clear; zeros where nothing counts. */
typedef struct tinyse_npu_counts {
  uint64_t runs;
  uint64_t cycles;      /* cycle counter */
  uint64_t active;      /* NPU_ACTIVE */
  uint64_t axi0_read;   /* AXI0_RD_DATA_BEAT_RECEIVED */
  uint64_t axi0_write;  /* AXI0_WR_DATA_BEAT_WRITTEN */
  uint64_t axi1_read;   /* AXI1_RD_DATA_BEAT_RECEIVED */
} tinyse_npu_counts;

typedef struct tinyse_npu {
  const char *name; /* "ethos-u55", "simulator", "core-driver" */
  void *context;
  /* For every part, before the first run: reset, check identity and configuration against the payload's. */
  tinyse_status (*open)(void *context, const tinyse_npu_job *job);
  /* Run to completion. The arena is read and written in place. */
  tinyse_status (*run)(void *context, const tinyse_npu_job *job);
  void (*counts)(void *context, tinyse_npu_counts *counts);
  void (*clear)(void *context);
  /* Why the last call failed, in one line; "" after success. */
  const char *(*reason)(void *context);
} tinyse_npu;

#ifdef __cplusplus
}
#endif

#endif /* TINYSE_NPU_H */
