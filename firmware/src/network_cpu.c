/* network_cpu.c: the network on the processor: the frame in, the emitted parts, the mask out. */
#include "network.h"

#include <string.h>

_Static_assert(TINYSE_PACKED_INPUT_BYTES == TINYSE_INPUTS * sizeof(tinyse_input), "the network takes the features");
_Static_assert(TINYSE_PACKED_RESULT_BYTES == TINYSE_OUTPUTS * sizeof(tinyse_output), "the network gives the result");

tinyse_status tinyse_network_init(void *arena, const struct tinyse_npu *npu) {
  (void)npu;
  return arena == NULL || (uintptr_t)arena % TINYSE_ARENA_ALIGNMENT != 0 ? TINYSE_ERROR_ARGUMENT : TINYSE_OK;
}

void tinyse_network_reset(void *arena) { tinyse_parts_reset(arena); }

tinyse_status tinyse_network_run(void *arena, const struct tinyse_npu *npu, uint32_t at,
                                 const tinyse_input feature[TINYSE_INPUTS], tinyse_output mask[TINYSE_OUTPUTS],
                                 uint32_t *ran) {
  (void)npu;
  uint8_t *bytes = arena;
  memcpy(bytes + TINYSE_PACKED_INPUT, feature, TINYSE_PACKED_INPUT_BYTES);
  *ran = tinyse_parts_run(bytes, at);
  memcpy(mask, bytes + TINYSE_PACKED_RESULT, TINYSE_PACKED_RESULT_BYTES);
  return TINYSE_OK;
}
