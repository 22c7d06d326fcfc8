"""The tables of the comparison: which clips, of which corpus, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyse.measure.scores.pairs import Pair, corpus_pairs
from tinyse.sound.corpus.distant import room_mixtures
from tinyse.sound.corpus.mix import active_level
from tinyse.sound.corpus.store import Corpus

HELD_OUT, UNSEEN, ROOMS, LEVELS, CLEAN = "held-out", "unseen", "rooms", "levels", "clean"
LEVELS_DB = (-55.0, -45.0, -35.0, -26.0, -15.0, -10.0)
LEVEL_SNR = 3.0

Maker = Callable[[Path, Sequence[float], int, float, int], Iterator[Pair]]


def _mixtures(folder: Path, snrs: Sequence[float], count: int, seconds: float, seed: int) -> Iterator[Pair]:
    return corpus_pairs(folder, "test", snrs, count, seconds, seed)


def _rooms(folder: Path, snrs: Sequence[float], count: int, seconds: float, seed: int) -> Iterator[Pair]:
    for mixture in room_mixtures(Corpus.open(folder), "test", snrs, count, seconds, seed):
        yield Pair(mixture.name, mixture.snr, mixture.noisy, mixture.clean)


def _levels(folder: Path, snrs: Sequence[float], count: int, seconds: float, seed: int) -> Iterator[Pair]:
    for pair in corpus_pairs(folder, "test", [LEVEL_SNR], count, seconds, seed):
        for level in LEVELS_DB:
            gain = np.float32(10 ** (level / 20) / active_level(pair.clean))
            yield Pair(f"{pair.name}_{level:g}", level, pair.noisy * gain, pair.clean * gain)


def _clean(folder: Path, snrs: Sequence[float], count: int, seconds: float, seed: int) -> Iterator[Pair]:
    for pair in corpus_pairs(folder, "test", [LEVEL_SNR], count, seconds, seed):
        yield Pair(pair.name, None, pair.clean, pair.clean)


@dataclass(frozen=True)
class Table:
    """Clips that everyone is scored on.

    Attributes:
        tier: of the corpus.
        pairs: makes them of folder, SNRs, count an SNR, seconds and seed.
        title, about: what the page says.
        curves: whether quality is drawn against costs.
    """

    tier: str
    pairs: Maker
    title: str
    about: str
    curves: bool = False


TABLES = {
    HELD_OUT: Table("default", _mixtures, "Held-out mixtures",
                    "The default tier's test split, as of `tinyse evaluate`: French and Belarusian speech, blanket's "
                    "noise. No model of tinyse has heard the speakers, the languages or the recordings.", True),
    UNSEEN: Table("unseen", _mixtures, "Unseen mixtures",
                  "The unseen tier (docs/corpus.md): packages of which no model of tinyse has heard anything, other "
                  "people and other recording chains. No peer's list of training data names these packages; sounds "
                  "that were published elsewhere too (Freesound) may be in the DNS Challenge's noise all the same.",
                  True),
    ROOMS: Table("default", _rooms, "Rooms",
                 "The held-out speech and noise in simulated rooms, mouth and noise 0.5 to 4 m from the microphone "
                 "(`tinyse/sound/corpus/distant.py`: L-shaped floors and absorption that depends on frequency, which "
                 "training never draws; pyroomacoustics, image sources and rays). Reference is the "
                 "speech with its room.",
                 True),
    LEVELS: Table("default", _levels, "Levels",
                  "Held-out mixtures at 3 dB SNR, their speech at an active level of -55 to -10 dB of full scale, as "
                  "floating-point samples: the columns are levels, and nothing but the level changes along a row."),
    CLEAN: Table("default", _clean, "Clean speech alone",
                 "Speech with nothing to take away: what is lost here is harm. Copies of a clip count as 100 dB of "
                 "SI-SDR."),
}
