/* Smallest start on QEMU: everything lies where the loader puts it; files by semihosting, SysTick as the clock. */
#include "driver.h"
#include "semihosting.h"

int main(void);
extern uint32_t stack_top[];

#define REGISTER(address) (*(volatile uint32_t *)(address))

static void fault(void) { tinyse_semihost_exit(3); }

static void start(void) {
  REGISTER(0xE000ED88u) |= 0xFu << 20; /* CPACR: floating point and MVE */
  __asm volatile("dsb\n isb" ::: "memory");
  REGISTER(0xE000E014u) = 0xffffffu; /* SysTick: reload, value, on at the processor's clock */
  REGISTER(0xE000E018u) = 0;
  REGISTER(0xE000E010u) = 5;
  (void)main();
  tinyse_semihost_exit(0);
}

typedef union {
  void *stack;
  void (*handler)(void);
} vector;

__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    {.stack = stack_top}, {.handler = start}, {.handler = fault}, {.handler = fault},
    {.handler = fault}, {.handler = fault}, {.handler = fault}};

void load(void) {
  int32_t file = tinyse_semihost_open("in.bin", TINYSE_SEMIHOST_READ);
  if (file < 0 || tinyse_semihost_read(file, &job, sizeof job) != sizeof job) tinyse_semihost_exit(1);
  (void)tinyse_semihost_close(file);
}

void store(void) {
  int32_t file = tinyse_semihost_open("out.bin", TINYSE_SEMIHOST_WRITE);
  if (file < 0 || tinyse_semihost_write(file, &result, sizeof result) != sizeof result) tinyse_semihost_exit(1);
  (void)tinyse_semihost_close(file);
}

uint32_t tick(void) { return REGISTER(0xE000E018u); }
