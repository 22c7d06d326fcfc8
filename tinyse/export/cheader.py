"""Writes ``model.h`` and ``model.c``: the model, the front end's tables and everything a driver must know.

The header states the contract (sizes, grids, state layout, alignment, who owns what); the source holds data
only. Both are plain C11 and C++17.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from tinyse.core.artifacts import versions
from tinyse.core.errors import ExportError
from tinyse.export.bundle import MOST_PARTS
from tinyse.export.cparts import DECLARATIONS, held_offset, joined, table
from tinyse.export.cplan import needs, planned
from tinyse.export.csource import comment, floating, floats, integers, octets, plain
from tinyse.export.memory import MemoryReport, Place
from tinyse.export.npulayout import ALIGNMENT
from tinyse.export.targets import Target
from tinyse.graph.grid import MASK_SCALE, MASK_ZERO_POINT
from tinyse.graph.plan import Exit, Plan, Route, Skip, window
from tinyse.sound import Ends, analysis_window, band_matrix, synthesis_window

FEATURES = ("magnitude", "log_power", "complex", "samples")
RESULTS = ("gains", "complex_gains", "samples", "score")
"""Places of the kinds are the values of TINYSE_FEATURE and TINYSE_RESULT."""


def header(files: Sequence[bytes], plan: Plan, ends: Ends, report: MemoryReport, target: Target, source: str) -> str:
    """Text of model.h.

    Args:
        files: the flatbuffers that go on the target, one a part (compiled for NPU targets, int8 otherwise).
        plan: what runs on a frame. ends: what a frame is. report: the memory report. target: where it runs.
        source: SHA-256 of the trained model.

    Raises:
        ExportError: the C library cannot do this plan or these ends, or they are not the network's.
    """
    if ends.device_reason:
        raise ExportError(ends.device_reason, "train with such an fft in the recipe's ends")
    skip = int(skips(plan, ends, report))
    framing, feature, policy = ends.framing, ends.feature, plan.policy
    if not report.states:
        raise ExportError("the network keeps no state from frame to frame", "the firmware is for streaming models")
    kept = persistent(report)
    names = {
        "SAMPLE_RATE": framing.rate, "FRAME": framing.frame, "HOP": framing.hop, "FFT": framing.fft,
        "BINS": framing.bins, "DELAY": ends.delay, "BANDS": ends.width, "BANDED": int(banded(ends)),
        "FEATURE": FEATURES.index(feature.kind), "ROW": ends.row, "ROWS": ends.rows, "INPUTS": ends.inputs,
        "RESULT": RESULTS.index("score" if ends.result.scores else ends.result.kind),
        "RESULTS": ends.outputs, "OUTPUTS": ends.outputs + skip,
        "SKIP": skip, "FEATURE_POWER": floating(feature.power), "LOG_FLOOR": floating(feature.floor),
        "LOG_SCALE": floating(feature.gain * np.log(2.0)), "LOG_BIAS": floating(feature.bias),
        "LIMIT": floating(ends.result.limit),
        "INPUT_BITS": _bits(report.input), "OUTPUT_BITS": _bits(report.output),
        "INPUT_SCALE": floating(report.input.scale), "INPUT_ZERO_POINT": _signed(report.input.zero_point),
        "OUTPUT_SCALE": floating(report.output.scale), "OUTPUT_ZERO_POINT": _signed(report.output.zero_point),
        "INPUT_OFFSET": _offset(report.input), "OUTPUT_OFFSET": _offset(report.output),
        "STATES": len(kept), "PAIRS": sum(len(part.states) for part in plan.parts),
        "NETWORK_STATE_BYTES": report.state_bytes,
        "ARENA_BYTES": report.arena_bytes, "BLOCK_BYTES": report.block_bytes,
        "FAST_SCRATCH_BYTES": report.fast_bytes, "ALIGNMENT": ALIGNMENT,
        "MODEL_BYTES": len(joined(files)), "NPU": int(target.has_npu), "PARTS": len(plan.parts),
        "EXITS": len(plan.exits), "NEEDS": needs(plan), "PLANNED": f"{planned(plan)}u",
        "EXIT": int(isinstance(policy, Exit)), "ROUTE": int(isinstance(policy, Route)),
    }
    if ends.mean_frames:
        names["MEAN_FRAMES"] = ends.mean_frames
    if ends.level.on:
        target_rms, floor, fall = ends.level.numbers(framing)
        names |= {"LEVEL": 1, "LEVEL_TARGET": floating(target_rms), "LEVEL_FLOOR": floating(floor),
                  "LEVEL_FALL": floating(fall)}
    if ends.result.scores:
        names["SCORE_WINDOW"] = window(plan.parts) if ends.result.kind == "score" else 1  # every frame's own
    if isinstance(policy, Exit):
        names["EXIT_THRESHOLD"] = _signed(policy.threshold)
    if isinstance(policy, Route):
        choice = plan.tensor(policy.choice)
        names |= {"CHOICES": len(plan.choices), "CHOICE_BYTES": choice.grid.dtype.itemsize}
        if target.has_npu:
            names["CHOICE_OFFSET"] = held_offset(report, policy.choice)
    width = max(map(len, names))
    defines = "\n".join(f"#define TINYSE_{name:<{width}} {value}" for name, value in names.items())
    return HEADER.format(banner=_banner("model.h", files, target, source), defines=defines,
                         tables="".join(DECLARATION.format(*table) for table in tables(ends)),
                         contract=comment(_contract(ends, plan, target)), npu=DECLARATIONS if target.has_npu else "")


def persistent(report: MemoryReport) -> tuple[Place, ...]:
    """What starts at its zero point and lasts: states, held outputs, and the result where it is kept in the block."""
    result = (report.output,) if len(report.parts) > 1 else ()
    return (*report.states, *report.held, *result)


def banded(ends: Ends) -> bool:
    """Whether the matrix between bins and bands is used and is not the unit matrix."""
    return ends.transforms and ends.bands.kind != "none" and (ends.synthesizes or ends.feature.kind != "samples")


def tables(ends: Ends) -> list[tuple[str, str, int, str]]:
    """The constant arrays that the ends need: C type, name after ``tinyse_``, length, values."""
    found = []
    if ends.transforms:
        found.append(("float", "analysis_window", ends.framing.frame, floats(analysis_window(ends.framing))))
    if ends.synthesizes:
        found.append(("float", "synthesis_window", ends.framing.frame, floats(synthesis_window(ends.framing))))
    if banded(ends):
        start, count, weights = band_rows(ends)
        found += [("uint16_t", "band_start", len(start), integers(start)),
                  ("uint16_t", "band_count", len(count), integers(count)),
                  ("float", "band_weights", len(weights), floats(weights))]
    return found


def skips(plan: Plan, ends: Ends, report: MemoryReport) -> bool:
    """Whether the plan is a Skip RNN's, whose p~ (``tinyse.graph.skip``) follows the answer.

    Raises:
        ExportError: input or result are not the ends', or p~ is elsewhere, or not on the grid 1/256 from -128 on.
    """
    given, answers = (place.bytes * 8 // _bits(place) for place in (report.input, report.output))
    skip = isinstance(plan.policy, Skip)
    if len(plan.parts) > MOST_PARTS:
        raise ExportError(f"a plan of {len(plan.parts)} parts", f"the C library runs up to {MOST_PARTS}")
    if answers != ends.outputs + skip:
        raise ExportError(f"the network gives {answers} values for {ends.outputs} bands", "export it with tinyse")
    if given != ends.inputs:
        raise ExportError(f"the network takes {given} values, and a frame has {ends.inputs}", "export it with tinyse")
    if not isinstance(plan.policy, Skip):
        return False
    if (plan.policy.tensor, plan.policy.at) != (plan.result.name, ends.outputs):
        raise ExportError(f"the gate is element {plan.policy.at} of {plan.policy.tensor}",
                          f"the C library reads it behind the answer, element {ends.outputs} of {plan.result.name}")
    if (report.output.scale, report.output.zero_point) != (MASK_SCALE, MASK_ZERO_POINT):
        raise ExportError(f"the skipping network's outputs have scale {report.output.scale:g} and zero point "
                          f"{report.output.zero_point}", "export it with tinyse")
    return True


def source(files: Sequence[bytes], plan: Plan, ends: Ends, report: MemoryReport, target: Target, trained: str) -> str:
    """Text of model.c; arguments as for ``header``."""
    states = "\n".join(
        f"  {{ {_offset(state)}, {state.bytes}u, {np.dtype(state.type).itemsize}u, {state.zero_point}, "
        f"{floating(state.scale)}, {state.tensor} }}, /* {plain(state.name)}, {state.type} */"
        for state in persistent(report))
    return SOURCE.format(banner=_banner("model.c", files, target, trained), states=states,
                         parts=table(files, plan, report) if target.has_npu else "",
                         tables="".join(DEFINITION.format(*table) for table in tables(ends)),
                         model=octets(joined(files)))


def band_rows(ends: Ends) -> tuple[list[int], list[int], list[float]]:
    """The band matrix without its zeros: per band the first bin, the number of bins, and all weights in a row."""
    start, count, weights = [], [], []
    for column in band_matrix(ends.bands, ends.framing).T:
        used = np.flatnonzero(column)
        first = int(used[0]) if used.size else 0
        last = int(used[-1]) + 1 if used.size else 0
        start.append(first)
        count.append(last - first)
        weights += [float(value) for value in column[first:last]]
    return start, count, weights


def _bits(place: Place) -> int:
    return 8 * np.dtype(place.type).itemsize


def _signed(value: int) -> str:
    return f"({value})" if value < 0 else str(value)


def _offset(place: Place) -> str:
    return "TINYSE_NO_OFFSET" if place.offset is None else f"{place.offset}u"


def _banner(name: str, files: Sequence[bytes], target: Target, source: str) -> str:
    tools = ", ".join(f"{tool} {version}" for tool, version in sorted(versions().items()))
    return comment([f"{name}: generated by tinyse export for {target.name}; do not edit.", "",
                    *(f"model    sha256 {hashlib.sha256(data).hexdigest()}" for data in files),
                    f"trained  sha256 {source}", f"tools    {tools}"])


_TAKES = {
    "magnitude": "feature b is the sum of tinyse_band_weights[] times |X[bin]| over the band's bins, to FEATURE_POWER.",
    "log_power": "feature b is LOG_SCALE * log2(LOG_FLOOR + sum of band_weights[] times |X[bin]|^2) + LOG_BIAS.",
    "complex": "features 2b, 2b + 1 are Z |Z|^(FEATURE_POWER - 1), Z the sum of band_weights[] times X[bin].",
    "samples": "the features are the hop's samples."}
_GIVES = {
    "gains": "bin k's gain is the sum over bands of the same weights times m[b]; Y = X * gain.",
    "complex_gains": "bin k's gain is the sum over bands of the same weights times m[2b] + j m[2b + 1]; Y = X * gain.",
    "samples": "m are the hop's samples, enhanced.",
    "score": "m are scores; there is no sound.",
    "voice": "m is the probability that the frame is speech; there is no sound."}


def _contract(ends: Ends, plan: Plan, target: Target) -> list[str]:
    common = [
        "One frame: quantize TINYSE_ROW features, q = nearest(x / INPUT_SCALE) + INPUT_ZERO_POINT, saturated;",
        "write TINYSE_ROWS frames of them to the input; run; read the answers, m = (q - OUTPUT_ZERO_POINT) *",
        "OUTPUT_SCALE * LIMIT.",
        f"In: {_TAKES[ends.feature.kind]}",
        f"Out: {_GIVES[ends.result.kind]}",
        *(["Without bands every bin is a band of weight 1."] if ends.transforms and not banded(ends) else []),
        *(["Windows are FRAME long, frames start every HOP samples, at sample 0."] if ends.transforms else []),
    ]
    if ends.mean_frames:
        common += ["Mean: s += (x - s) / min(n, MEAN_FRAMES) on frame n, from 1, for every feature x; x - s is what is",
                   "quantized."]
    if ends.level.on:
        common += ["Level: l = max(mean of the hop's squares, l * LEVEL_FALL, LEVEL_FLOOR), the l before at first 0;",
                   "g = min(LEVEL_TARGET / sqrt(l), 1 / the hop's peak). The features are the hop times g"
                   + ("; m is divided by it." if ends.restores else ".")]
    if isinstance(plan.policy, Skip):
        common += ["The output has TINYSE_OUTPUTS values: the mask, then P - 128. The network runs again n frames on,",
                   "the smallest n with n * max(P, 1) >= 128; the frames between keep its states and its mask."]
    if target.has_npu:
        return [*common, "",
                "The caller owns an arena of TINYSE_ARENA_BYTES, aligned to TINYSE_ALIGNMENT, and behind it",
                "TINYSE_BLOCK_BYTES; both keep their contents between frames. Before the first frame fill every",
                "state with its zero point (an int8 hidden state does NOT start at byte 0). Input and output may",
                "overlap each other and scratch: write the input before every run. tinyse_parts are the network's",
                "parts, a command stream each: before one runs, copy its moves `before` from the block into the",
                "arena; after it, its moves `after` back. A part that does not run leaves what it writes as it was.",
                "NPU regions: 0 weights, 1 arena, 2 fast scratch (the arena again where a part has no fast_bytes)."]
    return [*common, "",
            "Run tinyse_model with TFLM in an arena of TINYSE_ARENA_BYTES (what its reference kernels ask for on a",
            "64-bit host; optimised kernels may want more), aligned to TINYSE_ALIGNMENT. TFLM places the states:",
            "offsets are TINYSE_NO_OFFSET, `tensor` is the index in the model. Reset restores their zero points."]


DECLARATION = "extern const {0} tinyse_{1}[{2}];\n"
DEFINITION = "const {0} tinyse_{1}[{2}] = {{\n{3}\n}};\n\n"

HEADER = """{banner}
#ifndef TINYSE_MODEL_H
#define TINYSE_MODEL_H

#include <stdint.h>

{contract}

#define TINYSE_NO_OFFSET UINT32_MAX
{defines}

#ifdef __cplusplus
extern "C" {{
#endif

/* A tensor that persists between frames. */
typedef struct tinyse_persistent {{
  uint32_t offset;       /* bytes from the start of the arena */
  uint32_t bytes;        /* size of the tensor */
  uint32_t element;      /* bytes of one value: 1 = int8 hidden state, 2 = int16 cell state */
  int32_t zero_point;    /* what every value starts at */
  float scale;           /* real = scale * (value - zero_point) */
  int32_t tensor;        /* index in its part's int8 model; -1 for an output that is kept */
}} tinyse_persistent;

extern const tinyse_persistent tinyse_states[TINYSE_STATES];

/* Windows; band b covers tinyse_band_count[b] bins from tinyse_band_start[b], their weights in a row. */
{tables}
/* The flatbuffer, or those of all parts in a row, each aligned to TINYSE_ALIGNMENT bytes. */
extern const uint8_t tinyse_model[TINYSE_MODEL_BYTES];
{npu}
#ifdef __cplusplus
}}
#endif

#endif /* TINYSE_MODEL_H */
"""

SOURCE = """{banner}
#include "model.h"

#include <stddef.h>

#ifdef __cplusplus
#define TINYSE_ALIGNED alignas(TINYSE_ALIGNMENT)
#else
#define TINYSE_ALIGNED _Alignas(TINYSE_ALIGNMENT)
#endif

const tinyse_persistent tinyse_states[TINYSE_STATES] = {{
{states}
}};

{parts}{tables}TINYSE_ALIGNED const uint8_t tinyse_model[TINYSE_MODEL_BYTES] = {{
{model}
}};
"""
