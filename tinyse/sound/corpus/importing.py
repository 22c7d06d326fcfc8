"""Import a user's own recordings as a corpus, with splits disjoint by speaker and by noise source."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyse.core.artifacts import writing
from tinyse.core.errors import AudioError, CorpusError
from tinyse.core.progress import Progress, Step, silent
from tinyse.core.workers import Workers
from tinyse.sound.corpus.decode import SHORTEST, SILENT_RMS_DB, limit, read_sound, to_mono_16k, trim
from tinyse.sound.corpus.difference import noise_of
from tinyse.sound.corpus.layouts import Job, Patterns, find_jobs, passed_over
from tinyse.sound.corpus.level import LONGEST, at_pauses
from tinyse.sound.corpus.mix import active_level
from tinyse.sound.corpus.splits import Piece, assign, by_file, check_ratios, notes, untrainable
from tinyse.sound.corpus.store import KINDS, RATE, Corpus, NewClip, disjoint, to_int16
from tinyse.sound.framing import Framing

RATIOS = (0.8, 0.1, 0.1)
PAUSE_LEVEL = 10 ** (-30 / 20)
"""A piece of a long recording that is softer than this beside the whole holds no speech."""
FEW = 100
"""Up to this many files are read in this process; more, in workers."""

Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        corpus: opened.
        skipped: one line for each file left out: name and reason.
        doubles: one line for each recording that occurred before: its name and the one that is kept.
        passed: how many files are of no use to the layout, by suffix.
        notes: what a user should know about the splits.
        warning: why the corpus cannot be trained on, and what helps; empty where it can.
    """

    corpus: Corpus
    skipped: tuple[str, ...]
    doubles: tuple[str, ...]
    passed: Mapping[str, int]
    notes: tuple[str, ...]
    warning: str


def import_corpus(source: Path | str, folder: Path | str, layout: str = "plain", seed: int = 0,
                  ratios: Sequence[float] = RATIOS, speaker: str | None = None, strict: bool = False,
                  workers: int = 2, progress: Progress = silent, noise_source: str | None = None) -> Imported:
    """Convert a data set to a corpus: 16 kHz mono, split by speaker and by noise source.

    Args:
        source: the data set's folder.
        folder: where the corpus is written.
        layout: "plain", "voicebank", "dns" or "chime"; see `tinyse.sound.corpus.layouts`.
        seed: of the split; the same seed and files give the same bytes.
        ratios: of train, validation and test, by duration; every split that can gets at least one source.
        speaker: regular expression that finds the speaker in a path, instead of the layout's rule.
        strict: raise at the first bad file instead of skipping it.
        workers: processes that read files, for large sets.
        progress: receives the task "import".
        noise_source: regular expression that finds the noise source in a path, instead of the layout's rule.

    Raises:
        CorpusError: the folder is not of the layout, nothing usable is in it, or, when strict, a file is bad.
    """
    check_ratios(ratios)
    patterns = Patterns(_compiled("speaker", speaker), _compiled("noise source", noise_source))
    folder = Path(folder)
    jobs = find_jobs(Path(source), layout, patterns)
    passed = passed_over(Path(source), jobs)
    skipped: list[str] = []
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writing(folder), tempfile.TemporaryFile(dir=folder) as spool:
        pieces: list[Piece] = []
        first: dict[tuple[str, bytes], str] = {}
        doubles: list[str] = []
        remarks: list[str] = []
        offset = 0
        for done, (job, results) in enumerate(_read_all(jobs, workers), 1):
            for number, (kind, pcm, reason) in enumerate(results):
                if pcm is None:
                    line = f"{job.id}: {reason}"
                    if strict:
                        raise CorpusError(line, "repair or remove it, or import without --strict")
                    skipped.append(line)
                    continue
                data = pcm.astype("<i2").tobytes()
                if (known := first.setdefault((kind, hashlib.sha256(data).digest()), job.id)) != job.id:
                    doubles.append(f"{job.id}: the same {kind} as {known}")
                    continue
                if reason:
                    remarks.append(f"{job.id}: {reason}")
                name = f"{layout}/{kind}/{job.id}"
                if sum(found == kind for found, *_ in results) > 1:
                    name += f"#{number:03d}"
                pieces.append(Piece(name, kind, job.speaker if kind == "speech" else job.source, job.part, offset,
                                    len(pcm)))
                spool.write(data)
                offset += len(pcm)
            progress(Step("import", done, len(jobs), job.id))
        for kind in KINDS:
            if not any(piece.kind == kind for piece in pieces):
                why = skipped[0] if skipped else ", ".join(f"{count} {suffix}" for suffix, count in passed.items())
                raise CorpusError(f"{source}: no usable {kind} found" + (f" ({why})" if why else ""),
                                  f"is it of the {layout} layout, and sound such as WAV or FLAC?")
        spool.flush()
        samples: Pcm = np.memmap(spool, np.int16, "r", shape=(offset,))
        speech, noise = ([piece for piece in pieces if piece.kind == kind] for kind in KINDS)
        alone = noise if noise_source else by_file(noise, seed, ratios)
        if alone != noise:
            found = len({piece.source for piece in noise})
            remarks.append(f"noise is split by file, since the names give {found} noise source{'s' * (found > 1)}: the "
                           "same place may be heard in two splits (--noise-source REGEX finds the sources)")
        clips = [NewClip(piece.id, piece.kind, splits[piece.source], piece.source,
                         samples[piece.offset:piece.offset + piece.length], layout, "", "", "as the source")
                 for dealt in (speech, alone) for splits in [assign(dealt, seed, ratios)] for piece in dealt]
        meta = {"tier": f"import-{layout}", "seed": seed, "ratios": list(ratios), "skipped": len(skipped),
                "doubles": len(doubles)}
        corpus = Corpus.write(folder, clips, meta)
    disjoint(corpus)
    return Imported(corpus, tuple(skipped), tuple(doubles), passed, (*notes(corpus, ratios), *remarks),
                    untrainable(corpus, ratios))


def _compiled(what: str, pattern: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if pattern else None
    except re.error as error:
        raise CorpusError(f"{what} pattern {pattern!r}: {error}", "give a regular expression") from error


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
    """Read one file or pair: (kind, int16[n] or None, why not, or a remark) for each clip it makes. Runs in workers."""
    try:
        if job.noise is not None:
            return [("noise", *_fit(_load(job.noise), "noise"))]
        assert job.clean is not None
        clean = _load(job.clean)
    except AudioError as error:
        return [("noise" if job.noise else "speech", None, str(error))]
    results: Result = _speech(clean) if job.keep_clean else []
    if job.noisy is not None:
        try:
            noise, moved = noise_of(_load(job.noisy), clean)
            pcm, reason = _fit(noise, "noise")
            results.append(("noise", pcm, reason or moved))
        except AudioError as error:
            results.append(("noise", None, str(error)))
    return results


def _speech(clean: npt.NDArray[np.float32]) -> Result:
    pcm, reason = _fit(trim(clean), "speech")
    if pcm is None or len(pcm) <= LONGEST:
        return [("speech", pcm, reason)]
    floor = active_level(pcm) * PAUSE_LEVEL
    pieces: list[Any] = [trim(piece) for piece in at_pauses(pcm)]
    return [("speech", piece, "") for piece in pieces if len(piece) >= RATE and active_level(piece) >= floor]


def _load(path: Path) -> npt.NDArray[np.float32]:
    if path.exists() and not path.is_file():
        raise AudioError("is a pipe or a device, or a folder", "give files")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AudioError(f"{path.name} cannot be read: {error.strerror}") from error
    reader = "g722" if path.suffix.lower() == ".g722" else "file"
    samples, rate = read_sound(data, reader)
    return to_mono_16k(samples, rate)




def _fit(samples: npt.NDArray[np.float32], kind: str) -> tuple[Pcm | None, str]:
    if len(samples) < SHORTEST[kind] * RATE or len(samples) <= Framing().frame:  # training asks for a frame
        return None, "is too short"
    if active_level(samples) < 10 ** (SILENT_RMS_DB / 20):
        return None, f"is silent: below {SILENT_RMS_DB:g} dB of full scale"
    return to_int16(limit(samples)), ""
