"""The operators that have weights, as functions of one frame's integers: TFLM's arithmetic, prepared once.

Sums are exact: matrix products run on the float unit where no partial sum can leave 24 (float32) or 53 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.fixedpoint import Ints, clip, rescaler, rescaler16, saturate16, sigmoid16, tanh16
from tinyse.graph.grid import GATE_ONE, UNIT_ONE, Grid
from tinyse.graph.ops import Conv, Depthwise, Lstm, MatMul, Op
from tinyse.graph.tensor import Fused

Array = NDArray[Any]
Kernel = Callable[..., Array]


def clamp(op: Op) -> Callable[[Ints], Array]:
    """From results without a zero point to the stored integers of ``op.out``, its fused activation included."""
    grid = op.out.grid
    low, high = limits(grid, getattr(op, "fused", Fused.NONE))
    zero, dtype = grid.zero_point, grid.dtype
    return lambda value: clip(value + zero, low, high).astype(dtype)


def limits(grid: Grid, fused: Fused) -> tuple[int, int]:
    """Least and largest integer that an operator with ``fused`` writes on ``grid``."""
    low = grid.least if fused is Fused.NONE else max(grid.least, grid.zero_point)
    if fused is not Fused.RELU6:
        return low, grid.most
    six = math.floor(float(np.float32(6) / np.float32(grid.scale)) + 0.5)
    return low, min(grid.most, grid.zero_point + six)


def exact_product(weights: Array, peak: int) -> Callable[[Array], Ints]:
    """A function from integers [..., in], none larger than ``peak``, to their exact product with weights [out, in]."""
    bound = int(np.abs(weights.astype(np.int64)).sum(1).max(initial=0)) * peak
    matrix = np.ascontiguousarray(weights.T, np.float32 if bound < 2**24 else np.float64)
    return lambda values: (values.astype(matrix.dtype) @ matrix).astype(np.int64)


def _peak(grid: Grid) -> int:
    return max(grid.most - grid.zero_point, grid.zero_point - grid.least)


def _finish(op: MatMul | Conv) -> Callable[[Ints], Array]:
    """Bias, multiplier, zero point, clamp."""
    bias, store = op.weights.bias, clamp(op)
    scaled = (rescaler if op.x.grid.bits <= 8 else rescaler16)(reals(op))
    return lambda sums: store(scaled(sums + bias))


def reals(op: MatMul | Conv) -> list[float]:
    """What every channel's sum is multiplied with, before it is rounded to a mantissa and a shift."""
    return [op.x.grid.scale * float(scale) / op.out.grid.scale for scale in op.weights.scales]


def matmul(op: MatMul) -> Kernel:
    """FULLY_CONNECTED."""
    product, finish = exact_product(op.weights.values, _peak(op.x.grid)), _finish(op)
    zero, shape = op.x.grid.zero_point, op.out.shape
    return lambda x: finish(product(x.astype(np.int64) - zero)).reshape(shape)


def conv(op: Conv) -> Kernel:
    """CONV_2D and DEPTHWISE_CONV_2D: windows gathered into rows, then one product."""
    finish, shape, values = _finish(op), op.out.shape, op.weights.values
    windows = _gather(op)
    if isinstance(op, Depthwise):
        taps = values.reshape(-1, values.shape[-1]).astype(np.int64)
        return lambda x: finish((windows(x).reshape(-1, *taps.shape) * taps).sum(1)).reshape(shape)
    product = exact_product(values.reshape(len(values), -1), _peak(op.x.grid))
    return lambda x: finish(product(windows(x))).reshape(shape)


def _gather(op: Conv) -> Callable[[Array], Ints]:
    """The windows of an input, less its zero point, as int64 [positions, kt * kf * channels]."""
    (_, rows, width, channels), zero = op.x.shape, op.x.grid.zero_point
    if (op.kernel, op.stride, op.pad) == ((1, 1), (1, 1), (0, 0)):
        return lambda x: x.reshape(-1, channels).astype(np.int64) - zero
    whole = np.zeros((rows, width + sum(op.pad), channels), np.int64)  # its margins stay the zero point
    middle = whole[:, op.pad[0]:op.pad[0] + width]
    places = np.arange(whole.size).reshape(whole.shape)
    t, f = (np.add.outer(np.arange(size) * stride, np.arange(taps) * step) for size, stride, taps, step in zip(
        op.out.shape[1:3], op.stride, op.kernel, op.dilation, strict=True))
    at = places[t[:, None, :, None], f[None, :, None, :]].reshape(t.shape[0] * f.shape[0], -1)

    def windows(x: Array) -> Ints:
        middle[...] = x.reshape(rows, width, channels)
        np.subtract(middle, zero, out=middle)
        return whole.take(at)
    return windows


EVERY16 = np.arange(-32768, 32768, dtype=np.int64)


@lru_cache
def gate_tables() -> tuple[Ints, Ints]:
    """Sigmoid and tanh in Q0.15 of every Q3.12 value, at value + 32768."""
    return sigmoid16(EVERY16), tanh16(EVERY16)


class LstmKernel:
    """UNIDIRECTIONAL_SEQUENCE_LSTM: all four gates in one product, rescaled per gate; h and c stay here.

    ``inner`` of the last frame: ``pre_<gate>`` Q3.12, ``gate_<gate>`` Q0.15, ``c`` (int64 arrays [units]).
    """

    def __init__(self, op: Lstm) -> None:
        """Stack the gates i, f, g, o and prepare TFLM's multipliers, all in double."""
        self.x, self.out, self.units = op.x.grid, op.out, op.units
        h = op.out.grid
        self.kernel = exact_product(np.concatenate([gate.kernel for gate in op.gates]), _peak(self.x))
        self.recurrent = exact_product(np.concatenate([gate.recurrent for gate in op.gates]), _peak(h))
        self.bias = np.concatenate([gate.bias for gate in op.gates]).astype(np.int64)
        self.input_scale = rescaler(np.repeat(
            [self.x.scale * float(gate.kernel_scale) * GATE_ONE for gate in op.gates], self.units))
        self.hidden_scale = rescaler(np.repeat(
            [h.scale * float(gate.recurrent_scale) * GATE_ONE for gate in op.gates], self.units))
        self.forget = rescaler(1 / UNIT_ONE)
        self.update = rescaler(1 / UNIT_ONE**2 / op.cell_scale)
        self.output = rescaler(1 / UNIT_ONE**2 / h.scale)
        self.clip = int(min(op.cell_clip / op.cell_scale, 32767.0)) if op.cell_clip > 0 else 0
        self.tanh = tanh16(EVERY16, -round(math.log2(op.cell_scale)))
        self.reset()

    def reset(self) -> None:
        """h to its zero point, c to 0."""
        self.h: Ints = np.zeros(self.units, np.int64)  # less its zero point
        self.c: Ints = np.zeros(self.units, np.int64)
        self.inner: dict[str, Ints] = {}

    def __call__(self, x: Array) -> Array:
        """One frame: int8 of any shape of [in] values to int8 of out's shape."""
        sigmoid, tanh = gate_tables()
        from_input = self.input_scale(self.kernel(x.reshape(-1).astype(np.int64) - self.x.zero_point) + self.bias)
        pre = saturate16(saturate16(from_input) + saturate16(self.hidden_scale(self.recurrent(self.h))))
        at, units = pre + 32768, self.units
        gates = sigmoid.take(at)
        gates[2 * units:3 * units] = tanh.take(at[2 * units:3 * units])
        i, f, g, o = gates.reshape(4, units)
        c = saturate16(saturate16(self.forget(f * self.c)) + saturate16(self.update(i * g)))
        self.c = clip(c, -self.clip, self.clip) if self.clip else c
        self.inner = {f"{kind}_{gate}": part for kind, whole in (("pre", pre), ("gate", gates))
                      for gate, part in zip("ifgo", whole.reshape(4, units), strict=True)} | {"c": self.c}
        grid = self.out.grid
        hidden = clip(self.output(o * self.tanh.take(self.c + 32768)) + grid.zero_point, grid.least, grid.most)
        self.h = hidden - grid.zero_point
        return hidden.astype(grid.dtype).reshape(self.out.shape)
