/* board.h: what the application asks of a board; boards/<name>/ implements it. */
#ifndef TINYSE_BOARD_H
#define TINYSE_BOARD_H

#include <stdint.h>

#include "board_config.h" /* boards/<name>/: names, clock, NPU */

/* Clocks, caches, UART and the counter of board_ticks. Called once, before anything else of this file. */
void board_init(void);

/* Free-running, wraps at 2^32; differences are exact when taken within one period. */
uint32_t board_ticks(void);

/* What board_ticks counts, and its frequency: "dwt" are the core's cycles, anything else is wall time. */
const char *board_counter_name(void);
uint32_t board_counter_hz(void);

/* To the UART; waits for room. */
void board_putc(char character);

#endif /* TINYSE_BOARD_H */
