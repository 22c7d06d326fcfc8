/* network_npu.c: the network's parts as Vela compiled them, on whatever npu.h stands for; model.h says when each runs. */
#include <string.h>

#include "network.h"
#include "npu.h"

#if !TINYSE_NPU
#error "model.h was not exported for an NPU: tinyse export --target ethos-u55-128, or build with BACKEND=cpu"
#endif

#define KEPT_BYTES (TINYSE_ARENA_BYTES + TINYSE_BLOCK_BYTES)

_Static_assert(TINYSE_INPUT_OFFSET <= KEPT_BYTES - TINYSE_INPUTS * sizeof(tinyse_input), "the input leaves the arena");
_Static_assert(TINYSE_OUTPUT_OFFSET <= KEPT_BYTES - TINYSE_OUTPUTS * sizeof(tinyse_output), "the output leaves the arena");
_Static_assert(TINYSE_ARENA_BYTES % TINYSE_ALIGNMENT == 0, "what follows the arena is aligned");
_Static_assert(TINYSE_BLOCK_BYTES % TINYSE_ALIGNMENT == 0, "what follows the block is aligned");

/* Region 2 follows the block, is the arena, or (TINYSE_FAST_APART) is the NPU implementation's own. */
static tinyse_npu_job make_job(uint8_t *arena, uint32_t index) {
  const tinyse_part *part = &tinyse_parts[index];
  tinyse_npu_job job = {
      .part = index,
      .payload = tinyse_model + part->payload, .payload_bytes = part->payload_bytes,
      .weights = tinyse_model + part->weights, .weights_bytes = part->weights_bytes,
      .arena = arena, .arena_bytes = part->arena_bytes,
      .fast = arena, .fast_bytes = part->arena_bytes,
  };
  if (part->fast_bytes) {
    job.fast_bytes = part->fast_bytes;
#ifdef TINYSE_FAST_APART
    job.fast = NULL;
#else
    job.fast = arena + KEPT_BYTES;
#endif
  }
  return job;
}

static int within(uint32_t offset, uint32_t bytes, uint32_t size) { return bytes <= size && offset <= size - bytes; }

static int moves_fit(const tinyse_move *moves, uint32_t count, uint32_t arena_bytes) {
  for (uint32_t i = 0; i < count; i++) {
    const tinyse_move *move = &moves[i];
    if (!within(move->arena, move->bytes, arena_bytes) || !within(move->block, move->bytes, KEPT_BYTES)) return 0;
    if (move->block < TINYSE_ARENA_BYTES) return 0;
  }
  return 1;
}

static int part_fits(const tinyse_part *part) {
  return part->arena_bytes <= TINYSE_ARENA_BYTES && part->fast_bytes <= TINYSE_FAST_SCRATCH_BYTES &&
         within(part->payload, part->payload_bytes, TINYSE_MODEL_BYTES) &&
         within(part->weights, part->weights_bytes, TINYSE_MODEL_BYTES) &&
         moves_fit(part->before, part->befores, part->arena_bytes) &&
         moves_fit(part->after, part->afters, part->arena_bytes);
}

tinyse_status tinyse_network_init(void *arena, const tinyse_npu *npu) {
  if (!npu || !arena || (uintptr_t)arena % TINYSE_ARENA_ALIGNMENT) return TINYSE_ERROR_ARGUMENT;
  for (uint32_t i = 0; i < TINYSE_STATES; i++) {
    const tinyse_persistent *state = &tinyse_states[i];
    if (!within(state->offset, state->bytes, KEPT_BYTES)) return TINYSE_ERROR_MODEL;
    if (state->element != 1 && state->element != 2) return TINYSE_ERROR_MODEL;
  }
  tinyse_status status = TINYSE_OK;
  for (uint32_t i = 0; i < TINYSE_PARTS && status == TINYSE_OK; i++) {
    if (!part_fits(&tinyse_parts[i])) return TINYSE_ERROR_MODEL;
    const tinyse_npu_job job = make_job(arena, i);
    status = npu->open(npu->context, &job);
  }
  return status;
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

/* A part that fails leaves what it would have written to the block as it was. */
static tinyse_status run_part(uint8_t *arena, const tinyse_npu *npu, uint32_t index, uint32_t *ran) {
  const tinyse_part *part = &tinyse_parts[index];
  const tinyse_npu_job job = make_job(arena, index);
  for (uint32_t i = 0; i < part->befores; i++) {
    memcpy(arena + part->before[i].arena, arena + part->before[i].block, part->before[i].bytes);
  }
  const tinyse_status status = npu->run(npu->context, &job);
  if (status != TINYSE_OK) return status;
  for (uint32_t i = 0; i < part->afters; i++) {
    memcpy(arena + part->after[i].block, arena + part->after[i].arena, part->after[i].bytes);
  }
  *ran |= 1u << index;
  return TINYSE_OK;
}

#if TINYSE_EXIT || TINYSE_ROUTE
/* One int8 or int16 of the block. */
static int32_t value(const uint8_t *arena, uint32_t offset, uint32_t bytes) {
  if (bytes == 1) return (int8_t)arena[offset];
  int16_t wide;
  memcpy(&wide, arena + offset, sizeof wide);
  return wide;
}
#endif

static const uint32_t needs[TINYSE_EXITS] = TINYSE_NEEDS; /* bits of the parts that each exit needs */

#if TINYSE_ROUTE
/* The parts that the exit needs which part 0 chose; of equal values the first. */
static uint32_t routed(const uint8_t *arena) {
  uint32_t chosen = 0;
  for (uint32_t i = 1; i < TINYSE_CHOICES; i++) {
    const uint32_t at = TINYSE_CHOICE_OFFSET + i * TINYSE_CHOICE_BYTES;
    const uint32_t best = TINYSE_CHOICE_OFFSET + chosen * TINYSE_CHOICE_BYTES;
    if (value(arena, at, TINYSE_CHOICE_BYTES) > value(arena, best, TINYSE_CHOICE_BYTES)) chosen = i;
  }
  return needs[TINYSE_EXITS - TINYSE_CHOICES + chosen];
}
#elif TINYSE_EXIT
/* Whether the frame ends with this part. */
static int sure(const uint8_t *arena, uint32_t index) {
  const tinyse_part *part = &tinyse_parts[index];
  return part->score_bytes && value(arena, part->score, part->score_bytes) >= TINYSE_EXIT_THRESHOLD;
}
#endif

static tinyse_status run_parts(uint8_t *arena, const tinyse_npu *npu, uint32_t at, uint32_t *ran) {
  uint32_t due = at ? needs[at - 1] : TINYSE_PLANNED;
  for (uint32_t i = 0; i < TINYSE_PARTS; i++) {
    if (!(due >> i & 1u)) continue;
    const tinyse_status status = run_part(arena, npu, i, ran);
    if (status != TINYSE_OK) return status;
#if TINYSE_ROUTE
    if (!at && i == 0) due |= routed(arena);
#elif TINYSE_EXIT
    if (!at && sure(arena, i)) break;
#endif
  }
  return TINYSE_OK;
}

tinyse_status tinyse_network_run(void *arena, const tinyse_npu *npu, uint32_t at,
                                 const tinyse_input feature[TINYSE_INPUTS], tinyse_output mask[TINYSE_OUTPUTS],
                                 uint32_t *ran) {
  uint8_t *bytes = arena;
  memcpy(bytes + TINYSE_INPUT_OFFSET, feature, TINYSE_INPUTS * sizeof *feature);
  *ran = 0;
  const tinyse_status status = run_parts(bytes, npu, at, ran);
  if (status == TINYSE_OK) memcpy(mask, bytes + TINYSE_OUTPUT_OFFSET, TINYSE_OUTPUTS * sizeof *mask);
  return status;
}
