"""The noise of a pair: what the noisy recording has beyond the clean one, checked to be noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyse.core.errors import AudioError
from tinyse.sound.corpus.store import RATE

Floats = npt.NDArray[np.float32]
TOLERANCE = RATE // 10
"""A pair's lengths, and its two beginnings, may differ by this many samples."""
ALIKE = 0.3
"""Correlation with the speech above which a difference is not noise: a tenth of its power is speech (ours)."""
HELD = 0.4
"""Correlation of noisy with clean below which the one does not hold the other; strangers reach 0.33 (measured)."""
NEAR = 8


def noise_of(noisy: Floats, clean: Floats) -> tuple[Floats, str]:
    """Noisy less clean, float32[n], and how the clean one was moved and scaled for it; empty where it was not.

    Args:
        noisy: float32[samples], 16 kHz, linear: before any limiting.
        clean: its speech, of about the same length.

    Raises:
        AudioError: the lengths differ by more than 0.1 s, or what is left of the noisy one still holds the speech.
    """
    if abs(len(noisy) - len(clean)) > TOLERANCE:
        raise AudioError("noisy and clean differ by more than 0.1 s: not a pair", "pairs must be time-aligned")
    length = min(len(noisy), len(clean))
    noisy, clean = noisy[:length], clean[:length]
    difference, late = noisy - clean, _delay(noisy, clean)
    if max(likeness(difference, clean), likeness(*_overlap(difference, clean, late))) < ALIKE:
        return difference, ""
    noisy, clean = _overlap(noisy, clean, late)
    if (found := likeness(noisy, clean)) < HELD:
        raise AudioError(f"noisy does not hold the clean speech (correlation {found:.2f}): not a pair",
                         "pairs must be time-aligned")
    gain = np.float32(np.dot(noisy, clean) / max(float(np.dot(clean, clean)), 1e-12))
    left = noisy - gain * clean
    if (found := likeness(left, clean)) >= ALIKE:
        raise AudioError(f"noisy is not clean plus noise: what is left of it resembles the speech (correlation "
                         f"{found:.2f})", "pairs must be time-aligned and of one level")
    level = 20 * np.log10(max(abs(float(gain)), 1e-6))
    return left, f"noisy is {1000 * late / RATE:+.1f} ms and {level:+.1f} dB from clean: aligned"


def likeness(difference: Floats, speech: Floats) -> float:
    """Largest correlation of two float32[n] within half a millisecond, 0 to 1."""
    scale = float(np.linalg.norm(difference)) * float(np.linalg.norm(speech))
    most = min(NEAR, len(speech) - 1)
    dots = [abs(float(np.dot(*_overlap(difference, speech, lag)))) for lag in range(-most, most + 1)]
    return max(dots, default=0.0) / scale if scale > 0 else 0.0


def _overlap(one: Floats, other: Floats, late: int) -> tuple[Floats, Floats]:
    """Both where they lie on each other when ``other`` is put off by ``late`` samples."""
    length = len(one) - abs(late)
    return one[max(late, 0):][:length], other[max(-late, 0):][:length]


def _delay(noisy: Floats, clean: Floats) -> int:
    """By how many samples ``clean`` is best put off to lie on ``noisy``, within the tolerance."""
    import scipy.fft

    size = scipy.fft.next_fast_len(max(len(noisy) + len(clean), 1), True)
    spectrum = scipy.fft.rfft(noisy, size) * np.conj(scipy.fft.rfft(clean, size))
    products = scipy.fft.irfft(spectrum, size)
    most = min(TOLERANCE, max(len(noisy) - 1, 0))
    lags = np.arange(-most, most + 1)
    return int(lags[np.abs(products[lags]).argmax()])
