"""Which weights stand or fall together: single weights, tiles, or whole hidden units.

Papers: TinyLSTMs (units), Weight, Block or Unit? (all three). A structure is nothing but labels: every array that it
touches gets an integer array of the same shape that names each entry's group. Training and offline pruning share it::

    for groups in structure_groups({"lstm_0/kernel": (128, 1024), ...}, Structure.BLOCK, (16, 4)):
        norms = groups.norms(arrays, scales)      # one a group, about 1 for a typical one
    mask = masks(all_groups, kept)["lstm_0/kernel"]

* **weight**: every entry of a layer's matrices is a group.
* **block**: tiles of [inputs, outputs] of each matrix, each gate on its own; edges form smaller tiles.
* **unit**: an LSTM's unit is its rows in the four gates of W and U with their biases, its column of U and of the next
  layer's input matrix (in Keras' layout, where kernels are [in, out], rows are columns); a dense layer's unit is an
  output neuron. The last layer's outputs are the mask's bands and no groups.

A Skip RNN's p~ (``tinyse.skip``), one output more than there are bands, is never pruned.

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

from tinyse.graph.grid import GATES

Array = NDArray[np.floating[Any]]
Labels = NDArray[np.int32]
Shapes = Mapping[str, tuple[int, ...]]

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
        members: (array name, labels); an array comes twice where a weight belongs to two units.
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
        return np.asarray(np.bincount(labels.reshape(-1), values.reshape(-1), self.count), np.float64)

    def sizes(self) -> NDArray[np.float64]:
        """Entries of each group, [count]."""
        return self._sizes

    @cached_property
    def _sizes(self) -> NDArray[np.float64]:
        total = np.zeros(self.count)
        for _, labels in self.members:
            total += np.bincount(labels.reshape(-1), minlength=self.count)
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
    """Whether an array's zeros count as sparsity: kernels do, biases do not."""
    return not name.endswith("/bias")


def sparsity(arrays: Mapping[str, Array]) -> float:
    """Share of zeros over all matrices."""
    matrices = [a for name, a in arrays.items() if is_matrix(name)]
    return sum(int((a == 0).sum()) for a in matrices) / sum(a.size for a in matrices)


def masks(groups: Sequence[Groups], kept: Sequence[NDArray[np.bool_]]) -> dict[str, NDArray[np.float32]]:
    """Zeros and ones for every array that a group touches; an entry stays where all its groups stay."""
    found: dict[str, NDArray[np.float32]] = {}
    for part, keep in zip(groups, kept, strict=True):
        for name, labels in part.members:
            mask = keep.astype(np.float32)[labels]
            found[name] = found[name] * mask if name in found else mask
    return found


def structure_groups(shapes: Shapes, structure: Structure, block: tuple[int, int] = DEFAULT_BLOCK) -> list[Groups]:
    """The groups of a network, layer by layer.

    Args:
        shapes: "<layer>/<array>" to its shape in Keras' layout, layers from input to mask; an LSTM has a
            recurrent_kernel.
        structure: what a group is.
        block: inputs and outputs of a tile.
    """
    layers: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        layer, array = name.rsplit("/", 1)
        layers.setdefault(layer, {})[array] = shape
    if structure is not Structure.UNIT:
        tile = (1, 1) if structure is Structure.WEIGHT else block
        parts = [_tiles(name, arrays, tile) for name, arrays in layers.items()]
        first, last = next(iter(layers.values())), list(layers)[-1]
        skips = layers[last]["kernel"][1] == first["kernel"][0] + 1
        return [*parts[:-1], _with_gate(parts[-1])] if skips else parts
    names = list(layers)
    return [_units(name, layers[name], following, layers[following])
            for name, following in zip(names, names[1:], strict=False)]


def _tiles(name: str, arrays: dict[str, tuple[int, ...]], tile: tuple[int, int]) -> Groups:
    gates = GATES if "recurrent_kernel" in arrays else 1
    members: list[tuple[str, Labels]] = []
    families: list[Labels] = []
    start = family = 0
    for array in ("kernel", "recurrent_kernel"):
        if array not in arrays:
            continue
        rows, columns = arrays[array][0], arrays[array][1] // gates
        high, wide = -(-rows // tile[0]), -(-columns // tile[1])
        down = np.arange(rows)[:, None, None] // tile[0]
        gate = np.arange(gates)[None, :, None]
        across = np.arange(columns)[None, None, :] // tile[1]
        labels = start + (gate * high + down) * wide + across
        members.append((f"{name}/{array}", labels.reshape(rows, gates * columns).astype(np.int32)))
        families.append(family + np.repeat(np.arange(gates), high * wide).astype(np.int32))
        start += gates * high * wide
        family += gates
    return Groups(name, start, tuple(members), np.concatenate(families))


def _with_gate(part: Groups) -> Groups:
    """The last layer of a Skip RNN: the column of p~, which starts at zero, is a group and a family of its own."""
    (name, labels), *others = part.members
    labels = labels.copy()
    labels[:, -1] = part.count
    used, packed = np.unique(labels, return_inverse=True)  # tiles of that column alone are gone
    families = np.append(part.families, part.families.max() + 1)[used]
    member = (name, packed.reshape(labels.shape).astype(np.int32))
    return Groups(part.name, used.size, (member, *others), families.astype(np.int32))


def _units(name: str, arrays: dict[str, tuple[int, ...]], following: str,
           after: dict[str, tuple[int, ...]]) -> Groups:
    gates = GATES if "recurrent_kernel" in arrays else 1
    units = arrays["kernel"][1] // gates
    unit = np.arange(units, dtype=np.int32)
    own = np.tile(unit, gates)
    members = [(f"{name}/{array}", np.broadcast_to(own, shape)) for array, shape in arrays.items()]
    if gates > 1:
        members.append((f"{name}/recurrent_kernel", np.broadcast_to(unit[:, None], arrays["recurrent_kernel"])))
    members.append((f"{following}/kernel", np.broadcast_to(unit[:, None], after["kernel"])))
    return Groups(name, units, tuple(members), np.zeros(units, np.int32))
