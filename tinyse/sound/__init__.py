"""Sound: what a frame of a network is (``Ends``), and the way there and back, whole and hop by hop."""

from tinyse.sound.bands import Bands, band_matrix, to_bands, to_bins
from tinyse.sound.ends import DEFAULT, Ends, Feature, Result
from tinyse.sound.features import applied, divisors, features, gains, less_mean, newest_hops, rows, sounded
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
from tinyse.sound.leveller import Leveller, level_gains
from tinyse.sound.stream import Intake, Meter, StreamingEnhancer

__all__ = ["DEFAULT", "Analysis", "Bands", "Complex", "Ends", "Feature", "Framing", "Intake", "Leveller", "Meter",
           "Numbers", "Real", "Result", "StreamingEnhancer", "Synthesis", "analysis_window", "applied", "band_matrix",
           "divisors", "features", "gains", "istft", "less_mean", "level_gains", "newest_hops", "rows", "sounded",
           "stft", "synthesis_window", "to_bands", "to_bins"]
