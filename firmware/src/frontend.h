/* frontend.h: samples to int8 features, int8 mask to samples, one frame at a time. docs/front-end.md defines it;
 * the tables are model.h's. Buffers are the caller's; nothing is kept between calls. */
#ifndef TINYSE_FRONTEND_H
#define TINYSE_FRONTEND_H

#include "model.h"

/* Window, real FFT: spectrum gets re, im of bins 0..FFT/2. */
void tinyse_transform(const float frame[TINYSE_FRAME], float work[TINYSE_FFT + 2], float spectrum[TINYSE_FFT + 2]);

/* (|spectrum| mel)^power; 0 for silence. */
void tinyse_features(const float spectrum[TINYSE_FFT + 2], float work[TINYSE_FFT + 2], float bands[TINYSE_BANDS]);

/* Division, not a product with the reciprocal; halves away from zero: TFLite's rule to the bit. */
void tinyse_quantize(const float bands[TINYSE_BANDS], int8_t feature[TINYSE_BANDS]);

/* Dequantize, lift to bins with the mel rows, multiply the spectrum. */
void tinyse_apply_mask(const int8_t mask[TINYSE_BANDS], float work[TINYSE_FFT + 2], float spectrum[TINYSE_FFT + 2]);

/* Inverse FFT, window, overlap-add. The finished hop is left in work[0..HOP); the spectrum is destroyed. */
void tinyse_synthesize(float spectrum[TINYSE_FFT + 2], float work[TINYSE_FFT + 2],
                       float overlap[TINYSE_FRAME - TINYSE_HOP]);

#endif /* TINYSE_FRONTEND_H */
