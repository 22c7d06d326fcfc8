"""What an image was made of, beside it, so that the same image is not built twice and no other is taken for it.

make goes by the times of files, and knows neither the compiler's version nor a source that was changed, built and put
back. So an image is taken again only where every byte of the project, the compiler and all that the build left are as
they were; else its folder goes, and it is built anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from tinyse.core.artifacts import sha256, write_json, writing
from tinyse.firmware.build import COMPILER, Backend, Built, Kernels, build, built_at, folder_of
from tinyse.firmware.project import WRITTEN

STAMP = "made-of.json"
TOOLCHAIN = (*(f"-print-prog-name={name}" for name in ("as", "ld")),
             *(f"-print-file-name={name}" for name in ("libc_nano.a", "libm.a", "libgcc.a", "nano.specs")))
"""What the compiler is asked for: its files by which a new one shows; a package replaces all of its own together."""
VARIABLES = ("BOARD_DEFINES", "CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX")
"""Of the environment, that make or the compiler take."""


def stamped(project: Path, board: str, backend: Backend, kernels: str = Kernels.AUTO,
            variables: tuple[str, ...] = ()) -> Built:
    """The image of a project as ``write_project`` has just left it: the one that is there, or a new one.

    With further variables of make, which may name what no stamp knows, it is always a new one.

    Raises:
        ExportError, ToolError: as ``build``.
    """
    folder = folder_of(project, board, backend, kernels)
    identity = "" if variables else _identity(project, board, backend, kernels)
    if identity and _said(folder) == {"identity": identity, "files": _files(folder)}:
        return built_at(folder, board, backend, kernels)
    with writing(folder):
        if folder.exists():
            shutil.rmtree(folder)
    made = build(project, board, backend, kernels, variables)
    if identity:
        write_json(folder / STAMP, {"identity": identity, "files": _files(folder)})
    return made


def _identity(project: Path, *choice: str) -> str:
    """Of all that decides the bytes of an image; empty where that cannot be told."""
    compiler = shutil.which(COMPILER)
    if compiler is None or "CROSS" in os.environ:  # which names another
        return ""
    said = [(project / WRITTEN).read_text(encoding="utf-8"), *choice]
    said += [f"{name}={os.environ.get(name)}" for name in VARIABLES]
    try:
        asked = [subprocess.run([compiler, argument], capture_output=True, text=True, check=True, timeout=60).stdout
                 for argument in ("--version", *TOOLCHAIN)]
        for path in (compiler, *(line.strip() for line in asked[1:])):
            found = os.stat(path)
            said.append(f"{os.path.realpath(path)} {found.st_size} {found.st_mtime_ns}")
    except (OSError, subprocess.SubprocessError):
        return ""
    return hashlib.sha256("\0".join([*said, asked[0]]).encode("utf-8", "surrogateescape")).hexdigest()


def _said(folder: Path) -> object:
    try:
        return json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _files(folder: Path) -> dict[str, str]:
    """Every file of a build but the stamp, by its hash."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != STAMP}
