"""The front end's specification, its NumPy reference, and the streaming form that enhances hop by hop.

The numbers are TinyLSTMs' (Fedorov et al. 2020), as recovered from the authors' published audio: 512/256
frames at 16 kHz that start at sample 0, periodic Hann, a synthesis window that makes overlap-add exact, 128
un-normalised HTK mel bands, power 0.3, and a mel mask lifted to bins with the same filterbank. Where a
function names a ``tf.signal`` function, it computes the same thing, which the tests assert.

Whole signals and streams give the same samples::

    spectrum = stft(wave, spec)                       # [frames, bins]
    wave = istft(spectrum * lift(mask, spec), spec)

    stream = StreamingEnhancer(engine, spec)
    later = stream.push(hop)                          # the hop of spec.delay samples ago, enhanced

Tables are built in float64 and stored as float32; signals are float32, -1..1 at full scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import RecipeError

if TYPE_CHECKING:
    from tinyse.engines.base import Engine

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]
Numbers = NDArray[Any]


@dataclass(frozen=True)
class FrontEndSpec:
    """Numbers of the front end; the defaults are TinyLSTMs'.

    Attributes:
        sample_rate: Hz.
        frame: window length in samples; a multiple of ``hop``, at least two hops.
        hop: samples between frames.
        fft: transform length; even, at least ``frame``.
        bands: HTK mel bands.
        low_hz, high_hz: edges of the filterbank in Hz.
        power: exponent of the mel magnitude, 0 < power <= 1.

    Raises:
        RecipeError: the numbers do not make an invertible front end.
    """

    sample_rate: int = 16000
    frame: int = 512
    hop: int = 256
    fft: int = 512
    bands: int = 128
    low_hz: float = 100.0
    high_hz: float = 7500.0
    power: float = 0.3

    def __post_init__(self) -> None:
        """Check that frames overlap evenly and that the filterbank lies below Nyquist."""
        if self.hop < 1 or self.frame < 2 * self.hop or self.frame % self.hop:
            raise RecipeError(f"frontend: frame {self.frame} is no multiple of hop {self.hop}",
                              "the frame must hold two or more whole hops, as 512/256 does")
        if self.fft < self.frame or self.fft % 2:
            raise RecipeError(f"frontend: fft {self.fft} must be even and at least the frame, {self.frame}")
        if self.bands < 1 or not 0 <= self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise RecipeError(f"frontend: {self.bands} bands from {self.low_hz} to {self.high_hz} Hz "
                              f"do not fit below {self.sample_rate / 2} Hz")
        if not 0 < self.power <= 1:
            raise RecipeError(f"frontend: power {self.power} is outside (0, 1]")

    @property
    def bins(self) -> int:
        """Frequency bins of the real transform."""
        return self.fft // 2 + 1

    @property
    def delay(self) -> int:
        """Samples by which a stream's output lags its input: ``frame - hop``, one hop at 512/256."""
        return self.frame - self.hop


DEFAULT = FrontEndSpec()


def _frozen(table: Numbers) -> Real:
    result: Real = np.ascontiguousarray(table, np.float32)
    result.flags.writeable = False
    return result


@lru_cache(maxsize=16)
def analysis_window(spec: FrontEndSpec = DEFAULT) -> Real:
    """Periodic Hann window, float32 [frame] (as ``tf.signal.hann_window``)."""
    return _frozen(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.frame) / spec.frame))


@lru_cache(maxsize=16)
def synthesis_window(spec: FrontEndSpec = DEFAULT) -> Real:
    """Analysis window over the sum of its shifted squares, float32 [frame].

    As ``tf.signal.inverse_stft_window_fn(hop)``: analysis times synthesis, overlap-added, is 1.
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.frame) / spec.frame)
    power = np.square(window).reshape(-1, spec.hop).sum(axis=0)
    return _frozen(window / np.tile(power, spec.frame // spec.hop))


def _mel(hertz: Numbers | float) -> Numbers:
    return 1127.0 * np.log(1.0 + np.asarray(hertz) / 700.0)


@lru_cache(maxsize=16)
def mel_matrix(spec: FrontEndSpec = DEFAULT) -> Real:
    """Triangles of unit height on the HTK mel scale, float32 [bins, bands], range 0..1.

    As ``tf.signal.linear_to_mel_weight_matrix`` in float64 (its float32 form differs by up to 2e-5, from
    rounding its slopes). The DC row is zero; neighbouring triangles add up to at most 1.
    """
    bins = _mel(np.linspace(0.0, spec.sample_rate / 2, spec.bins)[1:, None])
    edges = np.linspace(_mel(spec.low_hz), _mel(spec.high_hz), spec.bands + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    slopes = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return _frozen(np.pad(np.maximum(0.0, slopes), [(1, 0), (0, 0)]))


def stft(wave: Numbers, spec: FrontEndSpec = DEFAULT) -> Complex:
    """Windowed frames' spectra, complex64 [frames, bins], as ``tf.signal.stft`` without padding.

    Args:
        wave: [samples]; frames start at sample 0 and a remainder shorter than a frame is dropped.
        spec: the front end.
    """
    wave = np.asarray(wave, np.float32)
    if wave.size < spec.frame:
        return np.zeros((0, spec.bins), np.complex64)
    frames = np.lib.stride_tricks.sliding_window_view(wave, spec.frame)[:: spec.hop]
    return np.fft.rfft(frames * analysis_window(spec), spec.fft).astype(np.complex64)


def istft(spectrum: Numbers, spec: FrontEndSpec = DEFAULT) -> Real:
    """Overlap-add of windowed inverse transforms, float32 [(frames - 1) * hop + frame].

    As ``tf.signal.inverse_stft`` with ``inverse_stft_window_fn(hop)``. The first and last ``delay``
    samples lack the neighbours that make the sum exact.
    """
    count = len(spectrum)
    if not count:
        return np.zeros(0, np.float32)
    frames = _inverse(spectrum, spec).reshape(count, -1, spec.hop)
    hops = np.zeros((count - 1 + frames.shape[1], spec.hop), np.float32)
    for part in range(frames.shape[1]):
        hops[part : part + count] += frames[:, part]
    return hops.reshape(-1)


def _inverse(spectrum: Numbers, spec: FrontEndSpec) -> Real:
    frames = np.fft.irfft(spectrum, spec.fft)[..., : spec.frame]
    return frames.astype(np.float32) * synthesis_window(spec)


def features(spectrum: Numbers, spec: FrontEndSpec = DEFAULT) -> Real:
    """Network input, ``(|X| mel)^power``, float32 [..., bands], >= 0; silence gives exactly 0.

    There is no floor under the magnitude: a power below 1 is finite at 0 (only its gradient is not, see
    ``frontend_tf``). A full-scale sine gives about 128 before the power and 4.3 after it.
    """
    magnitude = np.abs(np.asarray(spectrum, np.complex64))
    return np.power(magnitude @ mel_matrix(spec), np.float32(spec.power))


def lift(mask: Numbers, spec: FrontEndSpec = DEFAULT) -> Real:
    """Mel mask [..., bands] to bin gains, float32 [..., bins]: ``mel_matrix @ mask``.

    Triangles overlap to at most 1, so gains stay in the mask's 0..1; bins outside ``low_hz``..``high_hz``
    get 0.
    """
    return np.asarray(mask, np.float32) @ mel_matrix(spec).T


class Analysis:
    """Hops in, spectra out; the state is the last ``delay`` samples, zeros at the start."""

    def __init__(self, spec: FrontEndSpec = DEFAULT) -> None:
        """Start from silence."""
        self.spec = spec
        self._frame = np.zeros(spec.frame, np.float32)

    def reset(self) -> None:
        """Forget the past."""
        self._frame[:] = 0

    def hold(self, value: float) -> None:
        """Let the past be ``value`` throughout."""
        self._frame[:] = value

    def push(self, hop: Numbers) -> Complex:
        """Spectrum, complex64 [bins], of the past ``delay`` samples and this hop, float32 [hop]."""
        self._frame[: -self.spec.hop] = self._frame[self.spec.hop :]
        self._frame[-self.spec.hop :] = hop
        return np.fft.rfft(self._frame * analysis_window(self.spec), self.spec.fft).astype(np.complex64)


class Synthesis:
    """Spectra in, finished hops out; the state is the overlap that later frames still add to."""

    def __init__(self, spec: FrontEndSpec = DEFAULT) -> None:
        """Start from silence."""
        self.spec = spec
        self._sum = np.zeros(spec.frame, np.float32)

    def reset(self) -> None:
        """Forget the past."""
        self._sum[:] = 0

    def push(self, spectrum: Numbers) -> Real:
        """First hop of this frame, float32 [hop], to which no later frame adds."""
        self._sum += _inverse(spectrum, self.spec)
        done = self._sum[: self.spec.hop].copy()
        self._sum[: -self.spec.hop] = self._sum[self.spec.hop :]
        self._sum[-self.spec.hop :] = 0
        return done


class StreamingEnhancer:
    """One hop in, one hop out, ``spec.delay`` samples later: analysis, engine, mask, synthesis.

    Equals ``istft(stft(x) * lift(masks))`` on the same signal with ``delay`` zeros before it. Memory is
    two frames plus the engine's state.
    """

    def __init__(self, engine: Engine, spec: FrontEndSpec = DEFAULT) -> None:
        """Take over ``engine`` and reset it."""
        self.engine = engine
        self.spec = spec
        self._analysis = Analysis(spec)
        self._synthesis = Synthesis(spec)
        self.reset()

    def reset(self) -> None:
        """Start a new signal: zero history, the engine's initial state."""
        self._analysis.reset()
        self._synthesis.reset()
        self.engine.reset()

    def hold(self, value: float) -> None:
        """Let the past be ``value`` rather than zeros: a signal's first sample, so that an offset is no step."""
        self._analysis.hold(value)

    def push(self, hop: Numbers) -> Real:
        """Enhance: float32 [hop] in, float32 [hop] out, the samples of ``delay`` ago.

        The first ``delay`` samples lie before the signal; there, only what the mask smears forward sounds.
        """
        spectrum = self._analysis.push(hop)
        mask = self.engine.mask(features(spectrum, self.spec))
        return self._synthesis.push(spectrum * lift(mask, self.spec))

    def flush(self, value: float = 0.0) -> Real:
        """The last ``delay`` samples, float32 [delay], by pushing ``value``; call ``reset`` afterwards."""
        silence = np.full(self.spec.hop, value, np.float32)
        return np.concatenate([self.push(silence) for _ in range(self.spec.delay // self.spec.hop)])
