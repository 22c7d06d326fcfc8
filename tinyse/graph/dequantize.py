"""An int8 network back in real units: what a released model, whose float weights nobody kept, is fine-tuned from.

Its layers lower as ever, but of arrays whose values are places, and onto the operators that are there. Each operator
then says what stands in its places, and the grid that it writes on is the range that its layer had asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ModelError
from tinyse.graph import ops
from tinyse.graph.constants import constants
from tinyse.graph.fold import fold
from tinyse.graph.graph import Graph
from tinyse.graph.grid import Grid, bits_of, peak, top
from tinyse.graph.layers import Array, Layer
from tinyse.graph.lowering import Lowering, Real
from tinyse.graph.model import Model
from tinyse.graph.net import Net, Node
from tinyse.graph.plan import Plan
from tinyse.graph.tensor import Tensor, Weights
from tinyse.sound import Ends

Places = NDArray[Any]
"""Whole numbers in place of the reals that layers lower and of the integers that they make."""
APART = ("ins", "out", "weights", "gates", "alpha", "alpha_scale", "state_names")
"""Fields of operators that are no settings."""


def dequantized(plan: Plan, net: Net, ends: Ends, name: str = "model", family: str = "tinylstm") -> Model:
    """The weights and ranges of an int8 network; lowering them again gives the same integers.

    Args:
        plan: of an exported file, not one that Vela compiled. net: what it was; widths are the plan's, where units
            were pruned. ends: what its features are. name: opens errors. family: what the net is called.

    Raises:
        ModelError: it is another network; the message names the layer.
    """
    zeros = {each: np.zeros(array.shape, np.float32) for each, array in net.arrays.items()}
    try:
        lifting = _Lifting(fold(Model(net, zeros, ends)).net, plan)
        for part in range(len(plan.parts)):
            lifting.part(part)
        net, arrays = lifting.lifted()
        return Model(net, arrays, ends, lifting.ranges, family=family)
    except (ModelError, ValueError, IndexError) as error:
        raise ModelError(f"{name}: is not the network that it is said to be: {error}",
                         "give the run's float.npz") from error


def floating(model: Model) -> Model:
    """The same weights without a grid for activations."""
    return replace(model, ranges=None)


class _Width(Exception):
    """A layer has another number of units than was thought."""

    def __init__(self, share: float) -> None:
        self.share = share


@dataclass(frozen=True, eq=False)
class _Asked(Grid):
    """The grid of a range, of which nothing is known until an operator writes on it: until then the next one's."""

    key: str = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and (self.scale, self.zero_point, self.bits) == (
            other.scale, other.zero_point, other.bits)

    def __hash__(self) -> int:
        return hash((self.scale, self.zero_point, self.bits))


class _Lifting(Lowering):
    """The lowering of ``net`` onto the operators of a plan; ``ranges``: found so far."""

    def __init__(self, net: Net, plan: Plan) -> None:
        super().__init__(net, {}, {})
        self._graphs = plan.graphs
        if len(net.results) != len(plan.parts):
            raise ModelError(f"{len(plan.parts)} parts, and the family has {len(net.results)}")
        self.ranges: dict[str, tuple[float, float]] = {}
        self._layers: dict[str, Layer] = {}
        self._places: dict[str, Places] = {}
        self._bounds: dict[str, tuple[Real, Real]] = {}
        self._bits: dict[str, int] = {}
        self._asked: list[str] = []

    def lifted(self) -> tuple[Net, dict[str, Real]]:
        """The network as wide as it is, and its arrays: the middle of what rounds to the integers."""
        net, arrays = self.net.with_layers(self._layers).with_bits(self._bits), dict[str, Real]()
        for name in net.arrays:
            low, high = (bound[self._places[name]] for bound in self._bounds[name.split("/")[0]])
            arrays[name] = ((low + high) / 2).astype(np.float32)
            if not np.isfinite(arrays[name]).all():
                raise ModelError(f"no operator has {name}")
        return net, arrays

    def part(self, number: int) -> Graph:
        """Go along one graph."""
        self._graph, self._pasts = self._graphs[number], 0
        made = super().part(number)
        for what in ("ops", "inputs", "outputs", "states"):
            if (ours := getattr(made, what)) != (theirs := getattr(self._graph, what)):
                raise ModelError(f"{self._graph.name}: {len(theirs)} {what}, not the {len(ours)} of the family")
        return made

    def lowered(self, node: Node, ins: tuple[Tensor, ...]) -> Tensor:
        """Lower a node, and again where it proves to be of another width."""
        layer, begin = node.layer, (len(self._ops), len(self._states), self._pasts)
        shapes = [(tensor.shape[-3], tensor.shape[-2], tensor.shape[-1]) for tensor in ins]
        try:
            layer.shape(*shapes)
        except ModelError:  # a reshape of pruned channels
            layer = layer.resized(self._next().out.channels)
        while True:
            self._allot(node, layer, shapes)
            try:
                made = layer.lower(self, node.name, ins)
            except _Width as found:
                wide = layer.resized(round(layer.shape(*shapes)[2] * found.share))
                if wide == layer:
                    raise ModelError(f"{node.name}: a {layer.kind} of another width") from None
                layer = wide
                del self._ops[begin[0]:], self._states[begin[1]:]
                self._pasts = begin[2]
                continue
            self._layers[node.name] = layer
            return made

    def _allot(self, node: Node, layer: Layer, shapes: list[tuple[int, int, int]]) -> None:
        """Places for a node's arrays, from 1 on; 0 is a constant's."""
        self._node = node
        self._asked.clear()
        if node.weights:
            return
        size = 1
        for array in layer.arrays(*shapes):
            self._places[f"{node.name}/{array.name}"] = np.arange(size, size + array.size).reshape(array.shape)
            size += array.size
        self._bounds[node.name] = np.full(size, -np.inf), np.full(size, np.inf)

    def _next(self) -> ops.Op:
        if len(self._ops) == len(self._graph.ops):
            raise ModelError(f"{self._node.name}: the file ends before it")
        return self._graph.ops[len(self._ops)]

    # -- what layers build with --------------------------------------------------------------------------

    def array(self, name: str, array: str) -> Places:
        """Its places."""
        return self._places[f"{self._owner[name]}/{array}"]

    def weight_bits(self, name: str, array: str, gate: str = "") -> int:
        """Those of the network; a layer asks where it is about to need a matrix, whose own are then noted."""
        self._asked.append(f"{self._owner[name]}/{array}{'.' * bool(gate)}{gate}")
        return super().weight_bits(name, array, gate)

    def weights(self, kernel: Places, bias: Places, x: Grid, name: str,
                axis: int = 0, bits: int = 0) -> Weights:
        """Places of a kernel and its bias."""
        if not bits:
            self.weight_bits(name, "kernel")
        return Weights(kernel, np.ones(kernel.shape[axis], np.float32), bias)

    def gate(self, matrix: Places, bias: Places | None, x: Grid, name: str,
             bits: int = 8) -> tuple[Places, float, NDArray]:
        """Places of a matrix and its bias."""
        return matrix.T, 1.0, np.zeros(0) if bias is None else bias

    def slopes(self, alpha: Places) -> tuple[Places, float]:
        """Places of a PReLU's slopes."""
        return alpha, 1.0

    def grid(self, key: str) -> Grid:
        """Of a range, to be known by what is written on it; of what has none, by the bits that it proves to have."""
        node, _, suffix = key.partition(".")
        layer = self.net[node].layer
        if key not in self.net.ranges:
            found = self._graph.states[self._pasts].past.grid if suffix == "h" else self._next().out.grid
            made = {bits: layer.grid(suffix, bits, lambda: found.range)
                    for bits in range(self.net.places[key][0], self.net.places[key][1] + 1)}
            self._bits[key] = next((bits for bits, grid in made.items() if grid == found), max(made))
            return made[self._bits[key]]
        there = self._next()
        if (layer.kind, suffix) == ("lstm", "c"):
            cell = Grid(there.cell_scale if isinstance(there, ops.Lstm) else 1.0, 0, 16)
            self.ranges[key] = -cell.high, cell.high
            return cell
        self.ranges[key] = there.out.grid.range
        return _Asked(there.out.grid.scale, there.out.grid.zero_point, there.out.grid.bits, key)

    def given(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The graph's own input."""
        there = self._graph.inputs[len(self._inputs)]
        if there.shape != shape:
            raise ModelError(f"{name}: is {list(there.shape)}, not {list(shape)}")
        self.ranges[name] = there.grid.range
        self._inputs.append(there)
        return there

    def past(self, name: str, shape: tuple[int, ...], grid: Grid) -> Tensor:
        """The graph's own state."""
        self._pasts += 1
        return self._graph.states[self._pasts - 1].past

    def add(self, op: ops.Op) -> Tensor:
        """Take the constants of the operator that is there in place of ``op``; gives its output."""
        there = self._next()
        if type(op) is type(there) and op.out.channels != there.out.channels:
            raise _Width(there.out.channels / op.out.channels)
        if isinstance(op.out.grid, _Asked):
            self.ranges[op.out.grid.key] = there.out.grid.range
            op = replace(op, out=replace(op.out, grid=there.out.grid))
        if _settings(op) != _settings(there) or op.ins != there.ins:
            raise ModelError(f"{self._node.name}: {there.kind} {there.out.name} is in its place")
        self._bits |= {place: bits_of(matrix) for place, matrix in zip(self._asked, there.matrices, strict=False)
                       if np.abs(matrix).max(initial=0) == top(bits_of(matrix)) < 127}
        self._asked.clear()
        low, high = self._bounds.get(self._node.owner, (np.zeros(1), np.zeros(1)))
        for (array, places, _), (_, integers, step) in zip(constants(op), constants(there), strict=True):
            at, steps = places.astype(np.int64), np.broadcast_to(step, integers.shape)
            below, above = (integers - 0.5) * steps, (integers + 0.5) * steps
            if array.scale is not None:  # the largest sets the scale, so it is exact
                most = _most(array, integers)
                below, above = (np.where(np.abs(integers) == most, np.sign(integers) * peak(steps, most), side)
                                for side in (below, above))
            np.maximum.at(low, at, below)
            np.minimum.at(high, at, above)
        self._ops.append(there)
        return there.out


def _most(array: Array, integers: NDArray[np.int8]) -> NDArray[np.int64]:
    """The largest integer, of a gate where there are gates, as ``integers``; of zeros alone 1."""
    others = tuple(n for n, axis in enumerate(array.axes) if axis != "gate")
    most = np.abs(integers.astype(np.int64).reshape(array.dims)).max(others, keepdims=True).clip(1)
    return np.broadcast_to(most, array.dims).reshape(integers.shape)


def _settings(op: ops.Op) -> tuple[object, ...]:
    """All that an operator is but for its constants and the names of its tensors."""
    shapes = tuple(array.shape for array, _, _ in constants(op))
    return (type(op), op.out.shape, op.out.grid, shapes,
            *(getattr(op, field.name) for field in fields(op) if field.name not in APART))
