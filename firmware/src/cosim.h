/* cosim.h: the NPU as tinyse's simulator on the host, reached through two named pipes by semihosting.
 * The wire format is stated in docs/ethos-u-driver.md; the host's end is tinyse/firmware/cosim.py. */
#ifndef TINYSE_COSIM_H
#define TINYSE_COSIM_H

#include <stdbool.h>
#include <stdint.h>

#include "npu.h"
#include "reason.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tinyse_cosim {
  const char *request_path; /* to the host */
  const char *reply_path;   /* from the host */
  /* Private. */
  bool connected;
  int32_t request;
  int32_t reply;
  uint64_t runs;
  tinyse_reason reason;
} tinyse_cosim;

/* Paths of two named pipes that the host has made; they are kept, and opened by the first `open`. */
void tinyse_cosim_init(tinyse_cosim *cosim, const char *request_path, const char *reply_path);

/* npu.h's interface, named "simulator"; its counts hold runs only: nothing here has a clock. */
tinyse_npu tinyse_cosim_npu(tinyse_cosim *cosim);

#ifdef __cplusplus
}
#endif

#endif /* TINYSE_COSIM_H */
