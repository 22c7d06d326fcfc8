"""A dense model that others start from: a float .npz, or an int8 file whose float weights nobody kept."""

from __future__ import annotations

from pathlib import Path

from tinyse.core.errors import ExportError, ModelError
from tinyse.export.bundle import INT8, Bundle, open_bundle, part_files
from tinyse.graph.dequantize import dequantized, floating
from tinyse.graph.graph import Graph
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.net import Net
from tinyse.graph.plan import Plan
from tinyse.train.recipe import load_recipe


def dense_file(source: str | Path, key: str) -> Path:
    """The file of the model that ``source`` names: float.npz or model_int8.tflite of a folder, or a file.

    Args:
        source: from a recipe or the command line. key: what it stood under there; opens messages.

    Raises:
        ModelError: there is none.
    """
    path = Path(source)
    held = (path / "float.npz", *part_files(path, INT8)) if path.is_dir() else ()
    file = next((each for each in held if each.is_file()), path)
    if not file.is_file():
        raise ModelError(f"{key}: {source}: no model there",
                         f"a folder with float.npz or {INT8}, such as models/tinylstm-dense")
    return file


def dense_model(file: Path, key: str) -> Model:
    """The float model of ``dense_file``'s answer; an int8 file's weights in real units.

    Raises:
        ModelError: damaged, a run's quantized model, or no network of its family.
    """
    if file.suffix != ".tflite":
        model = Model.load(file)
        if model.ranges is not None:
            raise ModelError(f"{key}: {file} is quantized already", "give the run's float.npz")
        return model
    try:
        return floating(bundled_model(open_bundle(file)))
    except (ExportError, ModelError) as error:
        raise ModelError(f"{key}: {error}", error.hint) from error


def bundled_model(bundle: Bundle, plan: Plan | None = None) -> Model:
    """The integers of int8 files as a model that lowers to them again.

    The recipe in the folder, or in the run's around it, says which network it is; without one it is a TinyLSTM.

    Args:
        plan: in place of the bundle's own, such as a pruned one.

    Raises:
        ModelError: it is no network of its family. RecipeError: the recipe or its family is damaged.
    """
    plan, folder = plan or bundle.graph_plan(), bundle.files[0].absolute().parent
    for recipe in (folder / "recipe.yaml", folder.parent / "recipe.yaml"):
        if recipe.is_file():
            told = load_recipe(recipe)
            return dequantized(plan, told.net(), bundle.ends, bundle.label, Path(told.family).stem)
    return dequantized(plan, _tinylstm(plan.graphs[0], bundle.label), bundle.ends, bundle.label)


def _tinylstm(graph: Graph, label: str) -> Net:
    """As many LSTMs and dense layers as a graph has."""
    widths: dict[str, list[int]] = {"lstm": [], "matmul": []}
    for op in graph.ops:
        widths.setdefault(op.kind, []).append(op.out.channels)
    if not widths["lstm"] or not widths["matmul"]:
        raise ModelError(f"{label}: no recipe.yaml beside it says its family, and it is no TinyLSTM",
                         "give the folder of a released model or a run")
    *dense, outputs = widths["matmul"]
    return tinylstm(graph.inputs[0].channels, tuple(widths["lstm"]), tuple(dense), outputs)
