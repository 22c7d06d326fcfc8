"""Scales of 11 significant bits: what makes Vela's arithmetic equal TFLM's.

TFLM multiplies the scales of a product in double, Vela in float32; a multiplier that differs in its last bits moves
an output by one step now and then, and a logit's step is several of the mask's. Where every scale has at most 11
significant bits the float32 product is exact, and where the hidden state's is a power of two so is its quotient: the
compiled network then equals the interpreted one (docs/npu.md). Rounding a scale **up** to 11 bits widens a range by at
most 0.1 %. Biases become whole steps of their accumulators, because training divides in float32: one that lies
between two steps could round otherwise there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.grid import Grid, snap_scale
from tinyse.graph.layers import Array
from tinyse.graph.lowering import grids
from tinyse.graph.model import Model
from tinyse.graph.net import Net

Real = NDArray[np.float32]


def snap_ranges(net: Net, ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Ranges of a network whose grids have snapped scales; a layer says how (an LSTM's cell is on powers of two)."""
    snapped = {}
    for name, (low, high) in ranges.items():
        node, _, suffix = name.partition(".")
        snapped[name] = net[node].layer.snapped(suffix, low, high)
    for made in net.nodes:  # in order: what one aligns to may itself be aligned
        if made.ins and (name := f"{made.name}.out") in snapped:
            low, high = snapped[name]
            if made.layer.aligned(low, high, Grid(1.0)) != (low, high):
                snapped[name] = made.layer.aligned(low, high, grids(net, snapped)[made.ins[0]])
    return snapped


def _peaks(array: Array, matrix: Real) -> Real:
    """The largest magnitude under every scale, [dims] with 1 for the axes that share it."""
    others = tuple(n for n in range(len(array.dims)) if n not in array.scaled)
    return np.asarray(np.max(np.abs(matrix.reshape(array.dims)), axis=others, keepdims=True))


def _on_grid(array: Array, matrix: Real) -> Real:
    peak = _peaks(array, matrix)
    scale = snap_scale(np.where(peak > 0, peak, 127.0).astype(np.float32) / np.float32(127.0)).astype(np.float64)
    # The largest weight stays 127 steps: the scale grows by less than half a step in 127.
    steps = np.clip(np.rint(matrix.reshape(array.dims) / scale), -127, 127)
    return np.asarray(steps * scale, np.float32).reshape(array.shape)


def _last(array: Array) -> list[tuple[str, bool]]:
    """Every axis, and whether no later one is called the same."""
    return [(axis, axis not in array.axes[n + 1 :]) for n, axis in enumerate(array.axes)]


def _whole(array: Array, bias: Real, kernel: Array, matrix: Real, unit: float) -> Real:
    """Biases that are whole accumulator steps; ``unit`` is the scale of what the kernel reads."""
    peak = _peaks(kernel, matrix).astype(np.float64)
    # What a bias has no axis for is gone from the peaks, or a gate: of a GRU's only n has a recurrent bias, the last.
    peak = peak[tuple(slice(None) if axis in array.axes and last else -1 for axis, last in _last(kernel))]
    step = np.broadcast_to(peak / 127.0 * unit, array.dims)
    bias = bias.reshape(array.dims)
    whole = np.rint(np.divide(bias, step, out=np.zeros(array.dims), where=step > 0)) * step
    return np.where((step > 0) & (np.abs(bias) < step * 2.0**22), whole, bias).astype(np.float32).reshape(array.shape)


def snap(model: Model) -> Model:
    """The model with snapped ranges, its weights on snapped int8 grids; a float model stays as it is.

    Raises:
        ExportError: a range is missing.
    """
    if model.ranges is None:
        return model
    net, arrays = model.net, dict(model.arrays)
    ranges = snap_ranges(net, model.ranges)
    for name, array in net.arrays.items():
        if array.scale is not None:
            arrays[name] = _on_grid(array, np.asarray(arrays[name], np.float32))
    found = grids(net, ranges)
    for node in net.nodes:
        if node.ins and not node.weights:
            for bias, kernel, unit in node.layer.biases(found[node.ins[0]]):
                one, other = f"{node.name}/{bias}", f"{node.name}/{kernel}"
                arrays[one] = _whole(net.arrays[one], np.asarray(arrays[one], np.float32), net.arrays[other],
                                     arrays[other], unit)
    return replace(model, arrays=arrays, ranges=ranges)
