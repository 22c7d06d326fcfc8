#include "stm32.h"

#include "board.h"
#include "dwt.h"
#include "registers.h"

#define BAUD 115200u
#define USART_ISR REGISTER(BOARD_UART + 0x1Cu)
#define USART_TDR REGISTER(BOARD_UART + 0x28u)
#define USART_ISR_TXE (1u << 7)

#define WAIT_TURNS 1000000u

void stm32_uart_init(uint32_t base, uint32_t clock_hz) {
  REGISTER(base + 0x0Cu) = (clock_hz + BAUD / 2) / BAUD; /* BRR */
  REGISTER(base + 0x00u) = 1u << 3 | 1u;                 /* CR1: TE, UE */
}

void stm32_pin_alternate(uint32_t port, uint32_t pin, uint32_t function) {
  const uint32_t mode = 2 * pin, select = 4 * (pin - 8);
  GPIO_AFRH(port) = (GPIO_AFRH(port) & ~(15u << select)) | function << select;
  GPIO_MODER(port) = (GPIO_MODER(port) & ~(3u << mode)) | 2u << mode;
}

int stm32_wait(volatile uint32_t *value, uint32_t mask, uint32_t wanted) {
  for (uint32_t turn = 0; turn < WAIT_TURNS; turn++) {
    if ((*value & mask) == wanted) return 1;
  }
  return 0;
}

uint32_t board_ticks(void) { return dwt_cycles(); }

const char *board_counter_name(void) { return "dwt"; }

uint32_t board_counter_hz(void) { return BOARD_CLOCK_HZ; }

void board_putc(char character) {
  while (!(USART_ISR & USART_ISR_TXE)) {
  }
  USART_TDR = (uint32_t)(unsigned char)character;
}
