"""A Graph as a .tflite file, without TensorFlow: what TFLM interprets and Vela compiles.

Inputs of the file are the graph's, then the pasts of its states; outputs likewise, then the fresh ones. How many states
there are is in the metadata entry ``STATES``; Vela carries metadata over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ModelError
from tinyse.export import limits
from tinyse.export.flatfile import schema
from tinyse.graph import ops
from tinyse.graph.graph import Graph
from tinyse.graph.ops import Op
from tinyse.graph.tensor import Fused, Pair, Tensor

STATES = "tinyse.states"
FUSED = {Fused.NONE: 0, Fused.RELU: 1, Fused.RELU6: 3}
"""Codes of the schema's ActivationFunctionType."""
TANH = 4
"""That of an LSTM."""
SAME, VALID = 0, 1
OPERATORS: dict[type[Op], str] = {
    ops.MatMul: "FULLY_CONNECTED", ops.Conv: "CONV_2D", ops.Depthwise: "DEPTHWISE_CONV_2D",
    ops.Lstm: "UNIDIRECTIONAL_SEQUENCE_LSTM", ops.Add: "ADD", ops.Sub: "SUB", ops.Mul: "MUL", ops.Max: "MAXIMUM",
    ops.Sigmoid: "LOGISTIC", ops.Tanh: "TANH", ops.Prelu: "PRELU", ops.MaxPool: "MAX_POOL_2D",
    ops.Concat: "CONCATENATION", ops.Slice: "STRIDED_SLICE", ops.Reshape: "RESHAPE", ops.Requantize: "QUANTIZE"}
"""What each operator is called in the schema."""


def write(graph: Graph) -> bytes:
    """The .tflite file of a graph; the same graph gives the same bytes, and ``reader.read`` gives it back.

    Raises:
        ModelError: TFLM cannot do an operator (``limits.tflm``); the message names it and its output.
    """
    file = _File()
    ins = [file.tensor(tensor) for tensor in (*graph.inputs, *(state.past for state in graph.states))]
    for op in graph.ops:
        if reason := limits.tflm(op):
            raise ModelError(f"{graph.name}: {op.kind} {op.out.name}: {reason}")
        _ROWS[type(op)](file, op)
    outs = [file.tensor(tensor) for tensor in (*graph.outputs, *(state.fresh for state in graph.states))]
    return file.build(graph, ins, outs)


def same_pads(shape: tuple[int, ...], kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """What TFLite's SAME adds (before, after) to rows and to width of [1, rows, width, channels]."""
    pads = []
    for size, taps, step, apart in zip(shape[1:3], kernel, stride, dilation, strict=True):
        total = max((-(-size // step) - 1) * step + (taps - 1) * apart + 1 - size, 0)
        pads.append((total // 2, total - total // 2))
    return pads[0], pads[1]


class _File:
    """One subgraph under construction; tensors, buffers and operators by index."""

    def __init__(self) -> None:
        self.schema = schema()
        self.graph = self.schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.buffers = [self.schema.BufferT()]
        self.codes: list[int] = []
        self.indices: dict[str, int] = {}

    def tensor(self, tensor: Tensor) -> int:
        """A tensor of the graph, once."""
        if tensor.name not in self.indices:
            grid = tensor.grid
            self.indices[tensor.name] = self.add(tensor.name, tensor.shape, grid.dtype.name, grid.scale,
                                                 grid.zero_point)
        return self.indices[tensor.name]

    def add(self, name: str, shape: tuple[int, ...], dtype: str, scale: Any = None, zero_point: int = 0, axis: int = 0,
            data: NDArray[Any] | None = None, variable: bool = False) -> int:
        """Any tensor; ``data`` makes it a constant."""
        made = self.schema.TensorT()
        made.name, made.shape, made.type = name, list(shape), getattr(self.schema.TensorType, dtype.upper())
        made.isVariable, made.hasRank, made.buffer = variable, True, 0
        if scale is not None:
            grid = made.quantization = self.schema.QuantizationParametersT()
            grid.scale = np.atleast_1d(np.asarray(scale, np.float32))
            grid.zeroPoint = np.full(grid.scale.size, zero_point, np.int64)
            grid.quantizedDimension = axis
        if data is not None:
            made.buffer = self.buffer(np.ascontiguousarray(data, dtype).tobytes())
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def buffer(self, data: bytes) -> int:
        """Bytes that a constant or a metadata entry refers to."""
        made = _aligned(self.schema)
        made.data = np.frombuffer(data, np.uint8)
        self.buffers.append(made)
        return len(self.buffers) - 1

    def ints(self, name: str, values: Any) -> int:
        """An int32 constant of shapes, begins and the like."""
        data = np.asarray(values, np.int32)
        return self.add(name, data.shape, "int32", data=data)

    def op(self, name: str, ins: list[int], outs: list[int], options: str = "", **fields: Any) -> Any:
        """An operator with the options of its kind."""
        builtin = getattr(self.schema.BuiltinOperator, name)
        if builtin not in self.codes:
            self.codes.append(builtin)
        made = self.schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = self.codes.index(builtin), ins, outs
        if options:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            made.builtinOptions = getattr(self.schema, f"{options}T")()
            for key, value in fields.items():
                setattr(made.builtinOptions, key, value)
        self.graph.operators.append(made)
        return made

    def build(self, graph: Graph, ins: list[int], outs: list[int]) -> bytes:
        """The finished file."""
        import flatbuffers

        model = self.schema.ModelT()
        self.graph.name, self.graph.inputs, self.graph.outputs = graph.name, ins, outs
        model.version, model.description, model.subgraphs, model.buffers = 3, "tinyse", [self.graph], self.buffers
        model.operatorCodes, model.metadata, model.signatureDefs = [], [], []
        for code in self.codes:
            entry = self.schema.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 1
            model.operatorCodes.append(entry)
        several = len(graph.inputs) + len(graph.outputs) > 2  # uncounted, ends that pair up would be taken for states
        count = ((STATES, str(len(graph.states)).encode()),) if graph.states or several else ()
        for name, data in (*graph.notes, *count):
            note = self.schema.MetadataT()
            note.name, note.buffer = name, self.buffer(data)
            model.metadata.append(note)
        if len(graph.signature) == len(ins) + len(outs):  # else it is of what the graph was made from
            made = self.schema.SignatureDefT()
            made.signatureKey, maps = "serving_default", []
            for name, index in zip(graph.signature, (*ins, *outs), strict=True):
                maps.append(self.schema.TensorMapT())
                maps[-1].name, maps[-1].tensorIndex = name, index
            made.inputs, made.outputs = maps[:len(ins)], maps[len(ins):]
            model.signatureDefs.append(made)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _aligned(schema: Any) -> Any:
    """A buffer whose bytes start at a multiple of 16 in the file, as the schema demands and its Python code forgets."""

    class Aligned(schema.BufferT):  # type: ignore[misc, name-defined]
        def Pack(self, builder: Any) -> Any:
            size = self.data.size
            builder.StartVector(1, size, 16)
            builder.head = builder.Head() - size
            builder.Bytes[builder.Head():builder.Head() + size] = self.data.tobytes()
            data = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, data)
            return schema.BufferEnd(builder)
    return Aligned()


def _constants(file: _File, op: ops.MatMul | ops.Conv, values: NDArray[np.int8], scales: Any, axis: int) -> list[int]:
    name, weights = op.out.name, op.weights
    kernel = file.add(f"{name}/kernel", values.shape, "int8", scales, axis=axis, data=values)
    if weights.bits < 8:  # which the integers do not say
        grid = file.graph.tensors[kernel].quantization
        grid.max = grid.scale * np.float32((1 << (weights.bits - 1)) - 1)
        grid.min = -grid.max
    steps = np.asarray(scales, np.float32) * np.float32(op.x.grid.scale)
    bias = file.add(f"{name}/bias", weights.bias.shape, "int32" if op.x.grid.bits <= 8 else "int64", steps,
                    data=weights.bias)
    return [kernel, bias]


def _matmul(file: _File, op: ops.MatMul) -> None:
    constants = _constants(file, op, op.weights.values, op.weights.scales, 0)
    file.op("FULLY_CONNECTED", [file.tensor(op.x), *constants],
            [file.tensor(op.out)], "FullyConnectedOptions", fusedActivationFunction=FUSED[op.fused], keepNumDims=True)


def _conv(file: _File, op: ops.Conv) -> None:
    x, deep = file.tensor(op.x), isinstance(op, ops.Depthwise)
    same = same_pads(op.x.shape, op.kernel, op.stride, op.dilation) == ((0, 0), op.pad)
    if any(op.pad) and not same:
        rows, width = op.x.shape[1:3]
        padded = file.add(f"{op.out.name}/padded", (1, rows, width + sum(op.pad), op.x.channels),
                          op.x.grid.dtype.name, op.x.grid.scale, op.x.grid.zero_point)
        pads = file.ints(f"{op.out.name}/pads", [[0, 0], [0, 0], op.pad, [0, 0]])
        file.op("PAD", [x, pads], [padded], "PadOptions")
        x = padded
    values = op.weights.values[None] if deep else op.weights.values
    constants = _constants(file, op, values, op.weights.scales, 3 if deep else 0)
    fields = {"depthMultiplier": 1} if deep else {}
    file.op(OPERATORS[type(op)], [x, *constants], [file.tensor(op.out)],
            "DepthwiseConv2DOptions" if deep else "Conv2DOptions", padding=SAME if any(op.pad) and same else VALID,
            strideH=op.stride[0], strideW=op.stride[1], dilationHFactor=op.dilation[0], dilationWFactor=op.dilation[1],
            fusedActivationFunction=FUSED[op.fused], **fields)


def _lstm(file: _File, op: ops.Lstm) -> None:
    name, x, h = op.out.name, op.x.grid, op.out.grid
    kernels, recurrents, biases = [], [], []
    for letter, gate in zip("ifgo", op.gates, strict=True):
        kernels.append(file.add(f"{name}/kernel_{letter}", gate.kernel.shape, "int8", gate.kernel_scale,
                                data=gate.kernel))
        recurrents.append(file.add(f"{name}/recurrent_{letter}", gate.recurrent.shape, "int8", gate.recurrent_scale,
                                   data=gate.recurrent))
        biases.append(file.add(f"{name}/bias_{letter}", gate.bias.shape, "int32",
                               np.float32(x.scale) * np.float32(gate.kernel_scale), data=gate.bias))
    names = op.state_names or (f"{name}.h", f"{name}.c")
    hidden = file.add(names[0], (1, op.units), "int8", h.scale, h.zero_point, variable=True)
    cell = file.add(names[1], (1, op.units), "int16", op.cell_scale, variable=True)
    inner = [file.add(f"{name}/input_to_{gate}_intermediate", (0,), "float32")
             for gate in ("input", "forget", "cell", "output")]
    inner.append(file.add(f"{name}/effective_hidden_scale_intermediate", (0,), "int8", h.scale, h.zero_point))
    made = file.op("UNIDIRECTIONAL_SEQUENCE_LSTM", [file.tensor(op.x), *kernels, *recurrents, -1, -1, -1, *biases, -1,
                                                    -1, hidden, cell, -1, -1, -1, -1], [file.tensor(op.out)],
                   "UnidirectionalSequenceLSTMOptions", fusedActivationFunction=TANH, cellClip=op.cell_clip)
    made.intermediates = inner


def _elementwise(file: _File, op: ops.Add | ops.Max) -> None:
    options = "MaximumMinimumOptions" if isinstance(op, ops.Max) else f"{op.kind.capitalize()}Options"
    fields: dict[str, Any] = {} if isinstance(op, ops.Max) else {"fusedActivationFunction": FUSED[op.fused]}
    if type(op) in (ops.Add, ops.Sub):
        fields["potScaleInt16"] = False
    file.op(OPERATORS[type(op)], [file.tensor(tensor) for tensor in op.ins], [file.tensor(op.out)], options, **fields)


def _unary(options: str = "") -> Callable[[_File, Op], None]:
    def row(file: _File, op: Op) -> None:
        file.op(OPERATORS[type(op)], [file.tensor(op.x)], [file.tensor(op.out)], options)
    return row


def _prelu(file: _File, op: ops.Prelu) -> None:
    shape = (*[1] * (len(op.x.shape) - 2), op.alpha.size)
    alpha = file.add(f"{op.out.name}/alpha", shape, "int8", op.alpha_scale, data=op.alpha)
    file.op("PRELU", [file.tensor(op.x), alpha], [file.tensor(op.out)])


def _maxpool(file: _File, op: ops.MaxPool) -> None:
    file.op("MAX_POOL_2D", [file.tensor(op.x)], [file.tensor(op.out)], "Pool2DOptions", padding=VALID,
            strideH=op.stride[0], strideW=op.stride[1], filterHeight=op.kernel[0], filterWidth=op.kernel[1])


def _concat(file: _File, op: ops.Concat) -> None:
    file.op("CONCATENATION", [file.tensor(tensor) for tensor in op.ins], [file.tensor(op.out)], "ConcatenationOptions",
            axis=op.axis)


def _slice(file: _File, op: ops.Slice) -> None:
    ends = [start + size for start, size in zip(op.begin, op.out.shape, strict=True)]
    ranges = [file.ints(f"{op.out.name}/{name}", values)
              for name, values in (("begin", op.begin), ("end", ends), ("strides", [1] * len(ends)))]
    file.op("STRIDED_SLICE", [file.tensor(op.x), *ranges], [file.tensor(op.out)], "StridedSliceOptions")


def _reshape(file: _File, op: ops.Reshape) -> None:
    shape = file.ints(f"{op.out.name}/shape", op.out.shape)
    file.op("RESHAPE", [file.tensor(op.x), shape], [file.tensor(op.out)], "ReshapeOptions",
            newShape=list(op.out.shape))


_ROWS: dict[type[Op], Callable[[_File, Any], None]] = {
    ops.MatMul: _matmul, ops.Conv: _conv, ops.Depthwise: _conv, ops.Lstm: _lstm, ops.Add: _elementwise,
    ops.Sub: _elementwise, ops.Mul: _elementwise, ops.Max: _elementwise, ops.Sigmoid: _unary(), ops.Tanh: _unary(),
    ops.Prelu: _prelu, ops.MaxPool: _maxpool, ops.Concat: _concat, ops.Slice: _slice, ops.Reshape: _reshape,
    ops.Requantize: _unary("QuantizeOptions")}
