"""What an import has read: every file once, whatever stops it, and again only where it changed.

``imports.sqlite`` beside the sound files says which file gave which sound, and where that lies. A line is written after
its sound, so that what a killed import left behind is cut off when the next one begins.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from tinyse.core.artifacts import writing
from tinyse.core.errors import CorpusError, TinyseError
from tinyse.sound.corpus.clips import NUMBERS
from tinyse.sound.corpus.reading import Read, discard
from tinyse.sound.corpus.shards import NAME, WAITING, ShardWriter, Waiting, shards
from tinyse.sound.corpus.store import LEDGER, MANIFEST

SECONDS = 5.0
"""How much reading a power failure may cost."""
TABLES = """
CREATE TABLE IF NOT EXISTS sound (sha256 BLOB PRIMARY KEY, file TEXT, offset INTEGER, length INTEGER, rms_db REAL,
                                  peak REAL, swing INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS read (key BLOB, number INTEGER, kind TEXT, sha256 BLOB, note TEXT,
                                 PRIMARY KEY (key, number)) WITHOUT ROWID;
"""
COLUMNS = ("file", *NUMBERS)


class Ledger:
    """The ledger of a corpus folder; a context manager that keeps what was read, also where the block fails."""

    def __init__(self, folder: Path) -> None:
        """Open it, and cut off sound that no line of it names.

        Raises:
            TinyseError: the folder cannot be written, or another import writes to it.
        """
        self.folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with self._named():
            self._base = sqlite3.connect(folder / LEDGER, timeout=1.0, isolation_level=None)
            self._base.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.execute("BEGIN EXCLUSIVE")
            for statement in filter(str.strip, TABLES.split(";")):
                self._base.execute(statement)
            number = self._mend()
        self._writer = ShardWriter(folder, number)
        self._kept = time.monotonic()

    def _mend(self) -> int:
        """Cut off and take away what was not written down; the number of the file to go on in."""
        ends = dict(self._base.execute("SELECT file, MAX(offset + length) FROM sound GROUP BY file"))
        finished = (self.folder / MANIFEST).is_file()
        self._discard()
        there = shards(self.folder)
        if not finished:
            for path in there:
                if path.name not in ends:
                    path.unlink()
                elif path.stat().st_size > 2 * ends[path.name]:
                    os.truncate(path, 2 * ends[path.name])
        for name, end in ends.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size < 2 * end:  # taken away by hand
                self._base.execute("DELETE FROM sound WHERE file = ?", (name,))
        self._forget()
        last = max((int(match[1]) for path in shards(self.folder) if (match := NAME.fullmatch(path.name))), default=-1)
        return last + 1 if finished else max(last, 0)

    def _discard(self) -> None:
        for path in self.folder.glob(f"*{WAITING}"):
            path.unlink(missing_ok=True)

    def _forget(self) -> None:
        self._base.execute("DELETE FROM read WHERE key IN (SELECT key FROM read WHERE sha256 IS NOT NULL "
                           "AND sha256 NOT IN (SELECT sha256 FROM sound))")

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            path = self.folder / LEDGER
            if "locked" in str(error):
                raise TinyseError(f"{path}: another import writes to this corpus", "wait for it") from error
            if "full" in str(error) or "I/O" in str(error) or isinstance(error, OSError):
                raise TinyseError(f"{self.folder}: cannot be written: {error}",
                                  "free some disk space: the same command goes on where it stopped") from error
            raise CorpusError(f"{path}: is damaged: {error}", "remove it; files will be read again") from error

    def __enter__(self) -> Ledger:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Keep what was read."""
        try:
            self.keep(again=False)
        except TinyseError:
            if kind is None:
                raise
        finally:
            self._writer.__exit__()
            self._base.close()
            self._discard()

    def has(self, key: bytes) -> bool:
        """Whether a file with this key was read."""
        with self._named():
            return self._base.execute("SELECT 1 FROM read WHERE key = ?", (key,)).fetchone() is not None

    def results(self, key: bytes) -> list[tuple[str, bytes | None, str]]:
        """What it gave: (kind, SHA-256 of the sound or None, why not, or a remark) for each clip."""
        with self._named():
            return self._base.execute("SELECT kind, sha256, note FROM read WHERE key = ? ORDER BY number",
                                      (key,)).fetchall()

    def sound(self, sha256: bytes) -> dict[str, Any]:
        """Where a sound lies and how loud it is: the columns of a catalogue."""
        with self._named():
            row = self._base.execute(f"SELECT {', '.join(COLUMNS)} FROM sound WHERE sha256 = ?", (sha256,)).fetchone()
        return {**dict(zip(COLUMNS, row, strict=True)), "sha256": sha256}

    def add(self, key: bytes, results: Read) -> None:
        """Write down what a file gave; sound that is there already is not written again.

        Raises:
            TinyseError: the disk is full; what was added before is kept.
        """
        rows: list[tuple[Any, ...]] = []
        for number, (kind, pcm, note, found) in enumerate(results):
            sha256 = found.get("sha256")
            if pcm is not None:
                with self._named():
                    known = self._base.execute("SELECT 1 FROM sound WHERE sha256 = ?", (sha256,)).fetchone()
                if known is None:
                    found["file"], found["offset"] = self._writer.append(pcm.pcm() if isinstance(pcm, Waiting) else pcm)
                    with self._named():
                        self._base.execute(f"INSERT INTO sound (sha256, {', '.join(COLUMNS)}) VALUES (?,?,?,?,?,?,?)",
                                           (sha256, *(found[name] for name in COLUMNS)))
            rows.append((key, number, kind, sha256, note))
        with self._named():
            self._base.executemany("INSERT OR REPLACE INTO read VALUES (?,?,?,?,?)", [
                (*row[:4], row[4].encode("utf-8", "backslashreplace").decode()) for row in rows])
        discard(results)
        if time.monotonic() - self._kept > SECONDS:
            self.keep()

    def keep(self, again: bool = True) -> None:
        """Let what was added outlast a power failure."""
        self._writer.sync()
        with self._named():
            if self._base.in_transaction:
                self._base.execute("COMMIT")
            if again:
                self._base.execute("BEGIN EXCLUSIVE")
        self._kept = time.monotonic()

    def only(self, files: Set[str]) -> None:
        """Forget sound that lies in other files: a finished corpus does not need them."""
        with self._named():
            for (name,) in self._base.execute("SELECT DISTINCT file FROM sound").fetchall():
                if name not in files:
                    self._base.execute("DELETE FROM sound WHERE file = ?", (name,))
            self._forget()
