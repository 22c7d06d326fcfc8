"""What a recording might have gone through: other voices, rooms, equalizers, narrow bands, overload.

Each takes float32 [samples] at 16 kHz and the source of chance, and gives float32 of the same length. Strengths are
ours; the recipe's ``mixing`` section states how often each is used.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from tinyse.sound.corpus.clips import RATE
from tinyse.sound.corpus.rooms import BEFORE

Wave = NDArray[np.float32]
VOICE_OCTAVES = (-0.35, 0.25)
"""Resampling of speech: a woman's voice becomes a man's at the low end, a child's at the high one."""
DECAY_SECONDS = (0.08, 0.5)
"""Time in which a room's tail falls by 60 dB."""
RUMBLE_HERTZ, RUMBLE_DB, GUST_DB = (15.0, 100.0), (-10.0, 20.0), 12.0
"""Corner of a rumble, its level against the noise that it is added to, how far gusts go up and down."""
NARROW_HERTZ = (3400.0, 7600.0)
OVERLOAD_DB = (1.0, 9.0)


def stretched(wave: NDArray[Any], samples: int, rate: float) -> Wave:
    """``samples`` samples of ``wave`` played ``rate`` times as fast; it must have samples * rate + 2."""
    return np.interp(np.arange(samples) * rate, np.arange(wave.size), wave).astype(np.float32)


def voice_rate(rng: np.random.Generator) -> float:
    """A rate for ``stretched`` that turns one voice into another."""
    return float(2.0 ** rng.uniform(*VOICE_OCTAVES))


@functools.lru_cache(8)
def _octaves(bins: int) -> NDArray[np.float64]:
    """Where each of so many bins lies, 0 to 1, among six points an octave apart."""
    return np.log2(1.0 + 63.0 * np.linspace(0.0, 1.0, bins)) / 6.0


def equalized(wave: Wave, rng: np.random.Generator, depth_db: float) -> Wave:
    """The spectrum shaped by a smooth random curve of up to ``depth_db`` at six octave-spaced points."""
    spectrum = scipy.fft.rfft(wave)
    points = np.linspace(0.0, 1.0, 6)
    gains = np.interp(_octaves(spectrum.size), points, rng.uniform(-depth_db, depth_db, points.size))
    return scipy.fft.irfft(spectrum * np.power(10.0, gains / 20.0).astype(np.float32), wave.size).astype(np.float32)


def in_a_room(wave: Wave, rng: np.random.Generator) -> Wave:
    """A direct sound and a tail of decaying noise, 2 to 20 dB below it, that begins after 1 to 10 ms.

    The direct sound stays where it is, so the result is aligned with ``wave``.
    """
    seconds = rng.uniform(*DECAY_SECONDS)
    length = int(seconds * RATE)
    tail = rng.standard_normal(length) * 10.0 ** (-3.0 * np.arange(length) / length)
    tail[: int(rng.uniform(0.001, 0.01) * RATE)] = 0.0
    tail *= 10.0 ** (rng.uniform(-20.0, -2.0) / 20.0) / (np.sqrt(np.sum(np.square(tail))) + 1e-9)
    tail[0] = 1.0
    size = scipy.fft.next_fast_len(wave.size + length, real=True)
    product = scipy.fft.rfft(wave, size) * scipy.fft.rfft(tail.astype(np.float32), size)
    return scipy.fft.irfft(product, size)[: wave.size].astype(np.float32)


def in_this_room(wave: Wave, response: Wave) -> Wave:
    """In a measured room: its direct sound, at `tinyse.sound.corpus.rooms.BEFORE`, has gain 1 and stays where it is."""
    direct = response[BEFORE] if abs(response[BEFORE]) > 1e-4 else np.float32(1e-4)
    size = scipy.fft.next_fast_len(wave.size + response.size, real=True)
    product = scipy.fft.rfft(wave, size) * scipy.fft.rfft(response / direct, size)
    return scipy.fft.irfft(product, size)[BEFORE:BEFORE + wave.size].astype(np.float32)


def rumbling(noise: Wave, rng: np.random.Generator) -> Wave:
    """Noise of one RMS with wind, traffic or handling in it: what lies below a corner, in gusts of about a second.

    Up to 20 dB above the noise: then most of what is loud lies below every voice.
    """
    points = max(2, int(noise.size / RATE * rng.uniform(0.5, 3.0)) + 2)
    gusts = np.interp(np.linspace(0, points - 1, noise.size), np.arange(points), rng.uniform(-GUST_DB, GUST_DB, points))
    frequency = np.linspace(0.0, RATE / 2, noise.size // 2 + 1)
    corner = np.exp(rng.uniform(*np.log(RUMBLE_HERTZ)))
    gain = 1.0 / np.sqrt(1.0 + (frequency / corner) ** rng.uniform(4.0, 12.0))
    low = scipy.fft.irfft(scipy.fft.rfft(rng.standard_normal(noise.size)) * gain, noise.size) * 10.0 ** (gusts / 20.0)
    low *= 10.0 ** (rng.uniform(*RUMBLE_DB) / 20.0) / (np.sqrt(np.mean(np.square(low))) + 1e-9)
    return (noise + low).astype(np.float32)


def narrowed(pair: tuple[Wave, Wave], rng: np.random.Generator) -> tuple[Wave, Wave]:
    """Both through one low pass, as a codec or a poor microphone would be."""
    corner = rng.uniform(*NARROW_HERTZ)
    frequency = np.linspace(0.0, RATE / 2, pair[0].size // 2 + 1)
    gain = (1.0 / np.sqrt(1.0 + (frequency / corner) ** 24)).astype(np.float32)
    one, other = (scipy.fft.irfft(scipy.fft.rfft(wave) * gain, wave.size).astype(np.float32) for wave in pair)
    return one, other


def overloaded(mixed: Wave, clean: Wave, rng: np.random.Generator) -> tuple[Wave, Wave]:
    """The mixture driven beyond full scale by 1 to 9 dB and clipped; the clean part at the level it has in it."""
    gain = np.float32(10.0 ** (rng.uniform(*OVERLOAD_DB) / 20.0) / (np.abs(mixed).max() + 1e-9))
    return np.clip(mixed * gain, -1.0, 1.0), clean * gain
