"""What is exported: the int8 network, where it comes from, and the proof that it is what it claims to be.

`trained` converts a run's float model and holds the result to it; `finished` takes an int8 file as it is, such
as that of a released model, which can only be held to itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyse.artifacts import sha256
from tinyse.errors import ModelError, RecipeError
from tinyse.export import checks
from tinyse.export.network import DenseLayer, LstmLayer, Network, parse
from tinyse.export.tflite import to_int8
from tinyse.frontend import FrontEndSpec
from tinyse.graph.model import Model
from tinyse.graph.order import reorder
from tinyse.graph.shrink import shrink, widths
from tinyse.model import TrainedModel

INT8 = "model_int8.tflite"
STEPS = ("convert", "check")


@dataclass(frozen=True)
class Origin:
    """A proven int8 network.

    Attributes:
        data: the .tflite. network: the same, read.
        frontend: what makes its features and applies its masks.
        sha256: of the file it came from.
        parameters, zeros: exact counts. widths: units by layer.
        quantization: "trained ranges", "calibrated", or "as given".
        proof: of its streaming.
    """

    data: bytes
    network: Network
    frontend: FrontEndSpec
    sha256: str
    parameters: int
    zeros: int
    widths: dict[str, int]
    quantization: str
    proof: checks.StreamProof


def find(run: Path) -> tuple[Path, Path]:
    """The model of a run and the folder it lies in: model.npz, else float.npz, else the int8 file.

    Raises:
        ModelError: there is none.
    """
    if run.is_dir():
        for name in ("model.npz", "float.npz", INT8):
            if (run / name).is_file():
                return run / name, run
        raise ModelError(f"{run}: holds no model.npz", "train it first: tinyse train RECIPE.yaml")
    if run.is_file():
        return run, run.parent
    raise ModelError(f"{run}: no such run", "give the folder that tinyse train wrote, or a .npz")


def load(file: Path, folder: Path, reordered: bool = False) -> Callable[[Callable[[str], None]], Origin]:
    """Read ``file``; what comes back converts and checks it, and tells a callback of each of `STEPS`.

    ``reordered``: with the densest units first (``tinyse.graph.order``).

    Raises:
        ModelError: a damaged model or calibration, or units that cannot be put in another order.
    """
    if file.suffix == ".tflite":
        if reordered:
            raise ModelError(f"{file}: an int8 file keeps its order of units", "export the run's model.npz")
        return lambda stage: finished(file, folder, stage)
    model = Model.load(file)
    calibration = calibration_frames(folder, model)
    if model.meta.get("structure") == "unit":  # other structures keep their width: tiles must stay where they are
        model = shrink(model)
    if reordered:
        if model.meta.get("structure") == "block":
            raise ModelError(f"{file}: another order of units would tear its tiles", "export it without --reorder")
        model = reorder(model)
    digest = sha256(file)
    return lambda stage: trained(model, digest, calibration, stage)


def trained(model: Model, digest: str, calibration: NDArray | None, stage: Callable[[str], None]) -> Origin:
    """Convert a trained model, carrying its ranges over, and check that nothing was lost on the way.

    Raises:
        ExportError: the file would not be the trained model. ToolError: TFLM is missing.
    """
    stage("convert")
    flat = TrainedModel.of(model)
    data = to_int8(flat, calibration)
    stage("check")
    network = checks.check_operators(data, flat)
    zeros = checks.check_zeros(data, flat)
    high = 1.0 if model.ranges is None else model.ranges["features"][1]
    width = math.prod(model.net.shapes[model.net.input.name])
    frames = calibration if calibration is not None else synthetic_frames(width, high)
    proof = checks.check_stream(data, frames)
    return Origin(data, network, model.ends, digest, model.parameters, zeros, widths(model),
                  "calibrated" if model.ranges is None else "trained ranges", proof)


def finished(file: Path, folder: Path, stage: Callable[[str], None]) -> Origin:
    """Take an int8 file as it is; its front end is that of ``folder``'s manifest or recipe, else the default.

    Raises:
        ModelError: it is no streaming int8 network. ExportError: its states do not persist, or TFLM and the
            integer reference disagree on it.
    """
    from tinyse.export.verify import zero_counts

    stage("convert")
    data = file.read_bytes()
    network = parse(data, str(file))
    bands = network.input.shape[-1]
    stage("check")
    high = network.features.scale * (127 - network.features.zero_point)
    proof = checks.check_stream(data, synthetic_frames(bands, high))
    parameters = network.macs_per_frame
    units = {}
    for layer in network.layers:
        if isinstance(layer, LstmLayer):
            parameters += sum(gate.bias.size for gate in layer.gates)
            units[layer.name] = layer.units
        elif isinstance(layer, DenseLayer):
            parameters += layer.bias.size
            units[layer.name] = layer.weights.shape[0]
    zeros = sum(zeros for zeros, _ in zero_counts(data).values())
    return Origin(data, network, _frontend(folder, bands), sha256(file), parameters, zeros, units, "as given", proof)


def synthetic_frames(bands: int, high: float, count: int = checks.FRAMES) -> NDArray[np.float32]:
    """Deterministic float32 feature-like frames [count, bands], 0 to ``high``, for the streaming proof alone."""
    columns, times = np.arange(bands), np.arange(count)[:, None]
    wave = np.sin(0.7 * times + 0.11 * columns) * np.sin(0.045 * times * (1 + columns % 7))
    return (high * 0.5 * (1 + wave)).astype(np.float32)


def calibration_frames(folder: Path, model: Model) -> NDArray | None:
    """The run's validation features in order; None where training left none."""
    path = folder / "calibration.npy"
    if not path.is_file():
        return None
    try:
        frames = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ModelError(f"{path}: damaged: {error}", "delete it, or train again") from error
    if frames.ndim != 2 or frames.shape[1] != math.prod(model.net.shapes[model.net.input.name]) or not len(frames):
        raise ModelError(f"{path}: shape {frames.shape} does not fit the model", "delete it, or train again")
    return np.asarray(frames, np.float32)


def _frontend(folder: Path, bands: int) -> FrontEndSpec:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        values = manifest.get("frontend", {})
    except (OSError, ValueError, AttributeError):
        values = {}
    try:
        spec = FrontEndSpec(**{"bands": bands, **values})
    except (TypeError, RecipeError) as error:
        raise ModelError(f"{folder / 'manifest.json'}: damaged front end: {error}", "export the model again") from error
    if spec.bands != bands:
        raise ModelError(f"{folder}: the front end has {spec.bands} bands, the network {bands}", "export it again")
    return spec
