"""Channel gates: products whose inputs' channels are 0 or not, frame by frame, and what a closed channel saves.

``gates(graph)`` finds them by their form alone: a depthwise convolution, times a tensor of 0 and 1, into a matrix. A
closed channel's values are the zero point whatever its weights are, so who computes on a processor may leave out its
convolution and its column of the matrix, and need not read them. An NPU computes all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.graph import Graph
from tinyse.graph.grid import STEP
from tinyse.graph.net import Net, Node
from tinyse.graph.ops import Conv, Depthwise, MatMul, Mul, Op
from tinyse.graph.tensor import Tensor


@dataclass(frozen=True)
class ChannelGate:
    """One gate of a Graph.

    Attributes:
        opened: 0 and 1 a channel, on the grid ``STEP``. depthwise, mul, product: what it rules, in order; each is read
            by the next alone.
    """

    opened: Tensor
    depthwise: Depthwise
    mul: Mul
    product: Conv | MatMul

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.opened.channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates that one closed channel saves."""
        return (self.depthwise.macs + self.product.macs) // self.channels


def gates(graph: Graph) -> tuple[ChannelGate, ...]:
    """The gates of a Graph, in order."""
    found = []
    kept = {tensor.name for tensor in (*graph.outputs, *(state.fresh for state in graph.states))}
    for mul in graph.ops:
        if not isinstance(mul, Mul) or len(mul.ins) != 2 or mul.ins[1].grid != STEP:
            continue
        before = next((op for op in graph.ops if op.out == mul.x), None)
        after = _reader(graph, mul.out)
        if not isinstance(before, Depthwise) or not isinstance(after, Conv | MatMul) or isinstance(after, Depthwise):
            continue
        alone = _reader(graph, mul.x) is mul and not kept & {mul.x.name, mul.out.name}
        whole = mul.ins[1].size == mul.ins[1].channels == mul.out.channels
        if alone and whole and (isinstance(after, MatMul) or after.kernel == (1, 1)):
            found.append(ChannelGate(mul.ins[1], before, mul, after))
    return tuple(found)


def _reader(graph: Graph, tensor: Tensor) -> Op | None:
    """The one operator that reads a tensor; None where there are more or none."""
    readers = [op for op in graph.ops if tensor in op.ins]
    return readers[0] if len(readers) == 1 else None


def is_open(values: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which channels a gate's integers open."""
    return np.asarray(values > STEP.zero_point)


def open_macs(graph: Graph, shares: Mapping[str, float]) -> float:
    """Mean multiply-accumulates of a frame at these shares of open channels, by the gate's tensor; gates counted."""
    return graph.macs - sum((1.0 - shares[gate.opened.name]) * gate.macs * gate.channels for gate in gates(graph))


def gate_nodes(net: Net) -> tuple[Node, ...]:
    """The nodes of a Net that give gates: steps that a product of maps reads."""
    return tuple(node for node in net.nodes if getattr(node.layer, "activation", "") == "step" and any(
        reader.layer.kind == "join" and getattr(reader.layer, "how", "") == "mul" and node.name in reader.ins[1:]
        for reader in net.readers(node.name)))
