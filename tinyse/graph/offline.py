"""Magnitude pruning of a finished int8 network, in the integer domain, without retraining: the papers' baseline.

::

    pruned = prune_offline(read(Path("model_int8.tflite").read_bytes()), 0.9, Structure.WEIGHT)
    write(pruned.graph)      # a file with more zero bytes: every scale, shape and surviving integer as before

Groups and norms are those of training (``tinyse.graph.groups``); the weakest of every layer go, so that each layer
reaches the same share of zeros (units: the same share of units goes from every layer). Zeros that are there count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import RecipeError
from tinyse.graph.cluster import cluster_integers
from tinyse.graph.constants import arrays_of, masked
from tinyse.graph.graph import Graph
from tinyse.graph.groups import (
    DEFAULT_BLOCK,
    Groups,
    Structure,
    array_scales,
    is_matrix,
    masks,
    sparsity,
    structure_groups,
)
from tinyse.graph.units import units_of_graph

Keep = list[NDArray[np.bool_]]


@dataclass(frozen=True)
class Pruned:
    """A pruned network, the share of zeros of every matrix by name, and over all ``weights`` of them."""

    graph: Graph
    zeros: Mapping[str, float]
    sparsity: float
    weights: int


def prune_offline(graph: Graph, target: float, structure: Structure | str = Structure.WEIGHT,
                  block: tuple[int, int] = DEFAULT_BLOCK, values: int = 0,
                  apart: tuple[str, int] | None = None) -> Pruned:
    """Zero the groups of least norm in an int8 network.

    Args:
        graph: of any family. target: share of zeros over all weights, 0..0.999.
        structure: what is zeroed as a whole. block: inputs and outputs of a tile.
        values: non-zero values that a weight tensor may hold; 0 for any (``tinyse.graph.cluster``).
        apart: output and index of a Skip RNN's p~, which stays as it is.

    Raises:
        RecipeError: ``target``, ``block`` or ``values`` is out of range.
    """
    if not 0.0 <= target <= 0.999:
        raise RecipeError(f"sparsity: {target!r} is out of range", "0 to 0.999")
    if min(block) < 1:
        raise RecipeError(f"block: {list(block)} is out of range", "whole numbers from 1 on")
    if values % 2 or not 0 <= values <= 32:
        raise RecipeError(f"clusters: {values!r} is out of range", "an even number up to 32; half are negative")
    shapes, arrays = arrays_of(graph)
    groups = structure_groups(units_of_graph(graph, shapes, apart), Structure(structure), block)
    scales = array_scales(arrays)
    norms = [part.norms(arrays, scales) for part in groups]
    kept = _units(groups, norms, arrays, target) if structure == Structure.UNIT else [
        _weakest(part, n, target) for part, n in zip(groups, norms, strict=True)]
    levels = values // 2
    made = masked(graph, masks(groups, kept), lambda w: cluster_integers(w, levels) if levels else w)
    found = arrays_of(made)[1]
    matrices = {name: array for name, array in found.items() if is_matrix(name)}
    return Pruned(made, {name: float(np.mean(array == 0)) for name, array in matrices.items()}, sparsity(found),
                  sum(array.size for array in matrices.values()))


def _weakest(part: Groups, norms: NDArray[np.float64], target: float) -> NDArray[np.bool_]:
    """Keep all but the fewest weakest groups that make ``target`` of the layer's weights zero."""
    sizes = part.sizes()
    order = np.argsort(norms, kind="stable")
    gone = int(np.searchsorted(np.cumsum(sizes[order]), target * sizes.sum() - 1e-6)) + 1 if target > 0 else 0
    kept = np.ones(part.count, bool)
    kept[order[:gone]] = False
    return kept | part.strongest(norms)


def _units(groups: list[Groups], norms: list[NDArray[np.float64]], arrays: dict[str, NDArray[np.float32]],
           target: float) -> Keep:
    """The least share of every layer's units, weakest first, that makes ``target`` of all weights zero."""
    ranks = []
    for n in norms:
        rank = np.empty(n.size)
        rank[np.argsort(n, kind="stable")] = (np.arange(n.size) + 1.0) / n.size
        ranks.append(rank)

    def kept(share: float) -> Keep:
        return [(rank > share) | part.strongest(n) for part, n, rank in zip(groups, norms, ranks, strict=True)]

    steps = np.unique(np.concatenate([[0.0], *ranks]))
    low, high = 0, steps.size - 1
    while low < high:
        middle = (low + high) // 2
        found = masks(groups, kept(float(steps[middle])))
        zeros = sparsity({key: array * found.get(key, np.float32(1)) for key, array in arrays.items()})
        low, high = (low, middle) if zeros >= target else (middle + 1, high)
    return kept(float(steps[low]))
