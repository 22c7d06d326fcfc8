/* The parts of model.h on the simulator, through the co-simulation alone or (STANDIN) behind the real driver, on a register
 * block that plays the NPU and memory that it sees through a cache. frames.bin: the exit to stop at, the run that fails from 1 on
 * (0: none), frames a signal, and the frames, which are run twice, with a reset between. masks.bin: status, bits of the
 * parts that ran and the answer of every frame. A host program, or an image for QEMU. */
#define HARNESS_PARTS
#include "network_harness.c"

#include "cosim.h"
#include "network.h"

static struct {
  uint32_t at, fail, frames;
} head;
static tinyse_cosim cosim;
static tinyse_npu simulator;
static uint32_t runs;
static _Alignas(16) tinyse_input feature[TINYSE_INPUTS];
static _Alignas(16) tinyse_output mask[TINYSE_OUTPUTS];

/* The simulator, which fails when it is told to, and then leaves garbage. */
static tinyse_status simulate(const tinyse_npu_job *job) {
  if (++runs == head.fail) {
    memset(job->arena, 0xEE, job->arena_bytes);
    return TINYSE_ERROR_NPU;
  }
  return simulator.run(simulator.context, job);
}

#ifdef STANDIN

#include <stdlib.h>

#include "ethosu.h"
#include "mock.h"
#include "payload.h"

enum { ID = 0x0 / 4, STATUS = 0x4 / 4, CMD = 0x8 / 4, RESET = 0xC / 4, QBASE = 0x10 / 4, PROT = 0x24 / 4,
       CONFIG = 0x28 / 4, BASEP0 = 0x80 / 4, WORDS = 0x1000 / 4 };
enum { LINE = 32, MODEL_AT = 0x70000000, ARENA_AT = 0x31000010, ENDED = 0x22, BUS_ERROR = 0x06 };

/* `store` is what the CPU sees, `memory` what the NPU does; the arena begins in the middle of a line. */
static _Alignas(LINE) uint8_t store[LINE + TINYSE_NETWORK_BYTES + LINE], memory[sizeof store];
static uint8_t *const arena = store + LINE / 2;
static volatile uint32_t block[WORDS];
static tinyse_ethosu ethosu;

static uint64_t address(void *owner, const void *pointer) {
  const uint8_t *at = pointer;
  (void)owner;
  if (at >= store && at < store + sizeof store) return ARENA_AT + (uint64_t)(at - arena);
  return MODEL_AT + (uint64_t)(at - tinyse_model);
}

/* The lines that hold `bytes` bytes of the arena; nothing for the model. */
static uint32_t lines(const void *data, uint32_t bytes, uint32_t *first) {
  const uint8_t *at = data;
  if (at < store || at >= store + sizeof store) return 0;
  *first = (uint32_t)(at - store) / LINE * LINE;
  return ((uint32_t)(at - store) + bytes + LINE - 1) / LINE * LINE - *first;
}

static void clean(void *owner, const void *data, uint32_t bytes) {
  uint32_t first = 0;
  const uint32_t count = lines(data, bytes, &first);
  (void)owner;
  memcpy(memory + first, store + first, count);
}

static void invalidate(void *owner, void *data, uint32_t bytes) {
  uint32_t first = 0;
  const uint32_t count = lines(data, bytes, &first);
  (void)owner;
  memcpy(store + first, memory + first, count);
}

/* The part whose stream the queue is, in the memory that the base registers name. */
static void play(void) {
  tinyse_npu_job job = {.part = TINYSE_PARTS};
  for (uint32_t i = 0; i < TINYSE_PARTS; i++) {
    const tinyse_part *part = &tinyse_parts[i];
    tinyse_payload parsed;
    if (tinyse_payload_parse(tinyse_model + part->payload, part->payload_bytes, &parsed)) return;
    if (block[QBASE] != address(NULL, parsed.stream)) continue;
    const uint32_t fast = part->fast_bytes ? ARENA_AT + TINYSE_ARENA_BYTES + TINYSE_BLOCK_BYTES : ARENA_AT;
    if (block[BASEP0] != MODEL_AT + part->weights || block[BASEP0 + 2] != ARENA_AT || block[BASEP0 + 4] != fast) return;
    uint8_t *seen = memory + (arena - store);
    job = (tinyse_npu_job){.part = i, .arena = seen, .arena_bytes = part->arena_bytes};
    memset(seen + (fast - ARENA_AT), 0x77, part->fast_bytes);
  }
  if (job.part == TINYSE_PARTS) return;
  block[STATUS] = simulate(&job) == TINYSE_OK ? ENDED : BUS_ERROR;
}

uint32_t mock_read(volatile uint32_t *base, uint32_t word) { return base[word]; }

void mock_write(volatile uint32_t *base, uint32_t word, uint32_t value) {
  base[word] = value;
  if (word == RESET) {
    base[STATUS] = 0;
    base[PROT] = value;
  }
  if (word == CMD && value & 1u) play();
}

static tinyse_npu connect_npu(void) {
  tinyse_payload parsed;
  if (tinyse_payload_parse(tinyse_model + tinyse_parts[0].payload, tinyse_parts[0].payload_bytes, &parsed)) abort();
  block[ID] = parsed.id;
  block[CONFIG] = parsed.config;
  memset(memory, 0x3C, sizeof memory);
  tinyse_ethosu_init(&ethosu, block);
  ethosu.address = address;
  ethosu.clean = clean;
  ethosu.invalidate = invalidate;
  ethosu.turns = 10;
  for (uint32_t i = 0; i < TINYSE_PARTS; i++) { /* the driver's own `open` does not greet the simulator */
    const tinyse_part *part = &tinyse_parts[i];
    const tinyse_npu_job job = {.part = i, .payload = tinyse_model + part->payload,
                                .payload_bytes = part->payload_bytes, .weights = tinyse_model + part->weights,
                                .weights_bytes = part->weights_bytes, .arena_bytes = part->arena_bytes};
    if (simulator.open(simulator.context, &job) != TINYSE_OK) abort();
  }
  return tinyse_ethosu_npu(&ethosu);
}

#else

static _Alignas(TINYSE_ARENA_ALIGNMENT) uint8_t store[TINYSE_NETWORK_BYTES];
static uint8_t *const arena = store;

static tinyse_status run(void *context, const tinyse_npu_job *job) {
  (void)context;
  return simulate(job);
}

static tinyse_npu connect_npu(void) {
  tinyse_npu npu = simulator;
  npu.run = run;
  return npu;
}

#endif

int main(void) {
  stream in = open("frames.bin", 0), out = open("masks.bin", 1), times = open("ticks.bin", 1);
  tinyse_cosim_init(&cosim, "npu-request", "npu-reply");
  simulator = tinyse_cosim_npu(&cosim);
  memset(store, 0xA5, sizeof store);
  if (!read(in, &head, sizeof head)) return 1;
  const tinyse_npu npu = connect_npu();
  if (tinyse_network_init(arena, &npu) != TINYSE_OK) return 2;
  for (uint32_t frame = 0; frame < 2 * head.frames; frame++) {
    if (frame % head.frames == 0) tinyse_network_reset(arena);
    if (!read(in, feature, sizeof feature)) return 1;
    uint32_t said[2];
    said[0] = (uint32_t)tinyse_network_run(arena, &npu, head.at, feature, mask, &said[1]);
    write(out, said, sizeof said);
    write(out, mask, sizeof mask);
  }
  const uint32_t end = ticks();
  write(times, &end, sizeof end);
  close(in);
  close(out);
  close(times);
  return 0;
}
