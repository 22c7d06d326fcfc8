#include "core_driver.h"

#ifdef TINYSE_ETHOSU_CORE_DRIVER

#include <limits.h>

#include "ethosu_driver.h"
#include "payload.h"

#define REGIONS 3

static tinyse_status fail(tinyse_core_driver *driver, tinyse_status status, const char *text) {
  reason_clear(&driver->reason);
  reason_text(&driver->reason, text);
  return status;
}

/* The driver compares configurations itself, in every run; it does not check lengths. */
static tinyse_status open_npu(void *context, const tinyse_npu_job *job) {
  tinyse_core_driver *driver = context;
  tinyse_payload payload;
  reason_clear(&driver->reason);
  const char *wrong = tinyse_payload_parse(job->payload, job->payload_bytes, &payload);
  if (wrong) return fail(driver, TINYSE_ERROR_MODEL, wrong);
  if (job->payload_bytes > INT_MAX) return fail(driver, TINYSE_ERROR_ARGUMENT, "the driver payload is too long");
  return TINYSE_OK;
}

static tinyse_status run_npu(void *context, const tinyse_npu_job *job) {
  tinyse_core_driver *driver = context;
  reason_clear(&driver->reason);
  const uint64_t bases[REGIONS] = {(uintptr_t)job->weights, (uintptr_t)job->arena, (uintptr_t)job->fast};
  const size_t sizes[REGIONS] = {job->weights_bytes, job->arena_bytes, job->fast_bytes};
  struct ethosu_driver *npu = ethosu_reserve_driver();
  if (!npu) return fail(driver, TINYSE_ERROR_NPU, "the core driver has no NPU: ethosu_init comes first");
  const int result = ethosu_invoke_v3(npu, job->payload, (int)job->payload_bytes, bases, sizes, REGIONS, driver->user);
  ethosu_release_driver(npu);
  if (result != 0) return fail(driver, TINYSE_ERROR_NPU, "ethosu_invoke_v3 failed; the core driver logs why");
  driver->runs++;
  return TINYSE_OK;
}

static void get_counts(void *context, tinyse_npu_counts *counts) {
  *counts = (tinyse_npu_counts){.runs = ((tinyse_core_driver *)context)->runs};
}

static void clear_counts(void *context) { ((tinyse_core_driver *)context)->runs = 0; }

static const char *get_reason(void *context) { return ((tinyse_core_driver *)context)->reason.text; }

tinyse_npu tinyse_core_driver_npu(tinyse_core_driver *driver) {
  return (tinyse_npu){.name = "core-driver", .context = driver, .open = open_npu, .run = run_npu,
                      .counts = get_counts, .clear = clear_counts, .reason = get_reason};
}

#endif
