/* network_npu.c: the network as Vela compiled it, on whatever npu.h stands for. */
#include <string.h>

#include "network.h"
#include "npu.h"

#if !TINYSE_NPU
#error "model.h was not exported for an NPU: tinyse export --target ethos-u55-128, or build with BACKEND=cpu"
#endif

_Static_assert(TINYSE_INPUT_OFFSET <= TINYSE_ARENA_BYTES - TINYSE_INPUTS * sizeof(tinyse_input), "the input leaves the arena");
_Static_assert(TINYSE_OUTPUT_OFFSET <= TINYSE_ARENA_BYTES - TINYSE_OUTPUTS * sizeof(tinyse_output), "the output leaves the arena");
_Static_assert(TINYSE_ARENA_BYTES % TINYSE_ALIGNMENT == 0, "what follows the arena is aligned");

/* Region 2 follows the arena, is the arena, or (TINYSE_FAST_APART) is the NPU implementation's own. */
static tinyse_npu_job make_job(uint8_t *arena) {
  tinyse_npu_job job = {
      .payload = TINYSE_PAYLOAD, .payload_bytes = TINYSE_PAYLOAD_BYTES,
      .weights = TINYSE_WEIGHTS, .weights_bytes = TINYSE_WEIGHTS_BYTES,
      .arena = arena, .arena_bytes = TINYSE_ARENA_BYTES,
      .fast = arena, .fast_bytes = TINYSE_ARENA_BYTES,
  };
#if TINYSE_FAST_SCRATCH_BYTES
  job.fast_bytes = TINYSE_FAST_SCRATCH_BYTES;
#ifdef TINYSE_FAST_APART
  job.fast = NULL;
#else
  job.fast = arena + TINYSE_ARENA_BYTES;
#endif
#endif
  return job;
}

tinyse_status tinyse_network_init(void *arena, const tinyse_npu *npu) {
  if (!npu || !arena || (uintptr_t)arena % TINYSE_ARENA_ALIGNMENT) return TINYSE_ERROR_ARGUMENT;
  for (uint32_t i = 0; i < TINYSE_STATES; i++) {
    const tinyse_persistent *state = &tinyse_states[i];
    if (state->bytes > TINYSE_ARENA_BYTES) return TINYSE_ERROR_MODEL;
    if (state->offset > TINYSE_ARENA_BYTES - state->bytes) return TINYSE_ERROR_MODEL;
    if (state->element != 1 && state->element != 2) return TINYSE_ERROR_MODEL;
  }
  const tinyse_npu_job job = make_job(arena);
  return npu->open(npu->context, &job);
}

void tinyse_network_reset(void *arena) {
  for (uint32_t i = 0; i < TINYSE_STATES; i++) {
    const tinyse_persistent *state = &tinyse_states[i];
    uint8_t *values = (uint8_t *)arena + state->offset;
    const uint16_t zero = (uint16_t)state->zero_point;
    for (uint32_t byte = 0; byte < state->bytes; byte++) {
      values[byte] = (uint8_t)(zero >> 8 * (byte % state->element));
    }
  }
}

tinyse_status tinyse_network_run(void *arena, const tinyse_npu *npu, const tinyse_input feature[TINYSE_INPUTS],
                                 tinyse_output mask[TINYSE_OUTPUTS]) {
  const tinyse_npu_job job = make_job(arena);
  memcpy((uint8_t *)arena + TINYSE_INPUT_OFFSET, feature, TINYSE_INPUTS * sizeof *feature);
  const tinyse_status status = npu->run(npu->context, &job);
  if (status == TINYSE_OK) memcpy(mask, (const uint8_t *)arena + TINYSE_OUTPUT_OFFSET, TINYSE_OUTPUTS * sizeof *mask);
  return status;
}
