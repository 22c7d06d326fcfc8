/* accelerator.h: the NPU that the image uses. */
#ifndef TINYSE_ACCELERATOR_H
#define TINYSE_ACCELERATOR_H

#include "npu.h"

/* The board's own, or the simulator behind the two pipes where they are named; NULL where the CPU does it all. */
const tinyse_npu *accelerator(const char *request, const char *reply);

#endif /* TINYSE_ACCELERATOR_H */
