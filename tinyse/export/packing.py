"""Matrices as the CPU kernels read them: int8 weights in tiles of 16 columns, blocks of zeros left out.

A matrix [rows, columns] is cut into tiles of ``block`` rows x 16 columns, stored row by row, so a kernel reads the
weights once, in order. Where all weights of a matrix fit fewer bits, its tiles are stored in so many, and unpacked
before they are read. docs/kernels.md has the layout and the reasons::

    packed = pack_matrix("dense_0.weights", pad_rows(weights), start)
    packed.present, packed.total                            # tiles stored, tiles in all

NumPy only; ``coperators`` writes them as C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ModelError
from tinyse.graph.grid import bits_of

TILE = 16
"""Columns of a tile: the int8 lanes of one MVE register."""
GROUP = 8
"""Rows are padded to this: units of one pass over the gates, accumulators of the dense kernel."""
DENSE = 8
BLOCKS = (DENSE, 4, 1)
"""Rows of a tile: 8 is dense, without an index; 4 is TF-MOT's block (16, 4) of a Keras kernel."""
UNITS_AT_ONCE = 64
"""LSTM units whose sums are kept at a time: bounds scratch, and makes a kernel call rare."""
LARGEST = 255 * TILE
_COSTS = {8: (17.5, 9.0), 4: (12.0, 6.0), 1: (6.0, 6.0)}
"""Instructions of kernels_product_mve.c for one tile, and for one group of rows around its tiles."""


@dataclass(frozen=True)
class PackedMatrix:
    """One int8 matrix in tiles.

    Attributes:
        name: "lstm_0.kernel". rows: padded to 8. columns: tiles of 16.
        block: rows of a tile; 8 where nothing is left out.
        tiles: int8 [present, block, 16], in the order in which they are read.
        index: uint8; for each group of ``block`` rows the number of tiles, then their columns / 16. Empty if dense.
        start: int32 [rows]: bias - zero point * sum of the row, so that kernels multiply raw inputs.
        bits: of a stored weight.
    """

    name: str
    rows: int
    columns: int
    block: int
    tiles: NDArray[np.int8]
    index: NDArray[np.uint8]
    start: NDArray[np.int32]
    bits: int = 8

    @property
    def stored(self) -> NDArray[Any]:
        """The tiles as they lie in flash: int8, or uint8 [present * block, 2 * bits]."""
        return self.tiles if self.bits == 8 else pack_bits(self.tiles.reshape(-1, TILE), self.bits)

    @property
    def present(self) -> int:
        """Tiles stored."""
        return len(self.tiles)

    @property
    def total(self) -> int:
        """Tiles of this block size in the whole matrix."""
        return self.rows // self.block * self.columns

    @property
    def bytes(self) -> int:
        """Flash: tiles, index and starts."""
        return self.tiles.size * self.bits // 8 + self.index.nbytes + self.start.nbytes

    def unpack(self) -> NDArray[np.int8]:
        """The matrix [rows, 16 * columns] again."""
        grid = np.zeros((self.rows // self.block, self.columns, self.block, TILE), np.int8)
        grid[_places(self)] = self.tiles
        return grid.transpose(0, 2, 1, 3).reshape(self.rows, self.columns * TILE)


def pack_matrix(name: str, weights: NDArray[np.int8], start: NDArray[np.int64],
                block: int | None = None) -> PackedMatrix:
    """Tile one matrix.

    Args:
        name: for reports. weights: int8 [rows, columns]; rows a multiple of 8. start: [rows].
        block: rows of a tile; default the one that takes the Cortex-M55 kernels the fewest instructions.

    Raises:
        ModelError: more than 4,080 columns, or a start outside int32.
    """
    rows, columns = weights.shape
    if columns > LARGEST:
        raise ModelError(f"{name}: {columns} columns, the CPU kernels take {LARGEST}", "make the layer narrower")
    if np.any(np.abs(start) > 2**31 - 1):
        raise ModelError(f"{name}: a bias leaves int32", "widen the ranges of its input")
    padded = np.pad(weights, ((0, 0), (0, -columns % TILE)))
    candidates = BLOCKS if block is None else (block,)
    made = [_tiled(name, padded, start.astype(np.int32), size) for size in candidates]
    return min(made, key=lambda matrix: (instructions(matrix), matrix.bytes))


def pack_bits(rows: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Rows of 16 weights in ``bits`` bits each, [n, 2 * bits], for a processor that unpacks four at a time.

    A weight plus 2^(bits - 1) is cut into planes of 4, 2 and 1 bits, those whose sum is ``bits``, lowest first. Weight
    4 w + i is in byte i of word w: of 4 bits words 0 and 1 share bytes with 2 and 3, of 2 bits all four do; of the
    single bits it is bit w + 4 i of 16.
    """
    words = (rows.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8).reshape(-1, 4, 4)
    made, shift = [], 0
    for plane in (4, 2):
        if bits & plane:
            part, share = words >> shift & ((1 << plane) - 1), 8 // plane
            apart = part.reshape(-1, share, 4 // share, 4)
            joined = np.bitwise_or.reduce([apart[:, n] << (plane * n) for n in range(share)])
            made.append(joined.reshape(len(rows), 2 * plane))
            shift += plane
    if bits & 1:
        single = (words >> shift & 1).swapaxes(1, 2).reshape(-1, 16)
        made.append(np.packbits(single, axis=1, bitorder="little"))
    return np.concatenate(made, axis=1).astype(np.uint8)


def instructions(matrix: PackedMatrix) -> float:
    """Modelled Cortex-M55 instructions of one product with the matrix."""
    tile, group = _COSTS[matrix.block]
    return tile * matrix.present + group * matrix.rows // matrix.block


def pad_rows(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """[out, in] with rows of zeros up to a multiple of 8."""
    return np.pad(weights, ((0, -len(weights) % GROUP), (0, 0)))


def pack_gates(values: NDArray[Any], units: int) -> NDArray[Any]:
    """Rows of the gates i, f, g, o, stacked [4 * units, ...], in kernel order [8 units][gate][unit]; zeros pad."""
    gates = values.reshape(4, units, -1)
    padded = np.pad(gates, ((0, 0), (0, -units % GROUP), (0, 0)))
    ordered = padded.reshape(4, -1, GROUP, padded.shape[2]).swapaxes(0, 1)
    return ordered.reshape(-1, *values.shape[1:])


def round_up(value: int, multiple: int) -> int:
    """The least multiple that is not below a value."""
    return -(-value // multiple) * multiple


def units_at_once(units: int) -> int:
    """Units of an LSTM whose sums are kept at a time, a multiple of 8."""
    return min(UNITS_AT_ONCE, round_up(units, GROUP))


def _places(matrix: PackedMatrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row group and column tile of every stored tile."""
    groups = matrix.rows // matrix.block
    if not len(matrix.index):
        return np.repeat(np.arange(groups), matrix.columns), np.tile(np.arange(matrix.columns), groups)
    rows: list[int] = []
    columns: list[int] = []
    at = 0
    for group in range(groups):
        count = int(matrix.index[at])
        rows += [group] * count
        columns += [int(column) for column in matrix.index[at + 1:at + 1 + count]]
        at += 1 + count
    return np.array(rows, np.int64), np.array(columns, np.int64)


def _tiled(name: str, weights: NDArray[np.int8], start: NDArray[np.int32], block: int) -> PackedMatrix:
    rows, columns = weights.shape[0], weights.shape[1] // TILE
    grid = weights.reshape(rows // block, block, columns, TILE).transpose(0, 2, 1, 3)
    if block == DENSE:
        tiles = grid.reshape(-1, block, TILE).copy()
        return PackedMatrix(name, rows, columns, block, tiles, np.zeros(0, np.uint8), start, bits_of(tiles))
    used = np.asarray(grid.any(axis=(2, 3)))
    index = [np.concatenate([[row.sum()], np.flatnonzero(row)]) for row in used]
    return PackedMatrix(name, rows, columns, block, grid[used], np.concatenate(index).astype(np.uint8), start,
                        bits_of(weights))
