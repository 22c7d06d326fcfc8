"""Writes a network as C: constants, one function of straight calls a part, one function that obeys the plan.

::

    network = c_network(plan)                       # or a Graph
    network.arena.bytes                             # the peak of the CPU path, states included
    network.header(data), network.source(data)      # packed.h, packed.c

The functions take the arena, and nothing else; docs/kernels.md has the contract.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tinyse.core.artifacts import versions
from tinyse.core.errors import ModelError
from tinyse.export.arena import Arena, plan_arena
from tinyse.export.bitmap import BitMap
from tinyse.export.cbits import as_bits
from tinyse.export.cgates import Gated
from tinyse.export.coperator import COperator, Pack, Shared
from tinyse.export.coperators import coperator
from tinyse.export.cplan import order, reset, run, widths
from tinyse.export.cproducts import scratch
from tinyse.export.csource import comment, integers, plain
from tinyse.export.packing import TILE, PackedMatrix, pack_matrix
from tinyse.graph.graph import Graph
from tinyse.graph.grid import sigmoid_table
from tinyse.graph.plan import Plan
from tinyse.graph.tensor import Tensor

TABLE = 3 * 2**15 // 2**8 + 1
"""Entries of the gate tables: TFLM's 256, then its end value for any int16 at tanh's step, so none needs a clamp."""
LABELS = {"matmul": "dense"}
"""What matrices of an operator are called; others by its kind."""


@dataclass(frozen=True)
class CNetwork:
    """A plan in C.

    Attributes:
        plan: what it is, maps of bits as such. prefix: of its functions. arena: where everything lies.
        parts: the operators of each part, in order.
    """

    plan: Plan
    prefix: str
    arena: Arena
    parts: tuple[tuple[COperator, ...], ...]

    @property
    def matrices(self) -> tuple[PackedMatrix, ...]:
        """Every matrix, in the order in which it is read."""
        return tuple(matrix for part in self.parts for made in part for matrix in made.matrices)

    @property
    def flash(self) -> int:
        """Bytes of matrices, multipliers and tables, without the few words of structure and the gate tables."""
        return sum(made.bytes for part in self.parts for made in part)

    @property
    def tile_macs(self) -> tuple[int, ...]:
        """MACs of a run of each part by the weights of the tiles that are stored, zeros among them included."""
        return tuple(sum(sum(m.tiles.size for m in made.matrices) * (op.macs // op.weights_and_zeros[0])
                         for op, made in zip(graph.ops, part, strict=True) if made.matrices)
                     for graph, part in zip(self.plan.graphs, self.parts, strict=True))

    @property
    def result(self) -> int:
        """Offset of the frame's result."""
        if len(self.parts) > 1:
            return self.arena.result
        return self.arena.at(0, self.plan.result)

    def input(self, tensor: Tensor) -> int:
        """Offset of an input of the plan."""
        part = next(index for index, graph in enumerate(self.plan.graphs) if tensor in graph.inputs)
        return self.arena.at(part, tensor)

    def to_json(self) -> dict[str, object]:
        """What manifest.json says of it: exact bytes, and tiles present and in all."""
        return {"bytes": self.flash, "arena_bytes": self.arena.bytes, "state_bytes": self.arena.state_bytes,
                "matrices": [{"name": m.name, "rows": m.rows, "columns": m.columns * TILE, "block": [m.block, TILE],
                              "tiles": m.present, "tiles_total": m.total, "bytes": m.bytes} for m in self.matrices]}

    def header(self, model: bytes) -> str:
        """Text of packed.h. ``model``: the int8 flatbuffer that it was read from."""
        first, result = self.plan.inputs[0], self.plan.result
        names = {"ARENA_BYTES": self.arena.bytes, "STATE_BYTES": self.arena.state_bytes, "BYTES": self.flash,
                 "PARTS": len(self.parts), "TILE": TILE, "INPUT": self.input(first), "INPUT_BYTES": first.bytes,
                 "RESULT": self.result, "RESULT_BYTES": result.bytes}
        width = max(map(len, names))
        defines = "\n".join(f"#define TINYSE_PACKED_{name:<{width}} {value}" for name, value in names.items())
        rows = " \\\n".join(f'  X("{m.name}", {m.rows}, {m.columns * TILE}, {m.block}, {m.present}, {m.total}, '
                            f"{m.bytes})" for m in self.matrices)
        parts = "\n".join(f"void {self.prefix}_part_{part}(uint8_t *arena); /* {plain(graph.name)} */"
                          for part, graph in enumerate(self.plan.graphs))
        return HEADER.format(banner=_banner("packed.h", model), defines=defines, matrices=rows, parts=parts,
                             prefix=self.prefix)

    def source(self, model: bytes, tables: bool = True) -> str:
        """Text of packed.c. ``tables``: with the gate tables, of which a program has one."""
        return SOURCE.format(banner=_banner("packed.c", model), tables=_tables() if tables else "",
                             parts="\n".join(map(self._part, order(self.plan))), prefix=self.prefix,
                             reset=_lines(reset(self.plan, self.arena)),
                             run=_lines(run(self.plan, self.arena, self.prefix)))

    def _part(self, part: int) -> str:
        graph = self.plan.graphs[part]
        body = []
        for made in self.parts[part]:
            shape = " x ".join(map(str, made.op.out.shape)) + " bytes of bits" * isinstance(made.op.out, BitMap)
            body.append(f"/* {made.label}: {plain(made.op.out.name)} {shape} */")
            body += made.calls
        for to, source, size in self.arena.moves[part]:
            if to != source:
                function = "memmove" if abs(to - source) < size else "memcpy"
                body.append(f"{function}(arena + {to}, arena + {source}, {size});")
        data = "\n".join(made.data for made in self.parts[part] if made.data)
        title = comment([f"{plain(graph.name)}: {graph.macs} multiply-accumulates"])
        return f"{data}\n{title}\nvoid {self.prefix}_part_{part}(uint8_t *arena) {{\n{_lines(body)}\n}}\n"


def c_network(given: Plan | Graph, prefix: str = "tinyse", pack: Pack = pack_matrix) -> CNetwork:
    """A plan, or a graph that runs on every frame, in C.

    Args:
        prefix: of the functions' names. pack: how matrices become tiles.

    Raises:
        ModelError: a kernel cannot do what an operator wants; the message names part, operator and tensor.
    """
    plan = given if isinstance(given, Plan) else Plan((given,), (given.outputs[0].name,))
    gates = [Gated(graph, pack) for graph in plan.graphs]
    plan = as_bits(plan, pack)
    shared = Shared() if widths(plan) else None
    arena = plan_arena(plan, partial(scratch, tails=shared is not None), gates)
    seen: Counter[str] = Counter()
    labels = [[_numbered(seen, LABELS.get(op.kind, op.kind)) for op in graph.ops] for graph in plan.graphs]
    parts = {}
    for part in order(plan):
        graph, made = plan.graphs[part], []
        for index, op in enumerate(graph.ops):
            name, called = f"{prefix}_{part}_{index}", labels[part][index]
            try:
                if op.out.name in gates[part].silent:
                    made.append(COperator(op, name, called, part, arena, pack))
                else:
                    ruled = gates[part].ruled.get(op.out.name)
                    made.append(coperator(op, name, called, part, arena, pack, ruled, shared))
            except ModelError as error:
                raise ModelError(f"{graph.name}: {error}", error.hint) from None
        parts[part] = tuple(made)
    return CNetwork(plan, prefix, arena, tuple(parts[part] for part in range(len(parts))))


def _numbered(seen: Counter[str], label: str) -> str:
    seen[label] += 1
    return f"{label}_{seen[label] - 1}"


def gate_tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """TFLM's sigmoid table [385] and the step from each entry to the next [385]; past TFLM's end it stays."""
    table = np.pad(sigmoid_table().astype(np.int64), (0, TABLE - 256), constant_values=65535)
    return table, np.append(np.diff(table), 0)


def _tables() -> str:
    low, step = (integers(table) for table in gate_tables())
    return (f"const uint16_t tinyse_sigmoid[TINYSE_GATE_TABLE] = {{\n{low}\n}};\n\n"
            f"const uint16_t tinyse_sigmoid_step[TINYSE_GATE_TABLE] = {{\n{step}\n}};\n")


def _lines(lines: list[str] | Iterator[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


def _banner(name: str, model: bytes) -> str:
    tools = ", ".join(f"{tool} {version}" for tool, version in sorted(versions().items()))
    return comment([f"{name}: generated by tinyse export; do not edit.", "",
                    f"model    sha256 {hashlib.sha256(model).hexdigest()}", f"tools    {tools}"])


HEADER = """{banner}
#ifndef TINYSE_PACKED_H
#define TINYSE_PACKED_H

#include <stdint.h>

/* The arena of the CPU path: all of it, what of it persists, flash of the constants, and where input and result lie. */
{defines}

/* X(name, rows, columns, rows of a tile, tiles stored, tiles in all, bytes) for every matrix, in order. */
#define TINYSE_PACKED_MATRICES(X) \\
{matrices}

#ifdef __cplusplus
extern "C" {{
#endif

/* One invocation each, in an arena aligned to 16 bytes. A part that does not run leaves what it writes as it was. */
{parts}

/* Before the first frame: states and outputs to their zero points. */
void {prefix}_parts_reset(uint8_t *arena);

/* One frame: the input lies at TINYSE_PACKED_INPUT; the result, at TINYSE_PACKED_RESULT, is to be read at once.
 * `at`: the exit to stop at, from 1, or 0 for what the plan says. The bits tell which parts ran. */
uint32_t {prefix}_parts_run(uint8_t *arena, uint32_t at);

#ifdef __cplusplus
}}
#endif

#endif /* TINYSE_PACKED_H */
"""

SOURCE = """{banner}
#include "packed.h"

#include <string.h>

#include "kernels.h"

#ifdef __cplusplus
#define TINYSE_ALIGNED alignas(16)
#else
#define TINYSE_ALIGNED _Alignas(16)
#endif
#define I8(at) ((int8_t *)(arena + (at)))
#define I16(at) ((int16_t *)(void *)(arena + (at)))

{tables}
{parts}
void {prefix}_parts_reset(uint8_t *arena) {{
{reset}
}}

uint32_t {prefix}_parts_run(uint8_t *arena, uint32_t at) {{
{run}
}}
"""
