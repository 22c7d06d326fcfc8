"""Bands: groups of bins that a network sees and weighs as one, and the matrix between bins and bands.

One matrix serves both ways: features are ``|X| @ M``, gains of bins are ``M @ mask``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tinyse.core.errors import RecipeError
from tinyse.core.sections import one_of, within
from tinyse.sound.framing import Framing, Numbers, Real, frozen


@dataclass(frozen=True)
class Bands:
    """How bins are grouped; the defaults are TinyLSTMs'.

    Attributes:
        kind: mel: triangles of unit height on the HTK mel scale, un-normalised, nothing outside their edges;
            erb: triangles on the ERB-rate scale from 0 Hz to Nyquist that add up to 1 at every bin, so that gains of 1
            give the input back; none: every bin is a band.
        count: bands; unused by none.
        low_hz, high_hz: edges of mel, in Hz.
        fine_hz: of erb: up to here every bin is a band of its own.
    """

    kind: str = one_of("mel", "erb", "none", default="mel")
    count: int = within(1, 4096, default=128)
    low_hz: float = within(0, 96_000, default=100.0)
    high_hz: float = within(0, 96_000, default=7500.0)
    fine_hz: float = within(0, 96_000, default=0.0)

    def number(self, framing: Framing) -> int:
        """Bands over the bins of ``framing``."""
        return framing.bins if self.kind == "none" else self.count

    def check(self, framing: Framing) -> None:
        """See that they fit below Nyquist.

        Raises:
            RecipeError: they do not, or ``kind`` is not known.
        """
        nyquist = framing.rate / 2
        if self.kind not in ("mel", "erb", "none"):
            raise RecipeError(f"bands: {self.kind!r} is not known", "mel, erb or none")
        if self.kind == "mel" and (self.count < 1 or not 0 <= self.low_hz < self.high_hz <= nyquist):
            raise RecipeError(f"bands: {self.count} bands from {self.low_hz} to {self.high_hz} Hz "
                              f"do not fit below {nyquist} Hz")
        if self.kind == "erb":
            fine, most = _fine(self, framing), framing.bins
            if not (0 <= self.fine_hz <= nyquist and fine < self.count <= most):
                raise RecipeError(f"bands: {self.count} erb bands, single bins up to {self.fine_hz} Hz, do not fit "
                                  f"{most} bins of {framing.rate / framing.fft:g} Hz", f"{fine + 1} to {most} bands")


def _mel(hertz: Numbers | float) -> Numbers:
    return 1127.0 * np.log(1.0 + np.asarray(hertz) / 700.0)


def _fine(bands: Bands, framing: Framing) -> int:
    return int(bands.fine_hz * framing.fft // framing.rate) + 1


def _erb_centres(bands: Bands, framing: Framing) -> Numbers:
    """Bins in the middle of each band, int [count]: distinct, the first 0, the last at Nyquist."""
    # Glasberg and Moore's ERB rate, 21.4 log10(1 + 0.00437 f); the factor cancels.
    fine, last = _fine(bands, framing), framing.bins - 1
    hertz = framing.rate / framing.fft
    rates = np.linspace(np.log1p(0.00437 * hertz * (fine - 1)), np.log1p(0.00437 * hertz * last),
                        bands.count - fine + 1)
    centres = np.concatenate([np.arange(fine), np.rint(np.expm1(rates[1:]) / 0.00437 / hertz)]).astype(int)
    for band in range(1, bands.count):
        centres[band] = max(centres[band], centres[band - 1] + 1)
    return np.minimum(centres, np.arange(last - bands.count + 1, last + 1))


@lru_cache(maxsize=16)
def band_matrix(bands: Bands, framing: Framing) -> Real:
    """Share of every bin in every band, float32 [bins, bands], 0..1.

    mel: as ``tf.signal.linear_to_mel_weight_matrix`` in float64 (its float32 form differs by up to 2e-5, from rounding
    its slopes); the DC row is zero, and neighbouring triangles add up to at most 1. erb: every row adds up to 1.
    none: the unit matrix.
    """
    if bands.kind == "none":
        return frozen(np.eye(framing.bins))
    if bands.kind == "erb":
        centres = _erb_centres(bands, framing)
        return frozen(np.stack([np.interp(np.arange(framing.bins), centres, one) for one in np.eye(bands.count)], 1))
    bins = _mel(np.linspace(0.0, framing.rate / 2, framing.bins)[1:, None])
    edges = np.linspace(_mel(bands.low_hz), _mel(bands.high_hz), bands.count + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    slopes = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return frozen(np.pad(np.maximum(0.0, slopes), [(1, 0), (0, 0)]))


def to_bands(bins: Numbers, bands: Bands, framing: Framing) -> Numbers:
    """Sums over bands, [..., bands], of [..., bins], real or complex."""
    return bins if bands.kind == "none" else bins @ band_matrix(bands, framing)


def to_bins(values: Numbers, bands: Bands, framing: Framing) -> Numbers:
    """Values of bands [..., bands] lifted to bins [..., bins]."""
    return values if bands.kind == "none" else values @ band_matrix(bands, framing).T
