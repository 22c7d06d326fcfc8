/* frontend.c: see frontend.h. */
#include "frontend.h"

#include "dsp/transform_functions.h"
#include "vector.h"

#if TINYSE_FFT < 32 || TINYSE_FFT > 4096 || (TINYSE_FFT & (TINYSE_FFT - 1))
#error "CMSIS-DSP has real transforms of 32, 64 .. 4096 points only: train with such an fft in the recipe's frontend"
#endif

/* The initialiser of one size, so that the linker drops the tables of all others. */
#define RFFT_INIT(points) RFFT_INIT_OF(points)
#define RFFT_INIT_OF(points) arm_rfft_fast_init_##points##_f32

/* `from` is destroyed. MVE's last stage reads up to 64 bytes behind the buffer that it transforms: behind `from`
 * in a forward transform, behind `to` in an inverse one. */
static void transform(float *from, float *to, uint8_t inverse) {
  arm_rfft_fast_instance_f32 instance;
  (void)RFFT_INIT(TINYSE_FFT)(&instance);
  arm_rfft_fast_f32(&instance, from, to, inverse);
}

void tinyse_transform(const float frame[TINYSE_FRAME], float work[TINYSE_FFT + 2], float spectrum[TINYSE_FFT + 2]) {
  tinyse_multiply(work, frame, tinyse_analysis_window, TINYSE_FRAME);
  memset(work + TINYSE_FRAME, 0, (TINYSE_FFT + 2 - TINYSE_FRAME) * sizeof *work);
  transform(work, spectrum, 0);
  spectrum[TINYSE_FFT] = spectrum[1]; /* CMSIS-DSP packs the real Nyquist bin beside DC */
  spectrum[TINYSE_FFT + 1] = 0.0f;
  spectrum[1] = 0.0f;
}

void tinyse_features(const float spectrum[TINYSE_FFT + 2], float work[TINYSE_FFT + 2], float bands[TINYSE_BANDS]) {
  tinyse_magnitude(work, spectrum, TINYSE_BINS);
  const float *weight = tinyse_mel_weights;
  for (int b = 0; b < TINYSE_BANDS; ++b) {
    const float *bin = work + tinyse_mel_start[b];
    float sum = 0.0f;
    for (uint32_t left = tinyse_mel_count[b]; left; --left) sum = fmaf(*bin++, *weight++, sum);
    bands[b] = sum;
  }
  tinyse_power(bands, TINYSE_FEATURE_POWER, TINYSE_BANDS);
}

void tinyse_quantize(const float bands[TINYSE_BANDS], int8_t feature[TINYSE_BANDS]) {
  for (int b = 0; b < TINYSE_BANDS; ++b) {
    float value = roundf(bands[b] / TINYSE_INPUT_SCALE) + (float)TINYSE_INPUT_ZERO_POINT;
    feature[b] = (int8_t)fmaxf(fminf(value, 127.0f), -128.0f);
  }
}

void tinyse_apply_mask(const int8_t mask[TINYSE_BANDS], float work[TINYSE_FFT + 2], float spectrum[TINYSE_FFT + 2]) {
  memset(work, 0, TINYSE_BINS * sizeof *work);
  const float *weight = tinyse_mel_weights;
  for (int b = 0; b < TINYSE_BANDS; ++b) {
    const float value = (float)(mask[b] - (TINYSE_OUTPUT_ZERO_POINT)) * TINYSE_OUTPUT_SCALE;
    float *gain = work + tinyse_mel_start[b];
    for (uint32_t left = tinyse_mel_count[b]; left; --left, ++gain) *gain = fmaf(value, *weight++, *gain);
  }
  tinyse_scale_bins(spectrum, work, TINYSE_BINS);
}

void tinyse_synthesize(float spectrum[TINYSE_FFT + 2], float work[TINYSE_FFT + 2],
                       float overlap[TINYSE_FRAME - TINYSE_HOP]) {
  enum { hop = TINYSE_HOP, last = TINYSE_FRAME - TINYSE_HOP };
  spectrum[1] = spectrum[TINYSE_FFT];
  transform(spectrum, work, 1);
  const float *window = tinyse_synthesis_window;
  tinyse_multiply_add(work, overlap, work, window, hop);
  tinyse_multiply_add(overlap, overlap + hop, work + hop, window + hop, last - hop);
  tinyse_multiply(overlap + last - hop, work + last, window + last, hop);
}
