#include "cache.h"

#include "registers.h"

#define ICIALLU REGISTER(0xE000EF50u)
#define DCISW REGISTER(0xE000EF60u)
#define CCSIDR REGISTER(0xE000ED80u)
#define CSSELR REGISTER(0xE000ED84u)

void cache_enable(void) {
  ICIALLU = 0;
  CSSELR = 0; /* level 1, data */
  __asm volatile("dsb" ::: "memory");
  const uint32_t shape = CCSIDR, ways = (shape >> 3 & 0x3FFu) + 1, sets = (shape >> 13 & 0x7FFFu) + 1;
  for (uint32_t set = 0; set < sets; set++) {
    for (uint32_t way = 0; way < ways; way++) {
      DCISW = way << 30 | set << 5; /* four ways, lines of 32 bytes */
    }
  }
  __asm volatile("dsb" ::: "memory");
  SCB_CCR |= SCB_CCR_IC | SCB_CCR_DC;
  __asm volatile("dsb\n isb" ::: "memory");
}
