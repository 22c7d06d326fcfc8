#include "dwt.h"

#include "registers.h"

bool dwt_start(void) {
  SCB_DEMCR |= 1u << 24;  /* TRCENA */
  DWT_LAR = 0xC5ACCE55u;  /* the M7 keeps it locked; elsewhere the write is ignored */
  DWT_CYCCNT = 0;
  DWT_CTRL |= 1u;
  const uint32_t start = DWT_CYCCNT;
  for (volatile int turn = 0; turn < 16; turn++) {
  }
  return DWT_CYCCNT != start;
}

uint32_t dwt_cycles(void) { return DWT_CYCCNT; }
