#include "ethosu.h"

#include <string.h>

#include "ethosu_registers.h"
#include "payload.h"

#define RESET_TURNS 100000u
#define WAIT_TURNS 100000000u
#define ADDRESS_BITS_U55 32
#define ADDRESS_BITS_U65 40
#define ALIGNMENT 16u
#define REGIONS 3u
#define READS 32u /* outstanding, of each port counter: what Arm's driver sets for both products */
#define WRITES 16u
#define LIMITS 4u
#define EVENTS 4u
#define WORD 4u
#define STATUS_FAULTS \
  (ETHOSU_FIELD_STATUS_BUS_STATUS | ETHOSU_FIELD_STATUS_CMD_PARSE_ERROR | ETHOSU_FIELD_STATUS_WD_FAULT | \
   ETHOSU_FIELD_STATUS_ECC_FAULT)
#define CMD_MAY_SLEEP (ETHOSU_FIELD_CMD_CLOCK_Q_ENABLE | ETHOSU_FIELD_CMD_POWER_Q_ENABLE)
#define PMU_ALL \
  (ETHOSU_FIELD_PMCNTENSET_CYCLE_CNT | ETHOSU_FIELD_PMCNTENSET_EVENT_CNT_0 | ETHOSU_FIELD_PMCNTENSET_EVENT_CNT_1 | \
   ETHOSU_FIELD_PMCNTENSET_EVENT_CNT_2 | ETHOSU_FIELD_PMCNTENSET_EVENT_CNT_3)

static const uint32_t events[EVENTS] = {ETHOSU_EVENT_NPU_ACTIVE, ETHOSU_EVENT_AXI0_RD_DATA_BEAT_RECEIVED,
                                        ETHOSU_EVENT_AXI0_WR_DATA_BEAT_WRITTEN,
                                        ETHOSU_EVENT_AXI1_RD_DATA_BEAT_RECEIVED};

/* So that a test can watch every access. */
#ifndef TINYSE_ETHOSU_READ
#define TINYSE_ETHOSU_READ(base, word) ((base)[word])
#define TINYSE_ETHOSU_WRITE(base, word, value) ((base)[word] = (value))
#endif

/* The address in both forms: the CPU's for the caches, the NPU's for the registers. */
typedef struct region {
  uint8_t *data;
  uint32_t bytes;
  uint64_t address;
} region;

static uint32_t get(const tinyse_ethosu *ethosu, uint32_t offset) {
  return TINYSE_ETHOSU_READ(ethosu->base, offset / WORD);
}

static void set(const tinyse_ethosu *ethosu, uint32_t offset, uint32_t value) {
  TINYSE_ETHOSU_WRITE(ethosu->base, offset / WORD, value);
}

static uint32_t field(uint32_t word, uint32_t mask) { return (word & mask) / (mask & (~mask + 1u)); }

static uint32_t as_field(uint32_t value, uint32_t mask) { return value * (mask & (~mask + 1u)); }

static tinyse_status fail(tinyse_ethosu *ethosu, tinyse_status status, const char *text) {
  reason_clear(&ethosu->reason);
  reason_text(&ethosu->reason, text);
  return status;
}

static uint64_t npu_address(const tinyse_ethosu *ethosu, const void *pointer) {
  return ethosu->address ? ethosu->address(ethosu->owner, pointer) : (uint64_t)(uintptr_t)pointer;
}

static void clean(const tinyse_ethosu *ethosu, const void *data, uint32_t bytes) {
  if (ethosu->clean) ethosu->clean(ethosu->owner, data, bytes);
}

static void barrier(void) {
#ifdef __arm__
  __asm volatile("dsb" ::: "memory");
#else
  __asm volatile("" ::: "memory");
#endif
}

static tinyse_status check_identity(tinyse_ethosu *ethosu, const tinyse_payload *payload) {
  const uint32_t id = get(ethosu, ETHOSU_REG_ID), config = get(ethosu, ETHOSU_REG_CONFIG);
  if (id == 0 || id == UINT32_MAX) return fail(ethosu, TINYSE_ERROR_NPU, "no Ethos-U answers at its base address");
  const uint32_t same = ETHOSU_FIELD_CONFIG_PRODUCT | ETHOSU_FIELD_CONFIG_MACS_PER_CC |
                        ETHOSU_FIELD_CONFIG_CMD_STREAM_VERSION;
  const uint32_t major = ETHOSU_FIELD_ID_ARCH_MAJOR_REV, minor = ETHOSU_FIELD_ID_ARCH_MINOR_REV;
  if (((config ^ payload->config) & same) != 0) {
    fail(ethosu, TINYSE_ERROR_MODEL, "the model is for another NPU: ethos-u");
    reason_decimal(&ethosu->reason, field(payload->config, ETHOSU_FIELD_CONFIG_PRODUCT) ? "65-" : "55-",
                   1u << field(payload->config, ETHOSU_FIELD_CONFIG_MACS_PER_CC));
    reason_decimal(&ethosu->reason, field(config, ETHOSU_FIELD_CONFIG_PRODUCT) ? ", this is ethos-u65-"
                                                                                : ", this is ethos-u55-",
                   1u << field(config, ETHOSU_FIELD_CONFIG_MACS_PER_CC));
    reason_hex(&ethosu->reason, " (configuration ", payload->config);
    reason_hex(&ethosu->reason, ", ", config);
    reason_text(&ethosu->reason, ")");
    return TINYSE_ERROR_MODEL;
  }
  if (field(id, major) != field(payload->id, major) || field(id, minor) < field(payload->id, minor)) {
    fail(ethosu, TINYSE_ERROR_MODEL, "the model is for another NPU architecture");
    reason_hex(&ethosu->reason, ": ", payload->id);
    reason_hex(&ethosu->reason, ", this is ", id);
    return TINYSE_ERROR_MODEL;
  }
  return TINYSE_OK;
}

static tinyse_status reset(tinyse_ethosu *ethosu) {
  const uint32_t access = (ethosu->unprivileged ? 0u : ETHOSU_FIELD_RESET_PENDING_CPL) |
                          (ethosu->non_secure ? ETHOSU_FIELD_RESET_PENDING_CSL : 0u);
  set(ethosu, ETHOSU_REG_RESET, access);
  for (uint32_t turn = 0; get(ethosu, ETHOSU_REG_STATUS) & ETHOSU_FIELD_STATUS_RESET_STATUS; turn++) {
    if (turn == RESET_TURNS) return fail(ethosu, TINYSE_ERROR_NPU, "the NPU does not come out of reset");
  }
  /* PROT holds the two bits where RESET has them. */
  const uint32_t mask = ETHOSU_FIELD_PROT_ACTIVE_CPL | ETHOSU_FIELD_PROT_ACTIVE_CSL;
  if ((get(ethosu, ETHOSU_REG_PROT) & mask) != access) {
    return fail(ethosu, TINYSE_ERROR_NPU, "the NPU refuses the security or privilege level");
  }
  return TINYSE_OK;
}

/* The command queue comes with the weights. Each port has two counters of outstanding transactions. */
static void configure_ports(const tinyse_ethosu *ethosu) {
  const uint32_t weights = ethosu->weights_port ? ETHOSU_PORT_COUNTERS_AXI1 : ETHOSU_PORT_COUNTERS_AXI0;
  const uint32_t arena = ethosu->arena_port ? ETHOSU_PORT_COUNTERS_AXI1 : ETHOSU_PORT_COUNTERS_AXI0;
  const uint32_t fast = ethosu->fast_port ? ETHOSU_PORT_COUNTERS_AXI1 : ETHOSU_PORT_COUNTERS_AXI0;
  set(ethosu, ETHOSU_REG_QCONFIG, weights);
  set(ethosu, ETHOSU_REG_REGIONCFG,
      as_field(weights + 1u, ETHOSU_FIELD_REGIONCFG_REGION0) | as_field(arena, ETHOSU_FIELD_REGIONCFG_REGION1) |
          as_field(fast + 1u, ETHOSU_FIELD_REGIONCFG_REGION2));
  for (uint32_t i = 0; i < LIMITS; i++) {
    set(ethosu, ETHOSU_REG_AXI_LIMIT0 + WORD * i,
        as_field(READS - 1u, ETHOSU_FIELD_AXI_LIMIT0_MAX_OUTSTANDING_READ_M1) |
            as_field(WRITES - 1u, ETHOSU_FIELD_AXI_LIMIT0_MAX_OUTSTANDING_WRITE_M1));
  }
}

static void configure_pmu(const tinyse_ethosu *ethosu) {
  for (uint32_t i = 0; i < EVENTS; i++) set(ethosu, ETHOSU_REG_PMEVTYPER0 + WORD * i, events[i]);
  set(ethosu, ETHOSU_REG_PMCNTENSET, PMU_ALL);
}

static void collect_counts(tinyse_ethosu *ethosu) {
  tinyse_npu_counts *counts = &ethosu->counts;
  uint64_t *values[EVENTS] = {&counts->active, &counts->axi0_read, &counts->axi0_write, &counts->axi1_read};
  const uint32_t high = get(ethosu, ETHOSU_REG_PMCCNTR_HI) & ETHOSU_FIELD_PMCCNTR_HI_CYCLE_CNT_HI;
  counts->runs++;
  counts->cycles += (uint64_t)high << 32 | get(ethosu, ETHOSU_REG_PMCCNTR_LO);
  for (uint32_t i = 0; i < EVENTS; i++) *values[i] += get(ethosu, ETHOSU_REG_PMEVCNTR0 + WORD * i);
}

static void set_address(const tinyse_ethosu *ethosu, uint32_t low, uint64_t address) {
  set(ethosu, low, (uint32_t)address);
  set(ethosu, low + WORD, (uint32_t)(address >> 32));
}

static tinyse_status find_regions(tinyse_ethosu *ethosu, const tinyse_npu_job *job, const tinyse_payload *payload,
                                  region regions[REGIONS], uint64_t *queue) {
  const bool u65 = field(payload->config, ETHOSU_FIELD_CONFIG_PRODUCT) != 0;
  const uint64_t limit = (uint64_t)1 << (u65 ? ADDRESS_BITS_U65 : ADDRESS_BITS_U55);
  /* Region 0 is only read; it is never invalidated. */
  regions[0] = (region){.data = (uint8_t *)(uintptr_t)job->weights, .bytes = job->weights_bytes};
  regions[1] = (region){.data = job->arena, .bytes = job->arena_bytes};
  regions[2] = (region){.data = ethosu->fast ? ethosu->fast : job->fast, .bytes = job->fast_bytes};
  *queue = npu_address(ethosu, payload->stream);
  if (*queue % ALIGNMENT || *queue >= limit) {
    return fail(ethosu, TINYSE_ERROR_ARGUMENT, "the NPU cannot reach the command stream");
  }
  for (uint32_t i = 0; i < REGIONS; i++) {
    regions[i].address = npu_address(ethosu, regions[i].data);
    if (!regions[i].data || regions[i].address % ALIGNMENT || regions[i].address >= limit) {
      fail(ethosu, TINYSE_ERROR_ARGUMENT, "the NPU cannot reach region");
      reason_decimal(&ethosu->reason, " ", i);
      return TINYSE_ERROR_ARGUMENT;
    }
  }
  return TINYSE_OK;
}

/* STATUS at the end of the run, or 0 after a timeout. */
static uint32_t wait_for_end(tinyse_ethosu *ethosu) {
  for (uint32_t turn = 0; turn < ethosu->turns; turn++) {
    const uint32_t status = ethosu->raised ? ethosu->raised : get(ethosu, ETHOSU_REG_STATUS);
    if (status & ETHOSU_FIELD_STATUS_IRQ_RAISED) return status;
    if (ethosu->wait) ethosu->wait(ethosu->owner);
  }
  return 0;
}

static tinyse_status explain(tinyse_ethosu *ethosu, uint32_t status, uint32_t place) {
  tinyse_reason *reason = &ethosu->reason;
  reason_clear(reason);
  if (status == 0) {
    reason_text(reason, "the NPU timed out");
    status = get(ethosu, ETHOSU_REG_STATUS);
  } else if (status & ETHOSU_FIELD_STATUS_BUS_STATUS) {
    reason_decimal(reason, "bus error on AXI port ", field(status, ETHOSU_FIELD_STATUS_FAULTING_INTERFACE));
    reason_decimal(reason, ", channel ", field(status, ETHOSU_FIELD_STATUS_FAULTING_CHANNEL));
  } else if (status & ETHOSU_FIELD_STATUS_CMD_PARSE_ERROR) {
    reason_text(reason, "the NPU does not understand a command");
  } else if (status & ETHOSU_FIELD_STATUS_WD_FAULT) {
    reason_text(reason, "the NPU found the weights damaged");
  } else if (status & ETHOSU_FIELD_STATUS_ECC_FAULT) {
    reason_text(reason, "the NPU found an uncorrectable memory error");
  } else {
    reason_text(reason, "the NPU stopped before the end of the command stream");
  }
  reason_decimal(reason, ", byte ", place);
  reason_hex(reason, " of the stream (status ", status);
  reason_text(reason, ")");
  return TINYSE_ERROR_NPU;
}

static tinyse_status open_npu(void *context, const tinyse_npu_job *job) {
  tinyse_ethosu *ethosu = context;
  tinyse_payload payload;
  reason_clear(&ethosu->reason);
  const char *wrong = tinyse_payload_parse(job->payload, job->payload_bytes, &payload);
  if (wrong) return fail(ethosu, TINYSE_ERROR_MODEL, wrong);
  tinyse_status status = check_identity(ethosu, &payload);
  if (status == TINYSE_OK) {
    region regions[REGIONS];
    uint64_t queue;
    status = find_regions(ethosu, job, &payload, regions, &queue);
  }
  if (status == TINYSE_OK) status = reset(ethosu);
  if (status != TINYSE_OK) return status;
  clean(ethosu, payload.stream, payload.stream_bytes);
  clean(ethosu, job->weights, job->weights_bytes);
  set(ethosu, ETHOSU_REG_CMD, CMD_MAY_SLEEP);
  return TINYSE_OK;
}

static tinyse_status run_npu(void *context, const tinyse_npu_job *job) {
  tinyse_ethosu *ethosu = context;
  tinyse_payload payload;
  region regions[REGIONS];
  uint64_t queue;
  reason_clear(&ethosu->reason);
  const char *wrong = tinyse_payload_parse(job->payload, job->payload_bytes, &payload);
  if (wrong) return fail(ethosu, TINYSE_ERROR_MODEL, wrong);
  tinyse_status status = find_regions(ethosu, job, &payload, regions, &queue);
  if (status == TINYSE_OK) status = reset(ethosu);
  if (status != TINYSE_OK) return status;
  /* Registers are lost where the NPU powered down, so all of them are written, every time. */
  configure_ports(ethosu);
  configure_pmu(ethosu);
  set_address(ethosu, ETHOSU_REG_QBASE0, queue);
  set(ethosu, ETHOSU_REG_QSIZE, payload.stream_bytes);
  for (uint32_t i = 0; i < REGIONS; i++) {
    set_address(ethosu, ETHOSU_REG_BASEP0 + 2 * WORD * i, regions[i].address);
  }
  const uint32_t written = regions[2].data == regions[1].data ? 2 : REGIONS;
  for (uint32_t i = 1; i < written; i++) clean(ethosu, regions[i].data, regions[i].bytes);
  ethosu->raised = 0;
  barrier();
  set(ethosu, ETHOSU_REG_PMCR,
      ETHOSU_FIELD_PMCR_CNT_EN | ETHOSU_FIELD_PMCR_EVENT_CNT_RST | ETHOSU_FIELD_PMCR_CYCLE_CNT_RST);
  set(ethosu, ETHOSU_REG_CMD, ETHOSU_FIELD_CMD_TRANSITION_TO_RUNNING_STATE);

  const uint32_t end = wait_for_end(ethosu), place = get(ethosu, ETHOSU_REG_QREAD);
  set(ethosu, ETHOSU_REG_PMCR, 0);
  barrier();
  for (uint32_t i = 1; i < written && ethosu->invalidate; i++) {
    ethosu->invalidate(ethosu->owner, regions[i].data, regions[i].bytes);
  }
  if (end & STATUS_FAULTS || !(end & ETHOSU_FIELD_STATUS_CMD_END_REACHED)) {
    status = explain(ethosu, end, place);
    const tinyse_reason why = ethosu->reason;
    reset(ethosu);
    ethosu->reason = why;
  } else {
    collect_counts(ethosu);
  }
  set(ethosu, ETHOSU_REG_CMD, ETHOSU_FIELD_CMD_CLEAR_IRQ | CMD_MAY_SLEEP);
  return status;
}

static void get_counts(void *context, tinyse_npu_counts *counts) { *counts = ((tinyse_ethosu *)context)->counts; }

static void clear_counts(void *context) { ((tinyse_ethosu *)context)->counts = (tinyse_npu_counts){0}; }

static const char *get_reason(void *context) { return ((tinyse_ethosu *)context)->reason.text; }

void tinyse_ethosu_init(tinyse_ethosu *ethosu, volatile uint32_t *base) {
  memset(ethosu, 0, sizeof *ethosu);
  ethosu->base = base;
  ethosu->turns = WAIT_TURNS;
  ethosu->weights_port = 1;
}

tinyse_npu tinyse_ethosu_npu(tinyse_ethosu *ethosu) {
  const bool u65 = field(get(ethosu, ETHOSU_REG_CONFIG), ETHOSU_FIELD_CONFIG_PRODUCT) == 1;
  return (tinyse_npu){.name = u65 ? "ethos-u65" : "ethos-u55", .context = ethosu, .open = open_npu, .run = run_npu,
                      .counts = get_counts, .clear = clear_counts, .reason = get_reason};
}

/* The cause is kept in STATUS until reset; only the interrupt itself is cleared. A late call finds nothing raised. */
void tinyse_ethosu_irq(tinyse_ethosu *ethosu) {
  const uint32_t status = get(ethosu, ETHOSU_REG_STATUS);
  if (!(status & ETHOSU_FIELD_STATUS_IRQ_RAISED)) return;
  ethosu->raised = status;
  set(ethosu, ETHOSU_REG_CMD, ETHOSU_FIELD_CMD_CLEAR_IRQ);
}
