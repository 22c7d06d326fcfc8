"""One interface for every noise suppressor: samples in, samples out, at its own rate, its delay taken out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]
FULL_SCALE = 32768.0


@dataclass(frozen=True)
class Size:
    """What a suppressor holds and computes; None where it has no weights or they cannot be counted.

    Attributes:
        parameters: numbers that its weights consist of.
        weight_bytes: bytes those take in the form that it ships in.
        macs: multiply-accumulates of its layers a second of audio; transforms and element-wise work are not in it.
        how: how the three were found, beginning with "exact" where they were counted in the files.
    """

    parameters: int | None
    weight_bytes: int | None
    macs: float | None
    how: str


class Suppressor(Protocol):
    """A noise suppressor, loaded and ready.

    Attributes:
        rate: Hz that it works at.
        hop: samples of ``rate`` that it takes at a time.
        delay: samples of ``rate`` by which what ``process`` returns lags its input.
    """

    rate: int
    hop: int
    delay: int

    def process(self, wave: Real) -> Real:
        """Suppress noise from a reset state: float32 [n] at ``rate`` to float32 [at least n], late by ``delay``."""


class Framed:
    """``process`` for a suppressor that takes one hop at a time."""

    hop: int

    def reset(self) -> None:
        """Return to the state before the first frame."""
        raise NotImplementedError

    def push(self, frame: Real) -> Real:
        """Advance one frame: float32 [hop] to float32 [hop]."""
        raise NotImplementedError

    def process(self, wave: Real) -> Real:
        """Suppress noise from a reset state: float32 [n] to float32 [n rounded up to whole hops]."""
        self.reset()
        return in_frames(self.push, wave, self.hop)


def in_frames(push: Callable[[Real], Real], wave: Real, hop: int) -> Real:
    """Call ``push`` on each [hop] of ``wave``, the last padded with zeros; float32 [whole hops]."""
    padded = np.zeros(-(-len(wave) // hop) * hop, np.float32)
    padded[: len(wave)] = wave
    done = [np.array(push(frame), np.float32) for frame in padded.reshape(-1, hop)]
    return np.concatenate([np.zeros(0, np.float32), *done])


def latency_ms(suppressor: Suppressor) -> float:
    """Algorithmic latency in ms: the delay, and the hop that must have arrived before anything comes out."""
    return 1000.0 * (suppressor.delay + suppressor.hop) / suppressor.rate


def enhance(suppressor: Suppressor, wave: Real, rate: int = 16000) -> Real:
    """Suppress noise in a signal of any rate: float32 [n] to float32 [n], aligned with its input.

    Resampled to the suppressor's rate and back with soxr's linear-phase VHQ filters, which delay nothing.
    """
    if not len(wave):
        return np.zeros(0, np.float32)
    at_own = resample(np.asarray(wave, np.float32), rate, suppressor.rate)
    lasting = np.concatenate([at_own, np.zeros(suppressor.delay, np.float32)])
    output = suppressor.process(lasting)[suppressor.delay: suppressor.delay + len(at_own)]
    result = np.zeros(len(wave), np.float32)
    back = resample(output, suppressor.rate, rate)[: len(wave)]
    result[: len(back)] = back
    return result


def enhance_file(suppressor: Suppressor, source: Path | str, target: Path | str) -> None:
    """Suppress noise in a sound file: mono or mixed down, its own rate kept.

    Raises:
        AudioError: the source is no sound, or the target cannot be written.
    """
    from tinyse.sound.audio import AudioFormat, AudioReader
    from tinyse.sound.audiofile import audio_writer

    with AudioReader(source) as reader:
        rate = reader.format.rate
    with AudioReader(source, rate) as reader:
        wave = np.concatenate([np.zeros(0, np.float32), *reader.blocks()])
    with audio_writer(target, AudioFormat(rate, 1, len(wave), "PCM_16"), rate) as file:
        file.write(enhance(suppressor, wave, rate))


def resample(wave: Real, source: int, target: int) -> Real:
    """Whole-signal soxr VHQ: float32 [n] to float32 [n * target / source, rounded]."""
    if source == target:
        return wave
    import soxr

    result: Real = np.asarray(soxr.resample(wave, source, target, "VHQ"), np.float32)
    return result


def to_pcm(frame: Real) -> bytes:
    """Samples within [-1, 1] as 16-bit little-endian bytes."""
    scaled: NDArray[Any] = np.clip(np.rint(frame * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    return scaled.astype("<i2").tobytes()


def from_pcm(data: bytes) -> Real:
    """16-bit little-endian bytes as float32 samples."""
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(FULL_SCALE)
