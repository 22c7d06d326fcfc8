/* dwt.h: the core's cycle counter. */
#ifndef TINYSE_DWT_H
#define TINYSE_DWT_H

#include <stdbool.h>
#include <stdint.h>

/* Start it; false where it does not count: QEMU reads 0 without a fault. */
bool dwt_start(void);

uint32_t dwt_cycles(void);

#endif /* TINYSE_DWT_H */
