"""Scales of 11 significant bits: what makes Vela's arithmetic equal TFLM's.

TFLM multiplies the scales of a product in double, Vela in float32; a multiplier that differs in its last bits moves
an output by one step now and then, and a logit's step is several of the mask's. Where every scale has at most 11
significant bits the float32 product is exact, and where the hidden state's is a power of two so is its quotient: the
compiled network then equals the interpreted one (docs/npu.md). Rounding a scale **up** to 11 bits widens a range by at
most 0.1 %. Biases become whole steps of their accumulators, because the converter divides in float32: one that lies
between two steps could round otherwise there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.grid import GATES, Grid
from tinyse.model import LayerWeights, TrainedModel

DROPPED = 13
"""Mantissa bits of a float32 beyond the leading 11."""
HIDDEN_RANGE = (-1.0, 127.0 / 128.0)
"""h lies in (-1, 1): scale 2^-7, zero point 0."""


def snap_scale(scale: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """Positive float32 scales rounded up to 11 significant bits."""
    bits = np.asarray(scale, np.float32).view(np.uint32)
    mask = np.uint32((1 << DROPPED) - 1)
    return np.asarray((bits + mask) & ~mask, np.uint32).view(np.float32)


def snap_ranges(ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Ranges whose int8 grids have snapped scales; cell ranges (powers of two already) stay."""
    snapped = {}
    for name, (low, high) in ranges.items():
        if name.endswith(".c"):
            snapped[name] = (low, high)
        elif name.endswith(".h"):
            snapped[name] = HIDDEN_RANGE
        else:
            grid = Grid.of_range(low, high)
            wide = Grid(float(snap_scale(grid.scale)), grid.zero_point)
            snapped[name] = (wide.low, wide.high)
    return snapped


def _on_grid(matrix: NDArray[np.float32], axis: int | None) -> NDArray[np.float32]:
    peak = np.max(np.abs(matrix), axis=axis, keepdims=True)
    scale = snap_scale(np.where(peak > 0, peak, 127.0).astype(np.float32) / np.float32(127.0)).astype(np.float64)
    # The largest weight stays 127 steps: the scale grows by less than half a step in 127.
    return np.asarray(np.clip(np.rint(matrix / scale), -127, 127) * scale, np.float32)


def _layer(layer: LayerWeights, unit: float) -> LayerWeights:
    """The layer on its grids; ``unit`` is the scale of its input."""
    arrays = dict(layer.arrays)
    axis, gates = (0, 1) if layer.kind == "dense" else (None, GATES)
    for name, matrix in layer.arrays.items():
        if name != "bias":
            arrays[name] = np.concatenate([_on_grid(gate, axis) for gate in np.split(matrix, gates, axis=1)], axis=1)
    parts = zip(np.split(layer.arrays["bias"], gates), np.split(arrays["kernel"], gates, axis=1), strict=True)
    arrays["bias"] = np.concatenate([_whole(bias, kernel, axis, unit) for bias, kernel in parts])
    return replace(layer, arrays=arrays)


def _whole(bias: NDArray[np.float32], kernel: NDArray[np.float32], axis: int | None,
           unit: float) -> NDArray[np.float32]:
    """Biases that are whole accumulator steps: the converter's float32 quotient then rounds as everybody's does."""
    peak = np.max(np.abs(kernel), axis=axis).astype(np.float64)
    step = np.broadcast_to(peak / 127.0 * unit, bias.shape)
    whole = np.rint(np.divide(bias, step, out=np.zeros(bias.shape), where=step > 0)) * step
    return np.where((step > 0) & (np.abs(bias) < step * 2.0**22), whole, bias).astype(np.float32)


def snap(model: TrainedModel) -> TrainedModel:
    """The model with snapped ranges, its weights on snapped int8 grids; a float model stays as it is."""
    if model.ranges is None:
        return model
    ranges = snap_ranges(model.ranges)
    names = ["features", *(f"{each.name}.{'h' if each.kind == 'lstm' else 'out'}" for each in model.layers)]
    units = [Grid.of_range(*ranges[name]).scale for name in names[:-1]]
    layers = tuple(_layer(layer, unit) for layer, unit in zip(model.layers, units, strict=True))
    return replace(model, layers=layers, ranges=ranges)
