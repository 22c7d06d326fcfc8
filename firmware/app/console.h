/* console.h: text to the UART. */
#ifndef TINYSE_CONSOLE_H
#define TINYSE_CONSOLE_H

#include <stdint.h>

void console_text(const char *text);
void console_hex(uint32_t value);

#endif /* TINYSE_CONSOLE_H */
