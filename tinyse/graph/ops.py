"""The integer operators, a closed vocabulary: what TFLM, the NPU, the C kernels and the reference all compute alike.

An operator is data: its inputs ``ins``, its one output ``out``, its constants. How it rounds is TFLM's reference
kernel of the TFLite operator that its docstring names; ``reference`` has the arithmetic. Int8 in, int8 out, or
int16 in, int16 out, except ``Requantize``; zero points are 0 in int16.

A convolution is VALID over rows: ``Past`` (a state and a concat) supplies what came before. Over width it has explicit
padding with the input's zero point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.tensor import Fused, Gate, Pair, Tensor, Weights, window


@dataclass(frozen=True, eq=False)
class Op:
    """Base of all operators.

    Attributes:
        kind: name of the operator. ins: tensors read, in order. out: the tensor written.
    """

    kind: ClassVar[str] = ""
    ins: tuple[Tensor, ...]
    out: Tensor

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.ins[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one invocation; 0 where nothing is weighted."""
        return 0

    @property
    def matrices(self) -> tuple[NDArray[np.int8], ...]:
        """Its int8 weights: one array of a product, eight of an LSTM."""
        return ()

    @property
    def weights_and_zeros(self) -> Pair:
        """How many int8 weights it has, and how many of them are zero."""
        size = sum(matrix.size for matrix in self.matrices)
        return size, size - sum(int(np.count_nonzero(matrix)) for matrix in self.matrices)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return 0

    def shape(self) -> tuple[int, ...]:
        """The shape that ``out`` must have."""
        return self.x.shape


@dataclass(frozen=True, eq=False)
class _Product(Op):
    weights: Weights
    fused: Fused = Fused.NONE

    @property
    def macs(self) -> int:
        """Every weight, as often as it is used."""
        return self.weights.values.size * (self.out.size // self.out.channels)

    @property
    def matrices(self) -> tuple[NDArray[np.int8], ...]:
        """The kernel."""
        return (self.weights.values,)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights.values.size + self.weights.bias.size


@dataclass(frozen=True, eq=False)
class MatMul(_Product):
    """FULLY_CONNECTED over the last axis: weights [out, in]."""

    kind: ClassVar[str] = "matmul"

    def shape(self) -> tuple[int, ...]:
        """[..., out]."""
        return (*self.x.shape[:-1], self.weights.values.shape[0])


@dataclass(frozen=True, eq=False)
class Conv(_Product):
    """CONV_2D: weights [out, kt, kf, in]; stride and dilation (rows, width); pad (before, after) over width."""

    kind: ClassVar[str] = "conv"
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    pad: Pair = (0, 0)

    @property
    def kernel(self) -> Pair:
        """(rows, width)."""
        return self.weights.values.shape[1], self.weights.values.shape[2]

    def shape(self) -> tuple[int, ...]:
        """[1, rows, width, out]."""
        return window(self.x.shape, self.kernel, self.stride, self.dilation, self.pad, self.weights.bias.size)


@dataclass(frozen=True, eq=False)
class Depthwise(Conv):
    """DEPTHWISE_CONV_2D with multiplier 1: weights [kt, kf, channel]."""

    kind: ClassVar[str] = "depthwise"

    @property
    def kernel(self) -> Pair:
        """(rows, width)."""
        return self.weights.values.shape[0], self.weights.values.shape[1]


@dataclass(frozen=True, eq=False)
class Lstm(Op):
    """UNIDIRECTIONAL_SEQUENCE_LSTM of one frame; the one operator that keeps its states (h int8, c int16) itself.

    Attributes:
        gates: i, f, g, o. cell_scale: of c, a power of two. cell_clip: clamp of c in real units; 0 for none.
        state_names: of h and c in a .tflite file; empty for ``<out>.h`` and ``<out>.c``.
    """

    kind: ClassVar[str] = "lstm"
    gates: tuple[Gate, Gate, Gate, Gate]
    cell_scale: float
    cell_clip: float = 10.0
    state_names: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """Width of the hidden state."""
        return int(self.gates[0].recurrent.shape[0])

    @property
    def macs(self) -> int:
        """Every weight once."""
        return sum(matrix.size for matrix in self.matrices)

    @property
    def matrices(self) -> tuple[NDArray[np.int8], ...]:
        """Kernel and recurrent kernel of every gate."""
        return tuple(matrix for gate in self.gates for matrix in (gate.kernel, gate.recurrent))

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.macs + 4 * self.units

    def shape(self) -> tuple[int, ...]:
        """[1, 1, units]."""
        return (*self.x.shape[:-1], self.units)


class _Binary(Op):
    """Two maps; the second may be broadcast over rows and width, or channels."""

    def shape(self) -> tuple[int, ...]:
        """The broadcast shape."""
        return np.broadcast_shapes(*(tensor.shape for tensor in self.ins))


@dataclass(frozen=True, eq=False)
class Add(_Binary):
    """ADD."""

    kind: ClassVar[str] = "add"
    fused: Fused = Fused.NONE


@dataclass(frozen=True, eq=False)
class Sub(Add):
    """SUB: the first less the second."""

    kind: ClassVar[str] = "sub"


@dataclass(frozen=True, eq=False)
class Mul(Add):
    """MUL: a gate times a map, say."""

    kind: ClassVar[str] = "mul"


@dataclass(frozen=True, eq=False)
class Max(_Binary):
    """MAXIMUM of two maps; all three on one grid."""

    kind: ClassVar[str] = "max"


@dataclass(frozen=True, eq=False)
class Sigmoid(Op):
    """LOGISTIC; out on (1/256, -128) in int8, (2^-15, 0) in int16."""

    kind: ClassVar[str] = "sigmoid"


@dataclass(frozen=True, eq=False)
class Tanh(Op):
    """TANH; out on (1/128, 0) in int8, (2^-15, 0) in int16."""

    kind: ClassVar[str] = "tanh"


@dataclass(frozen=True, eq=False)
class Prelu(Op):
    """PRELU: negative values times ``alpha``, int8 [channels] of scale ``alpha_scale``, zero point 0. Int8 only."""

    kind: ClassVar[str] = "prelu"
    alpha: NDArray[np.int8]
    alpha_scale: float

    @property
    def parameters(self) -> int:
        """One a channel."""
        return int(self.alpha.size)


@dataclass(frozen=True, eq=False)
class MaxPool(Op):
    """MAX_POOL_2D, VALID; kernel and stride (rows, width); in and out on one grid."""

    kind: ClassVar[str] = "maxpool"
    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)

    def shape(self) -> tuple[int, ...]:
        """[1, rows, width, channels]."""
        return window(self.x.shape, self.kernel, self.stride, (1, 1), (0, 0), self.x.channels)


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """CONCATENATION along ``axis`` (of the whole shape); all on one grid."""

    kind: ClassVar[str] = "concat"
    axis: int = 3

    def shape(self) -> tuple[int, ...]:
        """The inputs' shape, longer along ``axis``."""
        made = list(self.x.shape)
        made[self.axis] = sum(tensor.shape[self.axis] for tensor in self.ins)
        around = {(*tensor.shape[:self.axis], *tensor.shape[self.axis + 1:]) for tensor in self.ins}
        return tuple(made) if len(around) == 1 else ()


@dataclass(frozen=True, eq=False)
class Slice(Op):
    """STRIDED_SLICE from ``begin``, of out's shape; in and out on one grid."""

    kind: ClassVar[str] = "slice"
    begin: tuple[int, ...] = ()

    def shape(self) -> tuple[int, ...]:
        """What it takes, where that lies inside the input."""
        ends = (start + size for start, size in zip(self.begin, self.out.shape, strict=True))
        inside = all(end <= size for end, size in zip(ends, self.x.shape, strict=True))
        return self.out.shape if inside and min(self.begin) >= 0 else ()


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """RESHAPE: the same elements in the same order; in and out on one grid."""

    kind: ClassVar[str] = "reshape"

    def shape(self) -> tuple[int, ...]:
        """Out's own, where the elements are as many."""
        return self.out.shape if self.out.size == self.x.size else ()


@dataclass(frozen=True, eq=False)
class Requantize(Op):
    """QUANTIZE: onto another grid, int8 or int16 on either side."""

    kind: ClassVar[str] = "requantize"


OPS: tuple[type[Op], ...] = (MatMul, Conv, Depthwise, Lstm, Add, Sub, Mul, Max, Sigmoid, Tanh, Prelu, MaxPool, Concat,
                             Slice, Reshape, Requantize)
"""Every operator there is."""
SAME_GRID = (Max, MaxPool, Concat, Slice, Reshape)
"""Operators that only move integers: inputs and output have one grid."""
