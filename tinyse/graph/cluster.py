"""Few distinct weights: every matrix of zeros and +- a few levels, on the int8 grid that export will give it.

Vela codes a weight by its place in a palette of at most 32 values, so a matrix of 5 values costs about half the bytes
of the same zeros with all of int8 (docs/sparsity.md, Clustering). The values that gave fewest bytes at equal error are
zero and 1-D k-means of the magnitudes, mirrored::

    book = Codebook.fit(rows, 2)             # rows [channels, weights]; levels a < 1 by scale: 0, +-a, +-1
    index = book.assign(rows)                # 0 for zero, 1 for +-a, 2 for +-1
    book.values(rows, index)                 # float32, integers times scale: distinct integers 0, +-round(127 a), +-127

A gate matrix of an LSTM has one scale (max|w| / 127) and is one row; a dense layer, a convolution or a GRU's gate has
one per output, so its outputs are rows that share the levels and keep a scale each. The largest weight of every row
takes the top level, hence the scale that int8 export finds is the row's and every weight comes back as the same
integer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.grid import snap_scale
from tinyse.graph.layers import Array
from tinyse.graph.model import Model

Rows = NDArray[np.float32]
Index = NDArray[np.uint8]
PEAK = 127
ROUNDS = 30
"""Lloyd rounds of a first fit; bytes and error no longer move after about 15."""
BINS = 256


@dataclass(frozen=True)
class Codebook:
    """Levels of one matrix.

    Attributes:
        levels: float64 [n], ascending, the last is 1. scales: float64 [channels], what 1 stands for in each row.
    """

    levels: NDArray[np.float64]
    scales: NDArray[np.float64]

    @staticmethod
    def fit(rows: Rows, count: int) -> Codebook:
        """k-means of the magnitudes of ``rows`` [channels, weights] with ``count`` levels beside zero."""
        peaks = np.abs(rows).max(axis=1).astype(np.float64)
        peaks[peaks == 0] = 1.0
        # Levels lie as thick as the cube root of the weights' density (the optimal quantizer of many levels).
        share = (np.abs(rows) / peaks[:, None])[rows != 0]
        density = np.cbrt(np.histogram(share, BINS, (0.0, 1.0))[0])
        place = np.cumsum(density) / max(float(density.sum()), 1e-30)
        levels = np.interp(np.arange(1, count + 1) / (count + 0.5), place, (np.arange(BINS) + 1.0) / BINS)
        book = Codebook(levels, peaks)._normalised()
        for _ in range(ROUNDS):
            book = book.refit(rows, book.assign(rows))
        return book

    def _normalised(self) -> Codebook:
        top = float(self.levels[-1])
        return Codebook(np.clip(self.levels / top, 1.0 / PEAK, 1.0), self.scales * top)

    def assign(self, rows: Rows) -> Index:
        """The nearest level of every weight, uint8 like ``rows``; 0 is zero, and each row's largest takes the top."""
        size = np.abs(rows)
        between = 0.5 * (np.concatenate([[0.0], self.levels[:-1]]) + self.levels)
        index = np.zeros(rows.shape, np.uint8)
        for edge in between:
            index += size > (edge * self.scales).astype(np.float32)[:, None]
        largest = np.argmax(size, axis=1)
        row = np.arange(rows.shape[0])
        index[row, largest] = np.where(size[row, largest] > 0, self.levels.size, 0)
        return index

    def refit(self, rows: Rows, index: Index) -> Codebook:
        """Least squares of the scales, then of the levels, for weights that stay where ``index`` has them."""
        size, ranks = np.abs(rows), range(1, self.levels.size + 1)
        inside = [index == rank for rank in ranks]
        sums = np.stack([(size * each).sum(axis=1, dtype=np.float64) for each in inside], axis=1)
        sizes = np.stack([np.count_nonzero(each, axis=1) for each in inside], axis=1)
        weight = sizes @ np.square(self.levels)
        scales = np.where(weight > 0, (sums @ self.levels) / np.maximum(weight, 1e-30), self.scales)
        scales = np.maximum(scales, 1e-12)
        used = np.square(scales) @ sizes
        levels = np.where(used > 0, (scales @ sums) / np.maximum(used, 1e-30), self.levels)
        if levels[-1] <= 0:  # a matrix of zeros
            return self
        return Codebook(levels, scales)._normalised()

    def integers(self) -> NDArray[np.int64]:
        """The int8 magnitudes by index, [n + 1], from 0 to 127."""
        return np.concatenate([[0], np.rint(PEAK * self.levels)]).astype(np.int64)

    def values(self, rows: Rows, index: Index) -> Rows:
        """Float32 weights with the signs of ``rows``: integers times a snapped scale, as export will find them."""
        scales = snap_scale(self.scales.astype(np.float32) / np.float32(PEAK))
        magnitude = self.integers().astype(np.float32).take(index)
        magnitude *= scales[:, None]
        return np.asarray(np.copysign(magnitude, rows) + np.float32(0.0), np.float32)  # no negative zeros


def split(matrix: Rows, array: Array) -> list[Rows]:
    """The rows [channels, weights] of every int8 tensor of an array as it is stored: a gate each, else one.

    A channel is what has a scale of its own.
    """
    first, axes = _axes(array)
    whole = np.moveaxis(matrix.reshape(array.dims), axes, range(len(axes)))
    channels = math.prod(array.dims[axis] for axis in axes[first:])
    parts = whole if first else whole[np.newaxis]
    return [np.ascontiguousarray(part.reshape(channels, -1)) for part in parts]


def join(rows: Sequence[Rows], array: Array) -> Rows:
    """What ``split`` took apart."""
    _, axes = _axes(array)
    rest = [axis for axis in range(len(array.dims)) if axis not in axes]
    whole = np.stack(rows).reshape([array.dims[axis] for axis in (*axes, *rest)])
    return np.ascontiguousarray(np.moveaxis(whole, range(len(axes)), axes).reshape(array.shape))


def _axes(array: Array) -> tuple[int, list[int]]:
    """Whether there are gates, 0 or 1, and their axis followed by those of other scales."""
    gates = [axis for axis, name in enumerate(array.axes) if name == "gate"]
    return len(gates), gates + [axis for axis in array.scaled if axis not in gates]


def cluster_integers(weights: NDArray[np.int8], count: int) -> NDArray[np.int8]:
    """An int8 tensor with at most ``count`` magnitudes, its scales as they are: the untrained baseline."""
    rows = weights.reshape(1, -1).astype(np.float32)
    if not rows.any():
        return weights
    book = Codebook.fit(rows, count)
    index = book.assign(rows)
    magnitude = np.clip(np.rint(np.concatenate([[0.0], book.levels]) * book.scales[0]), 0, PEAK)
    return np.asarray(np.sign(rows) * magnitude[index], np.int8).reshape(weights.shape)


def distinct_values(model: Model) -> dict[str, int]:
    """Different int8 values, zero among them, in each matrix: the most of its gates; {} of a float model."""
    if model.ranges is None:
        return {}
    return {name: max(np.unique(_integers(rows)).size for rows in split(model.arrays[name], array))
            for name, array in model.matrices.items()}


def _integers(rows: Rows) -> NDArray[np.float32]:
    peak = np.abs(rows).max(axis=1, keepdims=True)
    return np.asarray(np.rint(rows / np.where(peak > 0, peak / np.float32(PEAK), np.float32(1))), np.float32)
