/* reason.h: one-line messages without stdio. */
#ifndef TINYSE_REASON_H
#define TINYSE_REASON_H

#include <stdint.h>

#define TINYSE_REASON_BYTES 160

/* Always terminated; what does not fit is cut off. */
typedef struct tinyse_reason {
  char text[TINYSE_REASON_BYTES];
  uint32_t used;
} tinyse_reason;

static inline void reason_clear(tinyse_reason *reason) {
  reason->used = 0;
  reason->text[0] = '\0';
}

static inline void reason_text(tinyse_reason *reason, const char *text) {
  while (*text && reason->used + 1 < TINYSE_REASON_BYTES) reason->text[reason->used++] = *text++;
  reason->text[reason->used] = '\0';
}

static inline void reason_number(tinyse_reason *reason, uint32_t value, uint32_t base) {
  char digits[11];
  uint32_t place = sizeof digits;
  digits[--place] = '\0';
  do {
    digits[--place] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value);
  reason_text(reason, base == 16 ? "0x" : "");
  reason_text(reason, digits + place);
}

static inline void reason_decimal(tinyse_reason *reason, const char *label, uint32_t value) {
  reason_text(reason, label);
  reason_number(reason, value, 10);
}

static inline void reason_hex(tinyse_reason *reason, const char *label, uint32_t value) {
  reason_text(reason, label);
  reason_number(reason, value, 16);
}

#endif /* TINYSE_REASON_H */
