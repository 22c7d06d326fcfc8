#include "stack.h"

#define PAINT 0x5AC35AC3u

__attribute__((noinline)) void tinyse_stack_paint(void) {
  uint32_t pointer;
  __asm volatile("mov %0, sp" : "=r"(pointer));
  for (volatile uint32_t *word = tinyse_stack_bottom; (uintptr_t)word < pointer; word++) {
    *word = PAINT;
  }
}

uint32_t tinyse_stack_bytes(void) { return (uint32_t)((uintptr_t)tinyse_stack_top - (uintptr_t)tinyse_stack_bottom); }

uint32_t tinyse_stack_used(void) {
  const uint32_t *word = tinyse_stack_bottom;
  while (word < tinyse_stack_top && *word == PAINT) {
    word++;
  }
  return (uint32_t)((uintptr_t)tinyse_stack_top - (uintptr_t)word);
}
