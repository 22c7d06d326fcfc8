/* The network of model.h through the co-simulation: REQUEST REPLY FEATURES MASKS [FRAMES-BEFORE-DEATH]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cosim.h"
#include "network.h"

static _Alignas(TINYSE_ARENA_ALIGNMENT) uint8_t arena[TINYSE_NETWORK_BYTES];

int main(int count, char **arguments) {
  tinyse_cosim cosim;
  tinyse_cosim_init(&cosim, arguments[1], arguments[2]);
  const tinyse_npu npu = tinyse_cosim_npu(&cosim);
  FILE *in = fopen(arguments[3], "rb"), *out = fopen(arguments[4], "wb");
  const long last = count > 5 ? strtol(arguments[5], NULL, 10) : -1;
  if (!in || !out) return 1;
  if (tinyse_network_init(arena, NULL) != TINYSE_ERROR_ARGUMENT) return 1;
  memset(arena, 0xA5, sizeof arena);
  for (int signal = 0; signal < 2; signal++) { /* the second one shows that reset leaves nothing behind */
    const tinyse_status status = signal == 0 ? tinyse_network_init(arena, &npu) : TINYSE_OK;
    if (status != TINYSE_OK) {
      fprintf(stderr, "%d %s\n", (int)status, npu.reason(npu.context));
      return 3;
    }
    tinyse_network_reset(arena);
    rewind(in);
    _Alignas(16) int8_t feature[TINYSE_INPUTS], mask[TINYSE_OUTPUTS];
    for (long frame = 0; fread(feature, sizeof feature, 1, in) == 1; frame++) {
      if (frame == last) abort();
      uint32_t ran;
      const tinyse_status run = tinyse_network_run(arena, &npu, 0, feature, mask, &ran);
      if (run != TINYSE_OK) {
        fprintf(stderr, "%d %s\n", (int)run, npu.reason(npu.context));
        return 3;
      }
      fwrite(mask, sizeof mask, 1, out);
    }
  }
  tinyse_npu_counts counts;
  npu.counts(npu.context, &counts);
  printf("%s %llu\n", npu.name, (unsigned long long)counts.runs);
  fclose(in);
  return fclose(out) ? 1 : 0;
}
