/* core_driver.h: the NPU through the user's own Ethos-U core driver. Build with -DTINYSE_ETHOSU_CORE_DRIVER, the
 * driver's include folder, and its library; ethosu_init and the interrupt stay with the user. */
#ifndef TINYSE_CORE_DRIVER_H
#define TINYSE_CORE_DRIVER_H

#include "npu.h"
#include "reason.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tinyse_core_driver {
  void *user; /* given to ethosu_inference_begin and ethosu_inference_end, where PMU counters may be read */
  /* Private. */
  uint64_t runs;
  tinyse_reason reason;
} tinyse_core_driver;

/* npu.h's interface, named "core-driver"; its counts hold runs only. `driver` starts as zeros. */
tinyse_npu tinyse_core_driver_npu(tinyse_core_driver *driver);

#ifdef __cplusplus
}
#endif

#endif /* TINYSE_CORE_DRIVER_H */
