"""A network's input of a spectrum, and the spectrum under a network's answer; see ``tinyse.sound.ends``."""

from __future__ import annotations

import numpy as np

from tinyse.core.errors import ModelError, RecipeError
from tinyse.sound.bands import to_bands, to_bins
from tinyse.sound.ends import DEFAULT, Ends
from tinyse.sound.framing import Numbers, Real, istft
from tinyse.sound.leveller import level_gains

TINY = np.float32(np.finfo(np.float32).tiny)
"""Squares below it are subnormal and count as 0, on the device as here."""


def features(spectrum: Numbers, ends: Ends = DEFAULT, magnitude: Numbers | None = None) -> Real:
    """Rows of a network's input, float32 [..., row], of spectra complex64 [..., bins], before any running mean.

    A full-scale sine has a magnitude of about 128 at 512/256. ``magnitude``: |X|, where it is known already.

    Raises:
        RecipeError: the feature is samples, which have no spectrum.
    """
    feature, bands, framing = ends.feature, ends.bands, ends.framing
    spectrum = np.asarray(spectrum, np.complex64)
    if feature.kind == "magnitude":
        sums = to_bands(np.abs(spectrum) if magnitude is None else magnitude, bands, framing)
        return np.power(sums, np.float32(feature.power))
    if feature.kind == "log_power":
        power = to_bands(np.square(spectrum.real) + np.square(spectrum.imag), bands, framing)
        logs: Real = np.log(power + np.float32(feature.floor))
        return logs * np.float32(feature.gain) + np.float32(feature.bias)
    if feature.kind == "complex":
        sums = to_bands(spectrum, bands, framing)
        square = np.square(sums.real) + np.square(sums.imag)
        exponent = np.float32((feature.power - 1) / 2)
        factor = np.power(np.maximum(square, TINY), exponent) * (square >= TINY)
        return _interleaved(np.asarray(sums * factor, np.complex64))
    raise RecipeError("feature: samples have no spectrum", "the hop is the feature")


class RunningMean:
    """What features are above their own mean over ``ends.mean_frames``, frame by frame; as they are where that is 0.

    s += (x - s) / min(n, N) on the n-th frame, and x - s is given: the mean of all frames so far, then an exponential
    one. A level, a microphone's curve and steady noise are in s, and the network need not learn them (ours; running
    means of log features are DeepFilterNet's too, arXiv 2110.05588).
    """

    def __init__(self, ends: Ends) -> None:
        """Nothing heard."""
        self._most = ends.mean_frames
        self.reset()

    def reset(self) -> None:
        """Start a new signal."""
        self._heard = 0
        self._mean: Real | None = None

    def less(self, row: Real) -> Real:
        """The next frame, float32 [..., row], of any number of signals side by side."""
        if not self._most:
            return row
        self._heard = min(self._heard + 1, self._most)
        mean = np.zeros_like(row) if self._mean is None else self._mean
        heard = np.where(np.isfinite(row), row, mean)  # what is no number is not kept
        self._mean = mean + (heard - mean) * (np.float32(1) / np.float32(self._heard))
        return row - self._mean


def less_mean(values: Real, ends: Ends) -> Real:
    """Features, float32 [frames, ..., row], of whole signals, each above its running mean."""
    if not ends.mean_frames:
        return values
    running = RunningMean(ends)
    return np.stack([running.less(row) for row in values]) if len(values) else values


def rows(waves: Real, spectrum: Numbers, ends: Ends = DEFAULT) -> Real:
    """A network's input on every frame, float32 [..., frames, row], of whole signals [..., samples] and their spectra.

    Where samples are the feature, a frame's are its newest hop, times the gain of its level.
    """
    if ends.feature.kind != "samples":
        return np.moveaxis(less_mean(np.moveaxis(features(spectrum, ends), -2, 0), ends), 0, -2)
    hops = newest_hops(waves, spectrum.shape[-2], ends)
    return hops * level_gains(hops, ends.level, ends.framing)[..., np.newaxis] if ends.level.on else hops


def divisors(waves: Real, frames: int, ends: Ends) -> Real | None:
    """What ``sounded`` divides answers on whole signals [..., samples] by, float32 [..., frames], if by anything."""
    return level_gains(newest_hops(waves, frames, ends), ends.level, ends.framing) if ends.restores else None


def newest_hops(waves: Real, frames: int, ends: Ends) -> Real:
    """The newest hop of every frame, float32 [..., frames, hop], of whole signals [..., samples]."""
    hop = ends.framing.hop
    first = ends.framing.frame - hop
    hops: Real = np.ascontiguousarray(waves[..., first : first + frames * hop], np.float32)
    return hops.reshape(*waves.shape[:-1], frames, hop)


def _interleaved(values: Numbers) -> Real:
    parts: Real = np.ascontiguousarray(values).view(np.float32)
    return parts


def gains(answer: Numbers, ends: Ends = DEFAULT) -> Numbers:
    """Gains of bins, float32 or complex64 [..., bins], of a network's answers [..., outputs]."""
    values = np.asarray(answer, np.float32)
    if ends.result.limit != 1:
        values = values * np.float32(ends.result.limit)
    if ends.result.kind == "complex_gains":
        lifted = to_bins(np.ascontiguousarray(values).view(np.complex64), ends.bands, ends.framing)
        return np.asarray(lifted, np.complex64)
    return to_bins(values, ends.bands, ends.framing)


def sounded(spectrum: Numbers, answers: Numbers, ends: Ends = DEFAULT, level: Real | None = None) -> Real:
    """The signal of a network's answers [frames, outputs] on a spectrum [frames, bins]: what a stream gives.

    As long as the signal that had the spectrum; where samples are the result, zeros until the first frame's newest hop.
    ``level``: what ``divisors`` gave, [frames].

    Raises:
        ModelError: ``level`` is missing, or there is one too many.
    """
    if ends.restores != (level is not None):
        raise ModelError("answers and gains of a level do not go together", "level: what divisors gives")
    if ends.synthesizes:
        return istft(applied(spectrum, answers, ends), ends.framing)
    answers = np.asarray(answers, np.float32) * np.float32(ends.result.limit)
    wave: Real = (answers if level is None else answers / level[:, np.newaxis]).reshape(-1)
    return np.pad(wave, (ends.framing.frame - ends.framing.hop, 0))


def applied(spectrum: Numbers, answer: Numbers, ends: Ends = DEFAULT) -> Numbers:
    """Spectra [..., bins] times the gains of a network's answers [..., outputs]."""
    return spectrum * gains(answer, ends)
