"""Graph: what runs on a frame, as integer operators in order, with explicit states.

A Graph is one invocation: one .tflite file, one command stream, one C function. ::

    graph = Graph("part_0", inputs=(x,), ops=(conv, relu, ...), outputs=(mask,), states=(State(past, fresh),))
    graph.macs, graph.parameters, graph.state_bytes          # the only counters of the house

Every tensor is written once, before it is read. Inputs come first, then the pasts of states; outputs first, then the
fresh ones: that is the order of a .tflite file's inputs and outputs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyse.core.errors import ModelError
from tinyse.graph.grid import MASK_SCALE, MASK_ZERO_POINT, Grid, bits_of
from tinyse.graph.ops import SAME_GRID, Depthwise, Lstm, Op, Prelu, Requantize, Sigmoid, Tanh, _Product
from tinyse.graph.tensor import Gate, State, Tensor, Weights

SIGMOID8, SIGMOID16 = Grid(MASK_SCALE, MASK_ZERO_POINT), Grid(2.0**-15, 0, 16)
TANH8, TANH16 = Grid(2.0**-7, 0), Grid(2.0**-15, 0, 16)


@dataclass(frozen=True, eq=False)
class Graph:
    """Integer operators over one frame.

    Attributes:
        name: of the part.
        inputs, outputs: what goes in and comes out, states apart.
        ops: in the order in which they run.
        states: what persists between frames.
        signature, notes: what a .tflite file has beside its network: the names by which its signature knows inputs
            and outputs, and metadata (name, bytes). Kept for its sake; two graphs that differ in these alone are equal.

    Raises:
        ModelError: a tensor is read before it is written or written twice, or an operator's shapes or grids are
            not its kind's; the message names operator and tensor.
    """

    name: str
    inputs: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    outputs: tuple[Tensor, ...]
    states: tuple[State, ...] = ()
    signature: tuple[str, ...] = ()
    notes: tuple[tuple[str, bytes], ...] = ()

    def __post_init__(self) -> None:
        known: dict[str, Tensor] = {}
        for tensor in (*self.inputs, *(state.past for state in self.states)):
            _define(known, tensor, f"{self.name}: input")
        for op in self.ops:
            where = f"{self.name}: {op.kind} {op.out.name}"
            for tensor in op.ins:
                if known.get(tensor.name) != tensor:
                    raise ModelError(f"{where}: reads {tensor.name}, which nothing has written")
            check(op, where)
            _define(known, op.out, where)
        written = {op.out.name: op.out for op in self.ops}
        for tensor in (*self.outputs, *(state.fresh for state in self.states)):
            if written.get(tensor.name) != tensor:
                raise ModelError(f"{self.name}: output {tensor.name} is written by no operator")
        for state in self.states:
            if (state.past.shape, state.past.grid) != (state.fresh.shape, state.fresh.grid):
                raise ModelError(f"{self.name}: state {state.past.name}: {state.fresh.name} has another shape or grid")

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """Inputs, pasts of states, then what operators write, in order."""
        return (*self.inputs, *(state.past for state in self.states), *(op.out for op in self.ops))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one invocation."""
        return sum(op.macs for op in self.ops)

    @property
    def used_macs(self) -> int:
        """Multiply-accumulates by weights that are not zero."""
        found = ((op.macs, *op.weights_and_zeros) for op in self.ops if op.macs)
        return sum(macs // size * (size - zeros) for macs, size, zeros in found)

    @property
    def parameters(self) -> int:
        """Weights, biases and slopes."""
        return sum(op.parameters for op in self.ops)

    @property
    def weights(self) -> int:
        """Int8 weights of all products."""
        return sum(op.weights_and_zeros[0] for op in self.ops)

    @property
    def zeros(self) -> int:
        """How many of the weights are zero."""
        return sum(op.weights_and_zeros[1] for op in self.ops)

    @property
    def narrow_bytes(self) -> int:
        """Bytes of the weights with every matrix in as many bits as it needs."""
        return sum(-(-matrix.size * bits_of(matrix) // 8) for matrix in self.matrices)

    @property
    def matrices(self) -> tuple[NDArray[np.int8], ...]:
        """The int8 weights, array by array."""
        return tuple(matrix for op in self.ops for matrix in op.matrices)

    @property
    def lstms(self) -> tuple[Lstm, ...]:
        """The operators that keep states of their own."""
        return tuple(op for op in self.ops if isinstance(op, Lstm))

    @property
    def state_bytes(self) -> int:
        """Bytes that persist between frames: pairs once, and h and c of every LSTM."""
        return sum(state.past.bytes for state in self.states) + sum(3 * op.units for op in self.lstms)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that it is; two graphs of one digest are the same network."""
        made = hashlib.sha256()
        for piece in _canonical((self.name, self.inputs, self.ops, self.outputs, self.states)):
            made.update(piece)
        return made.hexdigest()

    def __eq__(self, other: object) -> bool:
        """Whether it is the same network, to the last constant."""
        return isinstance(other, Graph) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def _define(known: dict[str, Tensor], tensor: Tensor, where: str) -> None:
    if tensor.name in known:
        raise ModelError(f"{where}: {tensor.name} is written twice")
    if not tensor.shape or min(tensor.shape) < 1:
        raise ModelError(f"{where}: {tensor.name} has shape {list(tensor.shape)}")
    grid = tensor.grid
    if not (2 <= grid.bits <= 16 and grid.scale > 0 and float(np.float32(grid.scale)) == grid.scale):
        raise ModelError(f"{where}: {tensor.name} has {grid.bits} bits of scale {grid.scale}",
                         "2 to 16 bits, a positive float32 scale")
    if grid.bits > 8 and grid.zero_point or not grid.least <= grid.zero_point <= grid.most:
        raise ModelError(f"{where}: {tensor.name} has zero point {grid.zero_point}", "0 in int16, else within int8")
    known[tensor.name] = tensor


def check(op: Op, where: str) -> None:
    """Hold one operator's shapes and grids to the rules of its kind.

    Raises:
        ModelError: they are not; ``where`` opens the message.
    """
    try:
        shape = op.shape()
    except (ValueError, IndexError, ZeroDivisionError):
        shape = ()
    if shape != op.out.shape:
        inputs = " and ".join(str(list(tensor.shape)) for tensor in op.ins)
        raise ModelError(f"{where}: {inputs} do not give {list(op.out.shape)}")
    grids = [tensor.grid for tensor in op.ins]
    if not isinstance(op, Requantize) and len({grid.dtype for grid in (*grids, op.out.grid)}) > 1:
        raise ModelError(f"{where}: int8 and int16 meet", "requantize one of them")
    if isinstance(op, SAME_GRID) and any(grid != op.out.grid for grid in grids):
        raise ModelError(f"{where}: input and output are on different grids", "requantize before it")
    if isinstance(op, Sigmoid | Tanh):
        wanted = _activation_grid(op)
        if (op.out.grid.scale, op.out.grid.zero_point) != (wanted.scale, wanted.zero_point):
            raise ModelError(f"{where}: out must have scale {wanted.scale} and zero point {wanted.zero_point}")
    if isinstance(op, Prelu):
        _check_scales(op.alpha_scale, where)
        if op.alpha.shape != (op.x.channels,) or op.x.grid.bits > 8:
            raise ModelError(f"{where}: {op.alpha.size} slopes for {op.x.channels} int8 channels")
    if isinstance(op, _Product):
        _check_weights(op, where)
    if isinstance(op, Lstm):
        _check_gates(op, where)


def _activation_grid(op: Op) -> Grid:
    narrow, wide = (SIGMOID8, SIGMOID16) if isinstance(op, Sigmoid) else (TANH8, TANH16)
    return narrow if op.x.grid.bits <= 8 else wide


def _check_scales(scales: ArrayLike, where: str) -> None:
    found = np.asarray(scales)
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise ModelError(f"{where}: a scale of its constants is not a positive number")


def _check_gates(op: Lstm, where: str) -> None:
    units, power = op.units, math.frexp(op.cell_scale)
    for gate in op.gates:
        shapes = gate.kernel.shape, gate.recurrent.shape, gate.bias.shape
        if shapes != ((units, op.x.channels), (units, units), (units,)):
            raise ModelError(f"{where}: its gates do not take {op.x.channels} values to {units} units")
        _check_scales((gate.kernel_scale, gate.recurrent_scale), where)
    if power[0] != 0.5 or not -30 <= power[1] - 1 <= 0:
        raise ModelError(f"{where}: the cell's scale {op.cell_scale} is no power of two from 2^-30 to 1")


def _check_weights(op: _Product, where: str) -> None:
    weights = op.weights
    inputs = weights.values.shape[-1]
    _check_scales(weights.scales, where)
    if weights.values.ndim != {"matmul": 2, "conv": 4}.get(op.kind, 3):
        raise ModelError(f"{where}: weights of shape {list(weights.values.shape)}")
    if inputs != op.x.channels:
        raise ModelError(f"{where}: its weights take {inputs} channels, not {op.x.channels}")
    if not (weights.scales.shape == weights.bias.shape == (op.out.channels,)):
        raise ModelError(f"{where}: {weights.bias.size} biases and {weights.scales.size} scales for "
                         f"{op.out.channels} channels")
    if isinstance(op, Depthwise) and op.out.channels != op.x.channels:
        raise ModelError(f"{where}: a depthwise convolution keeps its channels")
    bound = 2**31 if op.x.grid.bits <= 8 else 2**47
    if weights.bias.size and int(np.abs(weights.bias).max()) >= bound:
        raise ModelError(f"{where}: a bias leaves {bound.bit_length()} bits", "widen the range of its input")


def _canonical(value: Any) -> Iterator[bytes]:
    """Everything in ``value`` as bytes, unambiguously."""
    if isinstance(value, np.ndarray):
        yield f"[{value.dtype.str}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, tuple | list):
        yield f"({len(value)}".encode()
        for item in value:
            yield from _canonical(item)
    elif isinstance(value, Op):
        yield value.kind.encode()
        yield from _canonical(tuple(vars(value).values()))
    elif is_dataclass(value) and isinstance(value, Tensor | State | Weights | Gate | Grid):
        yield type(value).__name__.encode()
        yield from _canonical(tuple(vars(value).values()))
    else:
        yield repr(value).encode() + b";"
