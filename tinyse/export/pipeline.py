"""Export: a trained run to everything that a target needs, proven on the way, kept only when all of it holds.

Dead units of a unit-pruned run are removed first. Stages, in order: convert (ranges carried exactly) -> check
(operators, work, zeros, streaming on TFLM) -> compile (Vela, NPU targets) -> memory -> C. All is written into a
temporary folder beside the destination, which takes the destination's place at the end: a failed export costs nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyse.artifacts import put_folder, sha256, write_bytes, write_json, write_manifest, write_text
from tinyse.errors import ExportError, ModelError, TinyseError
from tinyse.export import checks
from tinyse.export.cheader import header, source
from tinyse.export.cpacked import packed_header, packed_source
from tinyse.export.memory import MemoryReport, cpu_memory, npu_memory
from tinyse.export.packing import pack
from tinyse.export.tflite import to_int8
from tinyse.export.vela import Compiled, compile_model
from tinyse.model import TrainedModel
from tinyse.progress import Progress, Step, silent
from tinyse.shrink import shrink, widths
from tinyse.targets import Target, load_target

INT8, COMPILED, REPORTS = "model_int8.tflite", "model_vela.tflite", "vela"
STAGES = ("convert", "check", "compile", "memory", "C")


@dataclass(frozen=True)
class Export:
    """A finished export.

    Attributes:
        folder: where it lies. target: what for. files: name to path, the manifest included.
        memory: the memory report. parameters, macs_per_frame, zeros, weights: exact counts.
        cycles: Vela's estimate of a frame; None where there is no NPU. npu_cycles: without memory waits.
        quantization: "trained ranges" or "calibrated".
    """

    folder: Path
    target: str
    files: Mapping[str, Path]
    memory: MemoryReport
    parameters: int
    macs_per_frame: int
    zeros: int
    weights: int
    cycles: int | None
    npu_cycles: int | None
    quantization: str


def export_run(run: Path | str, target: str | Target, out: Path | str | None = None,
               progress: Progress = silent) -> Export:
    """Export a run folder (its model.npz, else float.npz) or a single .npz.

    Args:
        run: the folder that training wrote, or a TrainedModel file.
        target: a target's name, alias, YAML path, or the target itself.
        out: destination folder; default ``RUN/export`` (beside a single file). One that holds anything but
            an earlier export is refused.
        progress: told of each stage.

    Raises:
        ModelError: no such run, or a damaged model. RecipeError: unknown target.
        ExportError: the export would not be the trained model. ToolError: Vela or TFLM is missing or fails.
    """
    chosen = target if isinstance(target, Target) else load_target(target)
    file, folder = _model_file(Path(run))
    destination = Path(out) if out is not None else folder / "export"
    _refuse_foreign(destination)
    model = TrainedModel.load(file)
    calibration = _calibration(folder, model)
    if model.meta.get("structure") == "unit":  # other structures keep their width: tiles must stay where they are
        model = shrink(model)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    except OSError as error:
        raise TinyseError(f"{destination}: cannot be written: {error.strerror}",
                          "choose a folder you may write") from error
    try:
        made = _export(model, sha256(file), calibration, chosen, scratch, progress)
        put_folder(scratch, destination)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    moved = {name: destination / path.relative_to(scratch) for name, path in made.files.items()}
    return Export(**{**made.__dict__, "folder": destination, "files": moved})


def _export(model: TrainedModel, trained: str, calibration: NDArray | None, target: Target, folder: Path,
            progress: Progress) -> Export:
    def stage(name: str) -> None:
        progress(Step("export", STAGES.index(name), len(STAGES), name))

    stage("convert")
    data = to_int8(model, calibration)
    stage("check")
    network = checks.check_operators(data, model)
    zeros = checks.check_zeros(data, model)
    proof = checks.check_stream(data, calibration if calibration is not None else synthetic_frames(model))
    int8 = folder / INT8
    write_bytes(int8, data)
    stage("compile")
    compiled, reports = _compiled(int8, target, folder)
    stage("memory")
    memory = npu_memory(network, int8, compiled, target) if compiled else cpu_memory(network, int8, target)
    write_json(folder / "memory.json", memory.to_json())
    write_text(folder / "memory.txt", memory.to_text())
    stage("C")
    flashed = compiled.path.read_bytes() if compiled else data
    write_text(folder / "model.h", header(flashed, model.frontend, memory, target, trained))
    write_text(folder / "model.c", source(flashed, model.frontend, memory, target, trained))
    packed = pack(network)
    write_text(folder / "packed.h", packed_header(packed, data))
    write_text(folder / "packed.c", packed_source(packed, data))
    names = [INT8, "memory.json", "memory.txt", "model.h", "model.c", "packed.h", "packed.c"]
    names += [COMPILED, *(f"{REPORTS}/{name}" for name in reports)] if compiled else []
    files = {name: folder / name for name in names}
    cycles = None if compiled is None else {"total": compiled.cycles, "npu": compiled.npu_cycles,
                                            "source": "estimated (Vela)"}
    quantization = "calibrated" if model.ranges is None else "trained ranges"
    extra = {"target": target.name, "trained_sha256": trained, "frontend": asdict(model.frontend),
             "parameters": model.parameters, "widths": widths(model), "macs_per_frame": network.macs_per_frame,
             "operators": list(network.operators), "zeros": zeros, "quantization": quantization,
             "proof": asdict(proof), "cycles": cycles, "packed": packed.to_json()}
    files["manifest.json"] = write_manifest(folder, "export", files, extra)
    progress(Step("export", len(STAGES), len(STAGES), "done"))
    return Export(folder, target.name, files, memory, model.parameters, network.macs_per_frame, zeros,
                  network.macs_per_frame, compiled.cycles if compiled else None,
                  compiled.npu_cycles if compiled else None, quantization)


def _compiled(int8: Path, target: Target, folder: Path) -> tuple[Compiled | None, list[str]]:
    if not target.has_npu:
        return None, []
    made = compile_model(int8, target, folder / REPORTS)
    path = folder / COMPILED
    made.path.rename(path)
    return Compiled(path, made.reports, made.cycles, made.npu_cycles, made.operators), [
        report.name for report in made.reports]


def synthetic_frames(model: TrainedModel, count: int = checks.FRAMES) -> NDArray[np.float32]:
    """Deterministic float32 feature-like frames [count, bands] for the streaming proof, not for calibration."""
    high = 1.0 if model.ranges is None else model.ranges["features"][1]
    bands, times = np.arange(model.layers[0].inputs), np.arange(count)[:, None]
    wave = np.sin(0.7 * times + 0.11 * bands) * np.sin(0.045 * times * (1 + bands % 7))
    return (high * 0.5 * (1 + wave)).astype(np.float32)


def _model_file(run: Path) -> tuple[Path, Path]:
    if run.is_dir():
        for name in ("model.npz", "float.npz"):
            if (run / name).is_file():
                return run / name, run
        raise ModelError(f"{run}: holds no model.npz", "train it first: tinyse train RECIPE.yaml")
    if run.is_file():
        return run, run.parent
    raise ModelError(f"{run}: no such run", "give the folder that tinyse train wrote, or a .npz")


def _calibration(folder: Path, model: TrainedModel) -> NDArray | None:
    """The run's validation features in order; None where training left none."""
    path = folder / "calibration.npy"
    if not path.is_file():
        return None
    try:
        frames = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ModelError(f"{path}: damaged: {error}", "delete it, or train again") from error
    if frames.ndim != 2 or frames.shape[1] != model.layers[0].inputs or not len(frames):
        raise ModelError(f"{path}: shape {frames.shape} does not fit the model", "delete it, or train again")
    return np.asarray(frames, np.float32)


def _refuse_foreign(destination: Path) -> None:
    """An export replaces its folder whole, so the folder must be an export or empty."""
    if destination.is_dir() and any(destination.iterdir()) and not (destination / INT8).is_file():
        raise ExportError(f"{destination}: holds files that are no export", "name a new or empty folder with --out")
    if destination.exists() and not destination.is_dir():
        raise ExportError(f"{destination}: is a file", "name a folder with --out")
