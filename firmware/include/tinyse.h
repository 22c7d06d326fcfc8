/* tinyse.h: streaming speech enhancement, one hop in, one hop out. This file states the whole contract.
 *
 *   static _Alignas(TINYSE_ARENA_ALIGNMENT) uint8_t arena[TINYSE_NETWORK_BYTES];
 *   static tinyse_state state;
 *   tinyse_init(&state, arena, NULL);
 *   for (;;) { read(in); tinyse_process(&state, in, out); write(out); }
 *
 * Signal   mono, TINYSE_SAMPLE_RATE, full scale 1.0 (float) or 32768 (int16). Output lags input by
 *          TINYSE_DELAY samples. `in` and `out` may be the same buffer, and else must not overlap.
 *          float input may exceed full scale; NaN, infinities and magnitudes from 2^40 on are taken as 0, so
 *          output is always finite. int16 output is rounded (halves to even) and saturates.
 * Memory   no heap, no globals; everything is in the two blocks that the caller owns and keeps:
 *          the state (TINYSE_STATE_BYTES, aligned to TINYSE_STATE_ALIGNMENT; CPU only, any RAM) and the arena
 *          (TINYSE_NETWORK_BYTES, aligned to TINYSE_ARENA_ALIGNMENT; where an NPU runs the network it must be
 *          memory that the NPU reaches). Neither may move. Two streams need two of each. Calls use the stack
 *          for a few hundred bytes.
 * Threads  one call at a time for one state; different states are independent (an NPU is shared by its owner).
 * Skipping where model.h says TINYSE_SKIP 1, the network's last output P (0..255) tells when it runs again: n frames
 *          later, the smallest n with n * P >= 128; P = 0 counts as 1. The frames between keep its states and its
 *          mask, and compute no features; sound passes through them as through any other. The first frame after
 *          tinyse_reset runs it, and so does the one after an error. TINYSE_SKIP 0: every frame runs it.
 * Scores   where TINYSE_RESULT is TINYSE_RESULT_SCORE the network hears and gives no sound: `out` is `in` (unusable
 *          samples as 0), and tinyse_score tells what it said last. It runs every TINYSE_ROWS hops; what it says
 *          is of its last TINYSE_SCORE_WINDOW runs, so before as many it has not heard enough.
 * Errors   a call that does not return TINYSE_OK has written silence to `out`; the state stays valid, and the
 *          next call goes on. TINYSE_ERROR_ARGUMENT: nothing has happened; any other: the hop is lost, as if
 *          the mask had been closed for it. After TINYSE_ERROR_NPU call tinyse_reset. A state whose tinyse_init
 *          failed answers every call with TINYSE_ERROR_ARGUMENT.
 */
#ifndef TINYSE_H
#define TINYSE_H

#include <stddef.h>
#include <stdint.h>

#include "model.h"
#include "packed.h"

/* What the network is given (TINYSE_FEATURE) and answers (TINYSE_RESULT); docs/front-end.md defines them. */
#define TINYSE_FEATURE_MAGNITUDE 0
#define TINYSE_FEATURE_LOG_POWER 1
#define TINYSE_FEATURE_COMPLEX 2
#define TINYSE_FEATURE_SAMPLES 3
#define TINYSE_RESULT_GAINS 0
#define TINYSE_RESULT_COMPLEX_GAINS 1
#define TINYSE_RESULT_SAMPLES 2
#define TINYSE_RESULT_SCORE 3
#define TINYSE_SYNTHESIZES (TINYSE_RESULT == TINYSE_RESULT_GAINS || TINYSE_RESULT == TINYSE_RESULT_COMPLEX_GAINS)
#define TINYSE_TRANSFORMS (TINYSE_FEATURE != TINYSE_FEATURE_SAMPLES || TINYSE_SYNTHESIZES)
#ifndef TINYSE_MEAN_FRAMES /* features are what they are above their running mean over so many frames */
#define TINYSE_MEAN_FRAMES 0
#endif
#ifndef TINYSE_LEVEL /* samples are multiplied by the gain of a running level: model.h has its numbers */
#define TINYSE_LEVEL 0
#endif
#define TINYSE_OVERLAP (TINYSE_FRAME > TINYSE_HOP ? TINYSE_FRAME - TINYSE_HOP : 1)

/* What runs the network: TINYSE_BACKEND_CPU, _NPU or _TFLM. Default: what the model was exported for. */
#define TINYSE_BACKEND_CPU 0
#define TINYSE_BACKEND_NPU 1
#define TINYSE_BACKEND_TFLM 2
#ifndef TINYSE_BACKEND
#define TINYSE_BACKEND TINYSE_NPU
#endif

#define TINYSE_ARENA_ALIGNMENT 16
#if TINYSE_BACKEND == TINYSE_BACKEND_CPU
#define TINYSE_NETWORK_BYTES TINYSE_PACKED_ARENA_BYTES
#elif TINYSE_BACKEND == TINYSE_BACKEND_NPU
#ifdef TINYSE_FAST_APART /* the NPU driver is given the fast scratch (ethosu.h: fast) */
#define TINYSE_NETWORK_BYTES (TINYSE_ARENA_BYTES + TINYSE_BLOCK_BYTES)
#else
#define TINYSE_NETWORK_BYTES (TINYSE_ARENA_BYTES + TINYSE_BLOCK_BYTES + TINYSE_FAST_SCRATCH_BYTES)
#endif
#elif !defined(TINYSE_NETWORK_BYTES)
#define TINYSE_NETWORK_BYTES (2 * TINYSE_ARENA_BYTES) /* optimised TFLM kernels want scratch of their own */
#endif

#ifdef __cplusplus
#define TINYSE_ALIGNAS(bytes) alignas(bytes)
#define TINYSE_ALIGNOF(type) alignof(type)
extern "C" {
#else
#define TINYSE_ALIGNAS(bytes) _Alignas(bytes)
#define TINYSE_ALIGNOF(type) _Alignof(type)
#endif

#if TINYSE_INPUT_BITS == 16
typedef int16_t tinyse_input;
#else
typedef int8_t tinyse_input;
#endif
#if TINYSE_OUTPUT_BITS == 16
typedef int16_t tinyse_output;
#else
typedef int8_t tinyse_output;
#endif

typedef enum tinyse_status {
  TINYSE_OK = 0,
  TINYSE_ERROR_ARGUMENT = 1, /* null, misaligned or overlapping */
  TINYSE_ERROR_MODEL = 2,    /* the model is damaged, or made for another NPU */
  TINYSE_ERROR_NPU = 3       /* the NPU is absent, faulted or timed out */
} tinyse_status;

/* The stages of a frame, in order; a skipped frame has no FEATURES, QUANTIZE and NETWORK. What the ends do without
 * (a network on samples transforms nothing) is told as done at once. */
typedef enum tinyse_stage {
  TINYSE_STAGE_TRANSFORM, /* window, FFT */
  TINYSE_STAGE_FEATURES,  /* magnitude, bands, power */
  TINYSE_STAGE_QUANTIZE,
  TINYSE_STAGE_NETWORK,
  TINYSE_STAGE_MASK,      /* dequantize, bands to bins, times spectrum */
  TINYSE_STAGE_SYNTHESIS, /* inverse FFT, window, overlap-add */
  TINYSE_STAGES
} tinyse_stage;

struct tinyse_npu; /* npu.h */

/* Everything optional; NULL or zeros for the default. */
typedef struct tinyse_config {
  const struct tinyse_npu *npu; /* the NPU to use; needed by TINYSE_BACKEND_NPU, ignored by the others */
  /* Called when a stage of a frame is done: for profiling. */
  void (*stage_done)(void *context, tinyse_stage stage);
  void *context;
} tinyse_config;

/* Since tinyse_reset; they wrap. */
typedef struct tinyse_counts {
  uint32_t frames;  /* hops processed */
  uint32_t updates; /* times that the network ran; once every TINYSE_ROWS hops where TINYSE_SKIP is 0 */
} tinyse_counts;

/* Private; public only so that its size is known. */
typedef struct tinyse_state {
  TINYSE_ALIGNAS(16) float past[TINYSE_FRAME]; /* the frame under analysis; its first part is the past */
#if TINYSE_SYNTHESIZES
  float overlap[TINYSE_OVERLAP]; /* what later frames still add to */
#endif
#if TINYSE_TRANSFORMS
  float work[TINYSE_FFT + 2];     /* before `spectrum`: an MVE transform reads 64 bytes too far */
  float spectrum[TINYSE_FFT + 2]; /* re, im of bins 0..FFT/2 */
#else
  float work[TINYSE_HOP];
#endif
#if TINYSE_FEATURE != TINYSE_FEATURE_SAMPLES
  float bands[TINYSE_ROW]; /* the features, before quantization */
#endif
  TINYSE_ALIGNAS(16) tinyse_input feature[TINYSE_INPUTS]; /* what the network was given; kept for parity tests */
  TINYSE_ALIGNAS(16) tinyse_output mask[TINYSE_OUTPUTS];  /* what it answered last */
  void *arena;                                            /* NULL until tinyse_init has succeeded */
  tinyse_config config;
  uint32_t frames;
#if TINYSE_MEAN_FRAMES
  TINYSE_ALIGNAS(16) float mean[TINYSE_ROW]; /* of the features */
  uint32_t heard;                            /* frames in it, at most TINYSE_MEAN_FRAMES */
#endif
#if TINYSE_LEVEL
  float level; /* the running level, a mean square; 0: nothing heard */
  float gain;  /* what the newest hop was multiplied by */
#endif
#if TINYSE_ROWS > 1
  uint32_t row;  /* rows of `feature` that are filled */
  uint32_t runs; /* of the network */
#endif
#if TINYSE_SKIP
  uint32_t updates;
  uint32_t urge; /* what has added up since the network ran: it is due from 128 */
#endif
#if TINYSE_PARTS > 1
  uint32_t exit;                    /* where every frame stops, 0 for what the plan says */
  uint32_t ran;                     /* bits of the parts that the last frame ran; kept for parity tests */
  uint32_t part_runs[TINYSE_PARTS]; /* how often each ran */
#endif
} tinyse_state;

#define TINYSE_STATE_BYTES sizeof(tinyse_state)
#define TINYSE_STATE_ALIGNMENT TINYSE_ALIGNOF(tinyse_state)

/* Check the arguments and the model, then reset. `config` is copied. */
tinyse_status tinyse_init(tinyse_state *state, void *arena, const tinyse_config *config);

/* Start a new signal: zero history, no level, every network state at its zero point. */
tinyse_status tinyse_reset(tinyse_state *state);

/* After tinyse_reset: what came before the first hop is `value` throughout, not 0. Given a signal's first sample (of full
 * scale 1.0), a constant offset makes no step where the signal starts. A value that input may not have counts as 0. */
tinyse_status tinyse_hold(tinyse_state *state, float value);

/* Enhance one hop. */
tinyse_status tinyse_process(tinyse_state *state, const float in[TINYSE_HOP], float out[TINYSE_HOP]);
tinyse_status tinyse_process_int16(tinyse_state *state, const int16_t in[TINYSE_HOP], int16_t out[TINYSE_HOP]);

#if TINYSE_RESULT == TINYSE_RESULT_SCORE
/* Score `index` (below TINYSE_RESULTS) of the network's last run; 0 before the first, and for any other index. */
float tinyse_score(const tinyse_state *state, uint32_t index);
#endif

/* How often the network ran; zeros for a state that is not initialised. */
tinyse_counts tinyse_counted(const tinyse_state *state);

/* How often part `part` of the network ran since tinyse_reset; wraps. 0 for a part that there is not. */
uint32_t tinyse_counted_part(const tinyse_state *state, uint32_t part);

/* From the next frame on stop at exit `number`, from 1 to TINYSE_EXITS, whatever scores or a router say, and run the parts
 * that it needs alone; 0: what the plan says, as after tinyse_init. A part that does not run leaves its outputs and states
 * as they were. TINYSE_ERROR_ARGUMENT, and nothing changes: the network has fewer exits. */
tinyse_status tinyse_set_exit(tinyse_state *state, uint32_t number);

#ifdef __cplusplus
}
#endif

#endif /* TINYSE_H */
