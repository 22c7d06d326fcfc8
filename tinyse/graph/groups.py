"""Which weights stand or fall together: single weights, tiles, or whole hidden units.

Papers: TinyLSTMs (units), Weight, Block or Unit? (all three). A structure is nothing but labels: every array that it
touches gets an integer array of the same shape that names each entry's group. Training and offline pruning share it::

    for groups in structure_groups(units_of(net), Structure.BLOCK, (16, 4)):
        norms = groups.norms(arrays, scales)      # one a group, about 1 for a typical one
    mask = masks(all_groups, kept)["lstm_0/kernel"]

* **weight**: every entry of a layer's matrices is a group.
* **block**: tiles of [inputs, outputs] of each matrix, each gate and each tap on its own; edges form smaller tiles.
* **unit**: a channel with all that makes it and all that reads it (``tinyse.graph.units``): an LSTM's is its rows in
  the four gates of W and U with their biases, its column of U and of the next layer's input matrix (in Keras' layout,
  where kernels are [in, out], rows are columns); a convolution's is an output channel, with whatever is added to it.
  Results are no groups.

A Skip RNN's p~ (``tinyse.graph.skip``) is never pruned.

Weights of several arrays meet in one norm, so each array is divided by its own root mean square, and each norm by the
root of the group's size: 1 is a typical group of any structure, and a threshold means the same in every layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.graph import layers
from tinyse.graph.units import Units

Array = NDArray[np.floating[Any]]
Labels = NDArray[np.int32]

DEFAULT_BLOCK = (16, 4)
"""Inputs and outputs of a tile: what the packed CPU kernels skip whole (docs/sparsity.md)."""


class Structure(StrEnum):
    """What a group is."""

    WEIGHT = "weight"
    BLOCK = "block"
    UNIT = "unit"


@dataclass(frozen=True)
class Groups:
    """The groups of one layer, under one threshold.

    Attributes:
        name: the layer. count: how many groups.
        members: (array name, labels); an array comes twice where a weight belongs to two units. The label ``count``
            is of entries in no group of these.
        families: [count], ascending; of every family the strongest group stays (no gate may lose its whole kernel,
            no layer its last unit).
    """

    name: str
    count: int
    members: tuple[tuple[str, Labels], ...]
    families: Labels

    def gather(self, member: int, values: Array) -> NDArray[np.float64]:
        """Sum of ``values`` (shaped as the member's array) by group, [count]."""
        labels = self.members[member][1]
        return np.asarray(np.bincount(labels.reshape(-1), values.reshape(-1), self.count)[: self.count], np.float64)

    def spread(self, member: int, values: NDArray[Any], rest: float) -> NDArray[Any]:
        """``values`` [count] of each entry's group, shaped as the member's array; ``rest`` where it has none."""
        labels = self.members[member][1]
        return np.asarray((np.append(values, values.dtype.type(rest)) if self._partial[member] else values)[labels])

    @cached_property
    def _partial(self) -> tuple[bool, ...]:
        return tuple(bool((labels == self.count).any()) for _, labels in self.members)

    def sizes(self) -> NDArray[np.float64]:
        """Entries of each group, [count]."""
        return self._sizes

    @cached_property
    def _sizes(self) -> NDArray[np.float64]:
        total = np.zeros(self.count)
        for _, labels in self.members:
            total += np.bincount(labels.reshape(-1), minlength=self.count)[: self.count]
        return total

    def norms(self, arrays: Mapping[str, Array], scales: Mapping[str, float]) -> NDArray[np.float64]:
        """||w_g|| / sqrt(size) of each group, [count], each array divided by its scale first."""
        total = np.zeros(self.count)
        for member, (name, _) in enumerate(self.members):
            total += self.gather(member, np.square(arrays[name], dtype=np.float64)) / scales[name] ** 2
        return np.sqrt(total / self.sizes())

    def strongest(self, norms: NDArray[np.float64]) -> NDArray[np.bool_]:
        """The first of the largest norms of every family, as booleans [count]."""
        starts = [0, *(np.flatnonzero(np.diff(self.families)) + 1), self.count]
        kept = np.zeros(self.count, bool)
        for start, stop in zip(starts, starts[1:], strict=False):
            kept[start + int(np.argmax(norms[start:stop]))] = True
        return kept


def array_scales(arrays: Mapping[str, Array]) -> dict[str, float]:
    """Root mean square of every array; 1 where it is zero."""
    return {name: float(np.sqrt(np.mean(np.square(a, dtype=np.float64)))) or 1.0 for name, a in arrays.items()}


def is_matrix(name: str) -> bool:
    """Whether an array's zeros count as sparsity: kernels do, biases and slopes do not."""
    return name.endswith("kernel")


def sparsity(arrays: Mapping[str, Array]) -> float:
    """Share of zeros over all matrices."""
    matrices = [a for name, a in arrays.items() if is_matrix(name)]
    return sum(int((a == 0).sum()) for a in matrices) / sum(a.size for a in matrices)


def masks(groups: Sequence[Groups], kept: Sequence[NDArray[np.bool_]]) -> dict[str, NDArray[np.float32]]:
    """Zeros and ones for every array that a group touches; an entry stays where all its groups stay."""
    found: dict[str, NDArray[np.float32]] = {}
    for part, keep in zip(groups, kept, strict=True):
        for member, (name, _) in enumerate(part.members):
            mask = part.spread(member, keep.astype(np.float32), 1)
            found[name] = found[name] * mask if name in found else mask
    return found


def structure_groups(units: Units, structure: Structure, block: tuple[int, int] = DEFAULT_BLOCK) -> list[Groups]:
    """The groups of a network, layer by layer.

    Args:
        units: its labels. structure: what a group is. block: inputs and outputs of a tile.
    """
    if structure is Structure.UNIT:
        return [_cohort(units, name, labels) for name, labels in units.cohorts]
    nodes: dict[str, list[str]] = {}
    for name, array in units.arrays.items():
        if array.matrix:
            nodes.setdefault(name.rsplit("/", 1)[0], []).append(name)
    tile = (1, 1) if structure is Structure.WEIGHT else block
    return [_tiles(units, node, names, tile) for node, names in nodes.items()]


def _tiles(units: Units, node: str, names: list[str], tile: tuple[int, int]) -> Groups:
    members: list[tuple[str, Labels]] = []
    families: list[Labels] = []
    apart: list[NDArray[np.bool_]] = []
    start = family = 0
    for name in names:
        array = units.arrays[name]
        labels, gates, slices, high, wide = _tiled(array, tile)
        members.append((name, (start + labels).reshape(array.shape).astype(np.int32)))
        families.append(family + np.repeat(np.arange(gates), slices // gates * high * wide).astype(np.int32))
        start += slices * high * wide
        family += gates
        if units.apart is not None:
            axis, made = units.axes[name][-1]
            apart.append(units.entries(name, axis, made == units.apart))
    part = Groups(node, start, tuple(members), np.concatenate(families))
    return _with_gate(part, apart) if any(each.any() for each in apart) else part


def _tiled(array: layers.Array, tile: tuple[int, int]) -> tuple[NDArray[np.intp], int, int, int, int]:
    """Tile of every entry, [dims], in slices (gates, then taps) of ``high`` x ``wide``; gates, slices, high, wide."""
    rank, last = len(array.dims), len(array.dims) - 1
    rows = next((n for n, axis in enumerate(array.axes[:-1]) if axis in ("in", "unit", "in,unit")), None)
    outer = sorted((n for n in range(last) if n != rows), key=lambda n: array.axes[n] != "gate")

    def along(axis: int, step: int = 1) -> NDArray[np.intp]:
        return (np.arange(array.dims[axis]) // step).reshape([-1 if n == axis else 1 for n in range(rank)])

    piece: Any = np.zeros((1,) * rank, np.intp)
    for axis in outer:
        piece = piece * array.dims[axis] + along(axis)
    high = 1 if rows is None else -(-array.dims[rows] // tile[0])
    wide = -(-array.dims[last] // tile[1])
    down = 0 if rows is None else along(rows, tile[0])
    gates = array.dims[array.axes.index("gate")] if "gate" in array.axes else 1
    slices = int(np.prod([array.dims[axis] for axis in outer], dtype=int))
    return np.broadcast_to((piece * high + down) * wide + along(last, tile[1]), array.dims), gates, slices, high, wide


def _with_gate(part: Groups, apart: list[NDArray[np.bool_]]) -> Groups:
    """The last layer of a Skip RNN: what makes p~, which starts at zero, is a group and a family of its own."""
    labels = [np.where(gate, part.count, each) for (_, each), gate in zip(part.members, apart, strict=True)]
    used, packed = np.unique(np.concatenate([each.reshape(-1) for each in labels]), return_inverse=True)
    families = np.append(part.families, part.families.max() + 1)[used]  # tiles of p~ alone are gone
    ends = np.cumsum([each.size for each in labels])[:-1]
    members = tuple((name, new.reshape(each.shape).astype(np.int32)) for (name, each), new
                    in zip(part.members, np.split(packed.reshape(-1), ends), strict=True))
    return Groups(part.name, used.size, members, families.astype(np.int32))


def _cohort(units: Units, name: str, labels: NDArray[np.intp]) -> Groups:
    place = np.full(units.fixed.size, labels.size, np.int32)
    place[labels] = np.arange(labels.size)
    makes: list[tuple[str, Labels]] = []
    reads: list[tuple[str, Labels]] = []
    for array, found in units.axes.items():
        if units.arrays[array].trainable:
            for axis, each in found:
                if (own := place[each]).min() < labels.size:
                    last = axis == len(units.arrays[array].dims) - 1
                    (makes if last else reads).append((array, units.entries(array, axis, own)))
    return Groups(name, labels.size, (*makes, *reads), np.zeros(labels.size, np.int32))
