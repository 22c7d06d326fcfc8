"""Writes a firmware project: a folder that holds an export, the C library, an application and board files.

It builds with nothing but arm-none-eabi-gcc and make (or CMake), for people who take it into their own tree,
and it is the one thing that tinyse itself builds images from::

    DIR/Makefile CMakeLists.txt sources.mk tflm.mk README.md LICENSE
        include/ src/            the library
        app/ boards/<board>/     WAV in, WAV out; startup code and linker scripts
        model/                   the export: model.h model.c packed.h packed.c timing.h project.mk written.sha256
        third_party/             CMSIS-DSP (what is used of it), CMSIS core headers, with their licences
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tinyse.core.artifacts import put_folder, sha256, write_text, writing
from tinyse.core.errors import ExportError, TinyseError, ToolError
from tinyse.core.progress import Progress, Step, silent
from tinyse.export.bundle import MANIFEST, manifest_of, open_bundle
from tinyse.export.targets import Target, load_target
from tinyse.firmware.build import boards
from tinyse.firmware.timing import timing_header
from tinyse.firmware.vendor import copy_into

MODEL = ("model.h", "model.c", "packed.h", "packed.c")
PARTS = ("include", "src", "app", "boards", "Makefile", "sources.mk", "tflm.mk", "CMakeLists.txt", "README.md",
         "LICENSE")
TFLM_OPERATORS = {"UNIDIRECTIONAL_SEQUENCE_LSTM", "FULLY_CONNECTED", "LOGISTIC"}
"""What src/network_tflm.cc registers beside the NPU's."""
WRITTEN = "model/written.sha256"
"""Every file as it was written, for ``sha256sum -c``: a project that its user changed is not written over."""
STAGES = ("sources", "model", "CMSIS")


@dataclass(frozen=True)
class Project:
    """A project folder, the board and the backend that plain ``make`` builds, and the target of its export."""

    folder: Path
    board: str
    backend: str
    target: str


def sources_dir() -> Path:
    """The firmware's sources: those of the checkout, or those that the installed package carries.

    Raises:
        ToolError: there are none.
    """
    folder = Path(__file__).parent / "sources"
    if not (folder / "Makefile").is_file():
        raise ToolError("this installation of tinyse has no firmware sources",
                        "use a checkout, or install tinyse again")
    return folder


def write_project(export: Path | str, folder: Path | str, board: str | None = None, progress: Progress = silent,
                  target: Target | None = None) -> Project:
    """Write a project for ``export`` into ``folder``, which another project there gives way to.

    The same project stays as it is, with what was built in it.

    Args:
        export: a folder that ``tinyse export`` wrote.
        folder: where to; a folder that holds anything but a project as it was written is refused.
        board: what plain ``make`` builds for; default: the target's board.
        progress: told of each stage.
        target: the export's target, where it is none that tinyse ships.

    Raises:
        ExportError: no export, a foreign folder, a project that was changed, an unknown board.
        RecipeError: the target is not known. ToolError: CMSIS cannot be fetched. TinyseError: the folder cannot be
            written.
    """
    export, folder = Path(export), Path(folder)
    chosen = target or load_target(_target_name(export))
    sources = sources_dir()
    board = board or chosen.board
    if board not in boards(sources):
        raise ExportError(f"board {board!r} is not known", f"one of {', '.join(boards(sources))}")
    before = _refuse_foreign(folder)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with writing(folder):
            _fill(scratch, sources, export, board, chosen, progress)
            if before != (scratch / WRITTEN).read_text(encoding="utf-8"):
                put_folder(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    progress(Step("firmware", len(STAGES), len(STAGES), "done"))
    return Project(folder, board, _backend(chosen), chosen.name)


def _fill(folder: Path, sources: Path, export: Path, board: str, target: Target, progress: Progress) -> None:
    progress(Step("firmware", 0, len(STAGES), STAGES[0]))
    for name in PARTS:
        if (sources / name).is_dir():
            shutil.copytree(sources / name, folder / name)
        else:
            shutil.copyfile(sources / name, folder / name)
    progress(Step("firmware", 1, len(STAGES), STAGES[1]))
    (folder / "model").mkdir()
    for name in MODEL:
        shutil.copyfile(export / name, folder / "model" / name)
    write_text(folder / "model" / "timing.h", timing_header(target))
    write_text(folder / "model" / "project.mk",
               f"# Written by tinyse for this export.\nTARGET = {target.name}\nNPU = {int(target.has_npu)}\n"
               f"BOARD ?= {board}\nBACKEND ?= {_backend(target)}\nTFLM_LACKS = {_tflm_lacks(export, target)}\n")
    progress(Step("firmware", 2, len(STAGES), STAGES[2]))
    copy_into(folder, progress)
    write_text(folder / WRITTEN, "".join(_line(folder, path) + "\n" for path in _files(folder)))


def _backend(target: Target) -> str:
    return "npu" if target.has_npu else "cpu"


def _tflm_lacks(export: Path, target: Target) -> str:
    """Why network_tflm.cc cannot run this export; empty where it can."""
    plan, operators = open_bundle(export).plan, set(manifest_of(export).get("operators", ()))
    if len(plan.parts) > 1:
        return f"the TFLM build runs one part and this network has {len(plan.parts)}"
    states = [state.past.name for part in plan.parts for state in part.states]
    if states:
        return f"the TFLM build keeps the states of an LSTM only and this network has {states[0]}"
    if {tensor.grid.bits for tensor in (*plan.inputs, plan.result)} != {8}:
        return "the TFLM build takes and gives int8 only"
    lacking = sorted(operators - TFLM_OPERATORS)
    return f"the TFLM build has no {lacking[0]}" if lacking and not target.has_npu else ""


def _target_name(export: Path) -> str:
    for name in (MANIFEST, *MODEL):
        if not (export / name).is_file():
            raise ExportError(f"{export}: holds no {name}: no export of this version",
                              "export it again: tinyse export RUN --target NAME")
    target = manifest_of(export, needed=True).get("target")
    if not isinstance(target, str):
        raise TinyseError(f"{export / MANIFEST}: names no target", "export it again")
    return target


def _refuse_foreign(folder: Path) -> str | None:
    """Refuse what is no project as it was written; the list of its files where that is the whole of what was."""
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{folder}: is a file", "name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "model" / "project.mk").is_file():
        raise ExportError(f"{folder}: holds files that are no firmware project", "name a new or empty folder")
    if not (folder / WRITTEN).is_file():  # projects from before have no list
        return None
    with writing(folder):
        text = (folder / WRITTEN).read_text(encoding="utf-8", errors="replace")
        found = {path: _line(folder, path) for path in _files(folder)}
    known = set(text.splitlines())
    if (changed := next((path for path, line in found.items() if line not in known), None)) is not None:
        raise ExportError(f"{folder}: {changed}: is not as tinyse wrote it, and would be lost",
                          "name a new folder, or move yours away")
    return text if len(found) == len(known) else None


def _line(folder: Path, path: str) -> str:
    return f"{sha256(folder / path)}  {path}"


def _files(folder: Path) -> list[str]:
    """What a project is made of: all but what ``make`` builds, and the list itself."""
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.as_posix() for path in paths if path.parts[0] != "build" and path.as_posix() != WRITTEN]
