"""Reference: a Graph in NumPy with TFLM's integer arithmetic, the truth for training, NPU and C.

Bit-identical with the tflite-micro interpreter, frame after frame, and open to inspection::

    reference = Reference(graph)
    outputs = reference.run({"features": frame})      # integers by name; states persist
    reference.taps["lstm_0.c"]                        # int16 cell state of that frame
    reference.reset()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyse.core.errors import ModelError
from tinyse.graph import ops
from tinyse.graph.fixedpoint import (
    Ints,
    curve_argument,
    rescaler,
    sigmoid8_table,
    sigmoid_curve,
    tanh8_table,
    tanh_curve,
)
from tinyse.graph.graph import Graph
from tinyse.graph.ops import Op
from tinyse.graph.products import Array, Kernel, LstmKernel, clamp, conv, matmul


class Reference:
    """One Graph ready to run; one ``run`` a frame, states persist until ``reset``.

    Raises:
        ModelError: an input is missing, or has another shape or type than the graph's.
    """

    def __init__(self, graph: Graph, states: dict[str, Array] | None = None) -> None:
        """Prepare every operator's multipliers and tables; states at their start.

        ``states``: one store for the parts of a plan, whose states of one name are one state.
        """
        self.graph, self._past = graph, {} if states is None else states
        self._steps = [(op.out.name, tuple(tensor.name for tensor in op.ins), _KERNELS[type(op)](op))
                       for op in graph.ops]
        self._lstms = {name: kernel for name, _, kernel in self._steps if isinstance(kernel, LstmKernel)}
        self.reset()

    def reset(self) -> None:
        """Return every state to where it was before the first frame: its zero point."""
        self._past |= {state.past.name: np.full(state.past.shape, state.past.grid.zero_point, state.past.grid.dtype)
                       for state in self.graph.states}
        self._values: dict[str, Array] = {}
        for kernel in self._lstms.values():
            kernel.reset()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One frame: every input of the graph by name in, every output out, in their tensors' shapes and types."""
        values = dict(self._past)
        for tensor in self.graph.inputs:
            value = inputs.get(tensor.name)
            if value is None:
                raise ModelError(f"{self.graph.name}: input {tensor.name} is missing")
            if value.shape != tensor.shape or value.dtype != tensor.grid.dtype:
                raise ModelError(f"{tensor.name}: a frame of {value.dtype} {list(value.shape)} is not "
                                 f"{tensor.grid.dtype} {list(tensor.shape)}")
            values[tensor.name] = value
        for out, ins, kernel in self._steps:
            values[out] = kernel(*[values[name] for name in ins])
        self._past |= {state.past.name: values[state.fresh.name].copy() for state in self.graph.states}
        self._values = values
        return {tensor.name: values[tensor.name] for tensor in self.graph.outputs}

    @property
    def taps(self) -> dict[str, Array]:
        """Every tensor of the last frame by name; of an LSTM also ``<out>.pre_<gate>``, ``.gate_<gate>``, ``.c``."""
        inner = {f"{name}.{part}": value.astype(np.int16)
                 for name, kernel in self._lstms.items() for part, value in kernel.inner.items()}
        return {**self._values, **inner}


def _table(op: Op, function: Callable[[Ints], Array]) -> Kernel:
    """An operator of one value as a table of every stored integer, ``function`` of them all."""
    info = np.iinfo(op.x.grid.dtype)
    table, low = function(np.arange(info.min, info.max + 1, dtype=np.int64)), int(info.min)
    return lambda x: table.take(x.astype(np.int64) - low)


def _curve(op: Op, table8: Callable[[float, int], Array], curve: Callable[[Ints], Ints],
           shifts: tuple[int, ...]) -> Kernel:
    grid, out = op.x.grid, op.out.grid

    def function(every: Ints) -> Array:
        if grid.bits <= 8:
            values: Array = table8(grid.scale, grid.zero_point)
        else:
            values = curve(curve_argument(every, grid.scale, shifts))
        return np.clip(values, out.least, out.most).astype(out.dtype)
    return _table(op, function)


def _requantize(op: Op) -> Kernel:
    scaled, store, zero = rescaler(op.x.grid.scale / op.out.grid.scale), clamp(op), op.x.grid.zero_point
    return _table(op, lambda every: store(scaled(every - zero)))


def _prelu(op: ops.Prelu) -> Kernel:
    ratio, store, zero = op.x.grid.scale / op.out.grid.scale, clamp(op), op.x.grid.zero_point
    straight, bent = rescaler(ratio), rescaler(op.x.grid.scale * op.alpha_scale / op.out.grid.scale)
    every = np.arange(-128, 128, dtype=np.int64)[:, None] - zero
    table = store(np.where(every >= 0, straight(every), bent(every * op.alpha.astype(np.int64))))
    channels = np.arange(op.alpha.size)
    return lambda x: table[x.astype(np.int64) + 128, channels]


def _sum(op: ops.Add) -> Kernel:
    """ADD and SUB: both operands on twice the larger scale with head-room, then the sum onto the output's."""
    first, second = (tensor.grid for tensor in op.ins)
    twice = 2.0 * max(first.scale, second.scale)
    head = 20 if first.bits <= 8 else 15
    left, right = rescaler(first.scale / twice), rescaler(second.scale / twice)
    scaled, store = rescaler(twice / (2.0**head * op.out.grid.scale)), clamp(op)
    sign = -1 if isinstance(op, ops.Sub) else 1
    return lambda a, b: store(scaled(left((a.astype(np.int64) - first.zero_point) << head)
                                     + sign * right((b.astype(np.int64) - second.zero_point) << head)))


def _mul(op: ops.Mul) -> Kernel:
    first, second = (tensor.grid for tensor in op.ins)
    scaled, store = rescaler(first.scale * second.scale / op.out.grid.scale), clamp(op)
    return lambda a, b: store(scaled((a.astype(np.int64) - first.zero_point)
                                     * (b.astype(np.int64) - second.zero_point)))


def _maxpool(op: ops.MaxPool) -> Kernel:
    (high, wide), (down, across) = op.kernel, op.stride
    return lambda x: np.lib.stride_tricks.sliding_window_view(x, (high, wide), (1, 2))[:, ::down, ::across].max((4, 5))


def _slice(op: ops.Slice) -> Kernel:
    window = tuple(slice(start, start + size) for start, size in zip(op.begin, op.out.shape, strict=True))
    return lambda x: x[window]


def _reshape(op: ops.Reshape) -> Kernel:
    shape = op.out.shape
    return lambda x: x.reshape(shape)


def _concat(op: ops.Concat) -> Kernel:
    axis = op.axis
    return lambda *parts: np.concatenate(parts, axis)


_KERNELS: dict[type[Op], Callable[[Any], Kernel]] = {
    ops.MatMul: matmul, ops.Conv: conv, ops.Depthwise: conv, ops.Lstm: LstmKernel, ops.Add: _sum, ops.Sub: _sum,
    ops.Mul: _mul, ops.Max: lambda op: np.maximum,
    ops.Sigmoid: lambda op: _curve(op, sigmoid8_table, sigmoid_curve, (0,)),
    ops.Tanh: lambda op: _curve(op, tanh8_table, tanh_curve, (0, 1)), ops.Prelu: _prelu, ops.MaxPool: _maxpool,
    ops.Concat: _concat, ops.Slice: _slice, ops.Reshape: _reshape, ops.Requantize: _requantize}
