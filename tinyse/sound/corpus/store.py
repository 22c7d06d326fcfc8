"""The corpus on disk: 16 kHz mono samples in sound files, a catalogue of clips, and a manifest that names it.

A corpus folder holds ``corpus.json``, the catalogue that it names (``clips-<hash>.parquet``, a row a clip) and
``sound-<number>.pcm``: int16 little-endian, clips end to end. The same clips in the same order give the same bytes.
Folders of schema 1 (every clip in ``corpus.json``, sound in ``<split>.<kind>.npy``) are read as they are.

    corpus = Corpus.open(corpus_dir("small"))
    for clip in corpus.clips("speech", "train"):
        samples = corpus.samples(clip)          # float32[clip.length], in [-1, 1)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tinyse.core.artifacts import cache_root, json_text, write_text, writing
from tinyse.core.errors import CorpusError
from tinyse.sound.corpus.clips import COLUMNS, MADE_AT_ONCE, NAMES, RATE, Clip, Clips, read_clips, table_of, write_table
from tinyse.sound.corpus.pcm import Pcm, Samples, as_float, content, levels, to_int16
from tinyse.sound.corpus.shards import ShardReader, ShardWriter, shards

KINDS = ("speech", "noise")
ROOM = "room"
SPLITS = ("train", "validation", "test")
SCHEMA = 2
MANIFEST = "corpus.json"
CATALOGUE = "clips-{}.parquet"
LEDGER = "imports.sqlite"
BLOCK = 1 << 20
RECIPES = Path("corpora/voices")
"""Where the shipped recipes that train on it expect the corpus of ``scripts/training-corpus``."""
"""Samples read at once where a whole clip might be long."""

Kind = Literal["speech", "noise", "room"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class NewClip:
    """A clip to be written: as `Clip`, with samples[n] at 16 kHz, float in [-1, 1] or int16, or what gives them."""

    id: str
    kind: str
    split: str
    source: str
    samples: npt.NDArray[Any] | Callable[[], npt.NDArray[Any]]
    package: str = ""
    version: str = ""
    language: str = ""
    licence: str = ""


class Corpus:
    """A corpus folder; open it with `Corpus.open`. May be sent to worker processes, and read from several threads.

    Attributes:
        folder: where it lies.
        meta: what the maker noted (tier, tool, package list).
        hash: SHA-256 over every clip's name, split, source and samples.
        all: every clip, in the order of writing.
    """

    def __init__(self, folder: Path, meta: Mapping[str, Any], digest: str, clips: Clips) -> None:
        """What `open` read."""
        self.folder, self.meta, self.hash, self.all = folder, meta, digest, clips
        self._reader = ShardReader(folder)

    @classmethod
    def open(cls, folder: Path | str) -> Corpus:
        """Open a corpus folder.

        Raises:
            CorpusError: there is none, it is of another schema, or a file of it is missing or cut short.
        """
        folder = Path(folder)
        path = folder / MANIFEST
        if not path.is_file():
            begun = bool(shards(folder))
            shipped = "`scripts/training-corpus` makes it; or " if folder == RECIPES else ""
            raise CorpusError(f"{folder}: holds no corpus" + (", but one that is half written" if begun else ""),
                              "run the same `tinyse data import` again, which goes on where it stopped" if begun else
                              f"{shipped}run `tinyse data fetch` or `tinyse data import`")
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if manifest["schema"] not in (1, SCHEMA):
                raise CorpusError(f"{path}: schema {manifest['schema']}, not {SCHEMA}", "fetch it again")
            clips = Clips(_schema_1(manifest["clips"])) if manifest["schema"] == 1 else read_clips(
                folder / str(manifest["catalogue"]))
            corpus = cls(folder, manifest["meta"], manifest["hash"], clips)
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(f"{path}: is no corpus manifest: {error}", "fetch it again") from error
        corpus._check_sizes()
        return corpus

    @classmethod
    def write(cls, folder: Path | str, clips: Sequence[NewClip],
              meta: Mapping[str, Any] | None = None) -> Corpus:
        """Write ``clips`` as a corpus folder and open it; one that is there stays until all is written.

        Raises:
            CorpusError: an id occurs twice, a kind or split is unknown, samples are not finite or not 1-D.
        """
        folder = Path(folder)
        groups: dict[tuple[str, str], list[NewClip]] = defaultdict(list)
        seen: set[str] = set()
        for clip in clips:
            if clip.kind not in (*KINDS, ROOM) or clip.split not in SPLITS:
                raise CorpusError(f"{clip.id}: kind {clip.kind!r} in split {clip.split!r} is not known",
                                  f"kinds {', '.join((*KINDS, ROOM))}; splits {', '.join(SPLITS)}")
            if clip.id in seen:
                raise CorpusError(f"{clip.id}: occurs twice", "clip names must be unique")
            seen.add(clip.id)
            groups[clip.split, clip.kind].append(clip)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / MANIFEST).exists() and not (folder / LEDGER).exists():
                for path in shards(folder):  # half written
                    path.unlink()
        rows: list[dict[str, Any]] = []
        with ShardWriter(folder) as writer:
            try:
                for key in ((split, kind) for split in SPLITS for kind in (*KINDS, ROOM)):
                    rows += (_written(new, writer) for new in groups.get(key, ()))
                writer.sync()
            except BaseException:
                for path in writer.begun:
                    path.unlink(missing_ok=True)
                raise
        table = table_of({name: [row[name] for row in rows] for name in COLUMNS})
        return commit(folder, table, dict(meta or {}))

    @property
    def kinds(self) -> set[str]:
        """Which of speech and noise it holds."""
        return {kind for kind in KINDS if self.all.which("kind", kind).any()}

    def clips(self, kind: Kind | str, split: Split | str) -> Clips:
        """Clips of one kind in one split, in the order of writing."""
        return self.all.where(self.all.which("kind", kind) & self.all.which("split", split))

    def samples(self, clip: Clip, start: int = 0, length: int | None = None) -> Samples:
        """A clip's samples, or ``length`` of them from ``start``: float32, in [-1, 1)."""
        left = clip.length - start
        count = left if length is None else min(left, length)
        return as_float(self._reader.read(clip.file, clip.offset + start, count))

    def pcm(self, clip: Clip) -> Pcm:
        """A clip's samples: int16[clip.length], read-only."""
        return self._reader.read(clip.file, clip.offset, clip.length)

    def blocks(self, clip: Clip, size: int = BLOCK) -> Iterator[Pcm]:
        """A clip's samples in blocks: int16[size], the last shorter."""
        return self._reader.blocks(clip.file, clip.offset, clip.length, size)

    def recordings(self, clips: Clips) -> Recordings:
        """These clips for reading pieces of them by number."""
        return Recordings(self._reader, clips)

    def swings(self, clips: Clips) -> npt.NDArray[np.int32]:
        """Largest less smallest sample of each, in steps of 16 bits; read where the catalogue lacks it."""
        swings = clips.column("swing").copy()
        for index in np.flatnonzero(swings < 0):
            ends = [(int(block.min()), int(block.max())) for block in self.blocks(clips[int(index)])]
            swings[index] = max(high for _, high in ends) - min(low for low, _ in ends)
        return swings

    def minutes(self, kind: str, split: str) -> float:
        """Minutes of one kind in one split."""
        return int(self.clips(kind, split).column("length").sum()) / RATE / 60

    def verify(self) -> None:
        """Hash every clip's samples again.

        Raises:
            CorpusError: a clip's bytes are not those that were written.
        """
        for clip in self.all:
            if content(self.blocks(clip)).hex() != clip.sha256:
                raise CorpusError(f"{clip.id}: samples differ from the catalogue", "fetch or import it again")
        if corpus_hash(self.all) != self.hash:
            raise CorpusError(f"{self.folder / MANIFEST}: was changed", "fetch or import it again")

    def _check_sizes(self) -> None:
        ends = self.all.column("offset") + self.all.column("length")
        codes, names = self.all.codes("file"), self.all.names("file")
        need = np.zeros(len(names), np.int64)
        np.maximum.at(need, codes, ends)
        for name, samples in zip(names, need, strict=True):
            if self._reader.samples(name) < samples:
                raise CorpusError(f"{self.folder / name}: is cut short", "fetch or import the corpus again")


class Recordings:
    """Some clips of a corpus, to be read by number: from any thread, piece by piece.

    Attributes:
        sizes: samples of each, int64[n].
    """

    def __init__(self, reader: ShardReader, clips: Clips) -> None:
        """Keep where each lies, not what it is called."""
        self._reader = reader
        self._files, self._codes = clips.names("file"), clips.codes("file")
        self._offsets, self.sizes = clips.column("offset"), clips.column("length")

    def read(self, index: int, start: int = 0, stop: int | None = None) -> Samples:
        """float32[stop - start] of one of them, in [-1, 1)."""
        stop = int(self.sizes[index]) if stop is None else stop
        return as_float(self._reader.read(self._files[self._codes[index]], int(self._offsets[index]) + start,
                                          stop - start))

    def blocks(self, index: int, size: int) -> Iterator[Samples]:
        """One of them in blocks of float32[size]."""
        return map(as_float, self._reader.blocks(self._files[self._codes[index]], int(self._offsets[index]),
                                                 int(self.sizes[index]), size))


def commit(folder: Path, table: Any, meta: Mapping[str, Any]) -> Corpus:
    """Make a catalogue the folder's own and open it; then remove what only an earlier one needed."""
    clips = Clips(table)
    digest = corpus_hash(clips)
    catalogue = folder / CATALOGUE.format(digest[:12])
    write_table(catalogue, table)
    write_text(folder / MANIFEST, json_text({"schema": SCHEMA, "rate": RATE, "hash": digest, "meta": dict(meta),
                                             "catalogue": catalogue.name, "clips": len(clips)}))
    needed = {catalogue.name, *clips.names("file")}
    packed = (folder / f"{split}.{kind}.npy" for split in SPLITS for kind in KINDS)
    for path in (*folder.glob(CATALOGUE.format("*")), *packed, *shards(folder)):
        if path.name not in needed:
            with contextlib.suppress(OSError):
                path.unlink()
    return Corpus.open(folder)


def root_dir() -> Path:
    """Where fetched corpora live: $TINYSE_DATA, or tinyse/corpus in the user's cache folder."""
    if chosen := os.environ.get("TINYSE_DATA"):
        return Path(chosen)
    return cache_root() / "tinyse" / "corpus"


def corpus_dir(tier: str = "small", root: Path | str | None = None) -> Path:
    """The folder of a fetched tier, under ``root`` or the default root."""
    return (Path(root) if root else root_dir()) / tier


def corpus_hash(clips: Clips) -> str:
    """SHA-256 over what matters of every clip, in any order of writing."""
    digest = hashlib.sha256()
    ids = clips.texts("id")
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    for at in range(0, len(order), MADE_AT_ONCE):
        some = clips.where(order[at:at + MADE_AT_ONCE])
        for row in zip(*(some.texts(name) for name in ("id", "kind", "split", "source", "sha256")), strict=True):
            digest.update(("\t".join(row) + "\n").encode(*NAMES))
    return digest.hexdigest()


def _written(new: NewClip, writer: ShardWriter) -> dict[str, Any]:
    samples = new.samples() if callable(new.samples) else new.samples
    if samples.ndim != 1 or not len(samples):
        raise CorpusError(f"{new.id}: has no samples in one dimension", "give mono samples")
    if samples.dtype != np.int16 and not np.isfinite(samples).all():
        raise CorpusError(f"{new.id}: holds samples that are not finite", "leave the file out")
    pcm = to_int16(samples)
    file, offset = writer.append(pcm)
    names = ("id", "kind", "split", "source", "package", "version", "language", "licence")
    return {**{name: getattr(new, name) for name in names}, "file": file, "offset": offset, **levels(pcm)}


def _schema_1(rows: Iterable[Mapping[str, Any]]) -> Any:
    """A catalogue of what was written before it was one."""
    rows = [{**row, "file": f"{row['split']}.{row['kind']}.npy", "swing": -1} for row in rows]
    return table_of({name: [row[name] for row in rows] for name in COLUMNS})
