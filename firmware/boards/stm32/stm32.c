#include "stm32.h"

#include "board.h"
#include "dwt.h"
#include "registers.h"

#define BAUD 115200u
#define USART_ISR REGISTER(BOARD_UART + 0x1Cu)
#define USART_TDR REGISTER(BOARD_UART + 0x28u)
#define USART_ISR_TXE (1u << 7)

#define ICIALLU REGISTER(0xE000EF50u)
#define DCISW REGISTER(0xE000EF60u)
#define CCSIDR REGISTER(0xE000ED80u)
#define CSSELR REGISTER(0xE000ED84u)
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

void stm32_caches_enable(void) {
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
