/* core_driver.c against a core driver that prints what it is asked. Arguments: RESULT RESERVED(0|1). */
#include <stdio.h>
#include <stdlib.h>

#include "core_driver.h"
#include "ethosu_driver.h"
#include "model.h"

static int result, available;
static struct ethosu_driver { int unused; } only;
static _Alignas(16) uint8_t arena[TINYSE_ARENA_BYTES];
static int owner;

struct ethosu_driver *ethosu_reserve_driver(void) {
  printf("reserve\n");
  return available ? &only : NULL;
}

void ethosu_release_driver(struct ethosu_driver *drv) { printf("release %d\n", drv == &only); }

int ethosu_invoke_v3(struct ethosu_driver *drv, const void *custom_data_ptr, const int custom_data_size,
                     const uint64_t *base_addr, const size_t *base_addr_size, const int num_base_addr,
                     void *user_arg) {
  const uintptr_t expected[] = {(uintptr_t)tinyse_model + tinyse_parts[0].weights, (uintptr_t)arena, (uintptr_t)arena};
  printf("invoke %d %d %d %d %d", drv == &only, custom_data_ptr == tinyse_model + tinyse_parts[0].payload, custom_data_size, num_base_addr,
         user_arg == &owner);
  for (int i = 0; i < num_base_addr; i++) printf(" %d:%zu", base_addr[i] == expected[i], base_addr_size[i]);
  printf("\n");
  return result;
}

int main(int count, char **arguments) {
  if (count != 3) return 1;
  result = atoi(arguments[1]);
  available = atoi(arguments[2]);
  tinyse_core_driver driver = {.user = &owner};
  const tinyse_npu npu = tinyse_core_driver_npu(&driver);
  const tinyse_npu_job job = {.payload = tinyse_model + tinyse_parts[0].payload,
                              .payload_bytes = tinyse_parts[0].payload_bytes,
                              .weights = tinyse_model + tinyse_parts[0].weights,
                              .weights_bytes = tinyse_parts[0].weights_bytes,
                              .arena = arena, .arena_bytes = sizeof arena, .fast = arena, .fast_bytes = sizeof arena};
  tinyse_npu_counts counts;
  printf("%s\n", npu.name);
  printf("open %d\n", (int)npu.open(npu.context, &job));
  const tinyse_status status = npu.run(npu.context, &job);
  npu.counts(npu.context, &counts);
  printf("run %d %d %s\n", (int)status, (int)counts.runs, npu.reason(npu.context));
  return 0;
}
