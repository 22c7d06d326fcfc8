#include "fault.h"

#include <stdbool.h>
#include <stdint.h>

#include "console.h"
#include "registers.h"
#include "semihosting.h"
#include "stack.h"

#define SEMIHOSTING_BKPT 0xBEABu
#define HFSR_DEBUGEVT (1u << 31) /* QEMU leaves it clear */
#define STACK_OVERFLOW (1u << 20)

void tinyse_fault(uint32_t *frame);

static bool alone; /* no host has answered */

/* What the processor pushed: r0-r3, r12, lr, pc, xpsr. */
enum { FRAME_R0 = 0, FRAME_PC = 6 };

static _Noreturn void stop(void) {
  console_text("\n\004");
  if (!alone) tinyse_semihost_exit(TINYSE_EXIT_FAULT); /* which from here would lock the processor up */
  for (;;) {
  }
}

static const char *cause(uint32_t status) {
  if (status & STACK_OVERFLOW) return "stack overflow";
  if (status & (1u << 16)) return "undefined instruction";
  if (status & (1u << 24)) return "unaligned access";
  if (status & (1u << 25)) return "division by zero";
  if (status & 0xFFFF0000u) return "usage fault";
  if (status & 0xFF00u) return "bus fault";
  if (status & 0xFFu) return "memory protection fault";
  return "hard fault";
}

__attribute__((used)) void tinyse_fault(uint32_t *frame) {
  const uint32_t status = SCB_CFSR;
  if (!status && *(const uint16_t *)(uintptr_t)frame[FRAME_PC] == SEMIHOSTING_BKPT) {
    SCB_HFSR = HFSR_DEBUGEVT;
    alone = true;
    frame[FRAME_R0] = UINT32_MAX;
    frame[FRAME_PC] += 2;
    return;
  }
#if defined(__ARM_ARCH) && __ARM_ARCH >= 8
  __asm volatile("msr msplim, %0" ::"r"(0));
#endif
  console_text("tinyse: fault: ");
  console_text(cause(status));
  if (!(status & STACK_OVERFLOW)) { /* which leaves no frame */
    console_text(" at ");
    console_hex(frame[FRAME_PC]);
  }
  console_text(", CFSR ");
  console_hex(status);
  if (status & (1u << 15)) {
    console_text(", address ");
    console_hex(SCB_BFAR);
  } else if (status & (1u << 7)) {
    console_text(", address ");
    console_hex(SCB_MMFAR);
  }
  stop();
}

void tinyse_fault_interrupt(void) {
  uint32_t number;
  __asm volatile("mrs %0, ipsr" : "=r"(number));
  console_text("tinyse: fault: unexpected exception ");
  console_hex(number);
  stop();
}

/* An overflow leaves the pointer at the limit, without room for the handler itself. */
__attribute__((naked)) void tinyse_fault_handler(void) {
  __asm volatile(
      "mrs r0, msp\n"
#if defined(__ARM_ARCH) && __ARM_ARCH >= 8
      "ldr r1, =0xE000ED28\n"
      "ldr r1, [r1]\n"
      "tst r1, #0x100000\n"
      "beq 1f\n"
      "ldr r1, =tinyse_stack_top\n"
      "msr msp, r1\n"
      "1:\n"
#endif
      "push {r0, lr}\n"
      "bl tinyse_fault\n"
      "pop {r0, pc}\n"
      ".ltorg\n");
}
