"""Clustering while training: the network runs on clustered weights, the optimizer moves the real ones.

Wraps a pruning method, or none, and has its shape (``tinyse.train.prune.PruningMethod``). As masks, the projection is
arithmetic once a step, outside the graph: before the optimizer the real (masked) weights return into the network and
take the gradient of the clustered ones (straight-through); after it the pruning method masks them, each matrix's
codebook takes one step of k-means, and the network gets w + a (cluster(w) - w), where a grows from 0 to 1 between
``begin`` and ``end``. From ``freeze`` on no weight changes its level, and only levels, scales and biases are trained.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.cluster import Codebook, Index, Rows, join, split
from tinyse.train.prune import PruningMethod, short_name


class Clustering:
    """Clusters a network's matrices, on top of ``inner``.

    Attributes:
        real: the weights before projection, by "<layer>/<matrix>"; empty until ``begin``.
        books: codebooks of each matrix's int8 tensors (four for an LSTM's). index: levels once they are frozen.
    """

    def __init__(self, network: Any, inner: PruningMethod | None, levels: int, begin: int, end: int,
                 freeze: int) -> None:
        """Prepare; weights are first read after step ``begin``.

        Args:
            levels: magnitudes a matrix may hold beside zero; twice as many values.
            begin, end: steps between which weights move onto their levels. freeze: step after which they stay there.
        """
        self.inner, self.levels = inner, levels
        self.begin, self.end, self.freeze = begin, max(end, begin + 1), max(freeze, end)
        self.variables = {f"{layer.name}/{short_name(v)}": v
                          for layer in network.stack for v in layer.get_prunable_weights()}
        self.arrays = network.net.arrays
        self.real: dict[str, Rows] = {}
        self.books: dict[str, list[Codebook]] = {}
        self.index: dict[str, list[Index]] = {}

    @property
    def last(self) -> int:
        """The step after which neither masks nor the share of the projection change."""
        return max(self.end, self.inner.last if self.inner is not None else 0)

    def strength(self, step: int) -> float:
        """How far after ``step`` the weights have moved onto their levels, 0 to 1."""
        return float(np.clip((step - self.begin) / (self.end - self.begin), 0.0, 1.0))

    def gradients(self, step: int, gradients: list[Any]) -> list[Any]:
        """The pruning method's gradients; puts the real weights back for it and for the optimizer."""
        for name, value in self.real.items():
            self.variables[name].assign(value)
        return gradients if self.inner is None else self.inner.gradients(step, gradients)

    def after_step(self, step: int) -> None:
        """Let the pruning method mask, then cluster."""
        if self.inner is not None:
            self.inner.after_step(step)
        if step < self.begin:
            return
        share = self.strength(step)
        for name, variable in self.variables.items():
            self.real[name] = real = variable.numpy()
            clustered = self._clustered(name, real, step >= self.freeze)
            variable.assign(clustered if share == 1.0 else real + np.float32(share) * (clustered - real))

    def project(self) -> None:
        """Cluster the network's weights by the codebooks as they are now, which stay as they are."""
        for name, books in self.books.items():
            values, _, _ = self._fitted(name, self.variables[name].numpy(), books)
            self.variables[name].assign(values)

    def _clustered(self, name: str, real: Rows, frozen: bool) -> Rows:
        books = self.books.get(name) or [Codebook.fit(rows, self.levels) for rows in split(real, self.arrays[name])]
        values, self.books[name], index = self._fitted(name, real, books)
        if frozen:
            self.index[name] = index
        return values

    def _fitted(self, name: str, real: Rows, books: list[Codebook]) -> tuple[Rows, list[Codebook], list[Index]]:
        """``real`` on its levels after one step of k-means, with the codebooks and places that gives."""
        parts = split(real, self.arrays[name])
        index = self.index.get(name) or [book.assign(rows) for book, rows in zip(books, parts, strict=True)]
        books = [book.refit(rows, where) for book, rows, where in zip(books, parts, index, strict=True)]
        values = [book.values(rows, where) for book, rows, where in zip(books, parts, index, strict=True)]
        return join(values, self.arrays[name]), books, index

    # -- what training asks -------------------------------------------------------------------------------

    def sparsity(self) -> dict[str, float]:
        """Share of zeros in each matrix; weights whose nearest level is zero count."""
        return {name: float(np.mean(v.numpy() == 0.0)) for name, v in self.variables.items()}

    def state(self) -> dict[str, NDArray[Any]]:
        """Real weights, codebooks, frozen levels and the pruning method's state, by name."""
        found: dict[str, NDArray[Any]] = {f"real/{name}": value for name, value in self.real.items()}
        for name, books in self.books.items():
            for number, book in enumerate(books):
                found |= {f"levels/{number}/{name}": book.levels, f"scales/{number}/{name}": book.scales}
        for name, parts in self.index.items():
            found |= {f"index/{number}/{name}": part for number, part in enumerate(parts)}
        inner = {} if self.inner is None else self.inner.state()
        return found | {f"inner/{name}": value for name, value in inner.items()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take up what ``state`` gave."""

        def named(kind: str) -> dict[str, NDArray[Any]]:
            return {name[len(kind) + 1:]: value for name, value in state.items() if name.startswith(f"{kind}/")}

        def parts(kind: str) -> dict[str, list[NDArray[Any]]]:
            found = named(kind)
            return {name: [found[f"{n}/{name}"] for n in range(len(found)) if f"{n}/{name}" in found]
                    for name in self.variables if f"0/{name}" in found}

        self.real, self.index = named("real"), parts("index")
        levels, scales = parts("levels"), parts("scales")
        self.books = {name: [Codebook(*pair) for pair in zip(levels[name], scales[name], strict=True)]
                      for name in levels}
        if self.inner is not None:
            self.inner.restore(named("inner"))
