/* timing_adapter.h: the AXI bridges of Corstone-300 that give a memory the timing of another one. */
#ifndef TINYSE_TIMING_ADAPTER_H
#define TINYSE_TIMING_ADAPTER_H

#include <stdbool.h>
#include <stdint.h>

/* In NPU clock cycles. timing.h, generated from the target file, holds one for each NPU port. */
typedef struct tinyse_timing {
  const char *memory;
  uint32_t port;           /* AXI port of the NPU */
  uint32_t max_reads;      /* outstanding, up to 63; 0 = no limit */
  uint32_t max_writes;
  uint32_t read_latency;   /* least, up to 4095 */
  uint32_t write_latency;
  uint32_t pulse_on;       /* requests pass for `on` cycles and are held for `off`, up to 65535 each */
  uint32_t pulse_off;
  uint32_t words_per_pulse; /* cap on 64-bit words in on + off cycles, up to 65535; 0 = none */
} tinyse_timing;

/* False, and nothing is written, where no timing adapter answers at `base` (hardware without, QEMU). */
bool tinyse_timing_adapter_program(volatile uint32_t *base, const tinyse_timing *timing);

#endif /* TINYSE_TIMING_ADAPTER_H */
