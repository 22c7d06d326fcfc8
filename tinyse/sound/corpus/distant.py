"""Mixtures in rooms: test speech and noise as a microphone some way off hears them.

The rooms are other ones than ``simulated`` draws for training: L-shaped floors, walls whose absorption depends on
frequency, mouth and noise at two places, 0.5 to 4 m away, by image sources of the second order and rays. Reference is
the speech **with** its room: an enhancer shall take away noise, not the room, and least of all the speech.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from tinyse.core.errors import CorpusError
from tinyse.sound.corpus.clips import RATE
from tinyse.sound.corpus.mix import SNRS, SPEECH_LEVEL_DB, Mixture, active_level, mix_at_snr, test_mixtures
from tinyse.sound.corpus.simulated import placed, pyroomacoustics
from tinyse.sound.corpus.store import Corpus

DISTANCES = (0.5, 4.0)
"""From each source to the microphone, metres; drawn evenly in its logarithm."""
BANDS = (125, 250, 500, 1000, 2000, 4000)
ABSORPTION = (0.1, 0.5)
"""At 500 Hz; from 125 Hz to 4 kHz it changes by up to a factor of 3, up or down."""
ORDER = 2


@lru_cache(maxsize=64)
def room_responses(seed: int, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Responses from mouth and noise source to the microphone, float32 [samples] each, and the mouth's distance in m.

    Raises:
        ToolError: pyroomacoustics is not installed.
    """
    pra = pyroomacoustics()
    rng = np.random.default_rng([seed, 13, number])
    pra.random.seed(int(rng.integers(2**31)))
    long, wide, height = rng.uniform([4.0, 3.5, 2.4], [9.0, 7.0, 3.5])
    notch = rng.uniform(0.3, 0.55, 2) * [long, wide]  # the corner that is not there
    corners = np.array([[0, 0], [long, 0], [long, wide - notch[1]], [long - notch[0], wide - notch[1]],
                        [long - notch[0], wide], [0, wide]]).T
    middle, slope = np.exp(rng.uniform(*np.log(ABSORPTION))), rng.uniform(-1, 1) * np.log(3) / 5
    walls = np.clip(middle * np.exp(slope * (np.arange(6) - 2)), 0.02, 0.95)
    material = pra.Material({"coeffs": walls.tolist(), "center_freqs": list(BANDS)}, float(rng.uniform(0.05, 0.4)))
    room = pra.Room.from_corners(corners, fs=RATE, materials=material, max_order=ORDER, ray_tracing=True,
                                 air_absorption=True)
    room.extrude(height, materials=material)
    inside = np.array([long - notch[0], wide - notch[1], height])  # a box of the floor that every L has
    microphone = rng.uniform([0.4, 0.4, 0.7], inside - 0.4)
    room.add_microphone(microphone)
    mouth, noise = (_place(rng, room, microphone, height) for _ in range(2))
    room.add_source(mouth)
    room.add_source(noise)
    room.compute_rir()
    speech, other = (np.asarray(one, np.float32) for one in room.rir[0])
    return speech, other, float(np.linalg.norm(mouth - microphone))


def _place(rng: np.random.Generator, room: Any, microphone: NDArray[Any], height: float) -> NDArray[Any]:
    found = placed(rng, microphone, DISTANCES, lambda at: 0.3 < at[2] < height - 0.3 and all(
        room.is_inside(at + step) for step in np.eye(3)[:2] * 0.2))
    if found is None:
        raise CorpusError("no place for a source in a room", "another --seed")
    return found


def room_mixtures(corpus: Corpus, split: str = "test", snrs: Sequence[float] = SNRS, count_per_snr: int = 10,
                  seconds: float = 4.0, seed: int = 0) -> Iterator[Mixture]:
    """As ``test_mixtures``, with speech and noise in a room each pair; ``clean`` is the reverberant speech.

    The active level of the reverberant speech is ``SPEECH_LEVEL_DB``; SNRs hold at the microphone.

    Raises:
        CorpusError, ToolError: as of ``test_mixtures`` and ``room_responses``.
    """
    for mixture in test_mixtures(corpus, split, snrs, count_per_snr, seconds, seed):
        to_speech, to_noise, _ = room_responses(seed, int(mixture.id.rsplit("_", 1)[1]))
        speech = _in_room(mixture.clean, to_speech)
        noise = _in_room(mixture.noisy - mixture.clean, to_noise)
        speech *= np.float32(10 ** (SPEECH_LEVEL_DB / 20) / max(active_level(speech), 1e-6))
        noisy, clean = mix_at_snr(speech, noise, mixture.snr_db)
        yield Mixture(mixture.id, noisy, clean, mixture.snr_db, mixture.speech_id, mixture.noise_id, mixture.speaker)


def _in_room(wave: NDArray[Any], response: NDArray[Any]) -> NDArray[np.float32]:
    direct = int(np.argmax(np.abs(response)))  # the same place in time, so that pauses stay where they are
    return scipy.signal.fftconvolve(wave, response)[direct : direct + len(wave)].astype(np.float32)
