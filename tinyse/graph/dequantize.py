"""A TinyLSTM's Graph back in real units: what a released model, whose float weights nobody kept, is fine-tuned from."""

from __future__ import annotations

from dataclasses import replace

from tinyse.core.errors import ModelError
from tinyse.graph import ops
from tinyse.graph.constants import arrays_of
from tinyse.graph.graph import Graph
from tinyse.graph.grid import Grid
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.tensor import Fused
from tinyse.sound import Ends


def dequantized(graph: Graph, ends: Ends, name: str = "model") -> Model:
    """The weights and ranges of an int8 network; lowering them again gives the same integers.

    Args:
        graph: of an exported file, not one that Vela compiled. ends: what its features are. name: opens errors.

    Raises:
        ModelError: it is no TinyLSTM.
    """
    lstms, denses = graph.lstms, tuple(op for op in graph.ops if isinstance(op, ops.MatMul))
    fused = [op.fused for op in denses]
    if (tuple(op.kind for op in graph.ops) != ("lstm",) * len(lstms) + ("matmul",) * len(denses) + ("sigmoid",)
            or not lstms or not denses or fused != [Fused.RELU] * (len(denses) - 1) + [Fused.NONE]):
        kinds = ", ".join(op.kind for op in graph.ops)
        raise ModelError(f"{name}: runs {kinds}, which is no TinyLSTM", "give the run's float.npz")
    widths = tuple(op.out.channels for op in denses)
    net = tinylstm(graph.inputs[0].channels, tuple(op.units for op in lstms), widths[:-1], widths[-1])
    layers = [node.name for node in net.nodes[1:]]
    names = dict(zip((op.out.name for op in graph.ops), layers, strict=False))
    arrays = {f"{names[key.split('/')[0]]}/{key.split('/')[1]}": value for key, value in arrays_of(graph)[1].items()}
    ranges = {net.input.name: _range(graph.inputs[0].grid)}
    for op, layer in zip(graph.ops, layers, strict=False):
        if isinstance(op, ops.Lstm):
            peak = 32767 * op.cell_scale
            ranges |= {f"{layer}.h": _range(op.out.grid), f"{layer}.c": (-peak, peak)}
        else:
            ranges[f"{layer}.out"] = _range(op.out.grid)
    return Model(net, arrays, ends, ranges)


def floating(model: Model) -> Model:
    """The same weights without a grid for activations."""
    return replace(model, ranges=None)


def _range(grid: Grid) -> tuple[float, float]:
    return grid.low, grid.high
