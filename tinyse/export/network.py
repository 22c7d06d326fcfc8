"""The int8 network inside a .tflite file, as typed NumPy arrays, in the order in which it runs.

Reads the flatbuffer itself, without TensorFlow, so engines and reports can use it cheaply.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ModelError
from tinyse.export.flatfile import operator_names as operator_names
from tinyse.export.flatfile import schema as schema
from tinyse.export.flatfile import unpack as unpack
from tinyse.export.quantization import Affine
from tinyse.export.structure import check_values, tensor_name, type_bytes, type_name
from tinyse.npu.flatbuffer import brief

GATES = ("i", "f", "g", "o")
OPERATORS = ("UNIDIRECTIONAL_SEQUENCE_LSTM", "FULLY_CONNECTED", "LOGISTIC")


@dataclass(frozen=True)
class Gate:
    """One gate of an LSTM: int8 matrices [units, in] and [units, units], int32 bias [units]."""

    kernel: NDArray[np.int8]
    kernel_scale: float
    recurrent: NDArray[np.int8]
    recurrent_scale: float
    bias: NDArray[np.int32]


@dataclass(frozen=True)
class LstmLayer:
    """UNIDIRECTIONAL_SEQUENCE_LSTM: int8 input ``x`` and hidden ``h``, int16 cell of ``cell_scale``.

    ``gates`` are in the order i, f, g, o. ``state_h``, ``state_c`` are tensor indices.
    """

    name: str
    x: Affine
    h: Affine
    cell_scale: float
    cell_clip: float
    gates: tuple[Gate, Gate, Gate, Gate]
    state_h: int
    state_c: int

    @property
    def units(self) -> int:
        """Width of the hidden state."""
        return int(self.gates[0].recurrent.shape[0])

    @property
    def macs(self) -> int:
        """Multiply-accumulates a frame, the recurrence included."""
        return sum(int(gate.kernel.size + gate.recurrent.size) for gate in self.gates)


@dataclass(frozen=True)
class DenseLayer:
    """FULLY_CONNECTED: int8 weights [out, in], one scale per row, int32 bias [out] or none."""

    name: str
    x: Affine
    y: Affine
    weights: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.int32]
    relu: bool

    @property
    def macs(self) -> int:
        """Multiply-accumulates a frame."""
        return int(self.weights.size)


@dataclass(frozen=True)
class LogisticLayer:
    """LOGISTIC: int8 to int8 of scale 1/256, zero point -128."""

    name: str
    x: Affine
    y: Affine
    macs: int = 0


Layer = LstmLayer | DenseLayer | LogisticLayer


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the file: what a report or a header says of it."""

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_point: int
    variable: bool
    constant: bool

    @property
    def bytes(self) -> int:
        """Size of the tensor's data."""
        return type_bytes(self.type, self.shape)


@dataclass(frozen=True)
class Network:
    """A streaming int8 network: ``input`` int8 [1, 1, bands], ``output`` int8 mask [1, 1, bands]."""

    layers: tuple[Layer, ...]
    operators: tuple[str, ...]
    tensors: tuple[TensorInfo, ...]
    input: TensorInfo
    output: TensorInfo

    @property
    def macs_per_frame(self) -> int:
        """Multiply-accumulates a frame over every operator."""
        return sum(layer.macs for layer in self.layers)

    @property
    def features(self) -> Affine:
        """Grid of the network's input."""
        return Affine(self.input.scales[0], self.input.zero_point)

    @property
    def states(self) -> tuple[TensorInfo, ...]:
        """Tensors that persist between frames: h and c of every LSTM, in order."""
        lstms = [layer for layer in self.layers if isinstance(layer, LstmLayer)]
        return tuple(self.tensors[index] for layer in lstms for index in (layer.state_h, layer.state_c))


def tensor_infos(model: Any) -> tuple[TensorInfo, ...]:
    """Describe every tensor of the first subgraph."""
    infos = []
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        grid = tensor.quantization
        scales = () if grid is None or grid.scale is None else tuple(float(s) for s in grid.scale)
        points = [0] if grid is None or grid.zeroPoint is None else grid.zeroPoint
        buffer = model.buffers[tensor.buffer].data
        infos.append(TensorInfo(
            index, tensor_name(model.subgraphs[0], index), type_name(tensor.type),
            tuple(int(n) for n in (tensor.shape if tensor.shape is not None else ())), scales, int(points[0]),
            bool(tensor.isVariable), buffer is not None and len(buffer) > 0 and not tensor.isVariable))
    return tuple(infos)


def parse(data: bytes, name: str = "model") -> Network:
    """Read an int8 streaming network.

    Raises:
        ModelError: the file is damaged; it is not a chain from one frame to one mask; or it holds an operator,
            type or optional tensor outside the set {LSTM without projection, peephole or layer norm;
            FULLY_CONNECTED; LOGISTIC}.
    """
    model = unpack(data, name)
    graph = model.subgraphs[0]
    infos = tensor_infos(model)
    names = operator_names(model)
    try:
        if len(model.subgraphs) > 1:
            raise ValueError(f"{len(model.subgraphs)} graphs in one file")
        for operator, op in zip(names, graph.operators, strict=True):
            if operator not in OPERATORS:
                where = f" ({brief(infos[op.outputs[0]].name)})" if len(op.outputs) else ""
                raise ValueError(f"operator {operator}{where}")
        if not names:
            raise ValueError("it has no operators")
        check_values(model, name)
        layers = tuple(_layer(model, infos, op, op_name) for op, op_name in zip(graph.operators, names, strict=True))
        first, last = _ends(graph, infos, names)
    except (IndexError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{name}: not a streaming int8 network: {error}", "export it with tinyse") from error
    return Network(layers, names, infos, first, last)


def _ends(graph: Any, infos: tuple[TensorInfo, ...], names: tuple[str, ...]) -> tuple[TensorInfo, TensorInfo]:
    """Input and output of a chain in which each operator takes what the one before it gives."""
    for kind, ends in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if len(ends) > 1:
            raise ValueError(f"{kind} {', '.join(brief(infos[index].name) for index in ends)} where one is expected")
    place = first = int(graph.inputs[0])
    for operator, op in zip(names, graph.operators, strict=True):
        if op.inputs[0] != place:
            raise ValueError(f"{operator} ({infos[op.outputs[0]].name}) takes {infos[op.inputs[0]].name}, not what "
                             "was computed last")
        place = int(op.outputs[0])
    if place != graph.outputs[0]:
        raise ValueError(f"{infos[graph.outputs[0]].name} is the output, not what was computed last")
    for info in (infos[first], infos[place]):
        if not info.shape or math.prod(info.shape) != info.shape[-1] or info.shape[-1] < 1:
            raise ValueError(f"{info.name} is {list(info.shape)}, not one frame")
        _affine(info, "int8")
    return infos[first], infos[place]


def _values(model: Any, info: TensorInfo) -> NDArray:
    raw = model.buffers[model.subgraphs[0].tensors[info.index].buffer].data
    return np.frombuffer(bytes(raw), np.dtype(info.type)).reshape(info.shape).copy()


def _affine(info: TensorInfo, kind: str) -> Affine:
    if info.type != kind or len(info.scales) != 1:
        raise ValueError(f"{info.name} is {info.type} with {len(info.scales)} scales, not {kind} with one")
    if not 0 < info.scales[0] < math.inf:
        raise ValueError(f"{info.name} has the scale {info.scales[0]:g}")
    return Affine(info.scales[0], info.zero_point)


def _layer(model: Any, infos: tuple[TensorInfo, ...], op: Any, operator: str) -> Layer:
    ends = [int(i) for i in op.inputs]
    name = infos[op.outputs[0]].name
    x, y = infos[ends[0]], infos[op.outputs[0]]
    if op.builtinOptions is None and operator != "LOGISTIC":
        raise ValueError(f"{operator} ({name}) has no options")
    if operator == "LOGISTIC":
        if _affine(y, "int8") != Affine(1 / 256, -128):
            raise ValueError(f"LOGISTIC ({name}) has another scale than 1/256 from -128 on")
        return LogisticLayer(name, _affine(x, "int8"), _affine(y, "int8"))
    if operator == "FULLY_CONNECTED":
        weights = infos[ends[1]]
        if weights.type != "int8" or len(weights.scales) not in (1, *weights.shape[:1]):
            raise ValueError(f"FULLY_CONNECTED ({name}): weights {weights.name} are {weights.type} with "
                             f"{len(weights.scales)} scales")
        scales = np.broadcast_to(np.array(weights.scales, np.float32), weights.shape[:1]).copy()
        has_bias = len(ends) > 2 and ends[2] >= 0
        bias = _values(model, infos[ends[2]]) if has_bias else np.zeros(weights.shape[0], np.int32)
        fused = op.builtinOptions.fusedActivationFunction
        if fused not in (0, 1):
            raise ValueError(f"FULLY_CONNECTED ({name}) has a fused activation other than ReLU")
        return DenseLayer(name, _affine(x, "int8"), _affine(y, "int8"), _values(model, weights), scales, bias,
                          fused == 1)
    if any(index >= 0 for index in (*ends[9:12], *ends[16:18], *ends[20:24])):
        raise ValueError(f"{operator} ({name}) has peephole, projection or layer-norm tensors")
    gates = []
    for gate in range(4):
        kernel, recurrent = infos[ends[1 + gate]], infos[ends[5 + gate]]
        gates.append(Gate(_values(model, kernel), _affine(kernel, "int8").scale,
                          _values(model, recurrent), _affine(recurrent, "int8").scale,
                          _values(model, infos[ends[12 + gate]])))
    hidden, cell = infos[ends[18]], infos[ends[19]]
    if math.frexp(_affine(cell, "int16").scale)[0] != 0.5:
        raise ValueError(f"{operator} ({name}): the scale of its cell, {cell.scales[0]:g}, is no power of two")
    return LstmLayer(name, _affine(x, "int8"), _affine(hidden, "int8"), _affine(cell, "int16").scale,
                     float(op.builtinOptions.cellClip), (gates[0], gates[1], gates[2], gates[3]),
                     hidden.index, cell.index)
