/* payload.h: the driver payload that Vela puts into a compiled file ("COP1"): for which NPU, and the command stream. */
#ifndef TINYSE_PAYLOAD_READER_H
#define TINYSE_PAYLOAD_READER_H

#include <stdint.h>

typedef struct tinyse_payload {
  uint32_t config; /* what the CONFIG register of the NPU must say */
  uint32_t id;     /* the architecture, as in the ID register */
  const uint8_t *stream;
  uint32_t stream_bytes;
} tinyse_payload;

/* Takes `bytes` bytes apart without reading beyond them. NULL, or what is wrong; `parsed` is then undefined. */
const char *tinyse_payload_parse(const uint8_t *payload, uint32_t bytes, tinyse_payload *parsed);

#endif /* TINYSE_PAYLOAD_READER_H */
