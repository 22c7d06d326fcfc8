"""A dense model that others start from: a float .npz, or an int8 file whose float weights nobody kept."""

from __future__ import annotations

from pathlib import Path

from tinyse.core.errors import ExportError, ModelError
from tinyse.export.bundle import INT8, open_bundle
from tinyse.graph.dequantize import dequantized, floating
from tinyse.graph.model import Model


def dense_file(source: str | Path, key: str) -> Path:
    """The file of the model that ``source`` names: float.npz or model_int8.tflite of a folder, or a file.

    Args:
        source: from a recipe or the command line. key: what it stood under there; opens messages.

    Raises:
        ModelError: there is none.
    """
    path = Path(source)
    file = next((path / name for name in ("float.npz", INT8) if (path / name).is_file()), path)
    if not file.is_file():
        raise ModelError(f"{key}: {source}: no model there",
                         f"a folder with float.npz or {INT8}, such as models/tinylstm-dense")
    return file


def dense_model(file: Path, key: str) -> Model:
    """The float model of ``dense_file``'s answer; an int8 file's weights in real units.

    Raises:
        ModelError: damaged, a run's quantized model, or no streaming network.
    """
    if file.suffix != ".tflite":
        model = Model.load(file)
        if model.ranges is not None:
            raise ModelError(f"{key}: {file} is quantized already", "give the run's float.npz")
        return model
    try:
        bundle = open_bundle(file)
        return floating(dequantized(bundle.graph_plan().graphs[0], bundle.ends, bundle.label))
    except (ExportError, ModelError) as error:
        raise ModelError(f"{key}: {error}", error.hint) from error
