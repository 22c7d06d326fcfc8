"""From a Net with weights and ranges to the Graphs that run: every layer appends its operators. ::

    plan = lower(net, arrays, ranges)          # one Graph a part, and the policy

The rules by which integers are made are ``docs/quantization.md``'s: activations on the nudged grid of their range,
weights symmetric with max|w| / 127 an output channel (an LSTM's a matrix), biases at the product of scales; where the
network has fewer bits at a place, its grid is coarser (docs/mixed-precision.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ExportError
from tinyse.graph import ops
from tinyse.graph.graph import SIGMOID8, SIGMOID16, TANH8, TANH16, Graph
from tinyse.graph.grid import STEP, Grid, bias_steps, quantize_weights, weight_scale
from tinyse.graph.net import Net, Node
from tinyse.graph.plan import Plan
from tinyse.graph.tensor import Fused, State, Tensor, Weights

Real = NDArray[np.float32]
Ranges = Mapping[str, tuple[float, float]]

def lower(net: Net, arrays: Mapping[str, Real], ranges: Ranges) -> Plan:
    """The integer graphs of a trained network.

    Args:
        net: without norms. arrays: float32 by "node/array". ranges: (low, high) by ``net.ranges``.

    Raises:
        ExportError: a range is missing or makes no grid. ModelError: an operator cannot be built.
    """
    return Lowering(net, arrays, ranges).plan()


def grids(net: Net, ranges: Ranges) -> dict[str, Grid]:
    """Grid of every node's output.

    Raises:
        ExportError: a range is missing or makes no grid.
    """
    made = Lowering(net, {name: np.zeros(array.shape, np.float32) for name, array in net.arrays.items()}, ranges)
    for number in range(len(net.results)):
        made.part(number)
    return {name: tensor.grid for name, tensor in made.made.items()}


class Lowering:
    """What layers build with; one for a whole network. ``made``: the output of every node so far."""

    def __init__(self, net: Net, arrays: Mapping[str, Real], ranges: Ranges) -> None:
        self.net, self._arrays, self._ranges = net, arrays, ranges
        self._owner = {node.name: node.owner for node in net.nodes}
        self._named = {result.node: result.tensor for result in (*net.results, *net.extra) if result.node}
        self.made: dict[str, Tensor] = {}
        self._ops: list[ops.Op] = []
        self._states: list[State] = []
        self._inputs: list[Tensor] = []

    def plan(self) -> Plan:
        """Every part, and the policy."""
        parts = tuple(self.part(number) for number in range(len(self.net.results)))
        return Plan(parts, tuple(result.tensor for result in self.net.results), self.net.policy)

    def node_of(self, tensor: str) -> str:
        """The node that a part's input or output is the value of."""
        return next(node for node, made in self.made.items() if made.name == tensor)

    def part(self, number: int) -> Graph:
        """Lower the nodes of one part."""
        self._ops, self._states, self._inputs = [], [], []
        nodes = [node for node in self.net.nodes if node.part == number]
        inside = {node.name for node in nodes}
        for node in nodes:
            ins = tuple(self.made[name] for name in node.ins)
            for name, tensor in zip(node.ins, ins, strict=True):
                if name not in inside and tensor not in self._inputs:
                    self._inputs.append(tensor)
            try:
                self.made[node.name] = self.lowered(node, ins)
            except ExportError as error:
                raise ExportError(f"{node.name}: {error}", error.hint) from error
        wanted = [result.node for result in (self.net.results[number], *self.net.extra) if result.node in inside]
        wanted += [node.name for node in nodes if node.ins
                   and any(reader.part > number for reader in self.net.readers(node.name))]
        order = [node.name for node in nodes if node.name in wanted]
        first = self.net.results[number].node
        outputs = [self.made[name] for name in ([first] if first else []) + [n for n in order if n != first]]
        name = "main" if len(self.net.results) == 1 else f"part_{number}"
        return Graph(name, tuple(self._inputs), tuple(self._ops), tuple(dict.fromkeys(outputs)),
                     tuple(self._states))

    def lowered(self, node: Node, ins: tuple[Tensor, ...]) -> Tensor:
        """Let one node append its operators."""
        return node.layer.lower(self, node.name, ins)

    # -- grids and weights ------------------------------------------------------------------------------

    def array(self, name: str, array: str) -> Real:
        """A float32 array of a node, as stored."""
        return np.asarray(self._arrays[f"{self._owner[name]}/{array}"], np.float32)

    def _range(self, key: str) -> tuple[float, float]:
        try:
            low, high = (float(value) for value in self._ranges[key])
        except KeyError:
            raise ExportError(f"the model has no range for {key}", "train it quantization-aware again") from None
        if not (np.isfinite(low) and np.isfinite(high) and low <= high and max(high, 0.0) > min(low, 0.0)):
            raise ExportError(f"{key}: range {low}..{high} cannot be quantized", "train or calibrate again")
        return low, high

    def grid(self, key: str) -> Grid:
        """The grid of an activation or a state, "node.suffix", of as many bits as the network says."""
        node, _, suffix = key.partition(".")
        return self.net[node].layer.grid(suffix, self.net.bits_of(key), lambda: self._range(key))

    def of_node(self, name: str) -> Callable[[str], Grid]:
        """The grids of one node, by suffix."""
        return lambda suffix: self.grid(f"{name}.{suffix}")

    def weight_bits(self, name: str, array: str, gate: str = "") -> int:
        """Bits of a node's matrix, or of one of its gates."""
        return self.net.bits_of(f"{self._owner[name]}/{array}{'.' * bool(gate)}{gate}")

    def weights(self, kernel: Real, bias: Real, x: Grid, name: str, axis: int = 0, bits: int = 0) -> Weights:
        """Integers of a kernel with a scale for every index of ``axis``, the output channels."""
        bits = bits or self.weight_bits(name, "kernel")
        rows = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
        # A bias without weights would lose its fraction at scale 1; the converter gives it 30 bits. So is one whose
        # weights are next to nothing, which would leave 32 bits.
        alone = np.abs(np.asarray(bias, np.float64)) / (x.scale * 2.0**30)
        bare = ~rows.any(axis=1) & (alone > np.finfo(np.float32).tiny)
        scales = np.where(bare, alone, np.maximum(weight_scale(rows, 1, bits), alone)).astype(np.float32)
        shape = [1] * kernel.ndim
        shape[axis] = -1
        values = quantize_weights(kernel, scales.reshape(shape), bits)
        steps = bias_steps(bias, x.scale, scales, 31 if x.bits <= 8 else 47, name)
        return Weights(np.ascontiguousarray(values), scales, steps, bits)

    def gate(self, matrix: Real, bias: Real | None, x: Grid, name: str,
             bits: int) -> tuple[NDArray[np.int8], float, NDArray]:
        """Integers [unit, in] of a matrix [in, unit] with one scale, and of its bias."""
        scale = weight_scale(matrix, bits=bits)
        steps = bias_steps(bias, x.scale, scale, 31, name) if bias is not None else np.zeros(0)
        return np.ascontiguousarray(quantize_weights(matrix, scale, bits).T), float(scale), steps.astype(np.int32)

    def slopes(self, alpha: Real) -> tuple[NDArray[np.int8], float]:
        """Integers of a PReLU's slopes and their scale."""
        scale = weight_scale(alpha)
        return quantize_weights(alpha, scale), float(scale)

    # -- tensors, states, operators ---------------------------------------------------------------------

    def tensor(self, name: str, shape: tuple[int, ...], grid: Grid) -> Tensor:
        """A tensor; a node that is a result gives it the result's name."""
        return Tensor(self._named.get(name, name), shape, grid)

    def given(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """An input of the network."""
        made = Tensor(name, shape, self.grid(name))
        self._inputs.append(made)
        return made

    def past(self, name: str, shape: tuple[int, ...], grid: Grid) -> Tensor:
        """What a state was before this frame."""
        return Tensor(name, shape, grid)

    def state(self, past: Tensor, fresh: Tensor) -> Tensor:
        """Let ``fresh`` be the next frame's ``past``; gives ``fresh``."""
        self._states.append(State(past, fresh))
        return fresh

    def add(self, op: ops.Op) -> Tensor:
        """Append an operator; gives its output."""
        self._ops.append(op)
        return op.out

    def activated(self, name: str, activation: str, make: Callable[[Tensor, Fused], ops.Op], shape: tuple[int, ...],
                  key: str = "") -> Tensor:
        """A product and its activation; ``key`` names the range where it is not "name.out"."""
        table = activation in ("sigmoid", "tanh")
        grid = STEP if activation == "step" else self.grid(key or f"{name}.out")
        out = Tensor(name, shape, grid) if table else self.tensor(name, shape, grid)
        made = self.add(make(out, Fused.RELU if activation in ("relu", "step") else Fused.NONE))
        if not table:
            return made
        after = self._named.get(name, f"{name}.{activation}")
        return self.sigmoid(after, made) if activation == "sigmoid" else self.tanh(after, made)

    def sigmoid(self, name: str, x: Tensor) -> Tensor:
        """LOGISTIC on its own grid."""
        return self.add(ops.Sigmoid((x,), self.tensor(name, x.shape, SIGMOID8 if x.grid.bits <= 8 else SIGMOID16)))

    def tanh(self, name: str, x: Tensor) -> Tensor:
        """TANH on its own grid."""
        return self.add(ops.Tanh((x,), self.tensor(name, x.shape, TANH8 if x.grid.bits <= 8 else TANH16)))

    def product(self, name: str, x: Tensor, kernel: Real, bias: Real, out: Grid, bits: int) -> Tensor:
        """A 1x1 convolution by a kernel [in, out]."""
        made = self.weights(kernel.T[:, np.newaxis, np.newaxis, :], bias, x.grid, name, bits=bits)
        return self.add(ops.Conv((x,), self.tensor(name, (*x.shape[:-1], kernel.shape[1]), out), made))

    def concat(self, name: str, ins: tuple[Tensor, ...], axis: int = 3) -> Tensor:
        """CONCATENATION of tensors on one grid."""
        shape = list(ins[0].shape)
        shape[axis] = sum(tensor.shape[axis] for tensor in ins)
        return self.add(ops.Concat(ins, self.tensor(name, tuple(shape), ins[0].grid), axis))

    def requantized(self, x: Tensor, grid: Grid, name: str) -> Tensor:
        """``x`` on another grid; itself where it is on it already."""
        return x if x.grid == grid else self.add(ops.Requantize((x,), self.tensor(name, x.shape, grid)))

    def reshaped(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """``x`` in another shape; itself where it has it already."""
        return x if x.shape == shape else self.add(ops.Reshape((x,), Tensor(f"{x.name}.flat", shape, x.grid)))
