/* The driver on a mock register block that plays the NPU. Arguments: PAYLOAD [name=number ...]. Prints what happened,
 * a line each: writes, cache calls, status, reason and counts of every call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ethosu.h"
#include "mock.h"

enum { ID = 0x0 / 4, STATUS = 0x4 / 4, CMD = 0x8 / 4, RESET = 0xC / 4, QREAD = 0x18 / 4, PROT = 0x24 / 4,
       CONFIG = 0x28 / 4, PMCR = 0x180 / 4, SETS = 0x184 / 4, CYCLES = 0x1A0 / 4, EVENTS = 0x300 / 4,
       WORDS = 0x1000 / 4 };
enum { IRQ = 2, RESETTING = 8 };
/* Region 2: the arena, the driver's own, that beyond 32 bits, the job's, misaligned, missing. */
enum { NONE, OWN, OWN_HIGH, GIVEN, MISALIGNED, MISSING };

static struct {
  uint32_t config, id, status, turns, irq, runs, stuck, deny, fast, late, caches, qread;
} play = {.status = 0x22, .turns = 1000, .runs = 1, .qread = 44, .late = 3};

static volatile uint32_t block[WORDS];
static tinyse_ethosu ethosu;
static uint32_t resetting, running;
static _Alignas(16) uint8_t weights[64], arena[128], fast[32], apart[32];
static uint8_t *payload;

static void finish(void) {
  block[STATUS] = (block[STATUS] & ~1u) | play.status;
  block[QREAD] = play.qread;
  if (block[PMCR] & 1u && block[SETS] == 0x8000000Fu) {
    block[CYCLES] = 1000;
    block[CYCLES + 1] = 0xABCD0001u; /* the upper half is not the counter's */
    for (uint32_t i = 0; i < 4; i++) block[EVENTS + i] = block[0x380 / 4 + i] * 10;
  }
}

uint32_t mock_read(volatile uint32_t *base, uint32_t word) {
  if (word == STATUS && resetting && !play.stuck && --resetting == 0) base[STATUS] &= ~(uint32_t)RESETTING;
  if (word == STATUS && running && !play.irq && --running == 0) finish();
  return base[word];
}

void mock_write(volatile uint32_t *base, uint32_t word, uint32_t value) {
  printf("write %#x %#x\n", word * 4, value);
  base[word] = value;
  if (word == RESET) {
    memset((void *)(uintptr_t)base, 0, sizeof block);
    base[ID] = play.id;
    base[CONFIG] = play.config;
    base[PROT] = play.deny ? 0 : value;
    base[STATUS] = RESETTING;
    resetting = 3;
  }
  if (word == CMD && value & 1u) {
    base[STATUS] |= 1u;
    running = play.late;
  }
  if (word == CMD && value & 2u) base[STATUS] &= ~(uint32_t)IRQ;
}

static void wait_for_interrupt(void *owner) {
  (void)owner;
  tinyse_ethosu_irq(&ethosu); /* spurious at first: nothing is raised yet */
  if (running && --running == 0) {
    finish();
    tinyse_ethosu_irq(&ethosu);
    tinyse_ethosu_irq(&ethosu); /* late: must not spoil what was kept */
  }
}

static uint64_t address(void *owner, const void *pointer) {
  const uint8_t *at = pointer;
  (void)owner;
  if (at == weights) return 0x71000000u;
  if (at == arena) return 0x31000000u;
  if (at >= fast && at < fast + sizeof fast) return 0x32000000u + (uint64_t)(at - fast);
  if (at == apart) return play.fast == OWN_HIGH ? 0x1200000000u : 0x33000000u;
  return 0x70000000u + (uint64_t)(at - payload);
}

static void clean(void *owner, const void *data, uint32_t bytes) {
  (void)owner;
  printf("clean %#llx %u\n", (unsigned long long)address(NULL, data), bytes);
}

static void invalidate(void *owner, void *data, uint32_t bytes) {
  (void)owner;
  printf("invalidate %#llx %u\n", (unsigned long long)address(NULL, data), bytes);
}

static void set_option(const char *text) {
  static const struct { const char *name; uint32_t *value; } options[] = {
      {"config", &play.config}, {"id", &play.id}, {"status", &play.status}, {"turns", &play.turns},
      {"irq", &play.irq}, {"runs", &play.runs}, {"stuck", &play.stuck}, {"deny", &play.deny},
      {"fast", &play.fast}, {"late", &play.late}, {"caches", &play.caches}, {"qread", &play.qread}};
  const size_t length = strcspn(text, "=");
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    if (strlen(options[i].name) == length && memcmp(options[i].name, text, length) == 0) {
      *options[i].value = (uint32_t)strtoul(text + length + 1, NULL, 0);
      return;
    }
  }
  abort();
}

static void report(const tinyse_npu *npu, const char *call, tinyse_status status) {
  tinyse_npu_counts c;
  npu->counts(npu->context, &c);
  printf("%s %d %s\n", call, (int)status, npu->reason(npu->context));
  printf("counts %llu %llu %llu %llu %llu %llu\n", (unsigned long long)c.runs, (unsigned long long)c.cycles,
         (unsigned long long)c.active, (unsigned long long)c.axi0_read, (unsigned long long)c.axi0_write,
         (unsigned long long)c.axi1_read);
}

int main(int count, char **arguments) {
  FILE *file = fopen(arguments[1], "rb");
  payload = aligned_alloc(16, 1 << 20);
  if (!file || !payload) return 1;
  const uint32_t bytes = (uint32_t)fread(payload, 1, 1 << 20, file);
  fclose(file);
  for (int i = 2; i < count; i++) set_option(arguments[i]);
  block[ID] = play.id;
  block[CONFIG] = play.config;

  tinyse_ethosu_init(&ethosu, block);
  ethosu.address = address;
  ethosu.turns = play.turns;
  if (play.irq) ethosu.wait = wait_for_interrupt;
  if (play.caches) {
    ethosu.clean = clean;
    ethosu.invalidate = invalidate;
  }
  if (play.fast) ethosu.arena_port = 1;
  if (play.fast == OWN || play.fast == OWN_HIGH) ethosu.fast = apart;
  tinyse_npu npu = tinyse_ethosu_npu(&ethosu);
  printf("name %s\n", npu.name);
  uint8_t *const region_2[] = {arena, NULL, NULL, fast, fast + 8, NULL};
  const tinyse_npu_job job = {.payload = payload, .payload_bytes = bytes, .weights = weights, .weights_bytes = 64,
                              .arena = arena, .arena_bytes = 128, .fast = region_2[play.fast],
                              .fast_bytes = play.fast ? 32 : 128};
  tinyse_status status = npu.open(npu.context, &job);
  report(&npu, "open", status);
  for (uint32_t i = 0; status == TINYSE_OK && i < play.runs; i++) report(&npu, "run", npu.run(npu.context, &job));
  npu.clear(npu.context);
  report(&npu, "clear", TINYSE_OK);
  free(payload);
  return 0;
}
