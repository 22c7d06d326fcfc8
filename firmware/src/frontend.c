/* frontend.c: see frontend.h. */
#include "frontend.h"

#include "vector.h"

#if TINYSE_TRANSFORMS
#include "dsp/transform_functions.h"

#if TINYSE_FFT < 32 || TINYSE_FFT > 4096 || (TINYSE_FFT & (TINYSE_FFT - 1))
#error "CMSIS-DSP has real transforms of 32, 64 .. 4096 points only: train with such an fft in the recipe's ends"
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
#endif

/* bands[b * stride] = the band's share of bins, which lie `stride` apart. */
#if TINYSE_BANDED
static inline void sum_bands(const float *bins, float *bands, int stride) {
  const float *weight = tinyse_band_weights;
  for (int b = 0; b < TINYSE_BANDS; ++b) {
    const float *bin = bins + stride * tinyse_band_start[b];
    float sum = 0.0f;
    for (uint32_t left = tinyse_band_count[b]; left; --left, bin += stride) sum = fmaf(*bin, *weight++, sum);
    *bands = sum;
    bands += stride;
  }
}
#elif TINYSE_TRANSFORMS && TINYSE_FEATURE != TINYSE_FEATURE_SAMPLES
static inline void sum_bands(const float *bins, float *bands, int stride) {
  for (int b = 0; b < TINYSE_BANDS; ++b) bands[stride * b] = bins[stride * b];
}
#endif

#if TINYSE_FEATURE == TINYSE_FEATURE_MAGNITUDE
void tinyse_features(const float spectrum[TINYSE_FFT + 2], float work[TINYSE_FFT + 2], float bands[TINYSE_ROW]) {
  tinyse_magnitude(work, spectrum, TINYSE_BINS);
  sum_bands(work, bands, 1);
  tinyse_power(bands, TINYSE_FEATURE_POWER, TINYSE_BANDS);
}
#elif TINYSE_FEATURE == TINYSE_FEATURE_LOG_POWER
void tinyse_features(const float spectrum[TINYSE_FFT + 2], float work[TINYSE_FFT + 2], float bands[TINYSE_ROW]) {
  tinyse_square(work, spectrum, TINYSE_BINS);
  sum_bands(work, bands, 1);
  tinyse_log(bands, TINYSE_LOG_FLOOR, TINYSE_LOG_SCALE, TINYSE_LOG_BIAS, TINYSE_BANDS);
}
#elif TINYSE_FEATURE == TINYSE_FEATURE_COMPLEX
void tinyse_features(const float spectrum[TINYSE_FFT + 2], float work[TINYSE_FFT + 2], float bands[TINYSE_ROW]) {
  sum_bands(spectrum, bands, 2);
  sum_bands(spectrum + 1, bands + 1, 2);
  tinyse_square(work, bands, TINYSE_BANDS);
  tinyse_power(work, (TINYSE_FEATURE_POWER - 1.0f) / 2.0f, TINYSE_BANDS);
  tinyse_scale_bins(bands, work, TINYSE_BANDS);
}
#endif

#if TINYSE_MEAN_FRAMES
void tinyse_less_mean(float bands[TINYSE_ROW], float mean[TINYSE_ROW], float share) {
  tinyse_follow(mean, bands, share, TINYSE_ROW);
}
#endif

#if TINYSE_LEVEL
float tinyse_level(const float hop[TINYSE_HOP], float *level) {
  float sum = 0.0f, peak = 0.0f;
  for (int i = 0; i < TINYSE_HOP; ++i) {
    sum = fmaf(hop[i], hop[i], sum);
    peak = fmaxf(peak, fabsf(hop[i]));
  }
  *level = fmaxf(fmaxf(sum / (float)TINYSE_HOP, *level * TINYSE_LEVEL_FALL), TINYSE_LEVEL_FLOOR);
  const float gain = TINYSE_LEVEL_TARGET / sqrtf(*level);
  return gain * peak > 1.0f ? 1.0f / peak : gain;
}
#endif

#if TINYSE_INPUT_BITS == 16
#define HIGHEST 32767.0f
#define LOWEST -32768.0f
#else
#define HIGHEST 127.0f
#define LOWEST -128.0f
#endif

void tinyse_quantize(const float values[TINYSE_ROW], tinyse_input feature[TINYSE_ROW]) {
  for (int b = 0; b < TINYSE_ROW; ++b) {
    float value = roundf(values[b] / TINYSE_INPUT_SCALE) + (float)TINYSE_INPUT_ZERO_POINT;
    feature[b] = (tinyse_input)fmaxf(fminf(value, HIGHEST), LOWEST);
  }
}

#if TINYSE_SYNTHESIZES
void tinyse_apply_mask(const tinyse_output mask[TINYSE_RESULTS], float work[TINYSE_FFT + 2],
                       float spectrum[TINYSE_FFT + 2]) {
  enum { parts = TINYSE_RESULT == TINYSE_RESULT_COMPLEX_GAINS ? 2 : 1 };
#if TINYSE_BANDED
  memset(work, 0, parts * TINYSE_BINS * sizeof *work);
  for (int part = 0; part < parts; ++part) {
    const float *weight = tinyse_band_weights;
    for (int b = 0; b < TINYSE_BANDS; ++b) {
      const float value = tinyse_answer(mask, parts * b + part);
      float *gain = work + parts * tinyse_band_start[b] + part;
      for (uint32_t left = tinyse_band_count[b]; left; --left, gain += parts) *gain = fmaf(value, *weight++, *gain);
    }
  }
#else
  for (int b = 0; b < parts * TINYSE_BANDS; ++b) work[b] = tinyse_answer(mask, b);
#endif
  if (parts == 1)
    tinyse_scale_bins(spectrum, work, TINYSE_BINS);
  else
    tinyse_turn_bins(spectrum, work, TINYSE_BINS);
}

void tinyse_synthesize(float spectrum[TINYSE_FFT + 2], float work[TINYSE_FFT + 2], float overlap[TINYSE_OVERLAP]) {
  enum { hop = TINYSE_HOP, last = TINYSE_FRAME - hop, shared = last < hop ? last : hop, kept = last - shared };
  spectrum[1] = spectrum[TINYSE_FFT];
  transform(spectrum, work, 1);
  const float *window = tinyse_synthesis_window;
  tinyse_multiply_add(work, overlap, work, window, shared);
#if 2 * TINYSE_HOP > TINYSE_FRAME /* no other frame holds the rest of the hop */
  tinyse_multiply(work + shared, work + shared, window + shared, hop - shared);
#else
  tinyse_multiply_add(overlap, overlap + hop, work + hop, window + hop, kept);
#endif
  tinyse_multiply(overlap + kept, work + hop + kept, window + hop + kept, shared);
}
#endif
