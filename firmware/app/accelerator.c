#include "accelerator.h"

#include <stddef.h>

#if TINYSE_BACKEND == TINYSE_BACKEND_NPU

#include "board.h"
#include "core_driver.h"
#include "cosim.h"
#include "ethosu.h"
#include "timing.h"

static tinyse_npu npu;
static tinyse_cosim cosim;
#ifdef TINYSE_ETHOSU_CORE_DRIVER
static tinyse_core_driver driver;
#else
static tinyse_ethosu ethosu;
#endif

#if defined(TINYSE_FAST_APART) && TINYSE_FAST_SCRATCH_BYTES
__attribute__((section(".tinyse_fast"))) static _Alignas(TINYSE_ALIGNMENT) uint8_t fast[TINYSE_FAST_SCRATCH_BYTES];
#endif

#if TINYSE_TIMING_ADAPTERS
static const tinyse_timing timing[] = {TINYSE_TIMING};
static const uint32_t adapters[] = {BOARD_TIMING_ADAPTER_0, BOARD_TIMING_ADAPTER_1};
static uint32_t programmed;

static void program_timing(void) {
  programmed = 0;
  for (uint32_t i = 0; i < sizeof timing / sizeof *timing; i++) {
    volatile uint32_t *base = (volatile uint32_t *)(uintptr_t)adapters[timing[i].port];
    if (!tinyse_timing_adapter_program(base, &timing[i])) return;
    programmed++;
  }
}

const tinyse_timing *accelerator_timing(uint32_t *count) {
  *count = programmed;
  return timing;
}
#else
static void program_timing(void) {}

const tinyse_timing *accelerator_timing(uint32_t *count) {
  *count = 0;
  return NULL;
}
#endif

static tinyse_npu own(void) {
#ifdef TINYSE_ETHOSU_CORE_DRIVER
  return tinyse_core_driver_npu(&driver);
#else
  tinyse_ethosu_init(&ethosu, (volatile uint32_t *)(uintptr_t)BOARD_NPU_BASE);
#ifdef TINYSE_WEIGHTS_PORT
  ethosu.weights_port = TINYSE_WEIGHTS_PORT;
  ethosu.arena_port = TINYSE_ARENA_PORT;
  ethosu.fast_port = TINYSE_FAST_PORT;
#endif
#if defined(TINYSE_FAST_APART) && TINYSE_FAST_SCRATCH_BYTES
  ethosu.fast = fast;
#endif
  return tinyse_ethosu_npu(&ethosu);
#endif
}

const tinyse_npu *accelerator(const char *request, const char *reply) {
  if (request) {
    tinyse_cosim_init(&cosim, request, reply);
    npu = tinyse_cosim_npu(&cosim);
  } else {
    program_timing();
    npu = own();
  }
  return &npu;
}

#else

const tinyse_npu *accelerator(const char *request, const char *reply) {
  (void)request;
  (void)reply;
  return NULL;
}

const tinyse_timing *accelerator_timing(uint32_t *count) {
  *count = 0;
  return NULL;
}

#endif
