"""The catalogue of a corpus: clips as columns, in memory and as a Parquet file.

A million clips are columns of numbers and of dictionary-coded names; a `Clip` is made when one is asked for.

    some = corpus.clips("speech", "train")      # a sequence of Clip
    some.column("length")                       # int64[len(some)]
    anna = some.where(some.which("source", "anna"))
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from tinyse.core.artifacts import atomic_path
from tinyse.core.errors import CorpusError

RATE = 16000
NAMES = ("utf-8", "surrogateescape")
"""How names become bytes to hash: a file's name need not be UTF-8."""
CODED = ("kind", "split", "source", "package", "version", "language", "licence", "file")
NUMBERS = {"offset": "int64", "length": "int64", "rms_db": "float64", "peak": "float64", "swing": "int32"}
MADE_AT_ONCE = 4096
PLACE = ("kind", "split", "source", "file", "offset", "length")


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording in a corpus.

    Attributes:
        id: unique name, "<package>/<path in it>".
        kind: "speech", "noise" or "room" (an impulse response).
        split: "train", "validation" or "test".
        source: the speaker of speech, the noise source of noise; never in two splits.
        package: what it came from (a Debian package, an imported data set), with its version.
        version: of the package; may be empty.
        language: ISO code of speech; empty for noise.
        licence: short name; the full text is named in LICENCES.txt.
        file: the sound file in the corpus folder that holds it.
        offset: its first sample in there.
        length: samples, at 16 kHz.
        rms_db: level over the whole clip, dB relative to full scale.
        peak: largest magnitude, 0 to 1.
        swing: largest less smallest sample, in steps of 16 bits; -1 where it was not written down.
        sha256: of the clip's int16 little-endian samples.
    """

    id: str
    kind: str
    split: str
    source: str
    package: str
    version: str
    language: str
    licence: str
    file: str
    offset: int
    length: int
    rms_db: float
    peak: float
    swing: int
    sha256: str

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.length / RATE


COLUMNS = tuple(item.name for item in fields(Clip))


class Clips(Sequence[Clip]):
    """Some clips of a catalogue, in its order."""

    def __init__(self, table: Any, path: Path | None = None) -> None:
        """All rows of an Arrow table as `table_of` makes it; columns that it lacks are read from ``path`` later."""
        self._path = path
        self.rows: npt.NDArray[np.int64] = np.arange(table.num_rows)
        self._columns: dict[str, Any] = {name: table.column(name) for name in table.column_names}
        self._cache: dict[str, Any] = {}

    def arrow(self, name: str) -> Any:
        """A column of the whole catalogue, as Arrow has it."""
        if name not in self._columns:
            assert self._path is not None
            self._columns[name] = _read(self._path, (name,)).column(name)
        return self._columns[name]

    def _some(self, rows: npt.NDArray[np.int64]) -> Clips:
        some = copy.copy(self)
        some.rows = rows
        return some

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Clip: ...

    @overload
    def __getitem__(self, index: slice) -> Clips: ...

    def __getitem__(self, index: int | slice) -> Clip | Clips:
        if isinstance(index, slice):
            return self._some(self.rows[index])
        row = int(self.rows[index])
        return Clip(*(_plain(name, self.arrow(name)[row].as_py()) for name in COLUMNS))

    def __iter__(self) -> Iterator[Clip]:
        for at in range(0, len(self), MADE_AT_ONCE):
            part = self[at:at + MADE_AT_ONCE]
            columns = (part.column(name).tolist() if name in NUMBERS else part.texts(name) for name in COLUMNS)
            yield from (Clip(*row) for row in zip(*columns, strict=True))

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers: [len(self)]."""
        if name not in self._cache:
            self._cache[name] = self.arrow(name).to_numpy()
        return np.asarray(self._cache[name][self.rows])

    def _coded(self, name: str) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
        if name not in self._cache:
            column = self.arrow(name).combine_chunks()
            column = column.chunk(0) if hasattr(column, "chunk") else column
            self._cache[name] = (column.indices.to_numpy(),
                                 tuple(_plain(name, value) for value in column.dictionary.to_pylist()))
        return self._cache[name]

    def codes(self, name: str) -> npt.NDArray[np.int32]:
        """A column of names as indices into `names`: int32[len(self)]."""
        return self._coded(name)[0][self.rows]

    def names(self, name: str) -> tuple[str, ...]:
        """What the codes of a column stand for; some may not occur among these clips."""
        return self._coded(name)[1]

    def texts(self, name: str) -> list[str]:
        """A column of names, ids or hashes, one for each clip."""
        if name in CODED:
            names = self.names(name)
            return [names[code] for code in self.codes(name)]
        return [_plain(name, value) for value in self.arrow(name).take(self.rows).to_pylist()]

    def which(self, name: str, value: str) -> npt.NDArray[np.bool_]:
        """Where a coded column has this name: bool[len(self)]."""
        names = self.names(name)
        return self.codes(name) == (names.index(value) if value in names else -1)

    def where(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Clips:
        """Those where bool[len(self)] is true, or those of these numbers, in their order."""
        return self._some(self.rows[chosen])

    def groups(self, name: str) -> dict[str, Clips]:
        """The clips of each name in a coded column, sorted by name."""
        codes = self.codes(name)
        order = np.argsort(codes, kind="stable")
        found, starts = np.unique(codes[order], return_index=True)
        parts = np.split(self.rows[order], starts[1:]) if len(found) else []
        names = self.names(name)
        return dict(sorted((names[code], self._some(rows)) for code, rows in zip(found, parts, strict=True)))


def table_of(columns: Mapping[str, Sequence[Any]]) -> Any:
    """An Arrow table of columns named as `Clip`'s attributes; ``sha256`` as bytes or hexadecimal.

    ``id`` and coded columns hold text, or bytes where a name in them is not UTF-8.
    """
    import pyarrow as pa

    made = {}
    for name in COLUMNS:
        values = columns[name]
        if name == "sha256":
            made[name] = pa.array([bytes.fromhex(value) if isinstance(value, str) else value for value in values],
                                  pa.binary(32))
        elif name in NUMBERS:
            made[name] = pa.array(np.asarray(values, NUMBERS[name]))
        else:
            try:
                made[name] = pa.array(values, pa.string())
            except UnicodeEncodeError:
                made[name] = pa.array([value.encode(*NAMES) for value in values], pa.binary())
            if name in CODED:
                made[name] = made[name].dictionary_encode()
    return pa.table(made)


def write_table(path: Path, table: Any) -> None:
    """Write a catalogue, whole or not at all."""
    import pyarrow.parquet as parquet

    with atomic_path(path) as temporary, open(temporary, "wb") as stream:  # a name need not be UTF-8
        parquet.write_table(table, stream, compression="zstd", use_dictionary=list(CODED))


def read_clips(path: Path) -> Clips:
    """Open a catalogue: at once, only what says where the clips lie.

    Raises:
        CorpusError: it is missing or damaged; so may the columns that are read later.
    """
    return Clips(_read(path, PLACE), path)


def _read(path: Path, names: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with open(path, "rb") as stream:
            table = parquet.read_table(stream, columns=list(names)).unify_dictionaries().combine_chunks()
        if set(table.column_names) != set(names):
            raise ValueError(f"has no {', '.join(set(names) - set(table.column_names))}")
        return table
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CorpusError(f"{path}: cannot be read: {str(error).splitlines()[0]}",
                          "fetch or import the corpus again") from error


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex() if name == "sha256" else value.decode(*NAMES)
    return value
