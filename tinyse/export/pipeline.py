"""Export: a trained run to everything that a target needs, proven on the way, kept only when all of it holds.

Stages, in order: convert (ranges carried exactly) -> check (work, zeros, streaming on TFLM), both in origin.py ->
compile (Vela, NPU targets; streaming on the simulator) -> memory -> C. All is written into a temporary folder beside
the destination, which takes the destination's place at the end: a failed export costs nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tinyse.core.artifacts import put_folder, write_bytes, write_json, write_manifest, write_text
from tinyse.core.errors import ExportError, TinyseError
from tinyse.core.progress import Progress, Step, silent
from tinyse.export import checks, origin
from tinyse.export.bundle import COMPILED, INT8, MANIFEST, part_file, plan_json
from tinyse.export.csources import C_FILES, write_c
from tinyse.export.memory import MemoryReport
from tinyse.export.origin import Origin
from tinyse.export.targets import Target, load_target
from tinyse.export.vela import Compiled, compile_model
from tinyse.export.writer import OPERATORS

REPORTS = "vela"
SIMULATED = "ethos-u55"
"""Accelerators that the simulator models."""
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
        run: the folder that training wrote, or a Model file; or the folder of a released model, or an
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
    if target.has_npu:
        checks.check_npu(made.plan.graphs)
    int8 = [folder / name for name in made.names]
    for path, data in zip(int8, made.files, strict=True):
        write_bytes(path, data)
    stage("compile")
    compiled = _compiled(made, int8, target, folder)
    stage("memory")
    files = [part.path for part in compiled]
    written = write_c(made.plan, folder, int8, files, made.ends, target, made.sha256)
    memory, packed = written.memory, written.packed
    write_json(folder / "memory.json", memory.to_json())
    write_text(folder / "memory.txt", memory.to_text())
    stage("C")
    names = [*made.names, "memory.json", "memory.txt", *C_FILES, *(file.name for file in files)]
    names += [f"{REPORTS}/{report.name}" for part in compiled for report in part.reports]
    graphs = made.plan.graphs
    macs, zeros, weights = (sum(getattr(graph, key) for graph in graphs) for key in ("macs", "zeros", "weights"))
    cycles, npu_cycles = (sum(getattr(part, key) for part in compiled) if compiled else None
                          for key in ("cycles", "npu_cycles"))
    costs = None if not compiled else {"total": cycles, "npu": npu_cycles, "source": "estimated (Vela)",
                                       "parts": [part.cycles for part in compiled]}
    extra = {"target": target.name, "trained_sha256": made.sha256, "ends": made.ends.as_dict(),
             "plan": plan_json(made.plan), "parameters": made.parameters, "widths": made.widths,
             "macs_per_frame": macs, "operators": [OPERATORS[type(op)] for graph in graphs for op in graph.ops],
             "zeros": zeros, "quantization": made.quantization, "proof": asdict(made.proof), "cycles": costs,
             "packed": packed.to_json()}
    made_files = {name: folder / name for name in names}
    made_files[MANIFEST] = write_manifest(folder, "export", made_files, extra)
    progress(Step("export", len(STAGES), len(STAGES), "done"))
    return Export(folder, target.name, made_files, memory, made.parameters, macs, zeros, weights, cycles, npu_cycles,
                  made.quantization)


def _compiled(made: Origin, int8: list[Path], target: Target, folder: Path) -> list[Compiled]:
    """Every part through Vela, and over the proof's frames on the simulator where that models the target."""
    if not target.has_npu:
        return []
    parts = []
    for path, name in zip(int8, made.names, strict=True):
        each = compile_model(path, target, folder / REPORTS)
        put = folder / name.replace(INT8, COMPILED)
        each.path.rename(put)
        parts.append(replace(each, path=put))
    if target.npu is not None and target.npu.accelerator.startswith(SIMULATED):
        checks.check_compiled(made.plan, [part.path.read_bytes() for part in parts], made.frames, made.results,
                              [part.path.name for part in parts])
    return parts


def _refuse_foreign(destination: Path) -> None:
    """An export replaces its folder whole, so the folder must be an export or empty."""
    held = any((destination / name).is_file() for name in (INT8, part_file(INT8, 0, 2)))
    if destination.is_dir() and any(destination.iterdir()) and not held:
        raise ExportError(f"{destination}: holds files that are no export", "name a new or empty folder with --out")
    if destination.exists() and not destination.is_dir():
        raise ExportError(f"{destination}: is a file", "name a folder with --out")
