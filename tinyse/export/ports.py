"""The ends of a .tflite file, int8 or compiled: what goes in, what comes out, which of both are states.

A file that tinyse wrote counts its states in its metadata, which Vela carries over. Of others the rule is: after the
first, inputs and outputs that pair up in order, by shape and grid, are states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinyse.core.errors import ModelError
from tinyse.export.flatfile import TensorInfo, tensor_infos, unpack
from tinyse.export.writer import STATES
from tinyse.graph.grid import Grid
from tinyse.graph.plan import Ports
from tinyse.graph.tensor import State, Tensor


def read_ports(data: bytes, name: str = "model") -> Ports:
    """The ends of the file's first subgraph.

    Raises:
        ModelError: a damaged file, or an input or output that carries no frame; the message names the tensor.
    """
    model = unpack(data, name)
    infos, graph = tensor_infos(model), model.subgraphs[0]
    inputs, outputs = ([_tensor(infos[index], name) for index in ends] for ends in (graph.inputs, graph.outputs))
    return paired(name, inputs, outputs, counted(model))


def paired(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], count: int | None = None) -> Ports:
    """Ports whose last ``count`` inputs and outputs are states; by the rule of the module where it is None.

    Raises:
        ModelError: there is no other input or output, or ends that neither frame nor state explains.
    """
    if not inputs or not outputs:
        raise ModelError(f"{name}: has {len(inputs)} inputs and {len(outputs)} outputs", "export a streaming model")
    if through := {tensor.name for tensor in inputs} & {tensor.name for tensor in outputs}:
        raise ModelError(f"{name}: {min(through)} is input and output alike: no operator is between them",
                         "export a streaming model")
    if count is None:
        count = len(inputs) - 1
        if not pair_up(inputs, outputs):
            ends = [" and ".join(tensor.name for tensor in each) for each in (inputs, outputs)]
            raise ModelError(f"{name}: takes {ends[0]} and gives {ends[1]}, which are not one frame and states",
                             "export a streaming model: one frame, then each state as an input and an output")
    if not 0 <= count < min(len(inputs), len(outputs)):
        raise ModelError(f"{name}: {count} states among {len(inputs)} inputs and {len(outputs)} outputs",
                         "export it again")
    first, last = len(inputs) - count, len(outputs) - count
    states = tuple(State(past, fresh) for past, fresh in zip(inputs[first:], outputs[last:], strict=True))
    return Ports(name, tuple(inputs[:first]), tuple(outputs[:last]), states)


def pair_up(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Whether all after the first are alike in order, by shape and grid."""
    return len(inputs) == len(outputs) and all((a.shape, a.grid) == (b.shape, b.grid)
                                               for a, b in zip(inputs[1:], outputs[1:], strict=True))


def port(name: str, kind: str, shape: Sequence[int], scales: Sequence[float], zero_point: int, label: str) -> Tensor:
    """An input or output as a tensor.

    Args:
        name, kind, shape, scales, zero_point: the tensor's; ``kind`` is the name of its type. label: of the model.

    Raises:
        ModelError: it is not int8 or int16 with one scale above 0 and a shape that is known.
    """
    if kind not in ("int8", "int16"):
        raise ModelError(f"{label}: {name} is {kind}, not quantized to int8", "give an export's model_int8.tflite")
    if len(scales) != 1 or not 0 < scales[0] < math.inf:
        raise ModelError(f"{label}: {name} has the scales {[float(scale) for scale in scales]}, not one above 0",
                         "give an export's model_int8.tflite")
    if not shape or min(shape) < 1:
        raise ModelError(f"{label}: {name} is {list(shape)}, not one frame", "export a streaming model")
    return Tensor(name, tuple(int(n) for n in shape), Grid(float(scales[0]), zero_point, 8 if kind == "int8" else 16))


def _tensor(info: TensorInfo, label: str) -> Tensor:
    return port(info.name, info.type, info.shape, info.scales, info.zero_point, label)


def counted(model: object) -> int | None:
    """How many states a file says that it has, int8 or compiled; None where it does not say."""
    for note in getattr(model, "metadata", None) or []:
        if note.name in (STATES, STATES.encode()):
            data = model.buffers[note.buffer].data  # type: ignore[attr-defined]
            text = b"" if data is None else np.asarray(data, np.uint8).tobytes()
            return int(text) if text.isdigit() else None
    return None
