"""Maps of steps with a bit a value in C: which tensors of a plan are, the plan with them, and their operators.

A map of steps holds 0 and 1 alone. Where whatever writes and reads it can, its channels, a multiple of 8, are bits of
bytes: an eighth of the memory, states included. ::

    laid = as_bits(plan, pack_matrix)       # the same plan where there is no such map

``laid`` has the names of ``plan``, and is planned and written as any other; a ``BitMap``'s shape counts bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.export.arena import SCRATCH
from tinyse.export.bitmap import BitConv, BitMap, BitPool
from tinyse.export.coperator import COperator, Pack, Refusal
from tinyse.export.cproducts import direct, output, padded, patch, start
from tinyse.export.packing import TILE, pad_rows
from tinyse.graph.fixedpoint import rescaler
from tinyse.graph.graph import Graph
from tinyse.graph.grid import STEP, Grid
from tinyse.graph.ops import Concat, Conv, Depthwise, MaxPool, Op, Reshape, Slice
from tinyse.graph.plan import Plan
from tinyse.graph.products import limits, reals
from tinyse.graph.tall import first_one
from tinyse.graph.tensor import State, Tensor

BYTE = 8
Moves = Concat | Slice | Reshape | MaxPool


def as_bits(plan: Plan, pack: Pack) -> Plan:
    """The plan with every map of bits that C keeps as such; ``pack``: how matrices become tiles."""
    pasts = [state.past.name for graph in plan.graphs for state in graph.states]
    held = {tensor.name for graph in plan.graphs for tensor in (*graph.inputs, *graph.outputs)}
    held |= {name for name in pasts if pasts.count(name) > 1}
    found = [_bits(graph, held, pack) for graph in plan.graphs]
    if not any(found):
        return plan
    return replace(plan, parts=tuple(_laid(graph, bits) for graph, bits in zip(plan.graphs, found, strict=True)))


def _bits(graph: Graph, held: set[str], pack: Pack) -> set[str]:
    """Names of the tensors that are bits: steps of whole bytes, less those that an operator writes or reads as int8."""
    found = {tensor.name for tensor in graph.tensors
             if tensor.grid == STEP and tensor.channels % BYTE == 0 and tensor.name not in held}
    before = None
    while found != before:
        before = set(found)
        for op in graph.ops:
            found -= set(_refused(op, found, pack))
        for state in graph.states:
            if {state.past.name, state.fresh.name} - found:
                found -= {state.past.name, state.fresh.name}
    return found


def _refused(op: Op, bits: set[str], pack: Pack) -> Iterator[str]:
    """Tensors of an operator that are none of bits because of it."""
    names = [tensor.name for tensor in (*op.ins, op.out)]
    if isinstance(op, Moves):
        if not bits.issuperset(names) or isinstance(op, Slice) and op.begin[-1] % BYTE:
            yield from names
    elif not isinstance(op, Conv) or isinstance(op, Depthwise):
        yield from names
    else:
        if not _steps(op):
            yield op.out.name
        if op.x.name in bits and not _adds(op, pack):
            yield op.x.name


def _steps(op: Conv) -> bool:
    """Whether a convolution gives 0 and 1 alone, of sums that can be held against a bound in 31 bits."""
    if limits(op.out.grid, op.fused) != (STEP.zero_point, STEP.most) or op.x.grid.bits > 8:
        return False
    try:
        return bool((np.abs(start(op, _taps(op))) + _reach(op)).max() < 2**30)
    except Refusal:
        return False


def _adds(op: Conv, pack: Pack) -> bool:
    """Whether C has the sums of a convolution of bits: of a dense matrix of 8 bits."""
    weights = pad_rows(op.weights.values.reshape(op.out.channels, -1))
    packed = pack("", weights, np.zeros(len(weights), np.int64))
    return not len(packed.index) and packed.bits == 8 and int(_reach(op).max()) + 256 * packed.columns * TILE < 2**30


def _reach(op: Conv) -> NDArray[np.int64]:
    """What no sum of a channel is above."""
    return np.asarray(np.abs(op.weights.bias) + 256 * np.abs(_taps(op)).sum(1))


def _taps(op: Conv) -> NDArray[np.int64]:
    return op.weights.values.reshape(op.out.channels, -1).astype(np.int64)


def _laid(graph: Graph, bits: set[str]) -> Graph:
    def laid(tensor: Tensor) -> Any:
        if tensor.name not in bits:
            return tensor
        return BitMap(tensor.name, (*tensor.shape[:-1], tensor.channels // BYTE), Grid(1.0))

    def rewritten(op: Op) -> Op:
        ins, out = tuple(map(laid, op.ins)), laid(op.out)
        if (ins, out) == (op.ins, op.out):
            return op
        if isinstance(op, Conv):
            return BitConv(ins, out, op)
        if isinstance(op, MaxPool):
            return BitPool(ins, out, op.kernel, op.stride)
        if isinstance(op, Slice):
            return Slice(ins, out, (*op.begin[:-1], op.begin[-1] // BYTE))
        return replace(op, ins=ins, out=out)

    return replace(graph, ops=tuple(map(rewritten, graph.ops)), states=tuple(
        State(laid(state.past), laid(state.fresh)) for state in graph.states))


def bit_conv(made: COperator, op: BitConv) -> None:
    """CONV_2D from or to bits. Of bits it adds weights, so the zero point has no share; to bits it starts where the
    least sum that gives 1 is 0, and nothing is rescaled."""
    plain = op.plain
    rows = pad_rows(plain.weights.values.reshape(plain.out.channels, -1))
    first = plain.weights.bias if op.reads_bits else start(plain, _taps(plain))
    scaling = f"{{ 0, 0, 0, 0, 0, 0, {plain.out.channels} }}"
    if op.writes_bits:
        factors = np.asarray(reals(plain))
        first = first - np.minimum(first_one(rescaler(reals(plain)), factors), _reach(plain) + 1)
    else:
        scaling = output(made, plain, len(rows))
    matrix = made.matrix("weights", rows, padded(first, len(rows)), raised=op.reads_bits)
    seen = op.bytewise
    gathers = int(not direct(seen, 1 if op.reads_bits else 4))
    made.call(f"tinyse_product_{_width(op.x)}_{_width(op.out)}", made.struct("bits", [
        matrix, scaling, str(patch(seen)), str(gathers)]), made.pointer(op.x), made.pointer(op.out),
        f"arena + {made.at(op.out, SCRATCH)}")


def bit_pool(made: COperator, op: BitPool) -> None:
    """MAX_POOL_2D of bits."""
    fields = str(patch(op)).removeprefix("{ ").removesuffix(" }")
    made.call("tinyse_maxpool1", made.struct("patch", [fields]), made.pointer(op.x), made.pointer(op.out))


def _width(tensor: Tensor) -> int:
    return 1 if isinstance(tensor, BitMap) else 8
