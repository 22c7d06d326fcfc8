#include "board.h"

#include "registers.h"

#define UART 0x40004000u
#define UART_DATA REGISTER(UART + 0x00u)
#define UART_STATE REGISTER(UART + 0x04u)
#define UART_CTRL REGISTER(UART + 0x08u)
#define UART_BAUDDIV REGISTER(UART + 0x10u)
#define UART_FULL 1u
#define BAUD 115200u

/* CMSDK timer 0: counts down at the system clock. */
#define TIMER 0x40000000u
#define TIMER_CTRL REGISTER(TIMER + 0x00u)
#define TIMER_VALUE REGISTER(TIMER + 0x04u)
#define TIMER_RELOAD REGISTER(TIMER + 0x08u)

void board_init(void) {
  SCB_CCR |= SCB_CCR_BP;
  UART_BAUDDIV = BOARD_CLOCK_HZ / BAUD;
  UART_CTRL = 1u; /* transmit */
  TIMER_RELOAD = UINT32_MAX;
  TIMER_VALUE = UINT32_MAX;
  TIMER_CTRL = 1u;
}

uint32_t board_ticks(void) { return UINT32_MAX - TIMER_VALUE; }

const char *board_counter_name(void) { return "timer"; }

uint32_t board_counter_hz(void) { return BOARD_CLOCK_HZ; }

void board_putc(char character) {
  while (UART_STATE & UART_FULL) {
  }
  UART_DATA = (uint32_t)(unsigned char)character;
}
