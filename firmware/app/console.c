#include "console.h"

#include "board.h"

void console_text(const char *text) {
  while (*text) {
    board_putc(*text++);
  }
}

void console_hex(uint32_t value) {
  console_text("0x");
  for (int shift = 28; shift >= 0; shift -= 4) {
    board_putc("0123456789abcdef"[(value >> shift) & 15u]);
  }
}
