/* network.h: the network between front end and back end; network_cpu.c, network_npu.c or network_tflm.cc. */
#ifndef TINYSE_NETWORK_H
#define TINYSE_NETWORK_H

#include "tinyse.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Once: check the model against arena and NPU. Leaves the states undefined. */
tinyse_status tinyse_network_init(void *arena, const struct tinyse_npu *npu);

/* Every state to its zero point. */
void tinyse_network_reset(void *arena);

/* One frame of features to an answer, and P after it where TINYSE_SKIP is 1; both 16-byte aligned, apart from the arena.
 * `at`: the exit to stop at, at most TINYSE_EXITS, or 0 for what the plan says. `ran`: bits of those that ran. */
tinyse_status tinyse_network_run(void *arena, const struct tinyse_npu *npu, uint32_t at,
                                 const tinyse_input feature[TINYSE_INPUTS], tinyse_output mask[TINYSE_OUTPUTS],
                                 uint32_t *ran);

#ifdef __cplusplus
}
#endif

#endif /* TINYSE_NETWORK_H */
