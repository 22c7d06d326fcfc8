"""What is exported: the integer network, where it comes from, and the proof that it is what it claims to be.

`trained` lowers a run's model and holds the result to it; `finished` takes int8 files as they are, such as those of a
released model, which can only be held to themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyse.core.artifacts import sha256
from tinyse.core.errors import ExportError, ModelError
from tinyse.export import checks
from tinyse.export.bundle import INT8, model_of, model_sha256, open_bundle, part_file
from tinyse.export.writer import write
from tinyse.graph import ops
from tinyse.graph.floating import calibrate
from tinyse.graph.fold import fold
from tinyse.graph.model import Model
from tinyse.graph.order import reorder
from tinyse.graph.plan import Plan
from tinyse.graph.shrink import shrink, widths
from tinyse.sound import Ends

STEPS = ("convert", "check")


@dataclass(frozen=True)
class Origin:
    """A proven integer network.

    Attributes:
        plan: graphs and policy. files: the .tflite of each part.
        ends: what makes its features and takes its result.
        sha256: of the file it came from. frames: that the proof streamed, on the input's grid; results: what came out.
        parameters: exact count. widths: units by layer.
        quantization: "trained ranges", "calibrated", or "as given".
        proof: of its streaming.
    """

    plan: Plan
    files: tuple[bytes, ...]
    ends: Ends
    sha256: str
    frames: NDArray[np.integer]
    results: NDArray[np.integer]
    parameters: int
    widths: dict[str, int]
    quantization: str
    proof: checks.StreamProof

    @property
    def names(self) -> tuple[str, ...]:
        """File names of the parts."""
        return tuple(part_file(INT8, part, len(self.files)) for part in range(len(self.files)))


def find(run: Path) -> tuple[Path, Path]:
    """The model of a run and the folder it lies in: model.npz, else float.npz, else the int8 file.

    Raises:
        ModelError: there is none.
    """
    if run.is_dir():
        for name in ("model.npz", "float.npz", INT8, part_file(INT8, 0, 2)):
            if (run / name).is_file():
                return run / name, run
        raise ModelError(f"{run}: holds no model.npz", "train it first: tinyse train RECIPE.yaml")
    if run.is_file():
        return run, run.parent
    raise ModelError(f"{run}: no such run", "give the folder that tinyse train wrote, or a .npz")


def load(file: Path, folder: Path, reordered: bool = False) -> Callable[[checks.Stage], Origin]:
    """Read ``file``; what comes back lowers and checks it, and tells a callback of each of `STEPS`.

    ``reordered``: with the densest units first (``tinyse.graph.order``).

    Raises:
        ModelError: a damaged model or calibration, or units that cannot be put in another order.
    """
    if file.suffix == ".tflite":
        if reordered:
            raise ModelError(f"{file}: an int8 file keeps its order of units", "export the run's model.npz")
        whole = model_of(folder) if file.name == part_file(INT8, 0, 2) else None
        return lambda stage: finished(whole or file, stage)
    model = fold(Model.load(file))
    calibration = calibration_frames(folder, model)
    if model.meta.get("structure") == "unit":  # other structures keep their width: tiles must stay where they are
        model = shrink(model)
    if reordered:
        if model.meta.get("structure") == "block":
            raise ModelError(f"{file}: another order of units would tear its tiles", "export it without --reorder")
        model = reorder(model)
    digest = sha256(file)
    return lambda stage: trained(model, digest, calibration, stage)


def trained(model: Model, digest: str, calibration: NDArray | None, stage: checks.Stage) -> Origin:
    """Lower a trained model, carrying its ranges over, and check that nothing was lost on the way.

    Raises:
        ExportError: there are neither ranges nor calibration frames, or the graphs would not be the trained model.
        ModelError, ToolError: TFLM cannot run it, or is missing.
    """
    stage("convert")
    given = "trained ranges"
    if model.ranges is None:
        if calibration is None or not len(calibration):
            raise ExportError("the model has no quantization ranges and there are no calibration frames",
                              "export a quantization-aware model, or keep the run's calibration.npy")
        plan, given = model.plan(calibrate(model, calibration)), "calibrated"
    else:
        plan = model.plan()
    checks.check_counts(plan, model)
    files = tuple(write(graph) for graph in plan.graphs)
    labels = tuple(part_file(INT8, part, len(files)) for part in range(len(files)))
    return _proven(plan, files, labels, model.ends, digest, calibration, model.parameters, widths(model), given, stage)


def finished(file: Path, stage: checks.Stage) -> Origin:
    """Take int8 files as they are; their ends and plan are those of the folder's manifest, else the default.

    Raises:
        ModelError: no streaming int8 network, or one that does not fit its ends. ExportError: its states do not
            persist, or TFLM and the integer reference disagree on it.
    """
    stage("convert")
    bundle = open_bundle(file)
    plan = bundle.graph_plan()
    graphs = plan.graphs
    if plan.inputs[0].size != bundle.ends.inputs:
        raise ModelError(f"{bundle.label}: the network takes {plan.inputs[0].size} values, its ends give "
                         f"{bundle.ends.inputs}", "export it again, so that the manifest names its ends")
    labels = tuple(map(str, bundle.files))
    units = {op.out.name: op.out.channels for graph in graphs for op in graph.ops
             if isinstance(op, ops.Lstm | ops.MatMul | ops.Conv)}
    return _proven(plan, bundle.data, labels, bundle.ends, model_sha256(file), None,
                   sum(graph.parameters for graph in graphs), units, "as given", stage)


def _proven(plan: Plan, files: tuple[bytes, ...], labels: tuple[str, ...], ends: Ends, digest: str,
            calibration: NDArray | None, parameters: int, units: dict[str, int], quantization: str,
            stage: checks.Stage) -> Origin:
    stage("check")
    grid = plan.inputs[0].grid
    real = synthetic_frames(plan.inputs[0].size, grid.low, grid.high) if calibration is None else calibration
    frames = grid.quantize(real[: checks.FRAMES])
    proof, results = checks.check_stream(plan, files, frames, labels)
    return Origin(plan, files, ends, digest, frames, results, parameters, units, quantization, proof)


def synthetic_frames(width: int, low: float, high: float, count: int = checks.FRAMES) -> NDArray[np.float32]:
    """Deterministic float32 feature-like frames [count, width], ``low`` to ``high``, for the streaming proof alone."""
    columns, times = np.arange(width), np.arange(count)[:, None]
    wave = np.sin(0.7 * times + 0.11 * columns) * np.sin(0.045 * times * (1 + columns % 7))
    return (low + (high - low) * 0.5 * (1 + wave)).astype(np.float32)


def calibration_frames(folder: Path, model: Model) -> NDArray | None:
    """The run's validation features in order; None where training left none."""
    path = folder / "calibration.npy"
    if not path.is_file():
        return None
    try:
        frames = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ModelError(f"{path}: damaged: {error}", "delete it, or train again") from error
    if frames.ndim != 2 or frames.shape[1] != model.ends.inputs or not len(frames):
        raise ModelError(f"{path}: shape {frames.shape} does not fit the model", "delete it, or train again")
    return np.asarray(frames, np.float32)
