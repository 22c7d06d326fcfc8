"""Layers without weights, or nearly: input, past, join, activation, pool, reshape, norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyse.core.errors import ModelError
from tinyse.graph import ops
from tinyse.graph.grid import STEP, Grid
from tinyse.graph.layers.base import Array, Layer, Shape, Span, in_step, positive, refuse
from tinyse.graph.tensor import Fused, Tensor, window

if TYPE_CHECKING:
    from tinyse.graph.lowering import Lowering

Pair = tuple[int, int]
EPSILON = 1e-3
"""Added to a norm's variance (Keras' default)."""


@dataclass(frozen=True)
class InputLayer(Layer):
    """What the network is given: one frame.

    Attributes:
        rows, width, channels: its shape. flat: three axes, [1, 1, channels], as an LSTM wants it. bits: 8, or 16: a
            waveform between -1 and 1.
    """

    kind: ClassVar[str] = "input"
    rows: int
    width: int
    channels: int
    flat: bool = False
    bits: int = 8

    def __post_init__(self) -> None:
        if self.bits not in (8, 16):
            raise refuse(self, f"bits = {self.bits!r}", "8 or 16")

    def shape(self, *ins: Shape) -> Shape:
        """(rows, width, channels)."""
        return self.rows, self.width, self.channels

    def ranges(self) -> tuple[str, ...]:
        """Its own name, without a suffix."""
        return ("",)

    def places(self) -> dict[str, tuple[int, int]]:
        """None of a wave."""
        return {} if self.bits == 16 else super().places()

    def snapped(self, suffix: str, low: float, high: float, bits: int = 8) -> Span:
        """Of a wave the whole of -1 to 1."""
        return (-1.0, 1.0) if self.bits == 16 else super().snapped(suffix, low, high, bits)

    def grid(self, suffix: str, bits: int, span: Callable[[], Span]) -> Grid:
        """Of its range; of a wave 2^-15."""
        return Grid.of_power(*span()) if self.bits == 16 else super().grid(suffix, bits, span)

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """A tensor that nobody writes."""
        shape = (1, 1, self.channels) if self.flat else (1, self.rows, self.width, self.channels)
        return low.given(name, shape)


@dataclass(frozen=True)
class PastLayer(Layer):
    """The last ``rows`` rows of the frame before, then this frame's: the one layer that knows time.

    Streamed it is a state and a concat; over a sequence it is zeros in front. ``late``: the last rows of this frame's
    are left out, so that what it reads comes ``rows`` rows later.
    """

    kind: ClassVar[str] = "past"
    fixed_units: ClassVar[bool] = True
    rows: int
    late: bool = False

    def __post_init__(self) -> None:
        positive(self, rows=self.rows)

    def shape(self, *ins: Shape) -> Shape:
        """(rows more, width, channels); as many as they were where it is late."""
        return ins[0][0] + self.rows * (not self.late), ins[0][1], ins[0][2]

    def state_shapes(self, *ins: Shape) -> dict[str, Shape]:
        """The rows kept."""
        return {"past": (self.rows, ins[0][1], ins[0][2])}

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """Concat over rows; the state is what a Slice takes of its end (of the frame alone, where that suffices)."""
        x = ins[0]
        past = low.past(f"{name}.past", (1, self.rows, *x.shape[2:]), x.grid)
        joined = low.concat(f"{name}.all" if self.late else name, (past, x), axis=1)
        begin = joined.shape[1] - self.rows
        kept = low.tensor(f"{name}.kept", past.shape, x.grid)
        low.state(past, low.add(ops.Slice((joined,), kept, begin=(0, begin, 0, 0))))
        if not self.late:
            return joined
        return low.add(ops.Slice((joined,), low.tensor(name, x.shape, x.grid), begin=(0, 0, 0, 0)))


@dataclass(frozen=True)
class JoinLayer(Layer):
    """Two maps as one: "add", "mul" (the second may be one row, position or channel: a gate) or "concat" (channels).

    A sum of maps of 16 bits has 16. ``activation``: "relu", of a sum.
    """

    kind: ClassVar[str] = "join"
    fixed_units: ClassVar[bool] = True
    how: str = "add"
    activation: str = "linear"

    def __post_init__(self) -> None:
        if self.how not in ("add", "mul", "concat"):
            raise refuse(self, f"how = {self.how!r}", "add, mul or concat")
        if self.activation not in ("linear", *(["relu"] if self.how == "add" else [])):
            raise refuse(self, f"{self.how} and {self.activation!r}", "relu after a sum, or linear")

    def shape(self, *ins: Shape) -> Shape:
        """The broadcast shape, or with all channels."""
        if len(ins) < 2 or (len(ins) > 2 and self.how != "concat"):
            raise refuse(self, f"{self.how} of {len(ins)} maps", "two; a concat takes more")
        if self.how == "concat":
            if len({shape[:2] for shape in ins}) > 1:
                raise refuse(self, f"{' and '.join(str(list(shape)) for shape in ins)} do not concat")
            return (*ins[0][:2], sum(shape[2] for shape in ins))
        fits = all(all(b in (a, 1) for a, b in zip(ins[0], other, strict=True)) for other in ins[1:])
        if not fits or (self.how == "add" and len(set(ins)) > 1):
            raise refuse(self, f"{' and '.join(str(list(shape)) for shape in ins)} do not {self.how}")
        return ins[0]

    def places(self) -> dict[str, tuple[int, int]]:
        """A concat has none of its own: it only moves what its inputs are."""
        return {} if self.how == "concat" else super().places()

    def aligned(self, low: float, high: float, *ins: Grid, bits: int = 8) -> Span:
        """A product's scale goes with the first map's; an 8-bit gate, like maps of one grid side by side, keeps it."""
        gate = self.how == "mul" and ins[1:] == (STEP,) and bits == 8
        if gate or (self.how == "concat" and len(set(ins)) == 1):
            return ins[0].low, ins[0].high
        return in_step(low, high, ins[0], bits) if self.how == "mul" else (low, high)

    def ranges(self) -> tuple[str, ...]:
        """Of the result; a concat puts its inputs on one grid, which is the widest."""
        return ("out",)

    def wide(self, *ins: Grid) -> bool:
        """Whether it is of 16 bits."""
        return self.how == "add" and all(grid.bits > 8 for grid in ins)

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """ADD, MUL or CONCATENATION."""
        grid = low.grid(f"{name}.out")
        grid = grid.widened if self.wide(*(t.grid for t in ins)) else grid
        if self.how == "concat":
            return low.concat(name, tuple(low.requantized(t, grid, f"{name}.{n}") for n, t in enumerate(ins)))
        kind, fused = ops.Add if self.how == "add" else ops.Mul, Fused.RELU if self.activation == "relu" else Fused.NONE
        return low.add(kind(ins, low.tensor(name, tuple(np.broadcast_shapes(*(t.shape for t in ins))), grid), fused))


@dataclass(frozen=True)
class ActivationLayer(Layer):
    """An activation of its own: "prelu" (a slope a channel, int8), "sigmoid" or "tanh"."""

    kind: ClassVar[str] = "activation"
    fixed_units: ClassVar[bool] = True
    how: str = "prelu"

    def __post_init__(self) -> None:
        if self.how not in ("prelu", "sigmoid", "tanh"):
            raise refuse(self, f"how = {self.how!r}", "prelu, sigmoid or tanh; products have relu and step themselves")

    def shape(self, *ins: Shape) -> Shape:
        """As the input."""
        return ins[0]

    def arrays(self, *ins: Shape) -> tuple[Array, ...]:
        """alpha [unit], of a PReLU."""
        return (Array("alpha", ("unit",), (ins[0][2],), (), 0.25),) if self.how == "prelu" else ()

    def aligned(self, low: float, high: float, *ins: Grid, bits: int = 8) -> Span:
        """A PReLU's scale goes with its input's."""
        return in_step(low, high, ins[0], bits)

    def ranges(self) -> tuple[str, ...]:
        """Of a PReLU's result."""
        return ("out",) if self.how == "prelu" else ()

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """PRELU, LOGISTIC or TANH."""
        if self.how != "prelu":
            return low.sigmoid(name, ins[0]) if self.how == "sigmoid" else low.tanh(name, ins[0])
        alpha, scale = low.slopes(low.array(name, "alpha"))
        return low.add(ops.Prelu(ins, low.tensor(name, ins[0].shape, low.grid(f"{name}.out")), alpha, scale))


@dataclass(frozen=True)
class PoolLayer(Layer):
    """The largest of each window; kernel and stride (rows, width), kernel 0 for all there are."""

    kind: ClassVar[str] = "pool"
    fixed_units: ClassVar[bool] = True
    kernel: Pair = (1, 2)
    stride: Pair = (1, 2)

    def whole(self, shape: Shape) -> Pair:
        """The kernel, with zeros replaced."""
        return self.kernel[0] or shape[0], self.kernel[1] or shape[1]

    def shape(self, *ins: Shape) -> Shape:
        """(rows, width, channels)."""
        made = window((1, *ins[0]), self.whole(ins[0]), self.stride, (1, 1), (0, 0), ins[0][2])
        if not made:
            raise refuse(self, f"a window of {list(self.kernel)} does not fit {list(ins[0])}")
        return made[1], made[2], made[3]

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """MAX_POOL_2D."""
        x, kernel = ins[0], self.whole((ins[0].shape[1], ins[0].shape[2], ins[0].shape[3]))
        shape = window(x.shape, kernel, self.stride, (1, 1), (0, 0), x.channels)
        return low.add(ops.MaxPool((x,), low.tensor(name, shape, x.grid), kernel, self.stride))


@dataclass(frozen=True)
class ReshapeLayer(Layer):
    """The same elements as (rows, width, channels); 0 stands for what is left."""

    kind: ClassVar[str] = "reshape"
    fixed_units: ClassVar[bool] = True
    to: Shape

    def shape(self, *ins: Shape) -> Shape:
        """``to``, filled in."""
        size, known = math.prod(ins[0]), math.prod(n for n in self.to if n)
        if self.to.count(0) > 1 or size % known:
            raise refuse(self, f"{list(ins[0])} does not make {list(self.to)}")
        rows, width, channels = (n or size // known for n in self.to)
        if rows * width * channels != size:
            raise refuse(self, f"{list(ins[0])} does not make {list(self.to)}")
        return rows, width, channels

    def resized(self, channels: int) -> Layer:
        """To fewer channels, the same positions."""
        return replace(self, to=(*self.to[:2], channels)) if self.to[2] else self

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """RESHAPE."""
        x = ins[0]
        rows, width, channels = self.shape((x.shape[1], x.shape[2], x.shape[3]))
        return low.add(ops.Reshape((x,), low.tensor(name, (1, rows, width, channels), x.grid)))


@dataclass(frozen=True)
class NormLayer(Layer):
    """Batch normalisation over channels, after a product without activation; folded into it before the grids.

    Attributes:
        activation: what follows, "linear" or "relu"; the product's once it is folded.
    """

    kind: ClassVar[str] = "norm"
    fixed_units: ClassVar[bool] = True
    activation: str = "linear"

    def __post_init__(self) -> None:
        if self.activation not in ("linear", "relu"):
            raise refuse(self, f"activation = {self.activation!r}", "linear or relu")

    def shape(self, *ins: Shape) -> Shape:
        """As the input."""
        return ins[0]

    def arrays(self, *ins: Shape) -> tuple[Array, ...]:
        """gamma, beta, mean and variance [unit]; the last two are running means."""
        n = (ins[0][2],)
        return (Array("gamma", ("unit",), n, None, "ones"), Array("beta", ("unit",), n),
                Array("mean", ("unit",), n, trainable=False), Array("variance", ("unit",), n, None, "ones",
                                                                    trainable=False))

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """There is no such operator."""
        raise ModelError(f"{name}: a norm is left in the network", "fold it first")
