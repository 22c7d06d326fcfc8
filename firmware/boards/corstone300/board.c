#include "board.h"

#include <stdbool.h>

#include "cache.h"
#include "dwt.h"
#include "registers.h"
#include "tinyse.h"

#define UART 0x49303000u
#define UART_DATA REGISTER(UART + 0x00u)
#define UART_STATE REGISTER(UART + 0x04u)
#define UART_CTRL REGISTER(UART + 0x08u)
#define UART_BAUDDIV REGISTER(UART + 0x10u)
#define UART_FULL 1u
#define UART_CLOCK_HZ 25000000u
#define BAUD 115200u

#define COUNTER_CONTROL REGISTER(0x58100000u)
#define COUNTER_LOW REGISTER(0x58101000u)
#define COUNTER_HZ 32000000u

static bool cycles;

void board_init(void) {
  SCB_CCR |= SCB_CCR_LOB | SCB_CCR_BP;
#if TINYSE_BACKEND != TINYSE_BACKEND_NPU /* which shares the arena with the processor */
  cache_enable();
#endif
  UART_BAUDDIV = UART_CLOCK_HZ / BAUD;
  UART_CTRL = 1u; /* transmit */
  COUNTER_CONTROL |= 1u;
  cycles = dwt_start();
}

uint32_t board_ticks(void) { return cycles ? dwt_cycles() : COUNTER_LOW; }

const char *board_counter_name(void) { return cycles ? "dwt" : "system counter"; }

uint32_t board_counter_hz(void) { return cycles ? BOARD_CLOCK_HZ : COUNTER_HZ; }

void board_putc(char character) {
  while (UART_STATE & UART_FULL) {
  }
  UART_DATA = (uint32_t)(unsigned char)character;
}
