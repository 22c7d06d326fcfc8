#include "timing_adapter.h"

/* Word indices. The layout is that of the timing adapter in Arm's Ethos-U core platform, version 0x1117. */
enum {
  MAX_READS = 0, MAX_WRITES = 1, MAX_BOTH = 2, READ_LATENCY = 3, WRITE_LATENCY = 4, PULSE_ON = 5, PULSE_OFF = 6,
  WORDS_PER_PULSE = 7, COUNTER_EVENT = 8, MODE = 10, VERSION = 14
};

#define VERSION_KNOWN 0x1117u
#define MODE_DYNAMIC_CLOCK 1u /* the FVP knows no other */
#define BITS_6 0x3Fu
#define BITS_12 0xFFFu
#define BITS_16 0xFFFFu

bool tinyse_timing_adapter_program(volatile uint32_t *base, const tinyse_timing *timing) {
  if (base[VERSION] != VERSION_KNOWN) return false;
  base[MAX_READS] = timing->max_reads & BITS_6;
  base[MAX_WRITES] = timing->max_writes & BITS_6;
  base[MAX_BOTH] = 0;
  base[READ_LATENCY] = timing->read_latency & BITS_12;
  base[WRITE_LATENCY] = timing->write_latency & BITS_12;
  base[PULSE_ON] = timing->pulse_on & BITS_16;
  base[PULSE_OFF] = timing->pulse_off & BITS_16;
  base[WORDS_PER_PULSE] = timing->words_per_pulse & BITS_16;
  base[COUNTER_EVENT] = 0;
  base[MODE] = MODE_DYNAMIC_CLOCK;
  return true;
}
