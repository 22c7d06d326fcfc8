"""Import a user's own recordings as a corpus, with splits disjoint by speaker and by noise source.

First every file is read, in worker processes, and what it gave is written down (`tinyse.sound.corpus.ledger`); then
that becomes a catalogue. So memory holds names and numbers only, and an import that was stopped goes on.
"""

from __future__ import annotations

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.core.artifacts import write_text
from tinyse.core.errors import CorpusError
from tinyse.core.progress import Progress, Step, printable, silent
from tinyse.core.workers import AHEAD, Workers
from tinyse.sound.corpus.clips import COLUMNS, NUMBERS, Clips, table_of
from tinyse.sound.corpus.job import Job
from tinyse.sound.corpus.layouts import Patterns, find_jobs, passed_over
from tinyse.sound.corpus.ledger import Ledger
from tinyse.sound.corpus.reading import CHANGED, key_of, read_batch, read_steadily
from tinyse.sound.corpus.reasons import reasons
from tinyse.sound.corpus.splits import Piece, assign, by_file, check_ratios, disjoint, notes, untrainable, without_known
from tinyse.sound.corpus.store import KINDS, MANIFEST, ROOM, SPLITS, Corpus, commit

RATIOS = (0.8, 0.1, 0.1)
FEW = 100
"""Up to this many files are read in this process; more, in workers."""
BATCH = 16
"""Files that a worker is given at once."""
UNDER_WAY = 1 << 26
"""Bytes in all files that are out with workers; sound may be ten times as many."""
SKIPPED = "skipped.txt"


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        corpus: opened.
        read: how many files were read now; the others were read before.
        skipped: one line for each file left out: name and reason.
        doubles: one line for each recording that occurred before: its name and the one that is kept.
        passed: how many files are of no use to the layout, by suffix.
        notes: what a user should know about the splits.
        warning: why the corpus cannot be trained on, and what helps; empty where it can.
    """

    corpus: Corpus
    read: int
    skipped: tuple[str, ...]
    doubles: tuple[str, ...]
    passed: Mapping[str, int]
    notes: tuple[str, ...]
    warning: str


@dataclass
class _Gathered:
    """What the files of an import hold: pieces to be dealt, and what is said of the others."""

    pieces: list[Piece] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def import_corpus(source: Path | str | None, folder: Path | str, layout: str = "plain", seed: int = 0,
                  ratios: Sequence[float] = RATIOS, speaker: str | None = None, strict: bool = False,
                  workers: int | None = None, progress: Progress = silent, noise_source: str | None = None,
                  rooms: Path | str | None = None, add: bool = False, name: str | None = None) -> Imported:
    """Convert a data set to a corpus: 16 kHz mono, split by speaker and by noise source.

    What an earlier import into the same folder has read is not read again, finished or not.

    Args:
        source: the data set's folder; None where only ``rooms`` are added.
        folder: where the corpus is written.
        layout: a key of `tinyse.sound.corpus.layouts.LAYOUTS`.
        seed: of the split; the same seed and files give the same bytes.
        ratios: of train, validation and test, by duration; every split that can gets at least one source.
        speaker: regular expression that finds the speaker in a path, instead of the layout's rule.
        strict: refuse a data set with bad files, after all were read, instead of skipping them.
        workers: processes that read files, for large sets; None for as many as there are cores.
        progress: receives the task "import".
        noise_source: regular expression that finds the noise source in a path, instead of the layout's rule.
        rooms: a folder of measured impulse responses.
        add: keep the clips of the corpus that is there; its sources keep their splits.
        name: package of the clips, and begin of their ids; default: the layout, or the folder's name with ``add``.

    Raises:
        CorpusError: the folder is not of the layout, nothing usable is in it, or, when strict, files are bad.
        TinyseError: the disk is full, or another import writes to the folder.
    """
    check_ratios(ratios)
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise CorpusError(f"{folder}: is no folder", "a new one for the corpus")
    if any(given is not None and Path(given).resolve() == folder.resolve() for given in (source, rooms)):
        raise CorpusError(f"{folder}: holds the recordings themselves", "a folder of its own for the corpus")
    before = Corpus.open(folder) if add and (folder / MANIFEST).is_file() else None
    jobs, passed = _jobs(source, rooms, layout, Patterns(_compiled("speaker", speaker),
                                                         _compiled("noise source", noise_source)))
    package = name or (Path(source or rooms or "rooms").resolve().name if add else layout)
    with Ledger(folder) as ledger:
        keys, read = _read(jobs, ledger, workers or os.cpu_count() or 1, progress)
        ledger.keep()
        gathered = _gather(jobs, keys, ledger, package)
        _check(gathered, jobs, before, passed, strict, f"{source or rooms}", layout)
        if not add:
            _refuse_loss(folder, gathered.pieces)
        if before is not None:
            gathered.pieces, known = without_known(gathered.pieces, before.all)
            gathered.doubles += known
        del jobs, keys  # of a million files, half a gigabyte
        table, dealt = _catalogue(gathered.pieces, ledger, before, package, seed, ratios, bool(noise_source))
        meta: dict[str, Any] = {"tier": f"import-{layout}", "seed": seed, "ratios": list(ratios),
                                "skipped": len(gathered.skipped), "doubles": len(gathered.doubles)}
        if before is not None:
            meta = {**before.meta, "added": [*before.meta.get("added", ()), {**meta, "package": package}]}
        disjoint(Clips(table))
        corpus = commit(folder, table, meta)
        ledger.only(set(corpus.all.names("file")))
    _write_skipped(folder, gathered.skipped)
    return Imported(corpus, read, tuple(gathered.skipped), tuple(gathered.doubles), passed,
                    (*notes(corpus, ratios), *dealt, *gathered.remarks), untrainable(corpus, ratios))


def _jobs(source: Path | str | None, rooms: Path | str | None, layout: str, patterns: Patterns,
          ) -> tuple[list[Job], dict[str, int]]:
    if source is None and rooms is None:
        raise CorpusError("nothing to import", "give a folder of recordings, or --rooms")
    jobs = [] if source is None else find_jobs(Path(source), layout, patterns)
    passed = {} if source is None else passed_over(Path(source), jobs)
    measured = [] if rooms is None else find_jobs(Path(rooms), "rooms")
    if rooms is not None and not measured:
        raise CorpusError(f"{rooms}: holds no sound files", "give a folder of impulse responses")
    return [*jobs, *measured], passed


def _read(jobs: Sequence[Job], ledger: Ledger, workers: int, progress: Progress) -> tuple[list[bytes], int]:
    """The key of every job; those that the ledger does not know are read."""
    keys = [key_of(job) for job in jobs]
    new = [index for index, key in enumerate(keys) if not ledger.has(key)]
    new.sort(key=lambda index: jobs[index].files[0])  # mixtures of one clean file come together
    done = len(jobs) - len(new)
    if done and new:
        progress(Step("import", done, len(jobs), f"{done} read before"))
    for index, (key, result) in _results(jobs, new, ledger.folder, workers):
        keys[index] = key
        if key:
            ledger.add(key, result)
        done += 1
        progress(Step("import", done, len(jobs), jobs[index].id))
    return keys, len(new)


def _results(jobs: Sequence[Job], new: Sequence[int], folder: Path, workers: int) -> Iterator[tuple[int, Any]]:
    if len(new) <= FEW or workers < 2:
        yield from ((index, read_steadily(folder, jobs[index])) for index in new)
        return
    batches = list(_batches(jobs, new, UNDER_WAY // (AHEAD * workers)))
    given = ([jobs[index] for index in batch] for batch in batches)
    with Workers(min(workers, len(batches))) as pool:
        for batch, results in zip(batches, pool.in_order(partial(read_batch, folder), given), strict=True):
            yield from zip(batch, results, strict=True)


def _batches(jobs: Sequence[Job], new: Iterable[int], most: int) -> Iterator[list[int]]:
    """Jobs to be read by one worker: a few, not too much sound, and all that share a clean file."""
    batch: list[int] = []
    size = 0
    for index in new:
        name = jobs[index].files[0]
        if batch and (len(batch) >= BATCH or size >= most) and jobs[batch[-1]].files[0] != name:
            yield batch
            batch, size = [], 0
        batch.append(index)
        size += os.path.getsize(name) if os.path.isfile(name) else 0
    if batch:
        yield batch


def _gather(jobs: Sequence[Job], keys: Sequence[bytes], ledger: Ledger, package: str) -> _Gathered:
    """Pieces in the order of the jobs, each recording once."""
    found = _Gathered()
    first: dict[tuple[str, bytes], int] = {}
    for index, (job, key) in enumerate(zip(jobs, keys, strict=True)):
        results = ledger.results(key) if key else [("", None, CHANGED)]
        kinds = Counter(kind for kind, _, _ in results)
        for number, (kind, sha256, note) in enumerate(results):
            if sha256 is None:
                found.skipped.append(f"{job.id}: {note}")
                continue
            again = (kind, sha256) in first
            if (known := first.setdefault((kind, sha256), index)) == index and again and kind == ROOM:
                continue  # two channels alike
            if known != index:
                found.doubles.append(f"{job.id}: the same {kind} as {jobs[known].id}")
                continue
            if note:
                found.remarks.append(f"{job.id}: {note}")
            name = f"{package}/{kind}/{job.id}" + (f"#{number:03d}" if kinds[kind] > 1 else "")
            source = job.speaker if kind == "speech" else job.source
            found.pieces.append(Piece(name, kind, source, job.part, ledger.sound(sha256)["length"], sha256))
    return found


def _check(found: _Gathered, jobs: Sequence[Job], before: Corpus | None, passed: Mapping[str, int], strict: bool,
           source: str, layout: str) -> None:
    if strict and found.skipped:
        said = "; ".join(f"{count} files: {reason}" for reason, count in reasons(found.skipped).items())
        raise CorpusError(f"{source}: {len(found.skipped)} bad files: {said}; the first is {found.skipped[0]}",
                          "repair or remove them, or import without --strict, which reads no file again")
    asked = {kind for job in jobs for kind in job.kinds}
    asked |= set(KINDS) if layout in ("plain", "dns") and asked - {ROOM} else set()
    for kind in (*KINDS, ROOM):
        if kind in asked and not any(piece.kind == kind for piece in found.pieces):
            why = found.skipped[0] if found.skipped else ", ".join(f"{n} {suffix}" for suffix, n in passed.items())
            raise CorpusError(f"{source}: no usable {kind} found" + (f" ({why})" if why else ""),
                              f"is it of the {layout} layout, and sound such as WAV or FLAC?")
    if not found.pieces and before is None:
        raise CorpusError(f"{source}: no usable sound found", f"is it of the {layout} layout?")


def _refuse_loss(folder: Path, pieces: Sequence[Piece]) -> None:
    """Imported again, a folder may lose a clip or two; most of them would be another corpus."""
    if not (folder / MANIFEST).is_file():
        return
    there = set(Corpus.open(folder).all.texts("id"))
    lost = there - {piece.id for piece in pieces}
    if 2 * len(lost) > len(there):
        raise CorpusError(f"{folder}: {len(lost)} of the {len(there)} clips there are not of this import",
                          "--add keeps them; or remove the folder, or give another --out")


def _catalogue(pieces: Sequence[Piece], ledger: Ledger, before: Corpus | None, package: str, seed: int,
               ratios: Sequence[float], named: bool) -> tuple[Any, list[str]]:
    """The table of all clips, and what is to be said of how noise was dealt."""
    said: list[str] = []
    rows: list[tuple[int, int, str, Piece]] = []
    kept = _kept(before, {piece.id for piece in pieces})
    for kind in KINDS:
        some = [piece for piece in pieces if piece.kind == kind]
        stay = {} if before is None else {
            source: split for split in SPLITS for source in before.clips(kind, split).groups("source")}
        if kind == "noise" and not named:
            alone = by_file(some, seed, ratios, stay)
            if alone is not some:
                found = len({piece.source for piece in some})
                said.append(f"noise is split by file, since the names give {found} noise source{'s' * (found > 1)}: "
                            "the same place may be heard in two splits (--noise-source REGEX finds the sources)")
            some = alone
        splits = assign(some, seed, ratios, stay)
        rows += [(SPLITS.index(split := splits[piece.source]), KINDS.index(kind), split, piece) for piece in some]
    rows += [(0, len(KINDS), "train", piece) for piece in pieces if piece.kind == ROOM]
    rows.sort(key=lambda row: row[:2])  # stable: by name within
    columns: dict[str, Any] = {name: array(np.dtype(NUMBERS[name]).char) if name in NUMBERS else [] for name in COLUMNS}
    for name, values in (kept or {}).items():
        columns[name].extend(values)
    same = {"package": package, "version": "", "language": "", "licence": "as the source"}
    for _, _, split, piece in rows:
        row = {"id": piece.id, "kind": piece.kind, "split": split, "source": piece.source, **same,
               **ledger.sound(piece.sha256)}
        for name, column in columns.items():
            column.append(row[name])
    return table_of(columns), said


def _kept(before: Corpus | None, new: set[str]) -> dict[str, list[Any]] | None:
    """The columns of an earlier corpus, without the clips that come again."""
    if before is None:
        return None
    ids = before.all.texts("id")
    clips = before.all.where(np.fromiter((name not in new for name in ids), bool, len(ids)))
    return {name: clips.column(name).tolist() if name in NUMBERS else clips.texts(name) for name in COLUMNS}


def _write_skipped(folder: Path, skipped: Sequence[str]) -> None:
    if skipped:
        write_text(folder / SKIPPED, "".join(f"{printable(line)}\n" for line in skipped))
    else:
        (folder / SKIPPED).unlink(missing_ok=True)


def _compiled(what: str, pattern: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if pattern else None
    except re.error as error:
        raise CorpusError(f"{what} pattern {pattern!r}: {error}", "give a regular expression") from error
