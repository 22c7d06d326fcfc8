"""Channel gates in C: what a closed channel would compute is left out, and its weights are not read.

The kernel does a depthwise convolution, its gate and the matrix after it at one position in one call, where the matrix
stands; the operators between keep their place in the listing and have no statement.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tinyse.export.arena import SCRATCH
from tinyse.export.coperator import COperator, Pack
from tinyse.export.cproducts import depthwise_fields, output, padded, start
from tinyse.export.packing import GROUP, TILE, PackedMatrix, pad_rows, round_up
from tinyse.graph.gates import ChannelGate, gates, is_open
from tinyse.graph.graph import Graph
from tinyse.graph.grid import STEP
from tinyse.graph.ops import Depthwise, Op
from tinyse.graph.reference import Reference
from tinyse.graph.tensor import Tensor

MOST = 256
"""Channels: what eight bits number."""


class Gated:
    """The gates of a part that the kernel takes.

    Attributes:
        ruled: by the matrix's output. silent: outputs of operators that need no statement.
    """

    def __init__(self, graph: Graph, pack: Pack) -> None:
        self.ruled: Mapping[str, ChannelGate] = {
            gate.product.out.name: gate for gate in gates(graph) if _takes(gate, pack)}
        self.silent = {op.out.name for gate in self.ruled.values() for op in (gate.depthwise, gate.mul)}

    def holds(self, op: Op) -> tuple[Tensor, ...]:
        """What must last until an operator because its kernel reads it then."""
        gate = self.ruled.get(op.out.name)
        return (gate.opened, gate.depthwise.x) if gate else ()

    def scratch(self, op: Op) -> int | None:
        """Bytes that the kernel wants; None where it is not this one: sums, numbers, values, all values."""
        gate = self.ruled.get(op.out.name)
        return 4 * round_up(op.out.channels, GROUP) + 3 * round_up(gate.channels, TILE) if gate else None


def _takes(gate: ChannelGate, pack: Pack) -> bool:
    x, product = gate.depthwise.out, gate.product
    weights = pad_rows(product.weights.values.reshape(product.out.channels, -1))
    return (x.grid.bits <= 8 and gate.opened.grid == STEP and gate.mul.out.grid == x.grid
            and x.grid.zero_point == x.grid.least and gate.channels <= MOST and gate.depthwise.kernel[1] == 1
            and x.size == x.channels and product.out.size == product.out.channels
            and not len(pack("", weights, np.zeros(len(weights), np.int64)).index))


def gated(made: COperator, gate: ChannelGate) -> None:
    """The three operators as one call of tinyse_gated8; ``made`` is the matrix's."""
    op = gate.product
    taps = op.weights.values.reshape(op.out.channels, -1).astype(np.int64)
    start(op, taps)  # refuses sums that leave 31 bits
    rows, columns = round_up(op.out.channels, GROUP), round_up(gate.channels, TILE)
    stored = np.zeros((rows, columns), np.int64)
    stored[: len(taps), : gate.channels] = taps
    bias = padded(op.weights.bias, rows)
    made.matrices += (PackedMatrix(f"{made.label}.weights", rows, columns // TILE, 1, stored.astype(np.int8).reshape(
        -1, 1, TILE), np.zeros(0, np.uint8), bias.astype(np.int32)),)
    names = [made.array("uint8_t", "weights", stored.reshape(-1) + 128, 32), made.array("int32_t", "start", bias)]
    inner = COperator(gate.depthwise, f"{made.name}_depthwise", made.label, made.part, made.arena, made.pack)
    fields = f"{{ {', '.join(depthwise_fields(inner, gate.depthwise))} }}"
    made.data, made.bytes = inner.data + made.data, inner.bytes + made.bytes
    address = made.struct("gated", [fields, *names, output(made, op, rows), f"{rows}, {columns}"])
    made.call("tinyse_gated8", address, made.pointer(gate.depthwise.x), made.pointer(gate.opened),
              made.pointer(op.out), f"arena + {made.at(op.out, SCRATCH)}")


def is_step(op: Op) -> bool:
    """Whether a depthwise convolution is 0 or 1 of every value by itself."""
    return (isinstance(op, Depthwise) and op.out.grid == STEP and op.x.grid.bits <= 8 and op.kernel == op.stride == (
        1, 1) and op.pad == (0, 0))


def step(made: COperator, op: Depthwise) -> None:
    """A step of every channel by itself: which values open it, by the reference's own arithmetic over all 256."""
    wide = Tensor("x", (1, 1, 256, op.x.channels), op.x.grid), Tensor("y", (1, 1, 256, op.x.channels), op.out.grid)
    values = np.arange(-128, 128).astype(np.int8)
    graph = Graph("step", wide[:1], (Depthwise(wide[:1], wide[1], op.weights, op.fused),), wide[1:])
    opened = is_open(Reference(graph).run({"x": np.broadcast_to(values[:, None], (256, op.x.channels)).reshape(
        wide[0].shape)})["y"].reshape(256, -1))
    low, high = np.argmax(opened, 0) - 128, 127 - np.argmax(opened[::-1], 0)
    never = ~opened.any(0)
    low[never], high[never] = 127, -128
    ends: list[NDArray[np.int64]] = [padded(part, round_up(op.x.channels, TILE)) for part in (low, high)]
    names = [made.array("int8_t", name, part) for name, part in zip(("low", "high"), ends, strict=True)]
    made.call("tinyse_step8", made.struct("steps", [*names, f"{op.x.size // op.x.channels}, {op.x.channels}"]),
              made.pointer(op.x), made.pointer(op.out))
