/* stm32.h: what the two STM32 boards share. */
#ifndef TINYSE_STM32_H
#define TINYSE_STM32_H

#include <stdint.h>

/* Registers by their address and name in RM0385 (STM32F7) and RM0433 (STM32H7). */
#define GPIO_MODER(base) REGISTER((base) + 0x00u)
#define GPIO_AFRH(base) REGISTER((base) + 0x24u)

/* A transmitter, 8N1 at 115200, on a pin that is set up; `clock_hz` is the USART's. */
void stm32_uart_init(uint32_t base, uint32_t clock_hz);

/* Pin 8 to 15 of a port as an alternate function. */
void stm32_pin_alternate(uint32_t port, uint32_t pin, uint32_t function);

/* Wait until (value & mask) == wanted, not for ever. */
int stm32_wait(volatile uint32_t *value, uint32_t mask, uint32_t wanted);

#endif /* TINYSE_STM32_H */
