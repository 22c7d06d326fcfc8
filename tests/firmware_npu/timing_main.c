/* Programs the adapters of timing.h into memory: prints every word. Argument: the version that the block shows. */
#include <stdio.h>
#include <stdlib.h>

#include "timing.h"
#include "timing_adapter.h"

static const tinyse_timing timing[TINYSE_TIMING_ADAPTERS] = {TINYSE_TIMING};

int main(int count, char **arguments) {
  if (count != 2) return 1;
  for (int i = 0; i < TINYSE_TIMING_ADAPTERS; i++) {
    volatile uint32_t block[15] = {[14] = (uint32_t)strtoul(arguments[1], NULL, 0)};
    printf("%s %u %d", timing[i].memory, timing[i].port, tinyse_timing_adapter_program(block, &timing[i]));
    for (int word = 0; word < 14; word++) printf(" %u", block[word]);
    printf("\n");
  }
  printf("%d %d %d\n", TINYSE_WEIGHTS_PORT, TINYSE_ARENA_PORT, TINYSE_FAST_PORT);
  return 0;
}
