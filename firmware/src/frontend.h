/* frontend.h: samples to the network's input, its output to samples, one frame at a time. docs/front-end.md defines it;
 * numbers and tables are model.h's. Buffers are the caller's; nothing is kept between calls. Features and answers are
 * flat, band by band; the two numbers of a complex band are neighbours, real part first. */
#ifndef TINYSE_FRONTEND_H
#define TINYSE_FRONTEND_H

#include "tinyse.h"

/* q = round(x / scale) + zero point: a division, halves away from zero: TFLite's rule to the bit. */
void tinyse_quantize(const float values[TINYSE_ROW], tinyse_input feature[TINYSE_ROW]);

/* Answer i as a real number: (q - zero point) * scale * limit. */
static inline float tinyse_answer(const tinyse_output *mask, int i) {
  return (float)(mask[i] - (TINYSE_OUTPUT_ZERO_POINT)) * (TINYSE_OUTPUT_SCALE * TINYSE_LIMIT);
}

#if TINYSE_LEVEL
/* The gain of the next hop after `level`, which it moves on. */
float tinyse_level(const float hop[TINYSE_HOP], float *level);
#endif

#if TINYSE_TRANSFORMS
/* Window, real FFT: spectrum gets re, im of bins 0..FFT/2. */
void tinyse_transform(const float frame[TINYSE_FRAME], float work[TINYSE_FFT + 2], float spectrum[TINYSE_FFT + 2]);
#endif

#if TINYSE_FEATURE != TINYSE_FEATURE_SAMPLES
/* The feature of a spectrum, before quantization; magnitude and complex: 0 for silence. */
void tinyse_features(const float spectrum[TINYSE_FFT + 2], float work[TINYSE_FFT + 2], float bands[TINYSE_ROW]);

/* mean += (bands - mean) * share, and bands -= mean. */
void tinyse_less_mean(float bands[TINYSE_ROW], float mean[TINYSE_ROW], float share);
#endif

#if TINYSE_SYNTHESIZES
/* Dequantize gains, lift them to bins, multiply the spectrum. */
void tinyse_apply_mask(const tinyse_output mask[TINYSE_RESULTS], float work[TINYSE_FFT + 2],
                       float spectrum[TINYSE_FFT + 2]);

/* Inverse FFT, window, overlap-add. The finished hop is left in work[0..HOP); the spectrum is destroyed. */
void tinyse_synthesize(float spectrum[TINYSE_FFT + 2], float work[TINYSE_FFT + 2], float overlap[TINYSE_OVERLAP]);
#endif

#endif /* TINYSE_FRONTEND_H */
