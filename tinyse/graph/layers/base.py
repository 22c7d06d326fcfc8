"""What a layer says of itself: its shape, its arrays with named axes, its ranges, and how it becomes operators.

A shape is (rows, width, channels) of one frame. Arrays are float32 in Keras' layout, inputs first. **Named axes
are all that pruning, shrinking, reordering, snapping and clustering need to know**: "unit" is an output channel of the
layer, "in" one of its input's, whoever made that; "in,unit" is both, one after the other, where a matrix reads [x, h].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from tinyse.core.errors import ModelError
from tinyse.graph.grid import Grid, snap_scale
from tinyse.graph.tensor import Tensor

if TYPE_CHECKING:
    from tinyse.graph.lowering import Lowering

Shape = tuple[int, int, int]
Span = tuple[float, float]
ACTIVATION_BITS = 4, 8
"""Fewest and most of an activation that is stored as int8."""
FINEST = 4
"""Bits by which a product of two maps may be finer than the first of them; a gate that is always shut has no range."""
ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "step")


@dataclass(frozen=True)
class Array:
    """A trainable array of a layer.

    Attributes:
        name: "kernel", "bias", ... axes, dims: the name and length of every axis. shape: as it is stored, row-major
            the same elements ([in, gate, unit] is [in, 4 units], as in Keras); dims where it is not given.
        scale: axes that have an int8 scale each, as a kernel's ("unit",), () for one over all; None for what is no int8
            weight.
        init: "glorot", "orthogonal", "zeros", "ones", "forget" (an LSTM's bias), or a number.
    """

    name: str
    axes: tuple[str, ...]
    dims: tuple[int, ...]
    scale: tuple[str, ...] | None = None
    init: str | float = "zeros"
    shape: tuple[int, ...] = ()
    trainable: bool = True

    def __post_init__(self) -> None:
        if not self.shape:
            object.__setattr__(self, "shape", self.dims)

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.dims)

    @property
    def matrix(self) -> bool:
        """Whether it weights an input: what is pruned and clustered, and whose zeros count; slopes are no matrix."""
        return self.scale is not None and len(self.axes) > 1

    @property
    def scaled(self) -> tuple[int, ...]:
        """Positions of the axes in ``scale``; of two that are called "unit", the last is the one that is made."""
        last = {axis: n for n, axis in enumerate(self.axes)}
        return tuple(sorted(last[axis] for axis in self.scale or ()))

    @property
    def fan(self) -> tuple[int, int]:
        """Inputs that an output sums, outputs that an input reaches: what "glorot" divides by."""
        taps = math.prod(size for axis, size in zip(self.axes, self.dims, strict=True) if axis in ("kt", "kf"))
        into = math.prod(size for axis, size in zip(self.axes, self.dims, strict=True) if axis.startswith("in"))
        return taps * into, taps * math.prod(size for axis, size in zip(self.axes, self.dims, strict=True)
                                             if axis in ("unit", "gate", "step"))


@dataclass(frozen=True)
class Layer:
    """Base of all layers. Instances are settings alone; weights live in the Model."""

    kind: ClassVar[str] = ""
    fixed_units: ClassVar[bool] = False
    """Whether channels pass through one by one, so that "unit" of the output is "unit" of the input."""

    @property
    def gates(self) -> str:
        """What the axis "gate" of its arrays counts, a letter each."""
        return ""

    def shape(self, *ins: Shape) -> Shape:
        """Output shape.

        Raises:
            ModelError: the inputs do not fit.
        """
        raise NotImplementedError

    def arrays(self, *ins: Shape) -> tuple[Array, ...]:
        """What is trained; empty by default."""
        return ()

    def ranges(self) -> tuple[str, ...]:
        """Activations whose range is learnt, by suffix: "out", or "h" and "c"; empty where the grid is given."""
        return ()

    def places(self) -> dict[str, tuple[int, int]]:
        """Activations, states and gate values that may have bits of their own, by suffix: fewest, and most."""
        return dict.fromkeys(self.ranges(), ACTIVATION_BITS)

    def grid(self, suffix: str, bits: int, span: Callable[[], Span]) -> Grid:
        """The grid of ``bits`` bits of an activation, by its range where it has one."""
        return Grid.of_range(*span(), bits)

    def snapped(self, suffix: str, low: float, high: float, bits: int = 8) -> Span:
        """A range whose grid has a scale of 11 bits: by default that of an int8 grid, rounded up."""
        grid = Grid.of_range(low, high, bits)
        return Grid(float(snap_scale(grid.scale)), grid.zero_point).span(bits)

    def aligned(self, low: float, high: float, *ins: Grid, bits: int = 8) -> Span:
        """The range of the output where its scale has to go with those of the inputs; as it is by default."""
        return low, high

    def biases(self, x: Grid, grid: Callable[[str], Grid]) -> tuple[tuple[str, str, float], ...]:
        """Biases that a step of their accumulators divides: bias, kernel, scale of what the kernel reads.

        Args:
            x: grid of the input. grid: the layer's own, by suffix.
        """
        return ()

    def resized(self, channels: int) -> Layer:
        """The layer with so many output channels; itself where they are its input's."""
        changed: dict[str, Any] = {"units": channels} if hasattr(self, "units") and not self.fixed_units else {}
        return replace(self, **changed)

    def state_shapes(self, *ins: Shape) -> dict[str, Shape]:
        """What persists between frames, by suffix."""
        return {}

    def macs(self, *ins: Shape) -> int:
        """Multiply-accumulates a frame: by default every weight of every matrix at every output position."""
        rows, width, _ = self.shape(*ins)
        return rows * width * sum(array.size for array in self.arrays(*ins) if array.matrix)

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """Append the operators of one frame and give the output tensor."""
        raise NotImplementedError


def refuse(layer: Layer, why: str, hint: str = "") -> ModelError:
    """The error of a layer that does not fit its input."""
    return ModelError(f"{layer.kind}: {why}", hint)


def known_activation(layer: Layer, activation: str) -> None:
    """Raises ModelError for an activation that is none of ``ACTIVATIONS``."""
    if activation not in ACTIVATIONS:
        raise refuse(layer, f"no activation {activation!r}", f"one of: {', '.join(ACTIVATIONS)}")


def positive(layer: Layer, **numbers: int) -> None:
    """Raises ModelError for a setting below 1."""
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise refuse(layer, f"{name} = {value!r}", "a whole number, at least 1")


def pairs(layer: Layer, **settings: tuple[int, int]) -> None:
    """Raises ModelError for a setting that is not two numbers, rows and width, or has one below 1."""
    for name, value in settings.items():
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise refuse(layer, f"{name} = {value!r}", "(rows, width), such as (1, 3)")
        for number in value:
            positive(layer, **{name: number})


def in_step(low: float, high: float, x: Grid, bits: int) -> Span:
    """A range whose grid has the scale of ``x`` times a power of two: Vela's quotient of scales is then exact."""
    grid = Grid.of_range(low, high, bits)
    power = max(-FINEST, math.ceil(math.log2(grid.scale / x.scale)))
    return Grid(x.scale * 2.0**power, grid.zero_point).span(bits)
