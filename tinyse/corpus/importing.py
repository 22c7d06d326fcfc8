"""Import a user's own recordings as a corpus, with splits disjoint by speaker and by noise source."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyse.artifacts import writing
from tinyse.corpus.decode import SHORTEST, SILENT_RMS_DB, limit, read_sound, to_mono_16k, trim
from tinyse.corpus.layouts import Job, find_jobs
from tinyse.corpus.store import RATE, SPLITS, Corpus, NewClip, disjoint, to_int16
from tinyse.errors import AudioError, CorpusError
from tinyse.progress import Progress, Step, silent
from tinyse.workers import Workers

RATIOS = (0.8, 0.1, 0.1)
PAIR_TOLERANCE = RATE // 10
FEW = 100
"""Up to this many files are read in this process; more, in workers."""

Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        corpus: opened.
        skipped: one line for each file left out: name and reason.
        notes: what a user should know about the splits.
    """

    corpus: Corpus
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Piece:
    id: str
    kind: str
    source: str
    part: str
    offset: int
    length: int


def import_corpus(source: Path | str, folder: Path | str, layout: str = "plain", seed: int = 0,
                  ratios: Sequence[float] = RATIOS, speaker: str | None = None, strict: bool = False,
                  workers: int = 2, progress: Progress = silent) -> Imported:
    """Convert a data set to a corpus: 16 kHz mono, split by speaker and by noise source.

    Args:
        source: the data set's folder.
        folder: where the corpus is written.
        layout: "plain", "voicebank", "dns" or "chime"; see `tinyse.corpus.layouts`.
        seed: of the split; the same seed and files give the same bytes.
        ratios: of train, validation and test, by duration; every split that can gets at least one source.
        speaker: regular expression that finds the speaker in a path, instead of the layout's rule.
        strict: raise at the first bad file instead of skipping it.
        workers: processes that read files, for large sets.
        progress: receives the task "import".

    Raises:
        CorpusError: the folder is not of the layout, nothing usable is in it, or, when strict, a file is bad.
    """
    if len(ratios) != 3 or min(ratios) < 0 or not ratios[0] > 0:
        raise CorpusError(f"split {ratios} is not three shares", "give train, validation and test, such as 80,10,10")
    try:
        pattern = re.compile(speaker) if speaker else None
    except re.error as error:
        raise CorpusError(f"speaker pattern {speaker!r}: {error}", "give a regular expression") from error
    folder = Path(folder)
    jobs = find_jobs(Path(source), layout, pattern)
    skipped: list[str] = []
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writing(folder), tempfile.TemporaryFile(dir=folder) as spool:
        pieces: list[_Piece] = []
        offset = 0
        for done, (job, results) in enumerate(_read_all(jobs, workers), 1):
            for kind, pcm, reason in results:
                if pcm is None:
                    line = f"{job.id}: {reason}"
                    if strict:
                        raise CorpusError(line, "repair or remove it, or import without --strict")
                    skipped.append(line)
                    continue
                name = f"{layout}/{kind}/{job.id}"
                pieces.append(_Piece(name, kind, job.speaker if kind == "speech" else job.source, job.part, offset,
                                     len(pcm)))
                spool.write(pcm.astype("<i2").tobytes())
                offset += len(pcm)
            progress(Step("import", done, len(jobs), job.id))
        for kind in ("speech", "noise"):
            if not any(piece.kind == kind for piece in pieces):
                why = f" ({skipped[0]})" if skipped else ""
                raise CorpusError(f"{source}: no usable {kind} found{why}", f"is it of the {layout} layout?")
        spool.flush()
        samples: Pcm = np.memmap(spool, np.int16, "r", shape=(offset,))
        splits = {kind: assign([piece for piece in pieces if piece.kind == kind], seed, ratios)
                  for kind in ("speech", "noise")}
        clips = [NewClip(piece.id, piece.kind, splits[piece.kind][piece.source], piece.source,
                         samples[piece.offset:piece.offset + piece.length], layout, "", "", "as the source")
                 for piece in pieces]
        meta = {"tier": f"import-{layout}", "seed": seed, "ratios": list(ratios), "skipped": len(skipped)}
        corpus = Corpus.write(folder, clips, meta)
    disjoint(corpus)
    return Imported(corpus, tuple(skipped), tuple(_notes(corpus)))


def assign(pieces: Iterable[_Piece], seed: int, ratios: Sequence[float]) -> dict[str, str]:
    """The split of every source.

    Where the data set's own parts keep each source in one, they stand; a part named for some sources only (a
    test set) keeps its split, and the rest share the others. Otherwise sources are dealt out in hashed order:
    test and validation take sources until they have their share, at least one each where three are there.
    """
    minutes: dict[str, float] = defaultdict(float)
    parts: dict[str, set[str]] = defaultdict(set)
    for piece in pieces:
        minutes[piece.source] += piece.length
        parts[piece.source].add(piece.part)
    fixed: dict[str, str] = {}
    if all(len(names) == 1 for names in parts.values()):
        fixed = {source: part for source, names in parts.items() if (part := next(iter(names)))}
    open_splits = [split for split in SPLITS if split not in fixed.values()] if fixed else list(SPLITS)
    return {**fixed, **_deal({source: value for source, value in minutes.items() if source not in fixed},
                             open_splits or ["train"], seed, dict(zip(SPLITS, ratios, strict=True)))}


def _deal(minutes: Mapping[str, float], splits: Sequence[str], seed: int, ratios: Mapping[str, float],
          ) -> dict[str, str]:
    order = sorted(minutes, key=lambda source: hashlib.sha256(f"{seed}:{source}".encode()).digest())
    whole = sum(ratios[split] for split in splits) or 1.0
    total = sum(minutes.values())
    dealt: dict[str, str] = {}
    for split in ("test", "validation"):
        share = ratios[split] / whole * total if split in splits and "train" in splits else 0.0
        taken = 0.0
        while share and order and len(order) > 1 and taken < share:
            if taken and taken + minutes[order[0]] / 2 > share:
                break
            taken += minutes[order[0]]
            dealt[order.pop(0)] = split
    return {**dealt, **dict.fromkeys(order, "train" if "train" in splits else splits[0])}


def _notes(corpus: Corpus) -> Iterator[str]:
    for kind in ("speech", "noise"):
        for split in SPLITS:
            if not corpus.clips(kind, split):
                what = "speakers" if kind == "speech" else "noise sources"
                yield f"{split} has no {kind}: there are too few {what} to keep splits apart"


Result = list[tuple[str, Pcm | None, str]]


def _read_all(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Result]]:
    with _mapper(len(jobs), workers) as read:
        yield from zip(jobs, read(jobs), strict=True)


@contextmanager
def _mapper(count: int, workers: int):  # type: ignore[no-untyped-def]
    if count <= FEW or workers < 2:
        yield lambda jobs: map(read_job, jobs)
        return
    with Workers(workers) as pool:
        yield lambda jobs: (result for at in range(0, len(jobs), 1024)  # a bounded queue: large sets do not fit
                            for result in pool.map(read_job, jobs[at:at + 1024], chunksize=16))


def read_job(job: Job) -> Result:
    """Read one file or pair: (kind, int16[n] or None, why not) for each clip it makes. Runs in workers."""
    try:
        if job.noise is not None:
            return [("noise", *_fit(_load(job.noise), "noise"))]
        assert job.clean is not None
        clean = _load(job.clean)
    except AudioError as error:
        return [("noise" if job.noise else "speech", None, str(error))]
    results: Result = [("speech", *_fit(trim(clean), "speech"))] if job.keep_clean else []
    if job.noisy is not None:
        try:
            results.append(("noise", *_fit(_difference(_load(job.noisy), clean), "noise")))
        except AudioError as error:
            results.append(("noise", None, str(error)))
    return results


def _load(path: Path) -> npt.NDArray[np.float32]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AudioError(f"{path.name} cannot be read: {error.strerror}") from error
    reader = "g722" if path.suffix.lower() == ".g722" else "file"
    samples, rate = read_sound(data, reader)
    return to_mono_16k(samples, rate)


def _difference(noisy: npt.NDArray[np.float32], clean: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if abs(len(noisy) - len(clean)) > PAIR_TOLERANCE:
        raise AudioError("noisy and clean differ by more than 0.1 s: not a pair", "pairs must be time-aligned")
    length = min(len(noisy), len(clean))
    return noisy[:length] - clean[:length]


def _fit(samples: npt.NDArray[np.float32], kind: str) -> tuple[Pcm | None, str]:
    if len(samples) < SHORTEST[kind] * RATE:
        return None, "is too short"
    if 10 * np.log10(max(float(np.mean(np.square(samples, dtype=np.float64))), 1e-12)) < SILENT_RMS_DB:
        return None, "is silent"
    return to_int16(limit(samples)), ""
