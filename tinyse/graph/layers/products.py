"""Layers that weight their input: dense, convolution, depthwise convolution, upsampling.

Convolutions are VALID over rows; ``PastLayer`` puts earlier rows before them. Over width they keep it ("same", with
zeros around) or not ("valid"). Activations: relu is fused; sigmoid and tanh follow as tables, and the learnt range is
that of what goes into them; step is 1 from a half on, else 0, and is fused too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyse.graph import ops
from tinyse.graph.grid import Grid
from tinyse.graph.layers.base import Array, Layer, Shape, known_activation, pairs, positive, refuse
from tinyse.graph.tensor import Tensor, window

if TYPE_CHECKING:
    from tinyse.graph.lowering import Lowering

Pair = tuple[int, int]


@dataclass(frozen=True)
class DenseLayer(Layer):
    """A matrix over channels, the same at every row and position: Keras' Dense.

    Attributes:
        units: output channels. activation: see the module. matmul: lower to FULLY_CONNECTED, as TinyLSTM's; else to a
            1x1 convolution, whose scales Vela computes in double.
    """

    kind: ClassVar[str] = "dense"
    units: int
    activation: str = "linear"
    matmul: bool = False

    def __post_init__(self) -> None:
        positive(self, units=self.units)
        known_activation(self, self.activation)

    def shape(self, *ins: Shape) -> Shape:
        """(rows, width, units)."""
        return (*ins[0][:2], self.units)

    def arrays(self, *ins: Shape) -> tuple[Array, ...]:
        """kernel [in, unit], bias [unit]."""
        return (Array("kernel", ("in", "unit"), (ins[0][2], self.units), ("unit",), "glorot"),
                Array("bias", ("unit",), (self.units,)))

    def ranges(self) -> tuple[str, ...]:
        """Before sigmoid and tanh, after ReLU."""
        return () if self.activation == "step" else ("out",)

    def biases(self, x: Grid, grid: Callable[[str], Grid]) -> tuple[tuple[str, str, float], ...]:
        """The one there is."""
        return (("bias", "kernel", x.scale),)

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """MatMul or Conv, then the activation."""
        kernel = low.array(name, "kernel").T
        weights = kernel if self.matmul else kernel[:, np.newaxis, np.newaxis, :]
        made = low.weights(weights, low.array(name, "bias"), ins[0].grid, name)
        kind = ops.MatMul if self.matmul else ops.Conv
        return low.activated(name, self.activation,
                             lambda out, fused: kind((ins[0],), out, made, fused), (*ins[0].shape[:-1], self.units))


def entered(x: Grid, wide: str) -> Grid:
    """The grid on which what a product reads enters it."""
    return x.widened if wide else x


def known_width(layer: Layer, wide: str, activation: str) -> None:
    """Raises ModelError for a ``wide`` that is not known, or that the activation has no form for."""
    if wide not in ("", "in", "out") or (wide and (layer.fixed_units or activation not in ("linear", "relu"))):
        raise refuse(layer, f"wide = {wide!r} of {activation}", "in or out, of linear or relu")


@dataclass(frozen=True)
class ConvLayer(Layer):
    """A convolution over rows (time) and width (frequency).

    Attributes:
        units: output channels. kernel, stride, dilation: (rows, width). same: pad the width with zeros so that it
            shrinks by the stride alone. wide: a product of 16 bits, for waveforms: "in": of an input of 16 bits, and
            what it gives has 8; "out": the other way round.
    """

    kind: ClassVar[str] = "conv"
    units: int
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    same: bool = True
    activation: str = "linear"
    wide: str = ""

    def __post_init__(self) -> None:
        positive(self, units=self.units)
        pairs(self, kernel=self.kernel, stride=self.stride, dilation=self.dilation)
        known_activation(self, self.activation)
        known_width(self, self.wide, self.activation)

    def pad(self, width: int) -> Pair:
        """Zeros before and after the width, TFLite's SAME: the odd one comes after."""
        if not self.same:
            return 0, 0
        span = (self.kernel[1] - 1) * self.dilation[1] + 1
        total = max((-(-width // self.stride[1]) - 1) * self.stride[1] + span - width, 0)
        return total // 2, total - total // 2

    def shape(self, *ins: Shape) -> Shape:
        """(rows, width, units)."""
        made = window((1, *ins[0]), self.kernel, self.stride, self.dilation, self.pad(ins[0][1]), self.units)
        if not made:
            raise refuse(self, f"a kernel of {list(self.kernel)} does not fit {list(ins[0])}",
                         "put a past of rows before it, or a smaller kernel")
        return made[1], made[2], made[3]

    def arrays(self, *ins: Shape) -> tuple[Array, ...]:
        """kernel [kt, kf, in, unit], bias [unit]."""
        return (Array("kernel", ("kt", "kf", "in", "unit"), (*self.kernel, ins[0][2], self.units), ("unit",), "glorot"),
                Array("bias", ("unit",), (self.units,)))

    def ranges(self) -> tuple[str, ...]:
        """Before sigmoid and tanh, after ReLU."""
        return () if self.activation == "step" else ("out",)

    def biases(self, x: Grid, grid: Callable[[str], Grid]) -> tuple[tuple[str, str, float], ...]:
        """The one there is."""
        return (("bias", "kernel", entered(x, self.wide).scale),)

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """Conv, then the activation."""
        x = low.requantized(ins[0], entered(ins[0].grid, self.wide), f"{name}.x")
        kernel = np.moveaxis(low.array(name, "kernel"), -1, 0)
        made = low.weights(kernel, low.array(name, "bias"), x.grid, name)
        pad = self.pad(x.shape[2])
        shape = window(x.shape, self.kernel, self.stride, self.dilation, pad, self.units)
        return low.activated(name, self.activation, lambda out, fused: ops.Conv(
            (x,), out, made, fused, self.stride, self.dilation, pad), shape, wide=self.wide)


@dataclass(frozen=True)
class DepthwiseLayer(ConvLayer):
    """A convolution of every channel with itself; ``units`` is not given."""

    kind: ClassVar[str] = "depthwise"
    fixed_units: ClassVar[bool] = True
    units: int = 1

    def shape(self, *ins: Shape) -> Shape:
        """(rows, width, channels of the input)."""
        rows, width, _ = super().shape(*ins)
        return rows, width, ins[0][2]

    def arrays(self, *ins: Shape) -> tuple[Array, ...]:
        """kernel [kt, kf, unit], bias [unit]."""
        return (Array("kernel", ("kt", "kf", "unit"), (*self.kernel, ins[0][2]), ("unit",), "glorot"),
                Array("bias", ("unit",), (ins[0][2],)))

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """Depthwise, then the activation."""
        made = low.weights(low.array(name, "kernel"), low.array(name, "bias"), ins[0].grid, name, axis=2)
        pad = self.pad(ins[0].shape[2])
        shape = window(ins[0].shape, self.kernel, self.stride, self.dilation, pad, ins[0].channels)
        return low.activated(name, self.activation, lambda out, fused: ops.Depthwise(
            (ins[0],), out, made, fused, self.stride, self.dilation, pad), shape)


@dataclass(frozen=True)
class UpsampleLayer(Layer):
    """More rows or more width: a convolution to ``factor`` times the channels, whose groups become positions.

    Over rows with kernel 2 and a ``PastLayer`` of 1 it is the causal transposed convolution of kernel 2 x factor; over
    width with kernel k, that of kernel k x factor.

    Attributes:
        units: output channels. factor: (rows, width), one of them 1. kernel: (rows, width) on the coarse map. wide: a
            convolution's.
    """

    kind: ClassVar[str] = "upsample"
    units: int
    factor: Pair = (1, 2)
    kernel: Pair = (1, 3)
    activation: str = "linear"
    wide: str = ""

    def __post_init__(self) -> None:
        positive(self, units=self.units)
        pairs(self, factor=self.factor, kernel=self.kernel)
        known_activation(self, self.activation)
        known_width(self, self.wide, self.activation)
        if min(self.factor) != 1:
            raise refuse(self, f"a factor of {list(self.factor)}", "one of rows and width at a time")

    @property
    def steps(self) -> int:
        """Positions made of one."""
        return max(self.factor)

    @property
    def _conv(self) -> ConvLayer:
        return ConvLayer(self.units * self.steps, self.kernel, activation=self.activation)

    def shape(self, *ins: Shape) -> Shape:
        """(rows, width, units), one of them ``factor`` times as many."""
        rows, width, _ = self._conv.shape(*ins)
        if self.factor[0] > 1 and width > 1:
            raise refuse(self, f"rows of {width} positions", "upsample rows where the width is 1")
        return rows * self.factor[0], width * self.factor[1], self.units

    def arrays(self, *ins: Shape) -> tuple[Array, ...]:
        """kernel [kt, kf, in, step, unit], bias [unit]."""
        dims = (*self.kernel, ins[0][2], self.steps, self.units)
        return (Array("kernel", ("kt", "kf", "in", "step", "unit"), dims, ("step", "unit"), "glorot"),
                Array("bias", ("unit",), (self.units,)))

    def ranges(self) -> tuple[str, ...]:
        """Before sigmoid and tanh, after ReLU."""
        return () if self.activation == "step" else ("out",)

    def macs(self, *ins: Shape) -> int:
        """Every weight at every coarse position."""
        return super().macs(*ins) // self.steps

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """Conv, the activation, Reshape."""
        x = low.requantized(ins[0], entered(ins[0].grid, self.wide), f"{name}.x")
        kernel = low.array(name, "kernel")
        flat = np.moveaxis(kernel.reshape(*kernel.shape[:3], -1), -1, 0)
        made = low.weights(flat, np.tile(low.array(name, "bias"), self.steps), x.grid, name)
        pad = self._conv.pad(x.shape[2])
        shape = window(x.shape, self.kernel, (1, 1), (1, 1), pad, len(flat))
        coarse = low.activated(f"{name}.coarse", self.activation, lambda out, fused: ops.Conv(
            (x,), out, made, fused, (1, 1), (1, 1), pad), shape, f"{name}.out", self.wide)
        fine = (1, shape[1] * self.factor[0], shape[2] * self.factor[1], self.units)
        return low.add(ops.Reshape((coarse,), low.tensor(name, fine, coarse.grid)))
