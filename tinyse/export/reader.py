"""A .tflite file as a Graph: our own files back again, and foreign ones as far as the operators go.

What a Graph cannot hold is refused in one line that names the schema's operator and the tensor it writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ModelError
from tinyse.export.flatfile import names, operator_names, schema, unpack
from tinyse.export.ports import pair_up
from tinyse.export.stored import TYPES, Refusal, read_stored, text
from tinyse.export.structure import check_values, tensor_names
from tinyse.export.writer import FUSED, OPERATORS, SAME, STATES, TANH, same_pads
from tinyse.graph.graph import Graph, check
from tinyse.graph.ops import Concat, Conv, Depthwise, Lstm, MatMul, MaxPool, Op, Prelu, Slice
from tinyse.graph.tensor import Fused, Gate, Pair, State, Tensor, Weights

HINT = "docs/export.md lists what a network may use"
_FUSED = {code: fused for fused, code in FUSED.items()}


def read(data: bytes, name: str = "model") -> Graph:
    """The network in a .tflite file.

    Args:
        data: the file. name: what messages call it.

    Raises:
        ModelError: it is damaged, or holds an operator, a type or a tensor that a Graph cannot; in one line.
    """
    model = unpack(data, name)
    check_values(model, name)
    try:
        return _File(model, name).graph()
    except Refusal as error:
        raise ModelError(f"{name}: {error}", HINT) from None
    except ModelError as error:
        raise ModelError(str(error), error.hint or HINT) from None
    except (IndexError, ValueError, TypeError, AttributeError, ArithmeticError, KeyError) as error:
        raise ModelError(f"{name}: damaged TFLite file: {error}", "export it again") from error


class _File:
    """The tensors of a file, and what has been read of them."""

    def __init__(self, model: Any, name: str) -> None:
        if len(model.subgraphs) != 1:
            raise Refusal(f"{len(model.subgraphs)} subgraphs, not one")
        self.model, self.name, self.flat = model, name, model.subgraphs[0]
        types = {code: TYPES.get(key, key.lower()) for code, key in names(schema().TensorType).items()}
        self.tensors = [read_stored(model, tensor, types, called)
                        for tensor, called in zip(self.flat.tensors, tensor_names(self.flat), strict=True)]
        self.pads: dict[int, tuple[int, Pair]] = {}

    def graph(self) -> Graph:
        ops = []
        for op, kind in zip(self.flat.operators, operator_names(self.model), strict=True):
            written = self.tensors[op.outputs[0]].name
            try:
                made = self._operator(op, kind)
                if made is not None:
                    check(made, f"{self.name}: {kind} {written}")
            except Refusal as error:
                raise Refusal(f"{kind} {written}: {error}") from None
            ops += [made] if made is not None else []
        notes = [(text(note.name), self._bytes(note.buffer)) for note in self.model.metadata or []]
        ins, outs = ([self.activation(index) for index in ends] for ends in (self.flat.inputs, self.flat.outputs))
        counted = dict(notes).get(STATES)
        states = int(counted) if counted is not None else len(ins) - 1 if ins and pair_up(ins, outs) else 0
        if not 0 <= states <= min(len(ins), len(outs)):
            raise Refusal(f"{states} states among {len(ins)} inputs and {len(outs)} outputs")
        first, last = len(ins) - states, len(outs) - states
        pairs = tuple(State(past, fresh) for past, fresh in zip(ins[first:], outs[last:], strict=True))
        return Graph(text(self.flat.name) or self.name, tuple(ins[:first]), tuple(ops), tuple(outs[:last]), pairs,
                     self._signature(), tuple(note for note in notes if note[0] != STATES))

    def _operator(self, op: Any, kind: str) -> Op | None:
        row = _ROWS.get(kind)
        if row is None:
            raise Refusal("no such operator in a network")
        if len(op.outputs) != 1:
            raise Refusal(f"{len(op.outputs)} outputs, not one")
        return row(self, op, [int(index) for index in op.inputs], int(op.outputs[0]))

    def activation(self, index: int) -> Tensor:
        """A tensor that is computed, or an input."""
        stored = self.tensors[index]
        if index in self.pads:
            raise Refusal(f"{stored.name} is padded, which only a VALID convolution can read")
        if stored.data is not None or stored.variable:
            raise Refusal(f"{stored.name} is {'a variable' if stored.variable else 'a constant'}")
        if stored.dynamic:
            raise Refusal(f"{stored.name} has a dynamic shape")
        return Tensor(stored.name, stored.shape, stored.grid)

    def constant(self, index: int, dtype: str) -> NDArray[Any]:
        """The values of a constant."""
        stored = self.tensors[index]
        if stored.data is None or stored.dtype != dtype:
            raise Refusal(f"{stored.name} is {stored.dtype} {'data' if stored.data is None else 'constant'}, "
                           f"not a constant of {dtype}")
        return stored.data

    def symmetric(self, index: int) -> tuple[NDArray[np.int8], float]:
        """An int8 constant of one scale, zero point 0."""
        stored = self.tensors[index]
        if any(stored.zero_points) or stored.scales.size != 1:
            raise Refusal(f"{stored.name} has {stored.scales.size} scales, zero point {stored.zero_points[:1]}")
        return self.constant(index, "int8"), float(stored.scales[0])

    def weights(self, ins: list[int], x: Tensor, channel: int) -> Weights:
        """Kernel and bias of a product, ``channel`` the kernel's axis of output channels."""
        values, stored = self.constant(ins[1], "int8"), self.tensors[ins[1]]
        count, bits = values.shape[channel], 8
        if any(stored.zero_points):
            raise Refusal(f"{stored.name} has a zero point other than 0")
        if stored.scales.size not in (1, count) or (stored.scales.size > 1 and stored.axis != channel):
            raise Refusal(f"{stored.name} has {stored.scales.size} scales for {count} channels")
        if stored.most:
            bits = int(round(stored.most / float(stored.scales[0]))).bit_length() + 1
        wide = x.grid.bits > 8
        has_bias = len(ins) > 2 and ins[2] >= 0
        bias = self.constant(ins[2], "int64" if wide else "int32") if has_bias else np.zeros(count)
        scales = np.broadcast_to(stored.scales, (count,)).copy()
        return Weights(values, scales, bias.astype(np.int64), bits)

    def _bytes(self, buffer: int) -> bytes:
        data = self.model.buffers[buffer].data
        return b"" if data is None else bytes(data)

    def _signature(self) -> tuple[str, ...]:
        found = self.model.signatureDefs or []
        if len(found) != 1:
            return ()
        ends = [({int(entry.tensorIndex): text(entry.name) for entry in maps}, indices) for maps, indices in (
            (found[0].inputs, self.flat.inputs), (found[0].outputs, self.flat.outputs))]
        return tuple(known[int(index)] for known, indices in ends for index in indices)


Row = Callable[[_File, Any, list[int], int], Op | None]


def _options(op: Any) -> Any:
    if op.builtinOptions is None:
        raise Refusal("no options")
    return op.builtinOptions


def _fused(op: Any) -> Fused:
    code = _options(op).fusedActivationFunction
    if code not in _FUSED:
        raise Refusal(f"fused {names(schema().ActivationFunctionType).get(code, code)}")
    return _FUSED[code]


def _unfused(op: Any) -> None:
    if _fused(op) is not Fused.NONE:
        raise Refusal(f"fused {_fused(op).upper()}")


def _matmul(file: _File, op: Any, ins: list[int], out: int) -> Op:
    x, y = file.activation(ins[0]), file.activation(out)
    if _options(op).weightsFormat:
        raise Refusal("shuffled weights")
    return MatMul((x,), y, file.weights(ins, x, 0), _fused(op))


def _conv(file: _File, op: Any, ins: list[int], out: int) -> Op:
    options, deep = _options(op), hasattr(_options(op), "depthMultiplier")
    source, pad = file.pads.pop(ins[0], (ins[0], (0, 0)))
    stride, dilation = (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)
    x, y = file.activation(source), file.activation(out)
    weights = file.weights(ins, x, 3 if deep else 0)
    kernel = weights.values.shape[1], weights.values.shape[2]
    if options.padding == SAME:
        rows, width = same_pads(x.shape, kernel, stride, dilation)
        if any(rows) or any(pad):
            raise Refusal(f"pads rows of {x.name}, which are time")
        pad = width
    if not deep:
        return Conv((x,), y, weights, _fused(op), stride, dilation, pad)
    if len(weights.values) != 1 or weights.values.shape[3] != x.channels:
        raise Refusal("a depth multiplier other than 1")
    flat = Weights(weights.values[0], weights.scales, weights.bias, weights.bits)
    return Depthwise((x,), y, flat, _fused(op), stride, dilation, pad)


def _pad(file: _File, op: Any, ins: list[int], out: int) -> None:
    x, y, pads = file.activation(ins[0]), file.activation(out), file.constant(ins[1], "int32")
    if pads.shape != (4, 2) or pads[[0, 1, 3]].any() or pads.min() < 0:
        raise Refusal("pads other axes than width")
    if x.grid != y.grid or any(out in users.inputs for users in file.flat.operators if users.inputs[0] != out):
        raise Refusal("only before a convolution")
    file.pads[out] = ins[0], (int(pads[2, 0]), int(pads[2, 1]))


def _lstm(file: _File, op: Any, ins: list[int], out: int) -> Op:
    x, y = file.activation(ins[0]), file.activation(out)
    if any(index >= 0 for index in (*ins[9:12], *ins[16:18], *ins[20:24])):
        raise Refusal("peephole, projection or layer-norm tensors")
    if x.shape[:-1] != (1, 1):
        raise Refusal(f"{x.name} is {list(x.shape)}, where [1, 1, channels] is one frame")
    if _options(op).fusedActivationFunction != TANH:
        raise Refusal("an activation other than TANH")
    gates = []
    for gate in range(4):
        kernel, kernel_scale = file.symmetric(ins[1 + gate])
        recurrent, recurrent_scale = file.symmetric(ins[5 + gate])
        gates.append(Gate(kernel, kernel_scale, recurrent, recurrent_scale, file.constant(ins[12 + gate], "int32")))
    hidden, cell = (file.tensors[index] for index in ins[18:20])
    if not (hidden.variable and cell.variable and hidden.grid == y.grid and cell.dtype == "int16"):
        raise Refusal(f"states {hidden.name} and {cell.name} are not variables of its output's grid and of int16")
    inner = [] if op.intermediates is None else [file.tensors[index].scales for index in op.intermediates[4:]]
    if any(scales.size and float(scales[0]) != hidden.grid.scale for scales in inner):
        raise Refusal("an effective hidden scale other than its output's")
    state_names = () if (hidden.name, cell.name) == (f"{y.name}.h", f"{y.name}.c") else (hidden.name, cell.name)
    return Lstm((x,), y, (gates[0], gates[1], gates[2], gates[3]), cell.grid.scale,
                float(_options(op).cellClip), state_names)


def _elementwise(kind: type[Op]) -> Row:
    def row(file: _File, op: Any, ins: list[int], out: int) -> Op:
        a, b, y = (file.activation(index) for index in (*ins, out))
        return kind((a, b), y, **({"fused": _fused(op)} if kind.kind != "max" else {}))
    return row


def _unary(kind: type[Op]) -> Row:
    return lambda file, op, ins, out: kind((file.activation(ins[0]),), file.activation(out))


def _prelu(file: _File, op: Any, ins: list[int], out: int) -> Op:
    alpha, scale = file.symmetric(ins[1])
    if alpha.size != alpha.shape[-1]:
        raise Refusal(f"{file.tensors[ins[1]].name} has slopes of more than channels")
    return Prelu((file.activation(ins[0]),), file.activation(out), alpha.reshape(-1), scale)


def _maxpool(file: _File, op: Any, ins: list[int], out: int) -> Op:
    options, x = _options(op), file.activation(ins[0])
    kernel, stride = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    if options.padding == SAME and any(map(any, same_pads(x.shape, kernel, stride, (1, 1)))):
        raise Refusal(f"pads {x.name}")
    _unfused(op)
    return MaxPool((x,), file.activation(out), kernel, stride)


def _concat(file: _File, op: Any, ins: list[int], out: int) -> Op:
    parts, y = tuple(file.activation(index) for index in ins), file.activation(out)
    _unfused(op)
    return Concat(parts, y, int(_options(op).axis) % len(y.shape))


def _slice(file: _File, op: Any, ins: list[int], out: int) -> Op:
    x, y, options = file.activation(ins[0]), file.activation(out), _options(op)
    begin, strides = file.constant(ins[1], "int32"), file.constant(ins[3], "int32")
    if (strides != 1).any() or options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask:
        raise Refusal("steps other than 1, or axes that come or go")
    starts = [0 if options.beginMask >> axis & 1 else int(start) + (size if start < 0 else 0)
              for axis, (start, size) in enumerate(zip(begin, x.shape, strict=True))]
    return Slice((x,), y, tuple(starts))


_ROWS: dict[str, Row] = {
    **{name: _elementwise(kind) for kind, name in OPERATORS.items() if kind.kind in ("add", "sub", "mul", "max")},
    **{name: _unary(kind) for kind, name in OPERATORS.items()
       if kind.kind in ("sigmoid", "tanh", "reshape", "requantize")},
    "FULLY_CONNECTED": _matmul, "CONV_2D": _conv, "DEPTHWISE_CONV_2D": _conv, "PAD": _pad, "PRELU": _prelu,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm, "MAX_POOL_2D": _maxpool, "CONCATENATION": _concat, "STRIDED_SLICE": _slice}
