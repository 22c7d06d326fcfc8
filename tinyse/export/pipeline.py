"""Export: a trained run to everything that a target needs, proven on the way, kept only when all of it holds.

Stages, in order: convert (ranges carried exactly) -> check (operators, work, zeros, streaming on TFLM), both in
origin.py -> compile (Vela, NPU targets) -> memory -> C. All is written into a temporary folder beside the destination,
which takes the destination's place at the end: a failed export costs nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tinyse.artifacts import put_folder, write_bytes, write_json, write_manifest, write_text
from tinyse.errors import ExportError, TinyseError
from tinyse.export import origin
from tinyse.export.bundle import lone
from tinyse.export.csources import write_c
from tinyse.export.memory import MemoryReport
from tinyse.export.origin import INT8, Origin
from tinyse.export.vela import Compiled, compile_model
from tinyse.progress import Progress, Step, silent
from tinyse.targets import Target, load_target

COMPILED, REPORTS = "model_vela.tflite", "vela"
STAGES = (*origin.STEPS, "compile", "memory", "C")


@dataclass(frozen=True)
class Export:
    """A finished export.

    Attributes:
        folder: where it lies. target: what for. files: name to path, the manifest included.
        memory: the memory report. parameters, macs_per_frame, zeros, weights: exact counts.
        cycles: Vela's estimate of a frame; None where there is no NPU. npu_cycles: without memory waits.
        quantization: "trained ranges", "calibrated", or "as given" for an int8 file.
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
               progress: Progress = silent, reordered: bool = False) -> Export:
    """Export a run folder (its model.npz, else float.npz), a single .npz, or an int8 .tflite as it is.

    Args:
        run: the folder that training wrote, or a TrainedModel file; or the folder of a released model, or an
            int8 file.
        target: a target's name, alias, YAML path, or the target itself.
        out: destination folder; default ``RUN/export`` (beside a single file). One that holds anything but
            an earlier export is refused.
        progress: told of each stage.
        reordered: put the densest units first (``tinyse.graph.order``): the same output, fewer bytes after Vela.

    Raises:
        ModelError: no such run, a damaged model, or ``reordered`` is not for it. RecipeError: unknown target.
        ExportError: the export would not be the trained model. ToolError: Vela or TFLM is missing or fails.
    """
    chosen = target if isinstance(target, Target) else load_target(target)
    file, folder = origin.find(Path(run))
    destination = Path(out) if out is not None else folder / "export"
    _refuse_foreign(destination)
    convert = origin.load(file, folder, reordered)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    except OSError as error:
        raise TinyseError(f"{destination}: cannot be written: {error.strerror}",
                          "choose a folder you may write") from error
    try:
        made = _export(convert, chosen, scratch, progress)
        put_folder(scratch, destination)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    moved = {name: destination / path.relative_to(scratch) for name, path in made.files.items()}
    return Export(**{**made.__dict__, "folder": destination, "files": moved})


def _export(convert: Callable[[Callable[[str], None]], Origin], target: Target, folder: Path,
            progress: Progress) -> Export:
    def stage(name: str) -> None:
        progress(Step("export", STAGES.index(name), len(STAGES), name))

    made = convert(stage)
    data, network = made.data, made.network
    int8 = folder / INT8
    write_bytes(int8, data)
    stage("compile")
    compiled, reports = _compiled(int8, target, folder)
    stage("memory")
    plan = lone(data, INT8, made.ends).plan
    written = write_c(plan, folder, [int8], [compiled.path] if compiled else [], made.ends, target, made.sha256)
    memory, packed = written.memory, written.packed
    write_json(folder / "memory.json", memory.to_json())
    write_text(folder / "memory.txt", memory.to_text())
    stage("C")
    names = [INT8, "memory.json", "memory.txt", "model.h", "model.c", "packed.h", "packed.c"]
    names += [COMPILED, *(f"{REPORTS}/{name}" for name in reports)] if compiled else []
    files = {name: folder / name for name in names}
    cycles = None if compiled is None else {"total": compiled.cycles, "npu": compiled.npu_cycles,
                                            "source": "estimated (Vela)"}
    extra = {"target": target.name, "trained_sha256": made.sha256, "ends": made.ends.as_dict(),
             "skip": network.output.shape[-1] > made.ends.outputs, "parameters": made.parameters,
             "widths": made.widths, "macs_per_frame": network.macs_per_frame,
             "operators": list(network.operators), "zeros": made.zeros, "quantization": made.quantization,
             "proof": asdict(made.proof), "cycles": cycles, "packed": packed.to_json()}
    files["manifest.json"] = write_manifest(folder, "export", files, extra)
    progress(Step("export", len(STAGES), len(STAGES), "done"))
    return Export(folder, target.name, files, memory, made.parameters, network.macs_per_frame, made.zeros,
                  network.macs_per_frame, compiled.cycles if compiled else None,
                  compiled.npu_cycles if compiled else None, made.quantization)


def _compiled(int8: Path, target: Target, folder: Path) -> tuple[Compiled | None, list[str]]:
    if not target.has_npu:
        return None, []
    made = compile_model(int8, target, folder / REPORTS)
    path = folder / COMPILED
    made.path.rename(path)
    return Compiled(path, made.reports, made.cycles, made.npu_cycles, made.operators), [
        report.name for report in made.reports]


def _refuse_foreign(destination: Path) -> None:
    """An export replaces its folder whole, so the folder must be an export or empty."""
    if destination.is_dir() and any(destination.iterdir()) and not (destination / INT8).is_file():
        raise ExportError(f"{destination}: holds files that are no export", "name a new or empty folder with --out")
    if destination.exists() and not destination.is_dir():
        raise ExportError(f"{destination}: is a file", "name a folder with --out")
