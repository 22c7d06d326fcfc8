"""The pruning method, and the clustering on top of it, that a recipe asks for."""

from __future__ import annotations

from typing import Any

from tinyse.graph.groups import Structure, sparsity
from tinyse.train.clustering import Clustering
from tinyse.train.compression import PrunePart
from tinyse.train.prune import MagnitudePruning, PruningMethod, Schedule, short_name
from tinyse.train.recipe import Recipe
from tinyse.train.threshold import ThresholdPruning


def make_compression(recipe: Recipe, network: Any, first: int, steps: int) -> PruningMethod | None:
    """Pruning and clustering of ``recipe`` over a compressed phase of ``steps`` steps from ``first`` on; or None."""
    pruning, part = make_pruning(recipe.prune, network, first, steps), recipe.cluster
    if not part.values or not steps:
        return pruning
    begin, end, freeze = (first + int(share * steps) for share in (part.begin, part.end, part.freeze))
    return Clustering(network, pruning, part.values // 2, begin, end, freeze)


def make_pruning(part: PrunePart, network: Any, first: int, steps: int) -> PruningMethod | None:
    """The method of ``part`` over a compressed phase of ``steps`` steps from ``first`` on; None for none."""
    if part.method == "none" or not steps:
        return None
    schedule = Schedule(part.sparsity, first + int(part.begin * steps), first + int(part.end * steps), part.every)
    block = (part.block[0], part.block[1]) if part.structure == Structure.BLOCK else (1, 1)
    if part.method == "magnitude":
        return MagnitudePruning(network, schedule, block)
    return ThresholdPruning(network, schedule, part.structure, block, part.multiple)


def zero_share(network: Any) -> float:
    """Share of zeros over all prunable matrices of a network."""
    return sparsity({f"{layer.name}/{short_name(v)}": v.numpy()
                     for layer in network.stack for v in layer.get_prunable_weights()})
