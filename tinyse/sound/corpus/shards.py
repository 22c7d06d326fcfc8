"""Sound files of a corpus: 16-bit samples end to end, written once and read piece by piece.

Read by position, not mapped: pages of a map would count as this process's memory until the system is short of it.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyse.core.artifacts import writing
from tinyse.core.errors import CorpusError

SUFFIX = ".pcm"
WAITING = ".part"
HELD = 1 << 24
"""Samples of one recording that are held in memory; the others wait in a file."""
NAME = re.compile(r"sound-(\d{4,})\.pcm")
LARGEST = 1 << 29
"""Samples after which another file is begun: 1 GiB."""

Pcm = npt.NDArray[np.int16]


def shards(folder: Path) -> list[Path]:
    """The sound files that lie in a corpus folder, by number."""
    found = [(int(match[1]), path) for path in folder.glob(f"sound-*{SUFFIX}") if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


class ShardWriter:
    """Appends clips to sound files; a context manager that closes them."""

    def __init__(self, folder: Path, first: int | None = None) -> None:
        """Write to files after those that are there, or go on in file number ``first``, which ends where it does."""
        there = shards(folder)
        self._folder = folder
        self._number = first if first is not None else int(there[-1].stem[6:]) + 1 if there else 0
        self._stream: Any = None
        self._at = 0
        self.begun: list[Path] = []

    def __enter__(self) -> ShardWriter:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def append(self, pcm: Pcm) -> tuple[str, int]:
        """Write int16[n]; the file's name and the place of the first sample in it.

        Raises:
            TinyseError: the disk is full or refuses.
        """
        if self._stream is not None and self._at + len(pcm) > LARGEST:
            self._stream.close()
            self._stream, self._number = None, self._number + 1
        path = self._folder / f"sound-{self._number:04d}{SUFFIX}"
        with writing(path):
            if self._stream is None:
                self._stream = open(path, "ab", buffering=0)  # noqa: SIM115
                self._at = self._stream.tell() // 2
                self.begun.append(path)
            left = memoryview(np.ascontiguousarray(pcm, "<i2").data).cast("B")
            while left:
                left = left[self._stream.write(left):]
        self._at += len(pcm)
        return path.name, self._at - len(pcm)

    def sync(self) -> None:
        """Let what was written reach the disk."""
        if self._stream is not None:
            with writing(self._folder):
                os.fsync(self._stream.fileno())


@dataclass(frozen=True)
class Waiting:
    """Sound in a file of its own process: ``length`` samples from ``offset``."""

    path: Path
    offset: int
    length: int

    def pcm(self) -> Pcm:
        """Read it: int16[length]."""
        return ShardReader(self.path.parent).read(self.path.name, self.offset, self.length)


class Overflow:
    """Takes the sound of one recording and keeps it from filling the memory; a context manager, closes its file."""

    def __init__(self, folder: Path) -> None:
        """Where a file is made once there is too much."""
        self._folder, self._taken = folder, 0
        self._stream: Any = None

    def __enter__(self) -> Overflow:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file; remove it where the block failed."""
        if self._stream is not None:
            self._stream.close()
            if error[0]:
                os.unlink(self._stream.name)

    def hold(self, pcm: Pcm) -> Pcm | Waiting:
        """int16[n] as it is, or where it waits.

        Raises:
            TinyseError: the disk is full or refuses.
        """
        self._taken += len(pcm)
        if self._taken <= HELD:
            return pcm
        with writing(self._folder):
            if self._stream is None:
                self._stream = tempfile.NamedTemporaryFile(  # noqa: SIM115
                    dir=self._folder, suffix=WAITING, delete=False)
            offset = self._stream.tell() // 2
            self._stream.write(np.ascontiguousarray(pcm, "<i2").data)
        return Waiting(Path(self._stream.name), offset, len(pcm))


class ShardReader:
    """Reads pieces of a corpus's sound files, from any thread; files are opened when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        """Nothing is opened yet."""
        self._folder = folder
        self._open: dict[str, tuple[int, int]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind: another process opens its own."""
        return {"_folder": self._folder, "_open": {}}

    def __del__(self) -> None:
        """Close them."""
        for descriptor, _ in self._open.values():
            os.close(descriptor)

    def _file(self, name: str) -> tuple[int, int]:
        if name not in self._open:
            path = self._folder / name
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise CorpusError(f"{path}: cannot be read: {error.strerror}", "fetch or import it again") from error
            try:
                start = _header(descriptor) if path.suffix == ".npy" else 0
            except ValueError as error:
                os.close(descriptor)
                raise CorpusError(f"{path}: is cut short or of another type", "fetch or import it again") from error
            other = self._open.setdefault(name, (descriptor, start))
            if other[0] != descriptor:  # two threads at once
                os.close(descriptor)
        return self._open[name]

    def samples(self, name: str) -> int:
        """How many samples a file holds.

        Raises:
            CorpusError: it is missing or no sound file of a corpus.
        """
        descriptor, start = self._file(name)
        return (os.fstat(descriptor).st_size - start) // 2

    def read(self, name: str, offset: int, length: int) -> Pcm:
        """int16[length] from a place of a file.

        Raises:
            CorpusError: it is missing, damaged, or ends before that.
        """
        descriptor, start = self._file(name)
        parts, need, at = list[bytes](), 2 * length, start + 2 * offset
        while need:
            try:
                part = os.pread(descriptor, need, at)
            except OSError as error:
                raise CorpusError(f"{self._folder / name}: cannot be read: {error.strerror}",
                                  "fetch or import it again") from error
            if not part:
                raise CorpusError(f"{self._folder / name}: is cut short", "fetch or import the corpus again")
            parts.append(part)
            need, at = need - len(part), at + len(part)
        return np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), "<i2", length)

    def blocks(self, name: str, offset: int, length: int, size: int) -> Iterator[Pcm]:
        """As `read`, in blocks of at most ``size``."""
        for at in range(0, length, size):
            yield self.read(name, offset + at, min(size, length - at))


def npy_part(path: Path, offset: int, length: int) -> Pcm:
    """Samples of a NumPy file of int16[n].

    Raises:
        CorpusError: it is missing, damaged, or shorter.
    """
    return ShardReader(path.parent).read(path.name, offset, length)


def _header(descriptor: int) -> int:
    """Where the samples begin in a NumPy file of int16[n]."""
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        stream.seek(0)
        np.lib.format.read_magic(stream)
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        if len(shape) != 1 or kind != np.int16:
            raise ValueError(f"{kind}{list(shape)}")
        return stream.tell()
