"""The container of a .tflite file: its schema, its object tree, the names of its operators. No TensorFlow."""

from __future__ import annotations

from typing import Any

from tinyse.errors import ModelError


def schema() -> Any:
    """The TFLite flatbuffer schema module (from tflite-micro, which needs no TensorFlow)."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated

    return schema_py_generated


def unpack(data: bytes, name: str = "model") -> Any:
    """Parse a flatbuffer into the schema's object tree.

    Raises:
        ModelError: ``data`` is no TFLite file.
    """
    if len(data) < 16 or data[4:8] != b"TFL3":
        raise ModelError(f"{name}: not a TFLite file", "give the .tflite of a tinyse export")
    try:
        return schema().ModelT.InitFromPackedBuf(data, 0)
    except Exception as error:  # the generated reader raises struct and index errors alike
        raise ModelError(f"{name}: damaged TFLite file: {error}", "export it again") from error


def names(enum: Any) -> dict[int, str]:
    """Names of a schema enumeration by value."""
    return {value: key for key, value in vars(enum).items() if not key.startswith("_")}


def operator_names(model: Any) -> tuple[str, ...]:
    """Operators in the order they run, as the schema's BuiltinOperator names them; custom ones by their code."""
    known, found = names(schema().BuiltinOperator), []
    for op in model.subgraphs[0].operators:
        code = model.operatorCodes[op.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        found.append(code.customCode.decode() if code.customCode else known.get(number, f"operator {number}"))
    return tuple(found)
