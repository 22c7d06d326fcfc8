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

from tinyse.graph.grid import CLIPS, Grid, snap_scale
from tinyse.graph.layers import Array
from tinyse.graph.lowering import Lowering, grids
from tinyse.graph.model import Model
from tinyse.graph.net import Net

Real = NDArray[np.float32]


def snap_ranges(net: Net, ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Ranges of a network whose grids have snapped scales; a layer says how (an LSTM's cell is on powers of two)."""
    snapped = {}
    for name, (low, high) in ranges.items():
        node, _, suffix = name.partition(".")
        snapped[name] = net[node].layer.snapped(suffix, low, high, net.bits_of(name))
    for made in net.nodes:  # in order: what one aligns to may itself be aligned
        if made.ins and (name := f"{made.name}.out") in snapped:
            (low, high), bits = snapped[name], net.bits_of(name)
            if made.layer.aligned(low, high, Grid(1.0), bits=bits) != (low, high):
                found = grids(net, snapped)
                snapped[name] = made.layer.aligned(low, high, *(found[one] for one in made.ins), bits=bits)
    return snapped


def _peaks(array: Array, matrix: Real) -> Real:
    """The largest magnitude under every scale, [dims] with 1 for the axes that share it."""
    others = tuple(n for n in range(len(array.dims)) if n not in array.scaled)
    return np.asarray(np.max(np.abs(matrix.reshape(array.dims)), axis=others, keepdims=True))


def _tops(net: Net, name: str) -> NDArray[np.float64]:
    """The largest integers of an array's weights, [dims] with 1 but for gates."""
    array = net.arrays[name]
    return np.reshape(np.array(net.tops(name), np.float64), [-1 if axis == "gate" else 1 for axis in array.axes])


def _fitted(array: Array, matrix: Real, tops: NDArray[np.float64]) -> Real:
    """Where the integers of fewer than 8 bits end, under every scale: at the least squared error of ``CLIPS``."""
    peak, given = _peaks(array, matrix), matrix.reshape(array.dims)
    others = tuple(n for n in range(len(array.dims)) if n not in array.scaled)
    best, least = peak, np.full(peak.shape, np.inf)
    for share in CLIPS if (tops < 127).any() else ():
        scale = np.where(peak > 0, share * peak, 1.0) / tops
        error = np.square(np.clip(np.rint(given / scale), -tops, tops) * scale - given).sum(others, keepdims=True)
        best, least = np.where((error < least) & (tops < 127), share * peak, best), np.minimum(error, least)
    return best.astype(np.float32)


def _on_grid(array: Array, matrix: Real, tops: NDArray[np.float64]) -> Real:
    peak = _fitted(array, matrix, tops)
    scale = snap_scale((np.where(peak > 0, peak, tops) / tops).astype(np.float32)).astype(np.float64)
    # The largest weight stays ``tops`` steps: the scale grows by less than half a step in 127.
    steps = np.clip(np.rint(matrix.reshape(array.dims) / scale), -tops, tops)
    return np.asarray(steps * scale, np.float32).reshape(array.shape)


def _last(array: Array) -> list[tuple[str, bool]]:
    """Every axis, and whether no later one is called the same."""
    return [(axis, axis not in array.axes[n + 1 :]) for n, axis in enumerate(array.axes)]


def _whole(array: Array, bias: Real, kernel: Array, matrix: Real, tops: NDArray[np.float64], unit: float) -> Real:
    """Biases that are whole accumulator steps; ``unit`` is the scale of what the kernel reads."""
    scale = _peaks(kernel, matrix).astype(np.float64) / tops
    # What a bias has no axis for is gone from the scales, or a gate: of a GRU's only n has a recurrent bias, the last.
    scale = scale[tuple(slice(None) if axis in array.axes and last else -1 for axis, last in _last(kernel))]
    step = np.broadcast_to(scale * unit, array.dims)
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
            arrays[name] = _on_grid(array, np.asarray(arrays[name], np.float32), _tops(net, name))
    found, made = grids(net, ranges), Lowering(net, {}, ranges)
    for node in net.nodes:
        if node.ins and not node.weights:
            for bias, kernel, unit in node.layer.biases(found[node.ins[0]], made.of_node(node.name)):
                one, other = f"{node.name}/{bias}", f"{node.name}/{kernel}"
                arrays[one] = _whole(net.arrays[one], np.asarray(arrays[one], np.float32), net.arrays[other],
                                     arrays[other], _tops(net, other), unit)
    return replace(model, arrays=arrays, ranges=ranges)
