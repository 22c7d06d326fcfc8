"""Random Graphs: one operator of each kind with drawn shapes, grids and constants, and chains with states.

    graph = draw_op(np.random.default_rng(seed), "conv", "int8")
    graph = draw_chain(np.random.default_rng(seed), "int16")
    frames = draw_frames(rng, graph, 5)                   # [{input name: integers}]

Scales have 11 significant bits, those of states powers of two, so that all engines compute the same multipliers.
"""

from __future__ import annotations

import numpy as np

from tinyse.graph.graph import SIGMOID8, SIGMOID16, TANH8, TANH16, Graph
from tinyse.graph.grid import Grid, snap_scale
from tinyse.graph.ops import (
    OPS,
    Add,
    Concat,
    Conv,
    Depthwise,
    Lstm,
    MatMul,
    Max,
    MaxPool,
    Mul,
    Prelu,
    Requantize,
    Reshape,
    Sigmoid,
    Slice,
    Sub,
    Tanh,
    window,
)
from tinyse.graph.tensor import Fused, Gate, State, Tensor, Weights

KINDS = tuple(op.kind for op in OPS)
BITS = {"int8": 8, "int16": 16}
INT8_ONLY = ("lstm", "prelu")
STILL = ("conv", "depthwise", "add", "sub", "mul", "max", "sigmoid", "tanh", "prelu", "requantize", "concat", "slice",
         "reshape", "maxpool")
"""Kinds that a chain takes any number of, on 4-D tensors."""


def short(scale: float | np.ndarray) -> np.ndarray:
    return snap_scale(np.asarray(scale, np.float32))


class Draw:
    """A graph under construction: each method of a kind's name draws that operator over its input."""

    def __init__(self, rng: np.random.Generator, dtype: str) -> None:
        self.rng, self.dtype, self.exact = rng, dtype, bool(rng.random() < 0.7)
        self.inputs, self.ops, self.states, self.count = [], [], [], 0

    def grid(self, dtype: str = "", scale: float = 0.0) -> Grid:
        if (dtype or self.dtype) == "int16":
            return Grid(float(short(scale or self.rng.uniform(1e-4, 4e-4))), 0, 16)
        return Grid(float(short(scale or self.rng.uniform(0.01, 0.1))), int(self.rng.integers(-128, 128)))

    def tensor(self, shape, grid: Grid | None = None) -> Tensor:
        self.count += 1
        return Tensor(f"t{self.count}", tuple(int(n) for n in shape), grid or self.grid())

    def input(self, shape, grid: Grid | None = None) -> Tensor:
        self.inputs.append(self.tensor(shape, grid))
        return self.inputs[-1]

    def shape(self, rows: int = 4, width: int = 9, channels: int = 20) -> tuple[int, ...]:
        return 1, *(int(self.rng.integers(1, most + 1)) for most in (rows, width, channels))

    def put(self, kind, ins, shape, grid: Grid | None = None, **fields) -> Tensor:
        out = self.tensor(shape, grid)
        self.ops.append(kind(tuple(ins), out, **fields))
        return out

    def fused(self) -> Fused:
        return list(Fused)[self.rng.integers(3)]

    def weights(self, shape, count: int, fan: int, x: Tensor) -> Weights:
        bits = int(self.rng.choice([8, 8, 8, 4]))
        most = (1 << (bits - 1)) - 1
        values = np.clip(np.round(self.rng.laplace(size=shape) * most / 6), -most, most).astype(np.int8)
        scales = short(self.rng.uniform(0.5, 1.5, count) / np.sqrt(fan) / most * 6)
        bias = np.round(self.rng.normal(0, 0.3, count) / (x.grid.scale * scales.astype(np.float64)))
        return Weights(values, scales, bias.astype(np.int64), bits)

    def sums(self, x: Tensor) -> Grid:
        """A grid for weighted sums, on which most of them lie inside."""
        return self.grid(scale=x.grid.scale * self.rng.uniform(0.5, 2))

    def matmul(self, x: Tensor) -> Tensor:
        units = int(self.rng.integers(1, 24))
        weights = self.weights((units, x.channels), units, x.channels, x)
        return self.put(MatMul, [x], (*x.shape[:-1], units), self.sums(x), weights=weights, fused=self.fused())

    def conv(self, x: Tensor, deep: bool = False) -> Tensor:
        kernel, stride, dilation, pad = self.window(x)
        out = x.channels if deep else int(self.rng.integers(1, 24))
        fan = kernel[0] * kernel[1] * (1 if deep else x.channels)
        weights = self.weights((*kernel, out) if deep else (out, *kernel, x.channels), out, fan, x)
        shape = window(x.shape, kernel, stride, dilation, pad, out)
        return self.put(Depthwise if deep else Conv, [x], shape, self.sums(x), weights=weights, fused=self.fused(),
                        stride=stride, dilation=dilation, pad=pad)

    def depthwise(self, x: Tensor) -> Tensor:
        return self.conv(x, True)

    def window(self, x: Tensor) -> tuple:
        rng = self.rng
        while True:
            kernel = int(rng.integers(1, 4)), int(rng.integers(1, 6))
            dilation = (int(rng.integers(1, 4)), 1) if rng.random() < 0.5 else (1, int(rng.integers(1, 4)))
            stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
            if dilation != (1, 1):
                stride = 1, 1
            span = (kernel[1] - 1) * dilation[1] + 1
            pad = (0, 0) if rng.random() < 0.4 else (int(rng.integers(0, span)), int(rng.integers(0, span)))
            if window(x.shape, kernel, stride, dilation, pad, 1):
                return kernel, stride, dilation, pad

    def lstm(self, x: Tensor) -> Tensor:
        rng, units, hidden = self.rng, int(self.rng.integers(2, 20)), Grid(2.0**-7, int(self.rng.integers(-12, 12)))

        def gate() -> Gate:
            kernel, recurrent = (self.weights((units, n), 1, n, x).values for n in (x.channels, units))
            scales = [float(short(rng.uniform(0.4, 1.2) / np.sqrt(n) / 20)) for n in (x.channels, units)]
            bias = np.round(rng.normal(0.2, 0.5, units) / (x.grid.scale * scales[0])).astype(np.int32)
            return Gate(kernel, scales[0], recurrent, scales[1], bias)

        return self.put(Lstm, [x], (*x.shape[:-1], units), hidden, gates=(gate(), gate(), gate(), gate()),
                        cell_scale=2.0**-int(rng.integers(9, 15)), cell_clip=float(rng.choice([0.0, 2.0, 10.0])))

    def other(self, x: Tensor, grid: Grid | None = None) -> Tensor:
        """A second operand, often broadcast: a fresh input."""
        if self.rng.random() < 0.1:
            return self.input(x.shape[-1:], grid or self.grid())
        shape = [1 if self.rng.random() < 0.3 else n for n in x.shape]
        return self.input(shape, grid or self.grid())

    def pair(self, x: Tensor, grid: Grid | None = None) -> tuple[list[Tensor], tuple[int, ...]]:
        both = [x, self.other(x, grid)]
        return both[::-1] if self.rng.random() < 0.3 else both, x.shape

    def add(self, x: Tensor, kind=Add) -> Tensor:
        ins, shape = self.pair(x)
        return self.put(kind, ins, shape, fused=self.fused())

    def sub(self, x: Tensor) -> Tensor:
        return self.add(x, Sub)

    def mul(self, x: Tensor) -> Tensor:
        ins, shape = self.pair(x)
        return self.put(Mul, ins, shape, self.quotient(ins[0].grid.scale, ins[1].grid.scale), fused=self.fused())

    def quotient(self, first: float, second: float) -> Grid:
        """A grid for products: ``first`` times a power of two, by which Vela's float32 divides exactly."""
        power = np.round(np.log2(second * (1 << (BITS[self.dtype] - 2)))) + self.rng.integers(-1, 2)
        return self.grid(scale=first * 2.0**power * (1 if self.exact else self.rng.uniform(0.7, 1.4)))

    def max(self, x: Tensor) -> Tensor:
        ins, shape = self.pair(x, x.grid)
        return self.put(Max, ins, shape, x.grid)

    def sigmoid(self, x: Tensor) -> Tensor:
        x = self.coarse(x)
        return self.put(Sigmoid, [x], x.shape, SIGMOID8 if x.grid.bits == 8 else SIGMOID16)

    def coarse(self, x: Tensor) -> Tensor:
        """x, on another grid where 8 bits lie on a fine power of two: there curves run through ties."""
        fine = x.grid.bits == 8 and x.grid.scale <= 2.0**-7 and np.frexp(x.grid.scale)[0] == 0.5
        return self.put(Requantize, [x], x.shape, self.grid()) if fine else x

    def tanh(self, x: Tensor) -> Tensor:
        x = self.coarse(x)
        return self.put(Tanh, [x], x.shape, TANH8 if x.grid.bits == 8 else TANH16)

    def prelu(self, x: Tensor) -> Tensor:
        alpha = self.rng.integers(-127, 128, x.channels).astype(np.int8)
        grid = self.grid(scale=x.grid.scale * 2.0 ** self.rng.integers(-1, 2)) if self.exact else self.sums(x)
        return self.put(Prelu, [x], x.shape, grid, alpha=alpha,
                        alpha_scale=float(short(self.rng.uniform(0.2, 1.0) / 127)))

    def maxpool(self, x: Tensor) -> Tensor:
        kernel = tuple(int(self.rng.integers(1, min(n, 3) + 1)) for n in x.shape[1:3])
        stride = tuple(int(self.rng.integers(1, 4)) for _ in range(2))
        return self.put(MaxPool, [x], window(x.shape, kernel, stride, (1, 1), (0, 0), x.channels), x.grid,
                        kernel=kernel, stride=stride)

    def concat(self, x: Tensor) -> Tensor:
        axis, parts = int(self.rng.integers(1, 4)), [x]
        for _ in range(int(self.rng.integers(1, 3))):
            shape = list(x.shape)
            shape[axis] = int(self.rng.integers(1, 6))
            parts.append(self.input(shape, x.grid))
        self.rng.shuffle(parts)
        shape = list(x.shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.put(Concat, parts, shape, x.grid, axis=axis)

    def slice(self, x: Tensor) -> Tensor:
        begin = tuple(int(self.rng.integers(0, n)) for n in x.shape)
        shape = [int(self.rng.integers(1, n - start + 1)) for n, start in zip(x.shape, begin, strict=True)]
        return self.put(Slice, [x], shape, x.grid, begin=begin)

    def reshape(self, x: Tensor) -> Tensor:
        _, rows, width, channels = x.shape
        choices = [(1, width, rows, channels), (1, 1, rows * width, channels), (1, rows, 1, width * channels),
                   (1, rows, width * channels, 1)]
        return self.put(Reshape, [x], choices[self.rng.integers(len(choices))], x.grid)

    def requantize(self, x: Tensor, dtype: str = "") -> Tensor:
        dtype = dtype or str(self.rng.choice(list(BITS)))
        scale = x.grid.scale * 2.0 ** (x.grid.bits - BITS[dtype]) * self.rng.uniform(0.5, 2)
        return self.put(Requantize, [x], x.shape, self.grid(dtype, scale))

    def past(self, x: Tensor) -> Tensor:
        """The last rows of the frame before, then x: a state."""
        rows = int(self.rng.integers(1, 4))
        past = self.tensor((1, rows, *x.shape[2:]), x.grid)
        shape = (1, rows + x.shape[1], *x.shape[2:])
        both = self.put(Concat, [past, x], shape, x.grid, axis=1)
        fresh = self.put(Slice, [both], past.shape, x.grid, begin=(0, x.shape[1], 0, 0))
        self.states.append(State(past, fresh))
        return both

    def leak(self, x: Tensor) -> Tensor:
        """A recurrence: a state on a power of two that mixes with x and is an output as well."""
        scale = 2.0**-14 if self.dtype == "int16" else 2.0**-6
        grid = Grid(scale, 0, BITS[self.dtype])
        past = self.tensor(x.shape, grid)
        kept = self.put(Mul, [self.sigmoid(x), past], x.shape, grid)
        fresh = self.put(Add, [kept, x], x.shape, grid)
        self.states.append(State(past, fresh))
        return fresh

    def done(self, out: Tensor, name: str, more: tuple[Tensor, ...] = ()) -> Graph:
        return Graph(name, tuple(self.inputs), tuple(self.ops), (out, *more), tuple(self.states))


def draw_op(rng: np.random.Generator, kind: str, dtype: str) -> Graph:
    """A graph of one operator; int16 of ``INT8_ONLY`` is not to be had. Requantize: ``dtype`` in, any out."""
    draw = Draw(rng, dtype)
    if kind == "lstm":
        x = draw.input((1, 1, int(rng.integers(1, 24))))
    elif kind == "matmul" and rng.random() < 0.5:
        x = draw.input((1, 1, int(rng.integers(1, 40))))
    else:
        x = draw.input(draw.shape())
    return draw.done(getattr(draw, kind)(x), kind)


def draw_chain(rng: np.random.Generator, dtype: str, length: int = 5) -> Graph:
    """``length`` operators after one another, every second time with a state before one; then perhaps an LSTM and a
    matmul, and what one of the operators wrote as a second output."""
    draw = Draw(rng, dtype)
    draw.exact = True
    x = draw.input(draw.shape(3, 6, 12))
    kinds = [kind for kind in STILL if dtype == "int8" or kind not in INT8_ONLY]
    for kind in rng.choice(kinds, length):
        if x.size < 400 and rng.random() < 0.5:
            x = draw.leak(x) if rng.random() < 0.4 else draw.past(x)
        x = draw.requantize(x, dtype) if kind == "requantize" else getattr(draw, str(kind))(x)
    if dtype == "int8" and x.size < 200 and rng.random() < 0.5:
        x = draw.lstm(draw.put(Reshape, [x], (1, 1, x.size), x.grid))
    if rng.random() < 0.5:
        x = draw.matmul(x)
    others = [op.out for op in draw.ops if op.out is not x]
    return draw.done(x, "chain", (others[rng.integers(len(others))],) if others and rng.random() < 0.3 else ())


def draw_frames(rng: np.random.Generator, graph: Graph, count: int) -> list[dict[str, np.ndarray]]:
    """Integers over the whole range of every input."""
    return [{tensor.name: rng.integers(tensor.grid.least, tensor.grid.most + 1, tensor.shape).astype(tensor.grid.dtype)
             for tensor in graph.inputs} for _ in range(count)]
