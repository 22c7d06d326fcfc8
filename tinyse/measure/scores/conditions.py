"""Under which conditions test mixtures are heard: as they are, in rooms, at other levels, with nothing to take away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tinyse.measure.scores.pairs import Pair, corpus_pairs, paired

LEVELS_DB = (-55.0, -45.0, -35.0, -26.0, -15.0, -10.0)
LEVEL_SNR = 3.0

Maker = Callable[[Path | str | None, str, Sequence[float], int, float, int], Iterator[Pair]]


def room_pairs(corpus: Path | str | None, split: str, snrs: Sequence[float], count: int, seconds: float, seed: int,
               ) -> Iterator[Pair]:
    """Mixtures in simulated rooms; the reference is the speech with its room (`sound.corpus.distant`).

    Raises:
        ToolError: pyroomacoustics is not installed; at once, before a pair is asked for.
    """
    from tinyse.sound.corpus.distant import room_mixtures
    from tinyse.sound.corpus.simulated import pyroomacoustics
    from tinyse.sound.corpus.store import Corpus, corpus_dir

    pyroomacoustics()
    return paired(room_mixtures(Corpus.open(corpus or corpus_dir("small")), split, snrs, count, seconds, seed))


def level_pairs(corpus: Path | str | None, split: str, snrs: Sequence[float], count: int, seconds: float, seed: int,
                ) -> Iterator[Pair]:
    """Mixtures at 3 dB, their speech at each of ``LEVELS_DB``, which stands where others have the SNR."""
    from tinyse.sound.corpus.mix import active_level

    for pair in corpus_pairs(corpus, split, [LEVEL_SNR], count, seconds, seed):
        for level in LEVELS_DB:
            gain = np.float32(10 ** (level / 20) / active_level(pair.clean))
            yield Pair(f"{pair.name}_{level:g}", level, pair.noisy * gain, pair.clean * gain)


def clean_pairs(corpus: Path | str | None, split: str, snrs: Sequence[float], count: int, seconds: float, seed: int,
                ) -> Iterator[Pair]:
    """Speech alone, on both sides."""
    for pair in corpus_pairs(corpus, split, [LEVEL_SNR], count, seconds, seed):
        yield Pair(pair.name, None, pair.clean, pair.clean)


CONDITIONS: dict[str, Maker] = {"mixtures": corpus_pairs, "rooms": room_pairs, "levels": level_pairs,
                                "clean": clean_pairs}
"""By name: corpus folder (None: the small one), split, SNRs, count an SNR, seconds and seed -> pairs."""
