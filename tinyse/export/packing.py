"""The int8 network as the CPU kernels read it: weights in tiles of 16 columns, blocks of zeros left out.

A matrix [rows, columns] is cut into tiles of ``block`` rows x 16 columns, stored row by row, so a kernel reads the
weights once, in order. docs/kernels.md has the layout and the reasons::

    packed = pack(parse(data))
    packed.matrices[0].present, packed.matrices[0].total    # tiles stored, tiles in all
    packed.arena_bytes                                      # states and scratch of the CPU path

NumPy only; ``cpacked`` writes it as C.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyse.errors import ModelError
from tinyse.export.integer import IntegerDense, IntegerLstm
from tinyse.export.network import DenseLayer, LogisticLayer, LstmLayer, Network
from tinyse.graph.fixedpoint import quantize_multiplier, sigmoid8_table

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
"""Instructions of kernels_mve.c for one tile, and for one group of rows around its tiles."""


@dataclass(frozen=True)
class PackedMatrix:
    """One int8 matrix in tiles.

    Attributes:
        name: "lstm_0.kernel". rows: padded to 8. columns: tiles of 16.
        block: rows of a tile; 8 where nothing is left out.
        tiles: int8 [present, block, 16], in the order in which they are read.
        index: uint8; for each group of ``block`` rows the number of tiles, then their columns / 16. Empty if dense.
        start: int32 [rows]: bias - zero point * sum of the row, so that kernels multiply raw inputs.
    """

    name: str
    rows: int
    columns: int
    block: int
    tiles: NDArray[np.int8]
    index: NDArray[np.uint8]
    start: NDArray[np.int32]

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
        return self.tiles.nbytes + self.index.nbytes + self.start.nbytes

    def unpack(self) -> NDArray[np.int8]:
        """The matrix [rows, 16 * columns] again."""
        grid = np.zeros((self.rows // self.block, self.columns, self.block, TILE), np.int8)
        grid[_places(self)] = self.tiles
        return grid.transpose(0, 2, 1, 3).reshape(self.rows, self.columns * TILE)


@dataclass(frozen=True)
class Scale:
    """A TFLM multiplier: Q0.31 ``mantissa``, left ``shift``."""

    mantissa: int
    shift: int


@dataclass(frozen=True)
class PackedLstm:
    """An LSTM; rows of both matrices in the order [8 units][gate i, f, g, o][unit]; ``h``, ``c`` arena offsets."""

    kernel: PackedMatrix
    recurrent: PackedMatrix
    input: tuple[Scale, ...]
    hidden: tuple[Scale, ...]
    update: Scale
    output: Scale
    cell_power: int
    cell_low: int
    cell_high: int
    zero_point: int
    units: int
    h: int
    c: int


@dataclass(frozen=True)
class PackedDense:
    """A FULLY_CONNECTED: ``mantissa``, ``shift`` int32 [rows], one multiplier a row; result clamped to [low, 127]."""

    weights: PackedMatrix
    mantissa: NDArray[np.int32]
    shift: NDArray[np.int32]
    zero_point: int
    low: int
    outputs: int


@dataclass(frozen=True)
class PackedLookup:
    """A LOGISTIC: ``table`` int8 [256], indexed by the input's byte."""

    table: NDArray[np.int8]
    outputs: int


PackedLayer = PackedLstm | PackedDense | PackedLookup


@dataclass(frozen=True)
class PackedNetwork:
    """The whole network and the arena of the CPU path; offsets in bytes, multiples of 16.

    Attributes:
        layers: in order. bands: inputs. outputs: the mask, and one more where frames may be skipped.
        buffers: two activation vectors. operands: two int16 copies of vectors (Cortex-M7). sums: int32 sums.
        sum_count: how many of them. state_bytes: h and c of every LSTM, at the arena's start. arena_bytes: all.
    """

    layers: tuple[PackedLayer, ...]
    bands: int
    outputs: int
    buffers: tuple[int, int]
    operands: tuple[int, int]
    sums: int
    sum_count: int
    state_bytes: int
    arena_bytes: int

    @property
    def matrices(self) -> tuple[PackedMatrix, ...]:
        """Every matrix, in the order in which it is read."""
        found: list[PackedMatrix] = []
        for layer in self.layers:
            if isinstance(layer, PackedLstm):
                found += [layer.kernel, layer.recurrent]
            elif isinstance(layer, PackedDense):
                found.append(layer.weights)
        return tuple(found)

    @property
    def bytes(self) -> int:
        """Flash: matrices, row multipliers and tables, without the few words of structure."""
        rows = sum(8 * layer.weights.rows for layer in self.layers if isinstance(layer, PackedDense))
        tables = 256 * sum(isinstance(layer, PackedLookup) for layer in self.layers)
        return sum(matrix.bytes for matrix in self.matrices) + rows + tables

    def to_json(self) -> dict[str, object]:
        """What manifest.json says of it: exact bytes, and tiles present and in all."""
        return {"bytes": self.bytes, "arena_bytes": self.arena_bytes, "state_bytes": self.state_bytes, "matrices": [
            {"name": m.name, "rows": m.rows, "columns": m.columns * TILE, "block": [m.block, TILE],
             "tiles": m.present, "tiles_total": m.total, "bytes": m.bytes} for m in self.matrices]}


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


def instructions(matrix: PackedMatrix) -> float:
    """Modelled Cortex-M55 instructions of one product with the matrix."""
    tile, group = _COSTS[matrix.block]
    return tile * matrix.present + group * matrix.rows // matrix.block


def pack(network: Network) -> PackedNetwork:
    """Pack a parsed network.

    Raises:
        ModelError: a layer is wider than the kernels take, or does not fit the one before.
    """
    layers: list[PackedLayer] = []
    width = widest = bands = network.input.shape[-1]
    place = lstms = denses = 0
    for layer in network.layers:
        if isinstance(layer, LogisticLayer):
            layers.append(_lookup(layer, width))
            continue
        matrix = layer.gates[0].kernel if isinstance(layer, LstmLayer) else layer.weights
        if matrix.shape[1] != width:
            raise ModelError(f"{layer.name} takes {matrix.shape[1]} values, not {width}", "export it with tinyse")
        width = len(matrix)
        widest = max(widest, width)
        if isinstance(layer, LstmLayer):
            layers.append(_lstm(f"lstm_{lstms}", layer, place, place + _up(width, TILE)))
            place += _up(width, TILE) + _up(2 * width, TILE)
            lstms += 1
        else:
            layers.append(_dense(f"dense_{denses}", layer))
            denses += 1
    if width not in (bands, bands + 1):
        raise ModelError(f"the network gives {width} values for {bands}", "export it with tinyse")
    widest = _up(widest, TILE)
    buffers = (place, place + widest)
    operands = (place + 2 * widest, place + 4 * widest)
    sums = place + 6 * widest
    count = max([GROUP, *(_sums(layer) for layer in layers)])
    return PackedNetwork(tuple(layers), bands, width, buffers, operands, sums, count, place, sums + 4 * count)


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
        return PackedMatrix(name, rows, columns, block, tiles, np.zeros(0, np.uint8), start)
    used = np.asarray(grid.any(axis=(2, 3)))
    index = [np.concatenate([[row.sum()], np.flatnonzero(row)]) for row in used]
    return PackedMatrix(name, rows, columns, block, grid[used], np.concatenate(index).astype(np.uint8), start)


def _lstm(name: str, layer: LstmLayer, h: int, c: int) -> PackedLstm:
    reference = IntegerLstm(layer)
    # The kernels know f c / 2^15 as a constant, and the cell's scale as a power of two.
    if layer.cell_scale != 2.0**-reference.power or reference.forget != quantize_multiplier(2.0**-15):
        raise ModelError(f"{name}: the cell's scale {layer.cell_scale} is no power of two", "export it with tinyse")
    if not 0 <= reference.power <= 30:
        raise ModelError(f"{name}: the cell's scale {layer.cell_scale} is outside 2^-30..1", "export it with tinyse")
    order = _unit_order(layer.units)
    kernel, recurrent = (_rows(matrix.astype(np.int8), order) for matrix in (reference.kernel, reference.recurrent))
    start = _rows(reference.bias, order) - layer.x.zero_point * kernel.sum(axis=1, dtype=np.int64)
    restart = -layer.h.zero_point * recurrent.sum(axis=1, dtype=np.int64)
    _bounded(f"{name}.kernel", kernel, start, _rows(reference.input_scale[1], order))
    _bounded(f"{name}.recurrent", recurrent, restart, _rows(reference.hidden_scale[1], order))
    return PackedLstm(
        pack_matrix(f"{name}.kernel", kernel, start), pack_matrix(f"{name}.recurrent", recurrent, restart),
        _scales(reference.input_scale, layer.units), _scales(reference.hidden_scale, layer.units),
        Scale(*reference.update), Scale(*reference.output), reference.power, -reference.clip or -32768,
        reference.clip or 32767, layer.h.zero_point, layer.units, h, c)


def _bounded(name: str, weights: NDArray[np.int8], start: NDArray[np.int64], shift: NDArray[np.int64]) -> None:
    """The scalar kernels double a sum before they multiply; TFLM overflows at twice the bound."""
    largest = np.abs(start) + 128 * np.abs(weights.astype(np.int64)).sum(axis=1)
    if np.any(largest << np.maximum(shift, 0) >= 2**30):
        raise ModelError(f"{name}: sums leave 31 bits", "its weights are tiny beside its bias; train again")


def _unit_order(units: int) -> NDArray[np.int64]:
    """Rows of the stacked gates in kernel order [8 units][gate][unit]; -1 for padding."""
    padded = np.arange(_up(units, GROUP)).reshape(-1, 1, GROUP)
    rows = padded + units * np.arange(4).reshape(1, 4, 1)
    return np.where(padded < units, rows, -1).reshape(-1)


def _rows(values: NDArray, order: NDArray[np.int64]) -> NDArray:
    """Rows in ``order``; zeros where it is -1."""
    picked = values[order]
    picked[order < 0] = 0
    return picked


def _scales(pair: tuple[NDArray[np.int64], NDArray[np.int64]], units: int) -> tuple[Scale, ...]:
    return tuple(Scale(int(m), int(s)) for m, s in zip(pair[0][::units], pair[1][::units], strict=True))


def _dense(name: str, layer: DenseLayer) -> PackedDense:
    reference = IntegerDense(layer)
    outputs = layer.weights.shape[0]
    order = np.pad(np.arange(outputs), (0, -outputs % GROUP), constant_values=-1)
    weights = _rows(layer.weights, order)
    start = _rows(reference.bias, order) - layer.x.zero_point * weights.sum(axis=1, dtype=np.int64)
    mantissa, shift = (_rows(part, order).astype(np.int32) for part in (reference.mantissa, reference.shift))
    return PackedDense(pack_matrix(f"{name}.weights", weights, start), mantissa, shift, layer.y.zero_point,
                       reference.low, outputs)


def _lookup(layer: LogisticLayer, outputs: int) -> PackedLookup:
    return PackedLookup(np.roll(sigmoid8_table(layer.x.scale, layer.x.zero_point), 128), outputs)


def _sums(layer: PackedLayer) -> int:
    if isinstance(layer, PackedLstm):
        return 2 * 4 * min(UNITS_AT_ONCE, _up(layer.units, GROUP))
    return layer.weights.rows if isinstance(layer, PackedDense) else 0


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
