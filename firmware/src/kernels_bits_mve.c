/* kernels_bits_mve.c: maps of a bit a value with MVE: a predicate is sixteen of them. */
#include "kernels.h"

#ifdef TINYSE_KERNELS_MVE

#include <string.h>

#include "kernels_mve.h"

uint32_t tinyse_kernel_spread_bits(const uint8_t *bits, uint32_t tiles, uint8_t *bytes) {
  const uint8x16_t one = vdupq_n_u8(1), none = vdupq_n_u8(0);
  uint32_t set = 0;
  for (; tiles > 0; --tiles, bits += 2, bytes += 16) {
    uint16_t lanes;
    memcpy(&lanes, bits, sizeof lanes);
    const uint8x16_t value = vpselq_u8(one, none, lanes);
    set = vaddvaq_u8(set, value);
    vst1q_u8(bytes, value);
  }
  return set;
}

/* By the sign of what lies above `least`, which 31 bits hold: a product instead of predicates, for which GCC 12 takes
 * twice as many instructions. */
void tinyse_kernel_bits(const int32_t *sums, int32_t least, uint32_t channels, uint8_t *y) {
  const int32x4_t low = {1, 2, 4, 8}, high = {16, 32, 64, 128};
  for (uint32_t left = channels / 8u; left > 0; --left, sums += 8) {
    const int32x4_t first = vshrq_n_s32(vsubq_n_s32(vldrwq_s32(sums), least), 31);
    const int32x4_t second = vshrq_n_s32(vsubq_n_s32(vldrwq_s32(sums + 4), least), 31);
    *y++ = (uint8_t)vmladavaq_s32(vmladavaq_s32(255, first, low), second, high);
  }
}

#else
typedef int tinyse_kernels_bits_mve_unused;
#endif
