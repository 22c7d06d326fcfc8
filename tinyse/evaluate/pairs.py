"""Clips to score: seeded mixtures of a corpus, or a user's own noisy and clean files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyse.errors import CorpusError
from tinyse.evaluate.metrics import Signal


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
    from tinyse.corpus.mix import test_mixtures
    from tinyse.corpus.store import Corpus, corpus_dir

    opened = Corpus.open(corpus or corpus_dir("small"))
    for mixture in test_mixtures(opened, split, tuple(snrs), count_per_snr, seconds, seed):
        yield Pair(mixture.name, mixture.snr, mixture.noisy, mixture.clean)


def read_signal(path: Path, over: dict[Path, float] | None = None) -> Signal:
    """A whole sound file as float32[samples], 16 kHz mono; AudioError where it is no sound.

    Where its samples reach beyond full scale, ``over`` is told by how many dB.
    """
    from tinyse.audio import AudioReader

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
    """A user's own pairs: files of the same name (any sound format) in two folders.

    A pair is cut to the shorter of the two; a difference above 0.1 s is refused as not a pair. ``over`` is filled with
    the files that reach beyond full scale, and by how many dB.

    Raises:
        CorpusError: a folder is missing, a partner is missing, or lengths differ.
    """
    for folder in (noisy, clean):
        if not folder.is_dir():
            raise CorpusError(f"{folder}: no such folder", "give the folders of noisy and of clean files")
    partners = {file.stem: file for file in sorted(clean.iterdir()) if file.is_file()}
    for file in sorted(file for file in noisy.iterdir() if file.is_file() and not file.name.startswith(".")):
        if file.stem not in partners:
            raise CorpusError(f"{file.name}: has no clean partner in {clean}", "both must have the same name")
        degraded, reference = (read_signal(path, over) for path in (file, partners[file.stem]))
        if abs(len(degraded) - len(reference)) > 1600:
            raise CorpusError(f"{file.name}: noisy and clean differ by more than 0.1 s",
                              "pairs must be time-aligned")
        length = min(len(degraded), len(reference))
        yield Pair(file.stem, None, degraded[:length], reference[:length])
