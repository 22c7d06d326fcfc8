"""Files that stages exchange: written whole or not at all, hashed, with a manifest beside them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from tinyse import __version__
from tinyse.core.errors import TinyseError

STACK = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "ethos-u-vela", "tflite-micro", "numpy")
LONGEST_PREFIX = 200
"""Bytes of a name that its temporary one keeps: no name may have more than 255."""


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name in the same folder; rename it to ``path`` when the block ends well.

    The folder is made if missing. Where the block fails, the temporary file is removed and a
    finished ``path`` from before stays as it was.

    Raises:
        TinyseError: ``path`` is a pipe or a device, the folder cannot be written, or the disk is full.
    """
    final = Path(path)
    if os.path.exists(final) and not (final.is_file() or final.is_dir()):
        raise TinyseError(f"{final}: is a pipe or a device, which cannot be written whole or not at all",
                          "name a file; where a command takes it, - stands for standard output")
    name = os.fsdecode(os.fsencode(final.name)[:LONGEST_PREFIX])
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{name}.", suffix=final.suffix, dir=final.parent)
        os.close(handle)
    except OSError as error:
        raise TinyseError(f"{final}: cannot be written: {error.strerror}", "choose a folder you may write") from error
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, final)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        hint = "choose a shorter name" if error.errno == errno.ENAMETOOLONG else "free some disk space"
        raise TinyseError(f"{final}: cannot be written: {error.strerror or error}", hint) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(*paths: Path | str | None) -> None:
    """Refuse now what could not be written when the work is done; None is passed over, nothing is made.

    Raises:
        TinyseError: the nearest folder that is there takes no file.
    """
    for path in paths:
        if path is not None:
            place = next(folder for folder in Path(path).absolute().parents if folder.exists())
            try:
                with tempfile.TemporaryFile(dir=place):
                    pass
            except OSError as error:
                raise TinyseError(f"{path}: cannot be written: {error.strerror}",
                                  "choose a folder you may write") from error


def check_kind(path: Path | str | None, suffix: str) -> None:
    """Refuse an output of another kind: a name that was meant for another option, often that of an input.

    Raises:
        TinyseError: ``path`` does not end so.
    """
    if path is not None and Path(path).suffix.lower() != suffix:
        raise TinyseError(f"{path}: what is written here is {suffix}", f"a name that ends in {suffix}")


def check_apart(path: Path | str | None, *inputs: Path | str) -> None:
    """Refuse an output that is one of the inputs, by whatever name, or a folder that holds a finished stage.

    Raises:
        TinyseError: it is.
    """
    if path is None or not Path(path).exists():
        return
    if any(Path(given).exists() and Path(given).samefile(path) for given in inputs):
        raise TinyseError(f"{path}: is the input as well", "another name for the output; the input stays as it is")
    if (Path(path) / "manifest.json").is_file():
        raise TinyseError(f"{path}: holds a model and its manifest", "another folder")


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Name ``path`` where the system refuses a write within the block.

    Raises:
        TinyseError: an OSError came out of the block.
    """
    try:
        yield
    except OSError as error:
        raise TinyseError(f"{path}: cannot be written: {error.strerror or error}",
                          "free some disk space, or choose a folder you may write") from error


def cache_root() -> Path:
    """The user's cache folder, by the XDG rule.

    Raises:
        TinyseError: the user has no home folder.
    """
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen)
    try:
        return Path.home() / ".cache"
    except RuntimeError as error:
        raise TinyseError("no home folder is known: HOME is not set, and the user is not in the password file",
                          "set HOME, or XDG_CACHE_HOME to a folder for downloads") from error


def put_folder(made: Path, destination: Path) -> None:
    """Let ``made``, a finished folder beside it, take ``destination``'s place; Ctrl-C leaves one of the two."""
    made.chmod(0o755)
    old = made.with_name(made.name + ".old")
    try:
        if destination.exists():
            destination.rename(old)
        made.rename(destination)
    except BaseException:
        if old.exists() and not destination.exists():
            old.rename(destination)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all; bytes of names that are none are escaped."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def json_text(value: Any) -> str:
    """``value`` as indented JSON with sorted keys."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as JSON with sorted keys, whole or not at all."""
    write_text(path, json_text(value))


def sha256(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of tinyse and of the packages that decide its output; a missing one is left out."""
    found = {"tinyse": __version__}
    for name in STACK:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def write_manifest(folder: Path, stage: str, files: Mapping[str, Path], extra: Mapping[str, Any]) -> Path:
    """Write ``folder/manifest.json``: the stage, versions, SHA-256 of ``files``, and ``extra``.

    Holds no time stamps and no absolute paths, so the same inputs give the same bytes.
    """
    path = folder / "manifest.json"
    hashes = {name: sha256(file) for name, file in sorted(files.items())}
    write_json(path, {"schema": 1, "stage": stage, "versions": versions(), "sha256": hashes, **extra})
    return path
