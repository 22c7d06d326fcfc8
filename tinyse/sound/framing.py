"""Framing: how a signal is cut into windowed frames, transformed, and put together again.

Frames start at sample 0 and are never centred. Analysis window times synthesis window, overlap-added, is 1. Where a
function names a ``tf.signal`` function, it computes the same thing, which the tests assert. Tables are built in
float64 and kept as float32; signals are float32, -1..1 at full scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import RecipeError
from tinyse.core.sections import one_of, within

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]
Numbers = NDArray[Any]

LEAST_WEIGHT = 0.1
"""Least sum of the squared window's shifts at any sample, of the largest: below it, synthesis would magnify errors."""
DEVICE_FFTS = tuple(2**n for n in range(5, 13))
"""Transform lengths of CMSIS-DSP, and so of the C library."""


@dataclass(frozen=True)
class Framing:
    """Where frames lie and how they are weighed; the defaults are TinyLSTMs'.

    Attributes:
        rate: Hz.
        frame: window length in samples.
        hop: samples between frames.
        fft: transform length; even, at least ``frame``.
        window: hann: periodic Hann before the transform; sqrt_hann: its root, and the same after the inverse one where
            the frame is a whole number of hops; none: all ones.

    Synthesis takes the analysis window over the sum of its squared shifts. That restores a signal where every sample
    lies under enough window (``LEAST_WEIGHT``): under two frames at least for Hann, whose first sample is 0.

    Raises:
        RecipeError: the numbers do not make an invertible framing.
    """

    rate: int = within(8000, 192_000, default=16000)
    frame: int = within(2, 8192, default=512)
    hop: int = within(1, 8192, default=256)
    fft: int = within(2, 8192, default=512)
    window: str = one_of("hann", "sqrt_hann", "none", default="hann")

    def __post_init__(self) -> None:
        """Check that the transform holds a frame, and that a signal can be restored."""
        if self.window not in ("hann", "sqrt_hann", "none"):
            raise RecipeError(f"window {self.window!r} is not known", "hann, sqrt_hann or none")
        if not 1 <= self.hop <= self.frame or self.rate < 1:
            raise RecipeError(f"hop {self.hop} does not fit frame {self.frame}", "1 to a frame")
        if self.fft < self.frame or self.fft % 2:
            raise RecipeError(f"fft {self.fft} must be even and at least the frame, {self.frame}")
        power = self.shifted_power
        if power.min() < LEAST_WEIGHT * power.max():
            raise RecipeError(f"{self.window} frames of {self.frame} every {self.hop} cannot be put together "
                              "again: some samples hardly lie under any", "two hops or more a frame, as 512/256")

    @property
    def shape_window(self) -> Numbers:
        """The analysis window, float64 [frame]."""
        if self.window == "none":
            return np.ones(self.frame)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.frame) / self.frame)
        return hann if self.window == "hann" else np.sqrt(hann)

    @property
    def shifted_power(self) -> Numbers:
        """Sum of the squared window's shifts by whole hops, float64 [hop]."""
        square = np.square(self.shape_window)
        sums: Numbers = np.pad(square, (0, self.overlap * self.hop - self.frame)).reshape(-1, self.hop).sum(axis=0)
        return sums

    @property
    def bins(self) -> int:
        """Frequency bins of the real transform."""
        return self.fft // 2 + 1

    @property
    def overlap(self) -> int:
        """Frames that hold a sample, at most."""
        return -(-self.frame // self.hop)

    @property
    def delay(self) -> int:
        """Samples by which overlap-add lags its input: ``frame - hop``, one hop at 512/256."""
        return self.frame - self.hop

    @property
    def period(self) -> float:
        """Seconds between two frames."""
        return self.hop / self.rate


DEFAULT = Framing()


def frozen(table: Numbers) -> Real:
    """A float32 table that cannot be written to."""
    result: Real = np.ascontiguousarray(table, np.float32)
    result.flags.writeable = False
    return result


@lru_cache(maxsize=16)
def analysis_window(framing: Framing = DEFAULT) -> Real:
    """Window before the transform, float32 [frame]; hann as ``tf.signal.hann_window``."""
    return frozen(framing.shape_window)


@lru_cache(maxsize=16)
def synthesis_window(framing: Framing = DEFAULT) -> Real:
    """Analysis window over the sum of its shifted squares, float32 [frame].

    As ``tf.signal.inverse_stft_window_fn(hop)``: analysis times synthesis, overlap-added, is 1.
    """
    return frozen(framing.shape_window / np.tile(framing.shifted_power, framing.overlap)[: framing.frame])


def stft(wave: Numbers, framing: Framing = DEFAULT) -> Complex:
    """Windowed frames' spectra, complex64 [frames, bins], as ``tf.signal.stft`` without padding.

    Args:
        wave: [samples]; frames start at sample 0 and a remainder shorter than a frame is dropped.
        framing: windows and lengths.
    """
    wave = np.asarray(wave, np.float32)
    if wave.size < framing.frame:
        return np.zeros((0, framing.bins), np.complex64)
    frames = np.lib.stride_tricks.sliding_window_view(wave, framing.frame)[:: framing.hop]
    return np.fft.rfft(frames * analysis_window(framing), framing.fft).astype(np.complex64)


def istft(spectrum: Numbers, framing: Framing = DEFAULT) -> Real:
    """Overlap-add of windowed inverse transforms, float32 [(frames - 1) * hop + frame].

    As ``tf.signal.inverse_stft`` with ``inverse_stft_window_fn(hop)``. The first and last ``delay`` samples lack the
    neighbours that make the sum exact.
    """
    count, overlap, hop = len(spectrum), framing.overlap, framing.hop
    if not count:
        return np.zeros(0, np.float32)
    frames = np.pad(inverse(spectrum, framing), ((0, 0), (0, overlap * hop - framing.frame)))
    frames = frames.reshape(count, -1, hop)
    hops = np.zeros((count - 1 + overlap, hop), np.float32)
    for part in range(overlap):
        hops[part : part + count] += frames[:, part]
    return hops.reshape(-1)[: (count - 1) * hop + framing.frame]


def inverse(spectrum: Numbers, framing: Framing) -> Real:
    """Windowed inverse transforms, float32 [..., frame]."""
    frames = np.fft.irfft(spectrum, framing.fft)[..., : framing.frame]
    return frames.astype(np.float32) * synthesis_window(framing)


class Analysis:
    """Hops in, spectra out; the state is the last ``delay`` samples, zeros at the start."""

    def __init__(self, framing: Framing) -> None:
        """Start from silence."""
        self.framing = framing
        self._frame = np.zeros(framing.frame, np.float32)

    def reset(self) -> None:
        """Forget the past."""
        self._frame[:] = 0

    def hold(self, value: float) -> None:
        """Let the past be ``value`` throughout."""
        self._frame[:] = value

    def push(self, hop: Numbers) -> Complex:
        """Spectrum, complex64 [bins], of the past ``delay`` samples and this hop, float32 [hop]."""
        self._frame[: -self.framing.hop] = self._frame[self.framing.hop :]
        self._frame[-self.framing.hop :] = hop
        return np.fft.rfft(self._frame * analysis_window(self.framing), self.framing.fft).astype(np.complex64)


class Synthesis:
    """Spectra in, finished hops out; the state is the overlap that later frames still add to."""

    def __init__(self, framing: Framing) -> None:
        """Start from silence."""
        self.framing = framing
        self._sum = np.zeros(framing.frame, np.float32)

    def reset(self) -> None:
        """Forget the past."""
        self._sum[:] = 0

    def push(self, spectrum: Numbers) -> Real:
        """First hop of this frame, float32 [hop], to which no later frame adds."""
        self._sum += inverse(spectrum, self.framing)
        done = self._sum[: self.framing.hop].copy()
        self._sum[: -self.framing.hop] = self._sum[self.framing.hop :]
        self._sum[-self.framing.hop :] = 0
        return done
