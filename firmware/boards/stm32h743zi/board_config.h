/* Nucleo-H743ZI: UART on PD8, the virtual COM port of its ST-Link. */
#ifndef TINYSE_BOARD_CONFIG_H
#define TINYSE_BOARD_CONFIG_H

#define BOARD_NAME "stm32h743zi"
#define BOARD_CORE "cortex-m7"
#define BOARD_CLOCK_HZ 400000000u /* what every silicon revision reaches */
#define BOARD_INTERRUPTS 150
#define BOARD_UART 0x40004800u /* USART3 */

#endif /* TINYSE_BOARD_CONFIG_H */
