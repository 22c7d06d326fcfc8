"""Units: which channels stand or fall together, whatever the network looks like.

A product's output channels are units of its own; depthwise kernels, pasts, pools, activations and norms hand their
input's on; a sum or product of maps unites both inputs' channels, a concat puts them side by side, a reshape repeats or
unites them. Channels of the input, of results and of what a policy reads are fixed. ::

    units = units_of(net)
    units.channels["conv_1"]              # label of every output channel
    units.axes["conv_2/kernel"]           # ((2, labels), (3, labels)): what it reads and what it makes

All that pruning, removal and reordering of units know of a network is in these labels (``tinyse.graph.groups``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.graph import ops
from tinyse.graph.graph import Graph
from tinyse.graph.layers import Array, InputLayer, JoinLayer, ReshapeLayer
from tinyse.graph.net import Net, Node

Labels = NDArray[np.intp]
Pick = Callable[[Labels], Labels]
"""Given the labels of some channels side by side, the positions to take."""


class Channels:
    """Sets of channels that grow together (union-find)."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._fixed: list[int] = []

    def new(self, count: int) -> Labels:
        """So many channels, each alone."""
        first = len(self._parent)
        self._parent += range(first, first + count)
        return np.arange(first, first + count)

    def fix(self, channels: Labels) -> None:
        """They stay where they are."""
        self._fixed += channels.tolist()

    def root(self, channel: int) -> int:
        """What all channels of a set have in common."""
        while self._parent[channel] != channel:
            self._parent[channel] = channel = self._parent[self._parent[channel]]
        return channel

    def unite(self, one: Labels, other: Labels) -> None:
        """Channel by channel; the earlier gives the name."""
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            first, second = sorted((self.root(a), self.root(b)))
            self._parent[second] = first

    def joined(self, ins: list[Labels]) -> Labels:
        """Of a sum or product; a single channel that is spread over many is fixed."""
        widest = max(ins, key=len)
        for channels in ins:
            if len(channels) == len(widest):
                self.unite(widest, channels)
            else:
                self.fix(channels)
        return widest

    def reshaped(self, channels: Labels, count: int) -> Labels:
        """Of the same elements, ``count`` of them side by side: repeated, or united where several become one."""
        shared = int(np.gcd(len(channels), count))
        for start in range(shared, len(channels), shared):
            self.unite(channels[:shared], channels[start : start + shared])
        return np.resize(channels[:shared], count)

    def units(self, made: Mapping[str, Labels], arrays: Mapping[str, Array],
              axes: Mapping[str, tuple[tuple[int, Labels], ...]], apart: int | None = None) -> Units:
        """What was found, with labels from 0 on; ``apart``: the channel that is a Skip RNN's p~."""
        roots = np.array([self.root(channel) for channel in range(len(self._parent))], np.intp)
        named, labels = np.unique(roots, return_inverse=True)
        fixed = np.zeros(named.size, bool)
        fixed[labels[self._fixed]] = True
        return Units({name: labels[channels] for name, channels in made.items()}, arrays,
                     {name: tuple((axis, labels[each]) for axis, each in found) for name, found in axes.items()}, fixed,
                     None if apart is None else int(labels[apart]))


@dataclass(frozen=True, eq=False)
class Units:
    """Labels of a network's channels.

    Attributes:
        channels: label of every output channel, by node (or, of a Graph, by tensor).
        arrays: what is trained, by "node/array".
        axes: by "node/array": the axes that are channels, with the label of each index.
        fixed: by label, whether it must stay where it is.
        apart: label of a Skip RNN's p~, which is never pruned; None where there is none.
    """

    channels: Mapping[str, Labels]
    arrays: Mapping[str, Array]
    axes: Mapping[str, tuple[tuple[int, Labels], ...]]
    fixed: NDArray[np.bool_]
    apart: int | None = None

    @cached_property
    def cohorts(self) -> tuple[tuple[str, Labels], ...]:
        """Free labels that pass through the same nodes, equally often, with the first of these: a layer's hidden units.

        Of a cohort any may be removed, as long as one stays, and any two may change places.
        """
        places: dict[int, list[str]] = {}
        for name, labels in self.channels.items():
            for label in labels.tolist():
                places.setdefault(label, []).append(name)
        found: dict[tuple[str, ...], list[int]] = {}
        for label in sorted(places):
            if not self.fixed[label]:
                found.setdefault(tuple(places[label]), []).append(label)
        firsts = [names[0] for names in found]
        names = [f"{name}.{firsts[:n].count(name)}" if name in firsts[:n] else name for n, name in enumerate(firsts)]
        return tuple((name, np.array(labels, np.intp)) for name, labels in zip(names, found.values(), strict=True))

    def entries(self, name: str, axis: int, labels: NDArray[Any]) -> NDArray[Any]:
        """``labels`` of the indices of ``axis`` for every entry of an array as it is stored."""
        array = self.arrays[name]
        shape = [1] * len(array.dims)
        shape[axis] = -1
        return np.broadcast_to(labels.reshape(shape), array.dims).reshape(array.shape)

    def flows(self) -> Iterator[tuple[str, int, Labels, int, Labels]]:
        """Matrices whose entries carry a unit into another: name, axis and labels read, axis and labels made."""
        for name, found in self.axes.items():
            *read, (made, labels) = found
            if self.arrays[name].matrix:
                for axis, each in read:
                    yield name, axis, each, made, labels

    def taken(self, arrays: Mapping[str, NDArray[np.float32]], pick: Pick) -> dict[str, NDArray[np.float32]]:
        """Arrays of the network whose channels stand in another order or are fewer, by "node/array"."""
        made = dict(arrays)
        for name, found in self.axes.items():
            array = self.arrays[name]
            whole = np.asarray(arrays[name]).reshape(array.dims)
            for axis, labels in found:
                whole = np.take(whole, pick(labels), axis)
            merged = len(array.dims) - len(array.shape) + 1  # [in, gate, unit] is stored as [in, 4 units]
            made[name] = np.ascontiguousarray(whole.reshape(*whole.shape[: whole.ndim - merged], -1))
        return made


def units_of(net: Net) -> Units:
    """The labels of a network."""
    sets, made = Channels(), dict[str, Labels]()
    for node in net.nodes:
        made[node.name] = _outputs(sets, net, node, [made[name] for name in node.ins])
    for node in net.nodes:
        if node.weights:  # what two nodes share they read and make alike, of two widths the first ones
            owner = net[node.weights]
            for one, other in zip((*owner.ins, owner.name), (*node.ins, node.name), strict=True):
                count = len(made[other]) if node.slim else len(made[one])
                sets.unite(made[one][:count], made[other])
    settings = asdict(net.policy).values()
    named = {name for value in settings for name in (value if isinstance(value, tuple) else (value,))}
    for name in made:
        if name in named or any(result.node == name for result in (*net.results, *net.extra)):
            sets.fix(made[name])
    skip = net.skip
    apart = next((int(made[r.node][skip.at]) for r in net.results if r.tensor == skip.tensor), None) if skip else None
    axes = {}
    for name, array in net.arrays.items():
        node = net[name.rsplit("/", 1)[0]]
        ends = {"unit": made[node.name], **({"in": made[node.ins[0]]} if node.ins else {})}
        if "in" in ends:
            ends["in,unit"] = np.concatenate([ends["in"], ends["unit"]])
        axes[name] = tuple((n, ends[axis]) for n, axis in enumerate(array.axes) if axis in ends)
    return sets.units(made, net.arrays, axes, apart)


def _outputs(sets: Channels, net: Net, node: Node, ins: list[Labels]) -> Labels:
    layer, count = node.layer, net.shapes[node.name][2]
    if isinstance(layer, JoinLayer):
        return np.concatenate(ins) if layer.how == "concat" else sets.joined(ins)
    if isinstance(layer, ReshapeLayer):
        return sets.reshaped(ins[0], count)
    if layer.fixed_units:
        return ins[0]
    own = sets.new(count)
    if isinstance(layer, InputLayer):
        sets.fix(own)
    return own


def units_of_graph(graph: Graph, arrays: Mapping[str, Array], apart: tuple[str, int] | None = None) -> Units:
    """The labels of a Graph; ``arrays`` are those of ``tinyse.graph.constants``, ``apart`` p~'s tensor and index."""
    sets, made = Channels(), dict[str, Labels]()
    for tensor in (*graph.inputs, *(state.past for state in graph.states)):
        made[tensor.name] = sets.new(tensor.channels)
    axes: dict[str, tuple[tuple[int, Labels], ...]] = {}
    for op in graph.ops:
        ins = [made[tensor.name] for tensor in op.ins]
        made[op.out.name] = out = _written(sets, op, ins)
        for name in (f"{op.out.name}/{array}" for array in ("kernel", "recurrent_kernel", "bias", "alpha")):
            if name in arrays:
                ends = {"in": ins[0], "unit": out}
                axes[name] = tuple((n, ends[axis]) for n, axis in enumerate(arrays[name].axes) if axis in ends)
    for state in graph.states:
        sets.unite(made[state.past.name], made[state.fresh.name])
    for tensor in (*graph.inputs, *graph.outputs):
        sets.fix(made[tensor.name])
    return sets.units(made, arrays, axes, int(made[apart[0]][apart[1]]) if apart else None)


def _written(sets: Channels, op: ops.Op, ins: list[Labels]) -> Labels:
    last = len(op.out.shape) - 1
    if isinstance(op, ops.Depthwise):
        return ins[0]
    if isinstance(op, ops.MatMul | ops.Conv | ops.Lstm):
        return sets.new(op.out.channels)
    if isinstance(op, ops.Concat) and op.axis == last:
        return np.concatenate(ins)
    if isinstance(op, ops.Concat | ops.Add | ops.Max):
        return sets.joined(ins)
    if isinstance(op, ops.Slice):
        return ins[0][op.begin[last] : op.begin[last] + op.out.channels]
    return sets.reshaped(ins[0], op.out.channels) if isinstance(op, ops.Reshape) else ins[0]
