/* Parses payloads from stdin, one after another: 32-bit length, bytes. Answers a line each. */
#include <stdio.h>
#include <stdlib.h>

#include "payload.h"

int main(void) {
  uint32_t length;
  while (fread(&length, sizeof length, 1, stdin) == 1) {
    uint8_t *data = malloc(length ? length : 1); /* exact, so that ASan sees one byte too many; 16-byte aligned */
    if (!data || (length && fread(data, length, 1, stdin) != 1)) return 1;
    tinyse_payload parsed;
    const char *wrong = tinyse_payload_parse(data, length, &parsed);
    uint32_t sum = 0;
    for (uint32_t i = 0; !wrong && i < parsed.stream_bytes; i++) sum += parsed.stream[i];
    if (wrong) printf("%s\n", wrong);
    else printf("ok %#x %#x %u %u %u\n", parsed.config, parsed.id, (unsigned)(parsed.stream - data),
                parsed.stream_bytes, sum);
    fflush(stdout);
    free(data);
  }
  return 0;
}
