"""The container of a .tflite file: its object tree, its tensors, the names of its operators. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinyse.core.errors import ModelError
from tinyse.export.structure import check_indices, operator_of, tensor_names, type_bytes, type_name
from tinyse.export.structure import schema as schema


def unpack(data: bytes, name: str = "model") -> Any:
    """Parse a flatbuffer into the schema's object tree.

    Raises:
        ModelError: ``data`` is no TFLite file, or an offset or index of it leads nowhere.
    """
    if len(data) < 16 or data[4:8] != b"TFL3":
        raise ModelError(f"{name}: not a TFLite file", "give the .tflite of a tinyse export")
    try:
        model = schema().ModelT.InitFromPackedBuf(data, 0)
    except Exception as error:  # the generated reader raises struct and index errors alike
        raise ModelError(f"{name}: the file is damaged or cut short", "export it again") from error
    check_indices(model, name)
    return model


def names(enum: Any) -> dict[int, str]:
    """Names of a schema enumeration by value."""
    return {value: key for key, value in vars(enum).items() if not key.startswith("_")}


def operator_names(model: Any) -> tuple[str, ...]:
    """Operators in the order they run: by TFLite's name, or by custom code."""
    return tuple(operator_of(model, op) for op in model.subgraphs[0].operators)


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the file; ``scales`` is empty where it has no grid."""

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


def tensor_infos(model: Any) -> tuple[TensorInfo, ...]:
    """Describe every tensor of the first subgraph."""
    infos = []
    graph = model.subgraphs[0]
    for index, (name, tensor) in enumerate(zip(tensor_names(graph), graph.tensors, strict=True)):
        grid = tensor.quantization
        scales = () if grid is None or grid.scale is None else tuple(float(s) for s in grid.scale)
        points = [0] if grid is None or grid.zeroPoint is None else grid.zeroPoint
        buffer = model.buffers[tensor.buffer].data
        infos.append(TensorInfo(
            index, name, type_name(tensor.type),
            tuple(int(n) for n in (tensor.shape if tensor.shape is not None else ())), scales, int(points[0]),
            bool(tensor.isVariable), buffer is not None and len(buffer) > 0 and not tensor.isVariable))
    return tuple(infos)
