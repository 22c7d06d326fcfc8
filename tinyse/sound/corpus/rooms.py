"""Measured impulse responses of rooms: the direct sound found, what is no room cut off, the level made one.

A recording of a response has a delay before the direct sound and ends in noise. Kept is from 1 ms before the direct
sound to where the decay falls into the noise, faded over the last 10 ms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyse.core.errors import AudioError
from tinyse.sound.corpus.clips import RATE

Floats = npt.NDArray[np.float32]

BEFORE = RATE // 1000
"""Samples kept before the direct sound: resampled, it has a slope there."""
ONSET = 10 ** (-20 / 20)
"""The direct sound begins where a response first comes within 20 dB of its peak (ISO 3382-1)."""
DIRECT = RATE // 400
"""The direct sound's own peak lies within 2.5 ms of that."""
WINDOW = RATE // 100
LOWEST_RANGE_DB = 20.0
"""Peak of the 10 ms powers over the noise at the end; less is no response (ours)."""
ABOVE_NOISE_DB = 6.0
SECONDS = (0.02, 2.0)
"""Of what is kept: shorter is a click, and later than 2 s is heard in no training mixture."""
LONGEST = 15.0
PEAK = 0.9


def response_of(samples: Floats) -> Floats:
    """A response as it is kept: float32[n], its peak 0.9, its direct sound at ``BEFORE``.

    Args:
        samples: float32[m], 16 kHz, one channel of a measurement.

    Raises:
        AudioError: it is silent, too long, or does not decay from a direct sound.
    """
    if len(samples) > LONGEST * RATE:
        raise AudioError(f"lasts more than {LONGEST:g} s: no impulse response", "cut it to the response")
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < 1e-6 or len(samples) < SECONDS[0] * RATE:
        raise AudioError("is silent or too short: no impulse response", "leave the file out")
    first = int(np.argmax(np.abs(samples) >= ONSET * peak))
    direct = first + int(np.argmax(np.abs(samples[first:first + DIRECT])))
    padded = np.pad(samples, (BEFORE, 0))
    kept = padded[direct:]  # from BEFORE ahead of the direct sound
    kept = kept[:_decay_end(kept)][:int(SECONDS[1] * RATE)]
    fade = min(WINDOW, len(kept) - BEFORE - 1)
    kept = kept * np.float32(PEAK / np.abs(kept).max())
    kept[len(kept) - fade:] *= np.cos(np.linspace(0, np.pi / 2, fade)).astype(np.float32)
    return kept


def _decay_end(response: Floats) -> int:
    """Where the response falls into its noise, in samples."""
    count = len(response) // WINDOW
    if count < 2:
        raise AudioError("is silent or too short: no impulse response", "leave the file out")
    power = np.square(response[:count * WINDOW], dtype=np.float64).reshape(count, WINDOW).mean(axis=1)
    last = power[-max(1, count // 10):]
    noise = float(last.mean())
    if power[:5].max() < noise * 10 ** (LOWEST_RANGE_DB / 10):
        raise AudioError(f"does not decay by {LOWEST_RANGE_DB:g} dB: no impulse response", "leave the file out")
    smooth = np.convolve(power, np.ones(3) / 3, "same")
    loud = np.flatnonzero(smooth > noise * 10 ** (ABOVE_NOISE_DB / 10))
    return max(int(loud[-1] + 1) * WINDOW, int(SECONDS[0] * RATE)) if len(loud) else len(response)
