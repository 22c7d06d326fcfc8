/* ethosu.h: a driver for one Ethos-U55 or Ethos-U65-256.
 *
 *   static tinyse_ethosu ethosu;
 *   tinyse_ethosu_init(&ethosu, (volatile uint32_t *)0x58102000);
 *   tinyse_npu npu = tinyse_ethosu_npu(&ethosu);
 *
 * The NPU is reset and configured before every run and may power down after it. One run at a time. */
#ifndef TINYSE_ETHOSU_H
#define TINYSE_ETHOSU_H

#include <stdbool.h>
#include <stdint.h>

#include "npu.h"
#include "reason.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tinyse_ethosu {
  volatile uint32_t *base;

  /* Set after tinyse_ethosu_init where the defaults do not fit. Hooks get `owner` and may be NULL. */
  void *owner;
  /* The NPU's address of what the CPU sees at `pointer`. Default: the same. */
  uint64_t (*address)(void *owner, const void *pointer);
  /* Data cache. Called with the payload's stream and the weights once (open), and with the arena and the fast scratch
   * before (clean) and after (invalidate) every run. The arena must not share cache lines with other data. */
  void (*clean)(void *owner, const void *data, uint32_t bytes);
  void (*invalidate)(void *owner, void *data, uint32_t bytes);
  /* Called in every turn of waiting: sleep here (tinyse_ethosu_sleep) where the interrupt is connected. */
  void (*wait)(void *owner);
  uint32_t turns;       /* of waiting for one run, then it has timed out */
  uint8_t weights_port; /* NPU ports (0, 1) that reach model, arena and fast scratch; default 1, 0, 0 */
  uint8_t arena_port;
  uint8_t fast_port;
  bool non_secure;
  bool unprivileged;
  void *fast; /* region 2 where it does not follow the arena (TINYSE_FAST_APART), else NULL */

  /* Private. */
  volatile uint32_t raised; /* STATUS as the interrupt found it */
  tinyse_npu_counts counts;
  tinyse_reason reason;
} tinyse_ethosu;

void tinyse_ethosu_init(tinyse_ethosu *ethosu, volatile uint32_t *base);

/* The driver as npu.h wants it; `ethosu` must outlive it. */
tinyse_npu tinyse_ethosu_npu(tinyse_ethosu *ethosu);

/* For the NPU's interrupt: acknowledges it and ends the wait. */
void tinyse_ethosu_irq(tinyse_ethosu *ethosu);

#ifdef __arm__
/* A `wait` hook: WFE does not miss an interrupt that came before it. With it, `turns` counts wake-ups; a timeout then
 * needs another interrupt that recurs, such as SysTick. */
static inline void tinyse_ethosu_sleep(void *owner) {
  (void)owner;
  __asm volatile("wfe" ::: "memory");
}
#endif

#ifdef __cplusplus
}
#endif

#endif /* TINYSE_ETHOSU_H */
