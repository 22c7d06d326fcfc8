"""Sound: what a frame of a network is (``Ends``), and the way there and back, whole and hop by hop."""

from tinyse.sound.bands import Bands, band_matrix, to_bands, to_bins
from tinyse.sound.ends import DEFAULT, Ends, Feature, Result
from tinyse.sound.features import RunningMean, applied, features, gains, less_mean, newest_hops, rows, sounded
from tinyse.sound.framing import (
    Analysis,
    Complex,
    Framing,
    Numbers,
    Real,
    Synthesis,
    analysis_window,
    istft,
    stft,
    synthesis_window,
)
from tinyse.sound.stream import Meter, StreamingEnhancer

__all__ = ["DEFAULT", "Analysis", "Bands", "Complex", "Ends", "Feature", "Framing", "Meter", "Numbers", "Real",
           "Result", "RunningMean", "StreamingEnhancer", "Synthesis", "analysis_window", "applied", "band_matrix",
           "features", "gains", "istft", "less_mean", "newest_hops", "rows", "sounded", "stft", "synthesis_window",
           "to_bands", "to_bins"]
