/* STM32F746G-Discovery: UART on PA9, the virtual COM port of its ST-Link. */
#ifndef TINYSE_BOARD_CONFIG_H
#define TINYSE_BOARD_CONFIG_H

#define BOARD_NAME "stm32f746g-disco"
#define BOARD_CORE "cortex-m7"
#define BOARD_CLOCK_HZ 216000000u
#define BOARD_INTERRUPTS 98
#define BOARD_UART 0x40011000u /* USART1 */

#endif /* TINYSE_BOARD_CONFIG_H */
