"""Writes ``model.h`` and ``model.c``: the model, the front end's tables and everything a driver must know.

The header states the contract (sizes, grids, state layout, alignment, who owns what); the source holds data
only. Both are plain C11 and C++17. The flatbuffer is emitted once: on NPU targets the driver payload and the
weights are 16-byte aligned parts of it, given by their offsets.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from tinyse.artifacts import versions
from tinyse.errors import ExportError
from tinyse.export.csource import comment, floating, floats, integers, octets
from tinyse.export.memory import ALIGNMENT, MemoryReport, Place
from tinyse.frontend import FrontEndSpec, analysis_window, mel_matrix, synthesis_window
from tinyse.graph.grid import MASK_SCALE, MASK_ZERO_POINT
from tinyse.targets import Target


@dataclass(frozen=True)
class NpuParts:
    """Byte offsets and sizes inside the compiled file: driver payload (COP1) and read-only data."""

    payload_offset: int
    payload_bytes: int
    weights_offset: int
    weights_bytes: int


def npu_parts(data: bytes) -> NpuParts:
    """Find the driver payload and the read-only data in a Vela-compiled file.

    Raises:
        ExportError: they are not 16-byte aligned, so that an NPU could not read them in place.
    """
    from tinyse.export.network import schema

    raw = schema().Model.GetRootAsModel(data, 0)
    graph = raw.Subgraphs(0)
    places = []
    for slot in (0, 1):
        buffer = raw.Buffers(graph.Tensors(graph.Operators(0).Inputs(slot)).Buffer())
        if buffer.Offset() > 1:
            places += [buffer.Offset(), buffer.Size()]
        else:
            places += [buffer._tab.Vector(buffer._tab.Offset(4)), buffer.DataLength()]
    parts = NpuParts(*places)
    if parts.payload_offset % ALIGNMENT or parts.weights_offset % ALIGNMENT:
        raise ExportError("Vela's file does not keep its command stream and weights 16-byte aligned",
                          "install ethos-u-vela 5.x")
    return parts


def header(model: bytes, spec: FrontEndSpec, report: MemoryReport, target: Target, source: str) -> str:
    """Text of model.h.

    Args:
        model: the flatbuffer that goes on the target (compiled for NPU targets, int8 otherwise).
        spec: the front end. report: the memory report. target: where it runs.
        source: SHA-256 of the trained model.
    """
    start, count, weights = mel_rows(spec)
    skip = int(skips(spec, report))
    parts = npu_parts(model) if target.has_npu else None
    names = {
        "SAMPLE_RATE": spec.sample_rate, "FRAME": spec.frame, "HOP": spec.hop, "FFT": spec.fft, "BINS": spec.bins,
        "BANDS": spec.bands, "OUTPUTS": spec.bands + skip, "SKIP": skip,
        "MEL_LOW_HZ": floating(spec.low_hz), "MEL_HIGH_HZ": floating(spec.high_hz),
        "MEL_WEIGHTS": len(weights), "FEATURE_POWER": floating(spec.power),
        "INPUT_SCALE": floating(report.input.scale), "INPUT_ZERO_POINT": _signed(report.input.zero_point),
        "OUTPUT_SCALE": floating(report.output.scale), "OUTPUT_ZERO_POINT": _signed(report.output.zero_point),
        "INPUT_OFFSET": _offset(report.input), "OUTPUT_OFFSET": _offset(report.output),
        "STATES": len(report.states), "NETWORK_STATE_BYTES": report.state_bytes,
        "ARENA_BYTES": report.arena_bytes, "FAST_SCRATCH_BYTES": report.fast_bytes, "ALIGNMENT": ALIGNMENT,
        "MODEL_BYTES": len(model), "NPU": int(target.has_npu),
    }
    if parts is not None:
        names |= {"PAYLOAD_OFFSET": parts.payload_offset, "PAYLOAD_BYTES": parts.payload_bytes,
                  "WEIGHTS_OFFSET": parts.weights_offset, "WEIGHTS_BYTES": parts.weights_bytes}
    width = max(map(len, names))
    defines = "\n".join(f"#define TINYSE_{name:<{width}} {value}" for name, value in names.items())
    return HEADER.format(banner=_banner("model.h", model, target, source), defines=defines,
                         contract=comment(_contract(target, bool(skip))), npu=NPU_POINTERS if parts else "")


def skips(spec: FrontEndSpec, report: MemoryReport) -> bool:
    """Whether the network is a Skip RNN: one output more than bands, the p~ of ``tinyse.skip``.

    Raises:
        ExportError: its outputs are neither, or p~ is not on the grid 1/256 from -128 on.
    """
    extra = report.output.bytes - spec.bands
    if extra not in (0, 1):
        raise ExportError(f"the network gives {report.output.bytes} values for {spec.bands} bands",
                          "export it with tinyse")
    if extra and (report.output.scale, report.output.zero_point) != (MASK_SCALE, MASK_ZERO_POINT):
        raise ExportError(f"the skipping network's outputs have scale {report.output.scale:g} and zero point "
                          f"{report.output.zero_point}", "export it with tinyse")
    return bool(extra)


def source(model: bytes, spec: FrontEndSpec, report: MemoryReport, target: Target, trained: str) -> str:
    """Text of model.c; arguments as for ``header``."""
    start, count, weights = mel_rows(spec)
    states = "\n".join(
        f"  {{ {_offset(state)}, {state.bytes}u, {np.dtype(state.type).itemsize}u, {state.zero_point}, "
        f"{floating(state.scale)}, {state.tensor} }}, /* {state.name}, {state.type} */" for state in report.states)
    return SOURCE.format(
        banner=_banner("model.c", model, target, trained), states=states,
        analysis=floats(analysis_window(spec)), synthesis=floats(synthesis_window(spec)),
        start=integers(start), count=integers(count), weights=floats(weights), model=octets(model))


def mel_rows(spec: FrontEndSpec) -> tuple[list[int], list[int], list[float]]:
    """The mel matrix without its zeros: per band the first bin, the number of bins, and all weights in a row."""
    start, count, weights = [], [], []
    for column in mel_matrix(spec).T:
        used = np.flatnonzero(column)
        first = int(used[0]) if used.size else 0
        last = int(used[-1]) + 1 if used.size else 0
        start.append(first)
        count.append(last - first)
        weights += [float(value) for value in column[first:last]]
    return start, count, weights


def _signed(value: int) -> str:
    return f"({value})" if value < 0 else str(value)


def _offset(place: Place) -> str:
    return "TINYSE_NO_OFFSET" if place.offset is None else f"{place.offset}u"


def _banner(name: str, model: bytes, target: Target, source: str) -> str:
    tools = ", ".join(f"{tool} {version}" for tool, version in sorted(versions().items()))
    return comment([f"{name}: generated by tinyse export for {target.name}; do not edit.", "",
                    f"model    sha256 {hashlib.sha256(model).hexdigest()}", f"trained  sha256 {source}",
                    f"tools    {tools}"])


def _contract(target: Target, skip: bool) -> list[str]:
    common = [
        "One frame: quantize TINYSE_BANDS mel features, q = nearest(x / INPUT_SCALE) + INPUT_ZERO_POINT,",
        "saturated to int8; write them to the input; run; read the int8 mask,",
        "m = (q - OUTPUT_ZERO_POINT) * OUTPUT_SCALE.",
        "Feature b is the sum of tinyse_mel_weights[] times |X[bin]| over the band's bins, to FEATURE_POWER.",
        "Bin k of the linear mask is the sum over bands of the same weights times m[b]. Y = X * linear mask.",
        "Analysis and synthesis windows are FRAME long, frames start every HOP samples, at sample 0.",
    ]
    if skip:
        common += ["The output has TINYSE_OUTPUTS values: the mask, then P - 128. The network runs again n frames on,",
                   "the smallest n with n * max(P, 1) >= 128; the frames between keep its states and its mask."]
    if target.has_npu:
        return [*common, "",
                "The caller owns an arena of TINYSE_ARENA_BYTES, aligned to TINYSE_ALIGNMENT, that keeps its",
                "contents between frames. Before the first frame fill every state with its zero point (an int8",
                "hidden state does NOT start at byte 0). Input and output may overlap each other and scratch:",
                "write the input before every run. NPU regions: 0 weights, 1 arena, 2 fast scratch (the arena",
                "again where TINYSE_FAST_SCRATCH_BYTES is 0)."]
    return [*common, "",
            "Run tinyse_model with TFLM in an arena of TINYSE_ARENA_BYTES (what its reference kernels ask for on a",
            "64-bit host; optimised kernels may want more), aligned to TINYSE_ALIGNMENT. TFLM places the states:",
            "offsets are TINYSE_NO_OFFSET, `tensor` is the index in the model. Reset restores their zero points."]


NPU_POINTERS = """
/* The driver payload (COP1) and the read-only data (weights, scales, tables), aligned, inside the model. */
#define TINYSE_PAYLOAD (&tinyse_model[TINYSE_PAYLOAD_OFFSET])
#define TINYSE_WEIGHTS (&tinyse_model[TINYSE_WEIGHTS_OFFSET])
"""

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
  int32_t tensor;        /* index in the int8 model */
}} tinyse_persistent;

extern const tinyse_persistent tinyse_states[TINYSE_STATES];

extern const float tinyse_analysis_window[TINYSE_FRAME];
extern const float tinyse_synthesis_window[TINYSE_FRAME];

/* Mel filterbank by rows: band b covers tinyse_mel_count[b] bins from tinyse_mel_start[b]. */
extern const uint16_t tinyse_mel_start[TINYSE_BANDS];
extern const uint16_t tinyse_mel_count[TINYSE_BANDS];
extern const float tinyse_mel_weights[TINYSE_MEL_WEIGHTS];

/* The flatbuffer, aligned to TINYSE_ALIGNMENT bytes. */
extern const uint8_t tinyse_model[TINYSE_MODEL_BYTES];
{npu}
#ifdef __cplusplus
}}
#endif

#endif /* TINYSE_MODEL_H */
"""

SOURCE = """{banner}
#include "model.h"

#ifdef __cplusplus
#define TINYSE_ALIGNED alignas(TINYSE_ALIGNMENT)
#else
#define TINYSE_ALIGNED _Alignas(TINYSE_ALIGNMENT)
#endif

const tinyse_persistent tinyse_states[TINYSE_STATES] = {{
{states}
}};

const float tinyse_analysis_window[TINYSE_FRAME] = {{
{analysis}
}};

const float tinyse_synthesis_window[TINYSE_FRAME] = {{
{synthesis}
}};

const uint16_t tinyse_mel_start[TINYSE_BANDS] = {{
{start}
}};

const uint16_t tinyse_mel_count[TINYSE_BANDS] = {{
{count}
}};

const float tinyse_mel_weights[TINYSE_MEL_WEIGHTS] = {{
{weights}
}};

TINYSE_ALIGNED const uint8_t tinyse_model[TINYSE_MODEL_BYTES] = {{
{model}
}};
"""
