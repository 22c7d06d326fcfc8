"""As much of an ONNX file as counting needs: nodes, their inputs, and the shapes of the constants.

An ONNX file is a protocol buffer. Its few fields used here are read directly, so that no further package is needed
whose protobuf might not be TensorFlow's. Field numbers: onnx.proto of the ONNX project.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from tinyse.core.errors import ModelError

GRAPH = 7
NODE, INITIALIZER, OUTPUT = 1, 5, 12
NODE_INPUT, NODE_OUTPUT, NODE_TYPE, NODE_ATTRIBUTE = 1, 2, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_STRING, ATTRIBUTE_TENSOR = 1, 4, 5
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME = 1, 2, 8
VALUE_NAME = 1
FLOAT = 1


@dataclass(frozen=True)
class Constant:
    """A constant: its shape and whether it is float32."""

    shape: tuple[int, ...]
    is_float: bool

    @property
    def count(self) -> int:
        """Elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Node:
    """One operator: its type, names of inputs and outputs, text attributes."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    texts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """Nodes in order, and constants by name, whether they are initializers or ``Constant`` nodes."""

    nodes: tuple[Node, ...]
    constants: dict[str, Constant]


def read_graph(data: bytes) -> Graph:
    """Read a model's main graph.

    Raises:
        ModelError: the bytes are no ONNX model.
    """
    try:
        graphs = [value for number, value in _fields(data) if number == GRAPH]
        nodes: list[Node] = []
        constants: dict[str, Constant] = {}
        for graph in graphs:
            for number, value in _fields(_bytes(value=graph)):
                if number == NODE:
                    node, held = _node(_bytes(value))
                    nodes.append(node)
                    if held is not None:
                        constants[node.outputs[0]] = held
                elif number == INITIALIZER:
                    name, constant = _tensor(_bytes(value))
                    constants[name] = constant
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise ModelError(f"not an ONNX model: {error}", "install the peer's package again") from error
    if not nodes:
        raise ModelError("not an ONNX model: it holds no graph", "install the peer's package again")
    return Graph(tuple(nodes), constants)


def with_outputs(data: bytes, names: list[str]) -> bytes:
    """The model with further outputs: fields of a message that comes twice are merged, so they are only appended."""
    values = b"".join(_field(OUTPUT, _field(VALUE_NAME, name.encode())) for name in names)
    return data + _field(GRAPH, values)


def _node(data: bytes) -> tuple[Node, Constant | None]:
    inputs, outputs, kind = [], [], ""
    texts: dict[str, str] = {}
    held = None
    for number, value in _fields(data):
        if number == NODE_INPUT:
            inputs.append(_bytes(value).decode())
        elif number == NODE_OUTPUT:
            outputs.append(_bytes(value).decode())
        elif number == NODE_TYPE:
            kind = _bytes(value).decode()
        elif number == NODE_ATTRIBUTE:
            attribute = dict(_fields(_bytes(value)))
            if ATTRIBUTE_STRING in attribute:
                name = _bytes(attribute[ATTRIBUTE_NAME]).decode()
                texts[name] = _bytes(attribute[ATTRIBUTE_STRING]).decode()
            if ATTRIBUTE_TENSOR in attribute:
                held = _tensor(_bytes(attribute[ATTRIBUTE_TENSOR]))[1]
    return Node(kind, tuple(inputs), tuple(outputs), texts), held if kind == "Constant" else None


def _tensor(data: bytes) -> tuple[str, Constant]:
    shape: list[int] = []
    kind, name = 0, ""
    for number, value in _fields(data):
        if number == TENSOR_DIMS:
            shape += [value] if isinstance(value, int) else list(_varints(value))
        elif number == TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number == TENSOR_NAME:
            name = _bytes(value).decode()
    return name, Constant(tuple(shape), kind == FLOAT)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Fields of one message: number, and an integer or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(data):
            raise ValueError("cut short")
        yield key >> 3, data[at: at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        result |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if not byte & 128:
            return result, at


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _field(number: int, data: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(data)) + data


def _number(value: int) -> bytes:
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)
