"""Tall: a Graph of convolutions over many frames at once, to the integers that ``Reference`` gives one by one.

What a frame holds of the past lies above it already in a sequence, so a state and its CONCATENATION are a view of one
tall map; a map of steps is bytes of 0 and 1, and its sums ask only on which side of a bound they lie. ::

    tall = Tall(graph)
    tall.run(frames)                    # int8 [n, rows, width, channels] to int8 [n, outputs]; states persist
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinyse.core.errors import ModelError
from tinyse.graph import ops
from tinyse.graph.fixedpoint import Ints, rescaler
from tinyse.graph.graph import Graph
from tinyse.graph.grid import STEP
from tinyse.graph.products import Array, limits, reals
from tinyse.graph.tensor import Fused, Tensor

FARTHEST = 2.0**31
"""Sums are of 32 bits: one that would have to be larger is never reached."""
Step = Callable[[dict[str, Array]], Array]


class Tall:
    """One Graph ready to run; values are [n, rows, width, channels], less their zero points.

    Raises:
        ModelError: an operator that is none of CONV_2D, MAX_POOL_2D, RESHAPE and a past, or more than one input.
    """

    def __init__(self, graph: Graph) -> None:
        """Prepare every operator; states at their start."""
        self.graph = graph
        self._past = {state.past.name: state.fresh for state in graph.states}
        self._fresh = {state.fresh.name for state in graph.states}
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise ModelError(f"{graph.name}: {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, not 1 and 1")
        self._steps = [(op.out.name, self._prepared(op)) for op in graph.ops if op.out.name not in self._fresh]
        self.reset()

    def reset(self) -> None:
        """Return every state to its zero point."""
        self._kept: dict[str, Array] = {
            state.past.name: np.zeros(state.past.shape[1:], np.bool_ if state.past.grid == STEP else np.float32)
            for state in self.graph.states}

    def run(self, frames: Array) -> Array:
        """Frames [n, ...] on the input's grid to outputs [n, size] on the output's; the states move on by n."""
        source, result = self.graph.inputs[0], self.graph.outputs[0]
        given = frames.reshape(-1, *source.shape[1:]).astype(np.float32) - np.float32(source.grid.zero_point)
        values = {source.name: given}
        for name, step in self._steps:
            values[name] = step(values)
        grid = result.grid
        return (values[result.name].astype(np.int64) + grid.zero_point).astype(grid.dtype).reshape(len(given), -1)

    def _prepared(self, op: ops.Op) -> Step:
        x = op.ins[0].name
        if isinstance(op, ops.Concat) and op.axis == 1 and len(op.ins) == 2 and x in self._past:
            return self._line(op)
        if type(op) is ops.Conv:
            gather, finish = _windows(op), _finish(op)
            return lambda values: finish(gather(values[x]))
        if isinstance(op, ops.MaxPool):
            return lambda values: _largest(values[x], op)
        if isinstance(op, ops.Reshape):
            return lambda values: values[x].reshape(-1, *op.out.shape[1:])
        raise ModelError(f"{op.out.name}: {op.kind} is not run over many frames at once", "run it frame by frame")

    def _line(self, op: ops.Concat) -> Step:
        past, x = op.ins
        rows, new = past.shape[1], x.shape[1]
        made = next((other for other in self.graph.ops if other.out.name == self._past[past.name].name), None)
        if not isinstance(made, ops.Slice) or made.x.name not in (op.out.name, x.name) or (
                made.begin[1] + rows != made.x.shape[1]):
            raise ModelError(f"{past.name}: is not the last {rows} rows of the frame before", "run it frame by frame")

        def step(values: dict[str, Array]) -> Array:
            given = values[x.name]
            line = np.concatenate([self._kept[past.name], given.reshape(-1, *given.shape[2:])])
            self._kept[past.name] = line[len(line) - rows :].copy()
            return np.moveaxis(sliding_window_view(line, rows + new, 0)[::new], -1, 1)

        return step


def _windows(op: ops.Conv) -> Callable[[Array], Array]:
    """From a map to its sums, [n, rows, width, channels], bias included and exact."""
    values, bias, peak = op.weights.values, op.weights.bias, _peak(op.x)
    bound = int(np.abs(values.astype(np.int64)).reshape(len(values), -1).sum(1).max()) * peak
    kind = np.float32 if bound + int(np.abs(bias).max(initial=0)) < 2**24 else np.float64
    matrix: Any = np.ascontiguousarray(values.reshape(len(values), -1).T, kind)
    shift = bias.astype(kind)
    spans = [(k - 1) * d + 1 for k, d in zip(op.kernel, op.dilation, strict=True)]

    def run(x: Array) -> Array:
        if any(op.pad):
            x = np.pad(x, ((0, 0), (0, 0), op.pad, (0, 0)))
        seen = sliding_window_view(x, spans, (1, 2))[:, :: op.stride[0], :: op.stride[1]]
        seen = np.moveaxis(seen[..., :: op.dilation[0], :: op.dilation[1]], 3, -1)
        sums = np.ascontiguousarray(seen, kind).reshape(-1, len(matrix)) @ matrix
        sums += shift
        return sums.reshape(-1, *op.out.shape[1:])

    return run


def _peak(tensor: Tensor) -> int:
    grid = tensor.grid
    return max(grid.most - grid.zero_point, grid.zero_point - grid.least)


def _finish(op: ops.Conv) -> Callable[[Array], Array]:
    """From sums to values: which side of a bound, where the result is 0 or 1."""
    grid, scaled = op.out.grid, rescaler(reals(op))
    low, high = (limit - grid.zero_point for limit in limits(grid, op.fused))
    if grid == STEP and op.fused is Fused.RELU:
        least = first_one(scaled, np.asarray(reals(op)))
        return lambda sums: sums >= least.astype(sums.dtype)
    return lambda sums: np.clip(scaled(sums.astype(np.int64)), low, high).astype(np.float32)


def first_one(scaled: Callable[[Ints], Ints], factors: Array) -> Ints:
    """The least sum of every channel that a rescaling by ``factors`` > 0 takes to 1 or more: int64 [channels]."""
    high = np.minimum(1.0 / factors + 2, FARTHEST).astype(np.int64)
    low = np.zeros_like(high)  # 0 stays 0, and a rescaling never falls
    while (high - low > 1).any():
        middle = (low + high) >> 1
        one = scaled(middle) >= 1
        high, low = np.where(one, middle, high), np.where(one, low, middle)
    return high


def _largest(x: Array, op: ops.MaxPool) -> Array:
    _, rows, width, _ = op.out.shape
    (down, across), best = op.stride, None
    for t in range(op.kernel[0]):
        for f in range(op.kernel[1]):
            seen: Any = x[:, t : t + (rows - 1) * down + 1 : down, f : f + (width - 1) * across + 1 : across]
            best = seen if best is None else np.maximum(best, seen)
    return np.asarray(best)
