"""Layers with a memory of their own: TFLM's LSTM and a GRU whose weights all positions share.

The LSTM is one operator that keeps its states. The GRU is a few operators and one state, at every position of the
width, with h in (-1, 1) on a power of two and the update written as an interpolation (ours, one product fewer)::

    z = sigmoid(W_z [x, h] + b_z)      r = sigmoid(W_r [x, h] + b_r)
    n = tanh(W_n [x, r h] + b_n)       "before": the reset gate acts on h       (Cho et al. 2014)
    n = tanh(W_n x + b_n + r (U_n h + c_n))   "after": it acts on the product  (cuDNN, tf_keras, nsNet2)
    n = tanh(W_n [x, h] + b_n)         "none": there is no reset gate
    h' = h + z (n - h)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from tinyse.graph import ops
from tinyse.graph.grid import Grid
from tinyse.graph.layers.base import ACTIVATION_BITS, Array, Layer, Shape, Span, positive, refuse
from tinyse.graph.tensor import Gate, Tensor

if TYPE_CHECKING:
    from tinyse.graph.lowering import Lowering


CELL_LIMIT = 8.0
"""Cells stop here in float too (ours): the int16 cell then has 12 fraction bits and never meets TFLM's clip at 10.
tanh(8) is 1 to seven digits; without the limit some units count up past 100, and the grid that holds them is coarse."""
HIDDEN_RANGE = (-1.0, 127.0 / 128.0)
"""h lies in (-1, 1): scale 2^-7, zero point 0."""
WIDE_BITS = 4, 16
"""Fewest and most of what is stored as int16."""


@dataclass(frozen=True)
class LstmLayer(Layer):
    """Keras' LSTM on one position: gates i, f, g, o."""

    kind: ClassVar[str] = "lstm"
    units: int

    def __post_init__(self) -> None:
        positive(self, units=self.units)

    @property
    def gates(self) -> str:
        """Input, forget, new, output."""
        return "ifgo"

    def shape(self, *ins: Shape) -> Shape:
        """(1, 1, units)."""
        if ins[0][:2] != (1, 1):
            raise refuse(self, f"takes one position, not {list(ins[0])}", "a gru shares its weights over positions")
        return 1, 1, self.units

    def arrays(self, *ins: Shape) -> tuple[Array, ...]:
        """kernel [in, gate, unit], recurrent_kernel [unit, gate, unit], bias [gate, unit]; gates side by side."""
        width = ins[0][2]
        return (Array("kernel", ("in", "gate", "unit"), (width, 4, self.units), ("gate",), "glorot",
                      (width, 4 * self.units)),
                Array("recurrent_kernel", ("unit", "gate", "unit"), (self.units, 4, self.units), ("gate",),
                      "orthogonal", (self.units, 4 * self.units)),
                Array("bias", ("gate", "unit"), (4, self.units), None, "forget", (4 * self.units,)))

    def ranges(self) -> tuple[str, ...]:
        """Hidden state and cell."""
        return "h", "c"

    def places(self) -> dict[str, tuple[int, int]]:
        """Hidden state and cell; the gates' values are the operator's own, 16 bits."""
        return {"h": ACTIVATION_BITS, "c": WIDE_BITS}

    def grid(self, suffix: str, bits: int, span: Callable[[], Span]) -> Grid:
        """c on a power of two."""
        return Grid.of_power(*span(), bits) if suffix == "c" else super().grid(suffix, bits, span)

    def snapped(self, suffix: str, low: float, high: float, bits: int = 8) -> Span:
        """h on 2^-7, of fewer bits coarser; c's power of two as it is."""
        return Grid.of_unit(bits).span(bits) if suffix == "h" else (low, high)

    def biases(self, x: Grid, grid: Callable[[str], Grid]) -> tuple[tuple[str, str, float], ...]:
        """The input's; the recurrent sum has none."""
        return (("bias", "kernel", x.scale),)

    def state_shapes(self, *ins: Shape) -> dict[str, Shape]:
        """h and c."""
        return {"h": (1, 1, self.units), "c": (1, 1, self.units)}

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """One operator; around it, reshapes where its neighbours are of four axes."""
        x = low.reshaped(ins[0], (1, 1, ins[0].channels))
        kernels, recurrents, biases = (np.split(low.array(name, part), 4, axis=-1)
                                       for part in ("kernel", "recurrent_kernel", "bias"))
        gates = []
        for gate, kernel, recurrent, bias in zip(self.gates, kernels, recurrents, biases, strict=True):
            values, scale, shift = low.gate(kernel, bias, x.grid, name, low.weight_bits(name, "kernel", gate))
            again, again_scale, _ = low.gate(recurrent, None, x.grid, name,
                                             low.weight_bits(name, "recurrent_kernel", gate))
            gates.append(Gate(values, scale, again, again_scale, shift))
        out = low.tensor(name, (1, 1, self.units), low.grid(f"{name}.h"))
        i, f, g, o = gates
        made = low.add(ops.Lstm((x,), out, (i, f, g, o), low.grid(f"{name}.c").scale))
        return low.reshaped(made, (1, 1, 1, self.units)) if len(ins[0].shape) == 4 else made


@dataclass(frozen=True)
class GruLayer(Layer):
    """A GRU on every position of the width, weights shared.

    Attributes:
        units: of h. reset: "none", "before" or "after". bits: 8 or 16, of the state and all of the arithmetic; what
            leaves the layer is int8: on 2^-7, or an 8-bit state's own grid.
        joint: one product over [x, h], with x in -1..1 on h's grid; else a product each and a sum. Not with "after".
    """

    kind: ClassVar[str] = "gru"
    units: int
    reset: str = "after"
    bits: int = 16
    joint: bool = False

    def __post_init__(self) -> None:
        positive(self, units=self.units)
        if self.reset not in ("none", "before", "after"):
            raise refuse(self, f"reset = {self.reset!r}", "none, before or after")
        if self.bits not in (8, 16):
            raise refuse(self, f"bits = {self.bits!r}", "8 or 16")
        if self.joint and self.reset == "after":
            raise refuse(self, "joint with reset after", "the reset gate then needs a product of its own")

    @property
    def gates(self) -> str:
        """z, r where there is one, n."""
        return "zn" if self.reset == "none" else "zrn"

    def shape(self, *ins: Shape) -> Shape:
        """(1, width, units)."""
        if ins[0][0] != 1:
            raise refuse(self, f"takes one row, not {list(ins[0])}")
        return 1, ins[0][1], self.units

    def arrays(self, *ins: Shape) -> tuple[Array, ...]:
        """kernel [in, gate, unit] and recurrent_kernel [unit, gate, unit], or both in one; bias [gate, unit]."""
        width, gates, units = ins[0][2], len(self.gates), self.units
        each = ("gate", "unit")
        bias = Array("bias", each, (gates, units), shape=(gates * units,))
        if self.joint:
            return Array("kernel", ("in,unit", *each), (width + units, gates, units), each, "glorot",
                         (width + units, gates * units)), bias
        split = (Array("kernel", ("in", *each), (width, gates, units), each, "glorot", (width, gates * units)),
                 Array("recurrent_kernel", ("unit", *each), (units, gates, units), each, "orthogonal",
                       (units, gates * units)), bias)
        return (*split, Array("recurrent_bias", ("unit",), (units,))) if self.reset == "after" else split

    def ranges(self) -> tuple[str, ...]:
        """Pre-activations, in 8 bits; in 16 they are Q3.12."""
        if self.bits == 16:
            return ()
        parts = [gate if self.joint else f"{gate}{side}" for gate in self.gates for side in ("", "x", "h")]
        return tuple(dict.fromkeys(parts))

    def places(self) -> dict[str, tuple[int, int]]:
        """The state, and every gate's sum: a gate has no more values than its sum."""
        if self.bits == 8:
            return {"h": ACTIVATION_BITS, **super().places()}
        return dict.fromkeys(("h", *self.gates), WIDE_BITS)

    def grid(self, suffix: str, bits: int, span: Callable[[], Span]) -> Grid:
        """h in -1..1; in 16 bits sums are Q3.12, or coarser."""
        if suffix == "h":
            made = Grid.of_unit(bits)
            return Grid(made.scale, 0, 16) if self.bits == 16 else made
        return Grid(2.0 ** (4 - bits), 0, 16) if self.bits == 16 else super().grid(suffix, bits, span)

    def biases(self, x: Grid, grid: Callable[[str], Grid]) -> tuple[tuple[str, str, float], ...]:
        """The input's, and that of n's product with h where the reset gate comes after."""
        made = (("bias", "kernel", self.x_grid(x, grid("h")).scale),)
        return (*made, ("recurrent_bias", "recurrent_kernel", grid("h").scale)) if self.reset == "after" else made

    def state_shapes(self, *ins: Shape) -> dict[str, Shape]:
        """h."""
        return {"h": self.shape(*ins)}

    def lower(self, low: Lowering, name: str, ins: tuple[Tensor, ...]) -> Tensor:
        """Products, tables, the interpolation, one state."""
        held = low.grid(f"{name}.h")
        x = low.requantized(ins[0], self.x_grid(ins[0].grid, held), f"{name}.x")
        shape = (*x.shape[:-1], self.units)
        h = low.past(f"{name}.h", shape, held)
        joined = low.concat(f"{name}.xh", (x, h)) if self.joint else None
        z = self._gate(low, name, "z", x, h, joined)
        if self.reset == "before":
            r = self._gate(low, name, "r", x, h, joined)
            kept = low.add(ops.Mul((r, h), low.tensor(f"{name}.reset", shape, held)))
            n = self._gate(low, name, "n", x, kept, low.concat(f"{name}.xrh", (x, kept)) if self.joint else None)
        elif self.reset == "after":
            n = self._gate(low, name, "n", x, h, None, self._gate(low, name, "r", x, h, joined))
        else:
            n = self._gate(low, name, "n", x, h, joined)
        twice = Grid(2 * held.scale, 0, self.bits)
        far = low.add(ops.Sub((n, h), low.tensor(f"{name}.d", shape, twice)))
        # on h's own grid: half the error, and an ADD of equal scales; a step of 1 or more stops short of it
        step = low.add(ops.Mul((z, far), low.tensor(f"{name}.zd", shape, held)))
        fresh = name if self.bits == 8 else f"{name}.fresh"
        made = low.state(h, low.add(ops.Add((h, step), low.tensor(fresh, shape, held))))
        return made if self.bits == 8 else low.requantized(made, Grid(2.0**-7), name)

    def x_grid(self, given: Grid, held: Grid) -> Grid:
        """The grid on which what is ``given`` enters; ``held``: the state's."""
        if self.joint:
            return held
        return given if self.bits == given.bits else Grid.of_power(given.low, given.high, self.bits)

    def part(self, gate: str, side: str) -> str:
        """What the grid of a gate's part is called: in 16 bits all are on the sum's."""
        return f"{gate}{side}" if self.bits == 8 else gate

    def _part(self, kernel: NDArray[np.float32], gate: str) -> NDArray[np.float32]:
        at = self.gates.index(gate)
        return kernel[..., at * self.units : (at + 1) * self.units]

    def _gate(self, low: Lowering, name: str, gate: str, x: Tensor, h: Tensor, joined: Tensor | None,
              reset: Tensor | None = None) -> Tensor:
        """sigmoid, or for n tanh, of a gate's sum; ``reset`` scales the part of h."""
        kernel, bias = (self._part(low.array(name, part), gate) for part in ("kernel", "bias"))
        total, bits = f"{name}.{gate}", low.weight_bits(name, "kernel", gate)

        def onto(side: str = "") -> Grid:
            return low.grid(f"{name}.{self.part(gate, side)}")

        if joined is not None:
            pre = low.product(total, joined, kernel, bias, onto(), bits)
        else:
            recurrent = self._part(low.array(name, "recurrent_kernel"), gate)
            after = low.array(name, "recurrent_bias") if reset is not None else np.zeros(self.units, np.float32)
            from_x = low.product(f"{total}x", x, kernel, bias, onto("x"), bits)
            from_h = low.product(f"{total}h", h, recurrent, after, onto("h"),
                                 low.weight_bits(name, "recurrent_kernel", gate))
            if reset is not None:
                from_h = low.add(ops.Mul((reset, from_h), low.tensor(f"{total}r", from_h.shape, from_h.grid)))
            out = low.tensor(f"{total}s", from_x.shape, onto())
            pre = low.add(ops.Add((from_x, from_h), out))
        return low.sigmoid(f"{total}.gate", pre) if gate != "n" else low.tanh(f"{total}.gate", pre)
