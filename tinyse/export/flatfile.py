"""The container of a .tflite file: its object tree, the names of its operators. No TensorFlow."""

from __future__ import annotations

from typing import Any

from tinyse.core.errors import ModelError
from tinyse.export.structure import check_indices, operator_of
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
