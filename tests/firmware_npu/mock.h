/* Included before ethosu.c: every register access goes through these. */
#include <stdint.h>

uint32_t mock_read(volatile uint32_t *base, uint32_t word);
void mock_write(volatile uint32_t *base, uint32_t word, uint32_t value);

#define TINYSE_ETHOSU_READ mock_read
#define TINYSE_ETHOSU_WRITE mock_write
