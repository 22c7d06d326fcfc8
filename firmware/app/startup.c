/* startup.c: vectors, and everything that must hold before main runs. */
#include <stdint.h>

#include "board_config.h"
#include "fault.h"
#include "registers.h"
#include "stack.h"

extern uint32_t tinyse_data_start[], tinyse_data_end[], tinyse_bss_start[], tinyse_bss_end[];
extern const uint32_t tinyse_data_load[];

typedef void (*tinyse_handler)(void);
extern const tinyse_handler tinyse_init_start[], tinyse_init_end[];

int main(void);
void tinyse_boot(void);
void tinyse_start(void);
void tinyse_default_handler(void);
void tinyse_npu_irq(void);

void tinyse_default_handler(void) { tinyse_fault_interrupt(); }

/* Overridden by a driver that waits for the NPU's interrupt. */
__attribute__((weak)) void tinyse_npu_irq(void) { tinyse_fault_interrupt(); }

#define SYSTEM_VECTORS 16

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" /* ranges */
#pragma GCC diagnostic ignored "-Woverride-init"
__attribute__((section(".vectors"), used)) static const tinyse_handler
vectors[SYSTEM_VECTORS + BOARD_INTERRUPTS] = {
  [0] = (tinyse_handler)(uintptr_t)tinyse_stack_top,
  [1] = tinyse_boot,
  [2 ... 7] = tinyse_fault_handler,
  [8 ... SYSTEM_VECTORS + BOARD_INTERRUPTS - 1] = tinyse_default_handler,
#ifdef BOARD_NPU_IRQ
  [SYSTEM_VECTORS + BOARD_NPU_IRQ] = tinyse_npu_irq,
#endif
};
#pragma GCC diagnostic pop

void tinyse_start(void) {
  SCB_VTOR = (uint32_t)(uintptr_t)vectors;
  SCB_CPACR |= 0xFu << 20; /* CP10 and CP11: floating point and MVE; before any such instruction */
  __asm volatile("dsb\n isb" ::: "memory");
  const uint32_t *from = tinyse_data_load;
  for (uint32_t *to = tinyse_data_start; to < tinyse_data_end;) {
    *to++ = *from++;
  }
  for (uint32_t *to = tinyse_bss_start; to < tinyse_bss_end;) {
    *to++ = 0;
  }
  tinyse_stack_paint();
  for (const tinyse_handler *make = tinyse_init_start; make < tinyse_init_end; make++) {
    (*make)();
  }
  (void)main();
  for (;;) {
  }
}

/* A debugger or a simulator may jump here without the stack pointer that the vector table holds. */
__attribute__((naked, used)) void tinyse_boot(void) {
  __asm volatile(
      "cpsid i\n"
#if defined(__ARM_ARCH) && __ARM_ARCH >= 8
      "movs r0, #0\n"
      "msr msplim, r0\n"
#endif
      "ldr r0, =tinyse_stack_top\n"
      "msr msp, r0\n"
#if defined(__ARM_ARCH) && __ARM_ARCH >= 8
      "ldr r0, =tinyse_stack_bottom\n"
      "msr msplim, r0\n"
#endif
      "cpsie i\n"
      "bl tinyse_start\n"
      "b .\n"
      ".ltorg\n");
}
