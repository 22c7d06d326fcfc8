"""Builds a project folder into an image: runs its Makefile, says in one line why where that fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shlex import quote

from tinyse.core.errors import ExportError, ToolError

SECONDS = 600
COMPILER = "arm-none-eabi-gcc"
COMPILER_HINT = "install it: apt-get install -y gcc-arm-none-eabi libnewlib-arm-none-eabi make"
_NEEDED = (COMPILER, "make")


class Backend(StrEnum):
    """What runs the network."""

    CPU = "cpu"
    NPU = "npu"
    TFLM = "tflm"


class Kernels(StrEnum):
    """How the CPU runs it: by the best instructions that the core has, or in portable C11."""

    AUTO = "auto"
    PORTABLE = "portable"


@dataclass(frozen=True)
class Built:
    """An image.

    Attributes:
        folder: of the build. elf, map: the image, the linker's map.
        board, backend, kernels: what it was built for.
        su: ``-fstack-usage`` files, one per source.
        binaries: raw bytes for flash, one file per memory.
    """

    folder: Path
    elf: Path
    map: Path
    board: str
    backend: Backend
    kernels: Kernels
    su: tuple[Path, ...]
    binaries: tuple[Path, ...]


def build(project: Path | str, board: str | None = None, backend: str | None = None, kernels: str = Kernels.AUTO,
          variables: tuple[str, ...] = ()) -> Built:
    """Build an image; nothing is compiled again that is up to date.

    Args:
        project: a folder that ``write_project`` wrote.
        board: one of ``boards(project)``; default: the one the project was written for.
        backend: a `Backend`; default: the NPU where the export was made for one, else the CPU.
        kernels: a `Kernels`.
        variables: further ``NAME=value`` of make.

    Raises:
        ExportError: no project, an unknown board, or a network that the export does not hold.
        ToolError: compiler or make are missing, do not compile the sources, or the image does not fit its
            memories; the message carries the first line that says so.
    """
    folder = Path(project)
    settings = project_settings(folder)
    board, backend = board or settings["BOARD"], Backend(backend or settings["BACKEND"])
    check_backend(folder, backend)
    known = boards(folder)
    if board not in known:
        raise ExportError(f"board {board!r} is not known", f"one of {', '.join(known)}")
    for program in _NEEDED:
        if shutil.which(program) is None:
            raise ToolError(f"{program} is not installed", COMPILER_HINT)
    made = folder_of(folder, board, backend, kernels)
    command = ["make", "-C", str(folder), f"-j{len(os.sched_getaffinity(0))}", "--no-print-directory",
               f"BOARD={board}", f"BACKEND={backend}", f"KERNELS={kernels}", f"BUILD=build/{made.name}", *variables]
    try:
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False,
                             stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C", "MAKEFLAGS": ""})
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{folder}: the build takes longer than {SECONDS} s") from error
    if run.returncode:
        raise ToolError(f"{folder}: {board}, {backend}: {_reason(run.stdout + run.stderr)}",
                        f"see all of it: make -C {quote(str(folder))} BOARD={board} BACKEND={backend}")
    return built_at(made, board, backend, kernels)


def folder_of(project: Path, board: str, backend: Backend, kernels: str) -> Path:
    """Where a project's image is built, as its Makefile has it."""
    return project / "build" / (f"{board}-{backend}" + ("-portable" if kernels == Kernels.PORTABLE else ""))


def built_at(made: Path, board: str, backend: Backend, kernels: str) -> Built:
    """The image that lies in a build's folder."""
    return Built(made, made / "tinyse.elf", made / "tinyse.map", board, backend,
                 Kernels(kernels), tuple(sorted(made.rglob("*.su"))), tuple(sorted(made.glob("*.bin"))))


def check_backend(project: Path, backend: Backend) -> None:
    """See that a project's network can be built for ``backend``, before anything is.

    Raises:
        ExportError: it cannot, or ``project`` is none.
    """
    settings = project_settings(project)
    if backend is Backend.NPU and settings["NPU"] != "1":
        raise ExportError(f"{project}: the model was exported for a processor without an NPU",
                          "export it with --target ethos-u55-128, or build with BACKEND=cpu")
    if backend is Backend.TFLM and settings.get("TFLM_LACKS"):
        raise ExportError(f"{project}: {settings['TFLM_LACKS']}", "build with BACKEND=cpu or npu")


def boards(project: Path) -> tuple[str, ...]:
    """Boards that a project, or ``firmware/``, has; sorted."""
    return tuple(sorted(path.parent.name for path in (project / "boards").glob("*/board.mk")))


def project_settings(project: Path) -> dict[str, str]:
    """``BOARD``, ``BACKEND``, ``NPU``, ``TARGET`` and ``TFLM_LACKS`` of a project, out of its model/project.mk.

    Raises:
        ExportError: ``project`` is no project.
    """
    file = project / "model" / "project.mk"
    if not file.is_file():
        raise ExportError(f"{project}: no firmware project", "write one: tinyse export RUN --firmware DIR")
    return dict(re.findall(r"^(\w+) \??= (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE))


def _reason(output: str) -> str:
    """The line that tells why, best first: what does not fit, what the compiler refuses, what make says last."""
    for pattern in (r"region `\w+' overflowed by \d+ bytes", r"undefined reference to .*",
                    r"[^\s:]+:\d+:\d+: (fatal )?error: .*", r"error: .*", r"\*\*\* .*"):
        if found := re.search(pattern, output):
            text = found.group()
            return f"the image does not fit: {text}" if "overflowed" in text else text
    return (output.strip().splitlines() or ["make failed"])[-1]
