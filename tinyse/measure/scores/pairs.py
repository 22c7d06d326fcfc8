"""Clips to score: seeded mixtures of a corpus, or a user's own noisy and clean files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyse.core.errors import CorpusError
from tinyse.measure.scores.metrics import Signal

if TYPE_CHECKING:
    from tinyse.sound.corpus.mix import Mixture

FILE_ID = re.compile(r"fileid_\d+$")


@dataclass(frozen=True)
class Pair:
    """A clip to score: ``noisy`` and ``clean``, float32[samples], 16 kHz; ``snr`` in dB or None."""

    name: str
    snr: float | None
    noisy: Signal
    clean: Signal


def corpus_pairs(corpus: Path | str | None, split: str, snrs: Sequence[float], count_per_snr: int,
                 seconds: float, seed: int) -> Iterator[Pair]:
    """Seeded mixtures of a corpus folder (None: the fetched small one) as pairs, in a fixed order."""
    from tinyse.sound.corpus.mix import test_mixtures
    from tinyse.sound.corpus.store import Corpus, corpus_dir

    opened = Corpus.open(corpus or corpus_dir("small"))
    yield from paired(test_mixtures(opened, split, tuple(snrs), count_per_snr, seconds, seed))


def paired(mixtures: Iterable[Mixture]) -> Iterator[Pair]:
    """Mixtures of a corpus as pairs."""
    for mixture in mixtures:
        yield Pair(mixture.name, mixture.snr, mixture.noisy, mixture.clean)


def read_signal(path: Path, over: dict[Path, float] | None = None) -> Signal:
    """A whole sound file as float32[samples], 16 kHz mono; AudioError where it is no sound.

    Where its samples reach beyond full scale, ``over`` is told by how many dB.
    """
    from tinyse.sound.audio import AudioReader

    with AudioReader(path) as reader:
        signal = np.concatenate([np.zeros(0, np.float32), *reader.blocks()])
    if reader.over_db and over is not None:
        over[path] = reader.over_db
    return signal


def over_note(over: Mapping[Path, float]) -> str:
    """One line on the files that reach beyond full scale, or ""."""
    if not over:
        return ""
    worst = max(over, key=lambda path: over[path])
    return (f"{len(over)} files reach beyond full scale, {worst} by {over[worst]:.1f} dB: "
            "scale floating-point samples to -1..1")


def folder_pairs(noisy: Path, clean: Path, over: dict[Path, float] | None = None) -> Iterator[Pair]:
    """A user's own pairs: files of the same name (any sound format) in two folders and below.

    A pair is cut to the shorter of the two; a difference above 0.1 s is refused as not a pair. ``over`` is filled with
    the files that reach beyond full scale, and by how many dB.

    Raises:
        CorpusError: a folder is missing, a partner is missing or not the only one, or lengths differ.
    """
    for folder in (noisy, clean):
        if not folder.is_dir():
            raise CorpusError(f"{folder}: no such folder", "give the folders of noisy and of clean files")
    for name, file, partner in partners(noisy, clean):
        degraded, reference = (read_signal(path, over) for path in (file, partner))
        if abs(len(degraded) - len(reference)) > 1600:
            raise CorpusError(f"{file.name}: noisy and clean differ by more than 0.1 s",
                              "pairs must be time-aligned")
        length = min(len(degraded), len(reference))
        yield Pair(name, None, degraded[:length], reference[:length])


def partners(noisy: Path, clean: Path) -> list[tuple[str, Path, Path]]:
    """Name, noisy file and clean file of each pair.

    The clean file lies at the same path, whatever its sound suffix; where there is none, it has the same name in any
    folder, or the same number after ``fileid_`` (the DNS test sets). Of two, the one with the same suffix is meant.

    Raises:
        CorpusError: there is no sound, or a partner is missing or not the only one.
    """
    from tinyse.sound.corpus.files import sound_files

    at: dict[str, list[Path]] = defaultdict(list)
    named: dict[str, list[Path]] = defaultdict(list)
    for path in sound_files(clean):
        at[path.relative_to(clean).with_suffix("").as_posix()].append(path)
        named[path.stem].append(path)
        if match := FILE_ID.search(path.stem):
            named[match[0]].append(path)
    found: dict[str, tuple[str, Path, Path]] = {}
    for file in sound_files(noisy):
        name = file.relative_to(noisy).with_suffix("").as_posix()
        numbered = FILE_ID.search(file.stem)
        some = at.get(name) or named.get(file.stem) or (named.get(numbered[0]) if numbered else None) or []
        if len(some) > 1:
            some = [path for path in some if path.suffix == file.suffix] or some
        if not some:
            raise CorpusError(f"{file.name}: has no clean partner in {clean}", "both must have the same name")
        if len(some) > 1 or name in found:
            one, other = some[:2] if len(some) > 1 else (found[name][1], file)
            raise CorpusError(f"{name}: is both {one} and {other}", "take one of the two away")
        found[name] = (name, file, some[0])
    if not found:
        raise CorpusError(f"{noisy}: holds no sound files", "WAV, FLAC, OGG, MP3 and AIFF are read")
    return list(found.values())
