"""What flows through a Graph: tensors of one frame, states between frames, weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.grid import Grid

Pair = tuple[int, int]


class Fused(StrEnum):
    """What an operator does to its result before it is stored; limits are those of the output's grid."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"


@dataclass(frozen=True)
class Tensor:
    """The integers of one frame.

    Attributes:
        name: unique in its Graph.
        shape: mostly [1, rows, width, channels]: rows are time within the frame, width is frequency. An LSTM's are
            [1, 1, channels].
        grid: what the integers mean.
    """

    name: str
    shape: tuple[int, ...]
    grid: Grid

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of the stored integers."""
        return self.size * self.grid.dtype.itemsize

    @property
    def channels(self) -> int:
        """Length of the last axis."""
        return self.shape[-1]


@dataclass(frozen=True)
class State:
    """A tensor that persists: ``fresh``, which an operator writes, is ``past`` of the next frame.

    Whoever runs the graph copies it; before the first frame ``past`` holds its zero point. Same shape, same grid.
    """

    past: Tensor
    fresh: Tensor


@dataclass(frozen=True, eq=False)
class Weights:
    """The constants of a product.

    Attributes:
        values: int8, output channel first: matmul [out, in], conv [out, kt, kf, in]; depthwise [kt, kf, channel].
        scales: float32 [out]; weight = value * scale.
        bias: int64 [out] at scale (input scale * scales): int32 where the input is int8, else up to 48 bits.
        bits: 2 to 8; values lie in +-(2^(bits-1) - 1).
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.int64]
    bits: int = 8

    @property
    def zeros(self) -> int:
        """How many of the values are zero."""
        return int(self.values.size - np.count_nonzero(self.values))


@dataclass(frozen=True, eq=False)
class Gate:
    """One gate of an LSTM, a scale a matrix.

    Attributes:
        kernel: int8 [unit, in]. recurrent: int8 [unit, unit]. bias: int32 [unit] at (input scale * kernel_scale).
    """

    kernel: NDArray[np.int8]
    kernel_scale: float
    recurrent: NDArray[np.int8]
    recurrent_scale: float
    bias: NDArray[np.int32]


def window(shape: tuple[int, ...], kernel: Pair, stride: Pair, dilation: Pair, pad: Pair,
           channels: int) -> tuple[int, ...]:
    """Output shape of a window that slides over [1, rows, width, channels]; () where it does not fit."""
    _, rows, width, _ = shape
    sizes = rows, width + sum(pad)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(size < span for size, span in zip(sizes, spans, strict=True)) or min(*stride, *dilation, *kernel) < 1:
        return ()
    made = [(size - span) // step + 1 for size, span, step in zip(sizes, spans, stride, strict=True)]
    return 1, *made, channels
