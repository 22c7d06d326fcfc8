"""Every operator of a Graph in C, and what the C library cannot do."""

from __future__ import annotations

from collections.abc import Callable

from tinyse.core.errors import ModelError
from tinyse.export.arena import Arena
from tinyse.export.bitmap import BitConv, BitPool
from tinyse.export.cbits import bit_conv, bit_pool
from tinyse.export.cgates import gated, is_step, step
from tinyse.export.cmaps import binary, concat, curve, maximum, prelu, requantize, reshape, slices
from tinyse.export.coperator import COperator, Pack, Refusal, Shared
from tinyse.export.cproducts import depthwise, lstm, maxpool, product
from tinyse.export.packing import pack_matrix
from tinyse.graph import ops
from tinyse.graph.gates import ChannelGate
from tinyse.graph.graph import Graph
from tinyse.graph.ops import Op

_KINDS: dict[type[Op], Callable[..., None]] = {
    ops.MatMul: product, ops.Conv: product, ops.Depthwise: depthwise, ops.Lstm: lstm, ops.Add: binary, ops.Sub: binary,
    ops.Mul: binary, ops.Max: maximum, ops.Sigmoid: curve, ops.Tanh: curve, ops.Prelu: prelu, ops.MaxPool: maxpool,
    ops.Concat: concat, ops.Slice: slices, ops.Reshape: reshape, ops.Requantize: requantize,
    BitConv: bit_conv, BitPool: bit_pool}


def coperator(op: Op, name: str, label: str, part: int = 0, arena: Arena | None = None,
              pack: Pack = pack_matrix, gate: ChannelGate | None = None, shared: Shared | None = None) -> COperator:
    """An operator in C; ``gate``: the channel gate that it takes into its call, ``shared``: what others defined.

    Raises:
        ModelError: its kernel cannot do it; the message names operator and tensor.
    """
    made = COperator(op, name, label, part, arena, pack, shared=shared)
    try:
        _limited(op)
        if gate is not None:
            gated(made, gate)
        elif isinstance(op, ops.Depthwise) and is_step(op):
            step(made, op)
        else:
            _KINDS[type(op)](made, op)
    except Refusal as refusal:
        raise ModelError(f"{op.kind} {op.out.name}: {refusal}", "what the C library runs: docs/kernels.md") from None
    return made


def check_c(graph: Graph) -> None:
    """Hold a graph to what the C library can do.

    Raises:
        ModelError: it cannot; the message names part, operator and tensor.
    """
    for index, op in enumerate(graph.ops):
        try:
            coperator(op, "op", f"{op.kind}_{index}")
        except ModelError as error:
            raise ModelError(f"{graph.name}: {error}", error.hint) from None


def _limited(op: Op) -> None:
    """What the kernels' fields hold: 16 bits of a size; activations of 8 or 16 bits where nothing clamps to fewer."""
    for tensor in (*op.ins, op.out):
        if tensor.channels * tensor.grid.dtype.itemsize >= 2**16 or max(tensor.shape) >= 2**16:
            raise Refusal(f"{tensor.name} is longer than 65535")
