#include "payload.h"

#include <stdbool.h>
#include <stddef.h>

#define FOURCC 0x31504F43u /* "COP1" */
#define STREAM_ALIGNMENT 16u

/* Driver actions: the low byte of a tag word. */
enum { ACTION_CONFIG = 1, ACTION_STREAM = 2, ACTION_NOP = 5 };

static uint32_t word(const uint8_t *bytes, uint32_t index) {
  const uint8_t *at = bytes + 4 * (size_t)index;
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

const char *tinyse_payload_parse(const uint8_t *payload, uint32_t bytes, tinyse_payload *parsed) {
  const uint32_t words = bytes / 4;
  bool configured = false, streamed = false;
  if (!payload || words == 0 || word(payload, 0) != FOURCC) return "the driver payload does not begin with COP1";
  for (uint32_t place = 1; place < words;) {
    const uint32_t tag = word(payload, place++);
    const uint32_t length = tag >> 16 | (tag >> 8 & 0xFFu) << 16;
    switch (tag & 0xFFu) {
      case ACTION_NOP:
        break;
      case ACTION_CONFIG:
        if (configured || words - place < 2) return "the driver payload's configuration is damaged";
        parsed->config = word(payload, place);
        parsed->id = word(payload, place + 1);
        place += 2;
        configured = true;
        break;
      case ACTION_STREAM:
        if (!configured) return "the command stream does not say for which NPU it is";
        if (streamed) return "the driver payload holds two command streams";
        if (length == 0 || length > words - place) return "the command stream is cut short";
        parsed->stream = payload + 4 * (size_t)place;
        parsed->stream_bytes = 4 * length;
        if ((uintptr_t)parsed->stream % STREAM_ALIGNMENT) return "the command stream is not 16-byte aligned";
        place += length;
        streamed = true;
        break;
      default:
        return "the driver payload holds an unknown action";
    }
  }
  return streamed ? NULL : "the driver payload holds no command stream";
}
