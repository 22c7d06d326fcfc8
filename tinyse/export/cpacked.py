"""Writes ``packed.h`` and ``packed.c``: the packed network as constant data, with the types that describe it."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from tinyse.artifacts import versions
from tinyse.export.csource import comment, integers
from tinyse.export.packing import TILE, PackedDense, PackedLookup, PackedLstm, PackedMatrix, PackedNetwork, Scale
from tinyse.graph.grid import sigmoid_table

TABLE = 3 * 2**15 // 2**8 + 1
"""Entries of the gate tables: TFLM's 256, then its end value for any int16 at tanh's step, so none needs a clamp."""


def packed_header(packed: PackedNetwork, model: bytes) -> str:
    """Text of packed.h. ``model``: the int8 flatbuffer that was packed."""
    names = {"ARENA_BYTES": packed.arena_bytes, "STATE_BYTES": packed.state_bytes, "BYTES": packed.bytes,
             "LAYERS": len(packed.layers), "TILE": TILE, "GATE_TABLE": TABLE}
    width = max(map(len, names))
    defines = "\n".join(f"#define TINYSE_PACKED_{name:<{width}} {value}" for name, value in names.items())
    rows = " \\\n".join(f'  X("{m.name}", {m.rows}, {m.columns * TILE}, {m.block}, {m.present}, {m.total}, {m.bytes})'
                        for m in packed.matrices)
    return HEADER.format(banner=_banner("packed.h", model), defines=defines, matrices=rows)


def packed_source(packed: PackedNetwork, model: bytes) -> str:
    """Text of packed.c; arguments as for ``packed_header``."""
    low, step = gate_tables()
    data, layers = [], []
    for number, layer in enumerate(packed.layers):
        text, pointers = _layer(number, layer)
        data.append(text)
        layers.append(f"  {{ {pointers}, {layer.units if isinstance(layer, PackedLstm) else layer.outputs} }},")
    places = (*packed.buffers, *packed.operands, packed.sums, packed.sum_count)
    network = "tinyse_layers, {{ {}, {} }}, {{ {}, {} }}, {}, {}".format(*places)
    return SOURCE.format(banner=_banner("packed.c", model), low=integers(low), step=integers(step),
                         data="\n".join(data), layers="\n".join(layers), network=network)


def gate_tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """TFLM's sigmoid table [385] and the step from each entry to the next [385]; past TFLM's end it stays."""
    table = np.pad(sigmoid_table().astype(np.int64), (0, TABLE - 256), constant_values=65535)
    return table, np.append(np.diff(table), 0)


def _layer(number: int, layer: object) -> tuple[str, str]:
    """Data of one layer, and the initialiser of its three pointers."""
    name = f"layer_{number}"
    if isinstance(layer, PackedLstm):
        body = "\n".join([
            f"  {_matrix(f'{name}_kernel', layer.kernel)},", f"  {_matrix(f'{name}_recurrent', layer.recurrent)},",
            f"  {{ {', '.join(map(_scale, layer.input))} }}, {{ {', '.join(map(_scale, layer.hidden))} }},",
            f"  {_scale(layer.update)}, {_scale(layer.output)},",
            f"  {layer.cell_power}, {layer.cell_low}, {layer.cell_high}, {layer.zero_point}, {layer.units}, "
            f"{layer.h}, {layer.c}"])
        text = (_arrays(f"{name}_kernel", layer.kernel) + _arrays(f"{name}_recurrent", layer.recurrent)
                + f"static const tinyse_lstm {name} = {{\n{body}\n}};\n")
        return text, f"&{name}, 0, 0"
    if isinstance(layer, PackedDense):
        text = (_arrays(f"{name}_weights", layer.weights) + _array("int32_t", f"{name}_mantissa", layer.mantissa)
                + _array("int32_t", f"{name}_shift", layer.shift)
                + f"static const tinyse_dense {name} = {{\n  {_matrix(f'{name}_weights', layer.weights)},\n"
                  f"  {name}_mantissa, {name}_shift, {layer.zero_point}, {layer.low}, {layer.outputs}\n}};\n")
        return text, f"0, &{name}, 0"
    assert isinstance(layer, PackedLookup)
    return _array("int8_t", f"{name}_table", layer.table), f"0, 0, {name}_table"


def _arrays(name: str, matrix: PackedMatrix) -> str:
    # An array of no elements is no C; a matrix of zeros alone has one that is never read.
    tiles = matrix.tiles.reshape(-1) if matrix.present else np.zeros(TILE, np.int8)
    text = f"/* {matrix.name}: {matrix.present} of {matrix.total} tiles */\n"
    text += _array("int8_t", f"{name}_tiles", tiles, 32)
    if len(matrix.index):
        text += _array("uint8_t", f"{name}_index", matrix.index)
    return text + _array("int32_t", f"{name}_start", matrix.start)


def _array(kind: str, name: str, values: NDArray, per_line: int = 16) -> str:
    return f"TINYSE_ALIGNED static const {kind} {name}[{len(values)}] = {{\n{integers(values, per_line)}\n}};\n"


def _matrix(name: str, matrix: PackedMatrix) -> str:
    index = f"{name}_index" if len(matrix.index) else "0"
    return f"{{ {name}_tiles, {index}, {name}_start, {matrix.rows}, {matrix.columns}, {matrix.block} }}"


def _scale(scale: Scale) -> str:
    return f"{{ {scale.mantissa}, {scale.shift} }}"


def _banner(name: str, model: bytes) -> str:
    tools = ", ".join(f"{tool} {version}" for tool, version in sorted(versions().items()))
    return comment([f"{name}: generated by tinyse export; do not edit.", "",
                    f"model    sha256 {hashlib.sha256(model).hexdigest()}", f"tools    {tools}"])


HEADER = """{banner}
#ifndef TINYSE_PACKED_H
#define TINYSE_PACKED_H

#include <stdint.h>

{defines}

/* X(name, rows, columns, rows of a tile, tiles stored, tiles in all, bytes) for every matrix, in order. */
#define TINYSE_PACKED_MATRICES(X) \\
{matrices}

#ifdef __cplusplus
extern "C" {{
#endif

/* A rescaling of TFLM's: times mantissa / 2^31, times 2^shift, each rounded. */
typedef struct tinyse_scale {{
  int32_t mantissa;
  int32_t shift;
}} tinyse_scale;

/* int8 weights in tiles of `block` rows x 16 columns, each stored row by row, 16-byte aligned. */
typedef struct tinyse_matrix {{
  const int8_t *tiles;
  const uint8_t *index; /* per group of `block` rows: number of tiles, then their column / 16; null: all are there */
  const int32_t *start; /* [rows] what the sum of a row starts at: bias - zero point * sum of the row */
  uint16_t rows;        /* a multiple of 8 */
  uint16_t columns;     /* tiles of 16 */
  uint16_t block;       /* 8 (dense), 4 or 1 */
}} tinyse_matrix;

/* Rows of both matrices: [8 units][gate i, f, g, o][unit]. */
typedef struct tinyse_lstm {{
  tinyse_matrix kernel;
  tinyse_matrix recurrent;
  tinyse_scale input[4]; /* to Q3.12, one per gate */
  tinyse_scale hidden[4];
  tinyse_scale update; /* of i * g to the cell */
  tinyse_scale output; /* of o * tanh(c) to h */
  int16_t cell_power;  /* real = c * 2^-cell_power */
  int16_t cell_low;
  int16_t cell_high;
  int16_t zero_point; /* of h */
  uint16_t units;
  uint32_t h; /* offsets in the arena: int8 [units], int16 [units padded to 8] */
  uint32_t c;
}} tinyse_lstm;

typedef struct tinyse_dense {{
  tinyse_matrix weights;
  const int32_t *mantissa; /* [rows] */
  const int32_t *shift;    /* [rows] */
  int16_t zero_point;
  int16_t low; /* smallest result: the zero point where there is a ReLU */
  uint16_t outputs;
}} tinyse_dense;

/* One of the three is set. */
typedef struct tinyse_layer {{
  const tinyse_lstm *lstm;
  const tinyse_dense *dense;
  const int8_t *lookup; /* [256], indexed by the input's byte */
  uint16_t outputs;
}} tinyse_layer;

/* Offsets are bytes from the arena's start; LSTM states come first. */
typedef struct tinyse_network {{
  const tinyse_layer *layers;
  uint32_t buffers[2];  /* int8 activations */
  uint32_t operands[2]; /* int16 copies of vectors, for kernels that want them */
  uint32_t sums;        /* int32 [sum_count] */
  uint32_t sum_count;
}} tinyse_network;

extern const tinyse_network tinyse_packed;

/* 65536 sigmoid(i / 24) as TFLM rounds it, and the step to the next entry. */
extern const uint16_t tinyse_sigmoid[TINYSE_PACKED_GATE_TABLE];
extern const uint16_t tinyse_sigmoid_step[TINYSE_PACKED_GATE_TABLE];

#ifdef __cplusplus
}}
#endif

#endif /* TINYSE_PACKED_H */
"""

SOURCE = """{banner}
#include "packed.h"

#ifdef __cplusplus
#define TINYSE_ALIGNED alignas(16)
#else
#define TINYSE_ALIGNED _Alignas(16)
#endif

const uint16_t tinyse_sigmoid[TINYSE_PACKED_GATE_TABLE] = {{
{low}
}};

const uint16_t tinyse_sigmoid_step[TINYSE_PACKED_GATE_TABLE] = {{
{step}
}};

{data}
static const tinyse_layer tinyse_layers[TINYSE_PACKED_LAYERS] = {{
{layers}
}};

const tinyse_network tinyse_packed = {{
  {network}
}};
"""
