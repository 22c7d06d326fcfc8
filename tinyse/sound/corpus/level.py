"""Where a recording has sound: the level of the piece that is used, not of the file that it lies in.

Sparse noise (a knock a minute) is mostly digital silence, or a constant of one step of its 16 bits. A piece of that is
no noise at any gain, so it is passed over. A level here is an RMS without the piece's constant offset.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinyse.sound.corpus.store import RATE

FRAME = RATE // 50
SOUND = 1e-4
"""RMS without the constant offset below which a piece is silent: -80 dB of full scale, three steps of 16 bits."""
PIECE = (4 * RATE, 8 * RATE)
LONGEST = 10 * RATE
PAUSE = 10
"""Frames over which a pause is looked for."""
QUIET = 0.1
"""A place 20 dB below its recording is quiet, and a piece 20 dB below its own constant offset is silent."""


def soundless(piece: npt.NDArray[Any]) -> bool:
    """Whether float[n] is a constant, but for what 16 bits round."""
    offset, power = piece.mean(dtype=np.float64), np.mean(np.square(piece, dtype=np.float32), dtype=np.float64)
    return bool(power - offset**2 < max(SOUND**2, QUIET**2 * power))


def has_sound(samples: npt.NDArray[Any]) -> bool:
    """Whether any place swings by more than silence may."""
    return len(samples) > 0 and float(samples.max()) - float(samples.min()) >= 4 * SOUND


class Places:
    """The places of one recording at which a piece has sound."""

    def __init__(self, samples: npt.NDArray[Any]) -> None:
        """Measure float[n] in frames of 20 ms."""
        self._length = len(samples)
        frames = samples[:len(samples) // FRAME * FRAME].reshape(-1, FRAME)
        self._means = frames.mean(axis=1, dtype=np.float64)
        self._powers = np.einsum("ij,ij->i", frames, frames, dtype=np.float64) / FRAME

    def at(self, start: int, length: int) -> int:
        """A place instead of the silent ``start``, one for each, spread over those that are not quiet.

        Args:
            start: a place that was drawn.
            length: of the piece in samples, less than the recording's.
        """
        count = max(1, length // FRAME)
        power = _running(self._powers, count)
        moving = np.maximum(power - _running(self._means, count) ** 2, 0)
        whole = self._powers.mean() - self._means.mean() ** 2
        floor = np.maximum(QUIET**2 * power, max(SOUND**2, QUIET**2 * whole))
        loud = np.flatnonzero(moving >= floor)
        chosen = int(loud[start % len(loud)]) if len(loud) else int(moving.argmax())
        return min(chosen * FRAME, self._length - length)


def at_pauses(speech: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Speech[n] longer than 10 s in pieces of 4 to 8 s, cut in the middle of the quietest 0.2 s.

    Mixtures take a clip from its beginning: what comes later in a long one would never be heard.
    """
    whole = len(speech) // FRAME
    frames = speech[:whole * FRAME].reshape(-1, FRAME).astype(np.float32)
    powers = _running(np.einsum("ij,ij->i", frames, frames, dtype=np.float64), PAUSE) if whole > PAUSE else np.zeros(0)
    pieces, start = [], 0
    while len(speech) - start > LONGEST:
        first, last = ((start + length) // FRAME for length in PIECE)
        cut = (first + int(powers[first:last].argmin()) + PAUSE // 2) * FRAME
        pieces.append(speech[start:cut])
        start = cut
    return [*pieces, speech[start:]]


def _running(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    total = np.cumsum(np.append(0.0, values))
    return (total[count:] - total[:-count]) / count
