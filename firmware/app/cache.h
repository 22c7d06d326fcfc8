/* cache.h: a Cortex-M7's or Cortex-M55's first-level caches. */
#ifndef TINYSE_CACHE_H
#define TINYSE_CACHE_H

/* Invalidate both and switch them on. Nothing but the processor may share cached memory afterwards. */
void cache_enable(void);

#endif /* TINYSE_CACHE_H */
