"""Parameters, bytes and multiply-accumulates of ONNX graphs, counted from the shapes that a run of them shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from tinyse.bench.onnxfile import Graph, Node, read_graph, with_outputs
from tinyse.bench.peer import Size
from tinyse.measure.scores.sessions import session

Shape = tuple[int, ...]
GATES = {"GRU": 3, "LSTM": 4}
COUNTED = ("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", *GATES)
HOW = "exact: every layer of the ONNX graphs, weights of more than one element"


@dataclass(frozen=True)
class Run:
    """A graph and how it is run.

    Attributes:
        model: the file's bytes.
        inputs: shape of every input, by name.
        per_second: frames a second of audio.
        frames: frames in the inputs.
    """

    model: bytes
    inputs: Mapping[str, Shape]
    per_second: float
    frames: int = 1


def graph_size(runs: Iterable[Run]) -> Size:
    """The sum over graphs that run one after another on every frame."""
    parameters, macs = 0, 0.0
    for run in runs:
        graph = read_graph(run.model)
        parameters += count_parameters(graph)
        macs += sum(count_macs(graph, shapes_of(run, graph))) * run.per_second / run.frames
    return Size(parameters, 4 * parameters, macs, HOW)


def count_parameters(graph: Graph) -> int:
    """Elements of all float constants but scalars, which are exponents and the like."""
    return sum(constant.count for constant in graph.constants.values() if constant.is_float and constant.count > 1)


def shapes_of(run: Run, graph: Graph) -> dict[str, Shape]:
    """The shape of every value that a counted layer reads or writes, from running the graph on zeros."""
    shapes = {name: constant.shape for name, constant in graph.constants.items()} | dict(run.inputs)
    touched = {name for node in graph.nodes if node.kind in COUNTED for name in (*node.inputs, *node.outputs) if name}
    wanted = sorted(touched - shapes.keys())
    given = {each.name for each in session(run.model).get_outputs()}
    runnable = session(with_outputs(run.model, [name for name in wanted if name not in given]))
    results = runnable.run(wanted, {name: np.zeros(shape, np.float32) for name, shape in run.inputs.items()})
    return shapes | {name: tuple(value.shape) for name, value in zip(wanted, results, strict=True)}


def count_macs(graph: Graph, shapes: Mapping[str, Shape]) -> list[int]:
    """Multiply-accumulates of every counted layer, in order."""
    return [_macs(node, [shapes.get(name, ()) for name in node.inputs], shapes) for node in graph.nodes
            if node.kind in COUNTED]


def _macs(node: Node, inputs: list[Shape], shapes: Mapping[str, Shape]) -> int:
    if node.kind == "ConvTranspose":
        return prod(inputs[0]) * prod(inputs[1][1:])
    if node.kind in GATES:  # inputs: [time, batch, features], W [directions, gates x units, features], R
        return prod(inputs[0][:2]) * (prod(inputs[1]) + prod(inputs[2]))
    if node.kind == "Einsum":
        labels = "".join(node.texts["equation"].split("->")[0].split()).split(",")
        sizes = {label: size for term, shape in zip(labels, inputs, strict=True)
                 for label, size in zip(term, shape, strict=True)}
        return prod(sizes.values())
    made = prod(next(shapes[name] for name in node.outputs if name))
    if node.kind == "Conv":
        return made * prod(inputs[1][1:])
    # MatMul, Gemm: every output element sums over what is neither its row nor its column
    return made * (prod(inputs[0][-2:]) // _rows(inputs[0], shapes[node.outputs[0]]) if node.kind == "Gemm"
                   else inputs[0][-1])


def _rows(left: Shape, result: Shape) -> int:
    """Rows of a Gemm's left factor, which may be given transposed."""
    return result[0] if result[0] in left else 1
