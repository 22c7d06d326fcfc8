"""Whether a .tflite file hangs together: what TFLM, Vela and the generated schema reader take on trust.

``check_indices`` holds for every file, ``check_values`` for one whose operators are run here. Both name the
operator and the tensor at fault.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyse.core.errors import ModelError
from tinyse.npu.flatbuffer import operator_name

BITS = {"int4": 4, "uint4": 4, "int2": 2, "bfloat16": 16, "float8_e4m3fn": 8, "float8_e5m2": 8}
UNSIZED = ("string", "resource", "variant")


def schema() -> Any:
    """The TFLite flatbuffer schema module (from tflite-micro, which needs no TensorFlow)."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated

    return schema_py_generated


def type_name(code: int) -> str:
    """A TFLite type by its number, such as "int8"."""
    names = {value: name.lower() for name, value in vars(schema().TensorType).items() if isinstance(value, int)}
    return names.get(code, f"type {code}")


def type_bytes(kind: str, shape: tuple[int, ...]) -> int:
    """Bytes of ``shape`` in the named type; 0 where the type has no size."""
    if kind in UNSIZED or kind.startswith("type "):
        return 0
    bits = BITS.get(kind) or 8 * np.dtype(kind).itemsize
    return -(-math.prod(shape) * bits // 8)


def text(raw: Any) -> str:
    """A name of the file as text: bytes that are not UTF-8, or that end a line, comment or string, replaced."""
    name = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw or "")
    shown = "".join(letter if letter.isprintable() and letter not in '"\\' else "?" for letter in name)
    return shown.replace("*/", "*?")


def tensor_name(graph: Any, index: int) -> str:
    """The name of a tensor, or its number where it has none."""
    return text(graph.tensors[index].name) or f"tensor {index}"


def tensor_names(graph: Any) -> list[str]:
    """Names of all tensors; of two alike the second gets its number behind it."""
    names: list[str] = []
    taken: set[str] = set()
    for index in range(len(graph.tensors)):
        name = tensor_name(graph, index)
        names.append(f"{name}#{index}" if name in taken else name)
        taken.add(name)
    return names


def operator_of(model: Any, op: Any) -> str:
    """The name of an operator, or the custom code of one that TFLite does not know."""
    code = model.operatorCodes[op.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return text(code.customCode) or operator_name(number)


def check_indices(model: Any, name: str) -> None:
    """Fill in what is absent with empty lists, and see that every number of a tensor, buffer or operator exists.

    Raises:
        ModelError: one does not, or there is no graph, input or output; ``name`` opens the message.
    """
    try:
        _indices(model)
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise ModelError(f"{name}: the file is damaged: {error}", "export it again") from error


def _indices(model: Any) -> None:
    model.operatorCodes, model.buffers = model.operatorCodes or [], model.buffers or []
    if not model.subgraphs:
        raise ValueError("it holds no graph")
    for graph in model.subgraphs:
        graph.tensors, graph.operators = graph.tensors or [], graph.operators or []
        for op in graph.operators:
            op.inputs, op.outputs = ([] if ends is None else ends for ends in (op.inputs, op.outputs))
            if not 0 <= op.opcodeIndex < len(model.operatorCodes):
                raise ValueError(f"an operator has code {op.opcodeIndex} of {len(model.operatorCodes)}")
            _within([*op.inputs, *op.outputs], len(graph.tensors),
                    f"a tensor of {operator_of(model, op)}", -1)
        for index, tensor in enumerate(graph.tensors):
            _within([tensor.buffer], len(model.buffers), f"the buffer of {tensor_name(graph, index)}")
    graph = model.subgraphs[0]
    for ends, kind in ((graph.inputs, "input"), (graph.outputs, "output")):
        if ends is None or not len(ends):
            raise ValueError(f"its graph has no {kind}")
        _within(ends, len(graph.tensors), f"its {kind}")


def _within(indices: Any, count: int, what: str, least: int = 0) -> None:
    for index in indices:
        if not least <= index < count:
            raise ValueError(f"{what} is number {index} of {count}")


def check_values(model: Any, name: str) -> None:
    """See that every constant of the first graph fills its shape, and that what is read was written before.

    Args:
        model: after ``check_indices``.
        name: opens the message.

    Raises:
        ModelError: a constant of another length, or a tensor that nothing writes.
    """
    graph = model.subgraphs[0]
    known = {int(index) for index in graph.inputs}
    for index, tensor in enumerate(graph.tensors):
        data, kind = model.buffers[tensor.buffer].data, type_name(tensor.type)
        shape = tuple(int(n) for n in (tensor.shape if tensor.shape is not None else ()))
        held, needed = 0 if data is None else len(data), type_bytes(kind, shape)
        if held and held != needed and not tensor.isVariable and kind not in UNSIZED:
            raise ModelError(f"{name}: {tensor_name(graph, index)} holds {held} bytes where {kind} {list(shape)} takes "
                             f"{needed}", "convert the model again")
        if held or tensor.isVariable or 0 in shape:
            known.add(index)
    for op in graph.operators:
        for index in op.inputs:
            if index >= 0 and index not in known:
                if operator_of(model, op) == "ethos-u":
                    raise ModelError(f"{name}: was compiled by Vela, and an int8 file is wanted",
                                     "the export's model_int8.tflite")
                raise ModelError(f"{name}: {operator_of(model, op)} reads {tensor_name(graph, index)}, which nothing "
                                 "writes", "convert the model again")
        known.update(int(index) for index in op.outputs)
    for index in graph.outputs:
        if index not in known:
            raise ModelError(f"{name}: nothing writes its output {tensor_name(graph, index)}",
                             "convert the model again")
