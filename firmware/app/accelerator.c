#include "accelerator.h"

#include <stddef.h>

const tinyse_npu *accelerator(const char *request, const char *reply) {
  (void)request;
  (void)reply;
  return NULL;
}
