/* accelerator.h: the NPU that the image uses. */
#ifndef TINYSE_ACCELERATOR_H
#define TINYSE_ACCELERATOR_H

#include <stdint.h>

#include "npu.h"
#include "timing_adapter.h"

/* The board's own, or the simulator behind the two pipes where they are named; NULL where the CPU does it all.
 * Timing adapters are set as the model's target says. Called once. */
const tinyse_npu *accelerator(const char *request, const char *reply);

/* What the timing adapters were set to, `count` of them; 0 where there are none. */
const tinyse_timing *accelerator_timing(uint32_t *count);

#endif /* TINYSE_ACCELERATOR_H */
