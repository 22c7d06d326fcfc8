"""Voice activity: which frames of clean speech are voice, and how well answers agree with that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyse.sound.framing import Real

BELOW_DB = 30.0
"""A frame is voice where its clean energy is at most so far below the loud frames (95 % are softer) of its mixture."""
Labels = NDArray[np.bool_]
Floats = NDArray[np.float64]


def frame_levels(wave: Real, frame: int, hop: int) -> Floats:
    """Energy of every frame in dB of full scale, -120 for silence, [frames]; of less than a frame none."""
    if len(wave) < frame:
        return np.zeros(0)
    seen: Iterable[NDArray[np.float32]] = np.lib.stride_tricks.sliding_window_view(np.asarray(wave, np.float32), frame)
    energy = np.square(np.asarray(seen)[::hop].astype(np.float64)).mean(-1)
    return np.asarray(10.0 * np.log10(np.maximum(energy, 1e-12)))


def voice(clean: Real, frame: int, hop: int) -> Labels:
    """Whether each frame of clean speech is voice, [frames]."""
    if not (levels := frame_levels(clean, frame, hop)).size:
        return np.zeros(0, np.bool_)
    return np.asarray(levels >= max(float(np.quantile(levels, 0.95)) - BELOW_DB, -100.0))


@dataclass(frozen=True)
class Score:
    """Shares 0..1 of frames: rightly labelled, of the voiced, of the pauses; ``balanced``: mean of the last two.

    NaN is the share of a class that there is nothing of; ``balanced`` is then the other's.
    """

    accuracy: float
    voice: float
    pause: float

    @property
    def balanced(self) -> float:
        """Mean of both classes."""
        there = [share for share in (self.voice, self.pause) if share == share]
        return sum(there) / len(there)

    @staticmethod
    def of(answers: Labels, labels: Labels) -> Score:
        """Of at least one frame."""
        right = answers == labels
        shares = (float(right[part].mean()) if part.any() else float("nan") for part in (labels, ~labels))
        return Score(float(right.mean()), *shares)


def auc(values: Floats | Real, labels: Labels) -> float:
    """Chance that a voiced frame has a larger value than a pause, half of a draw; NaN where one of them is missing."""
    from scipy.stats import rankdata

    voiced = int(labels.sum())
    pairs = voiced * (len(labels) - voiced)
    ranks = float(rankdata(values)[labels].sum())
    return (ranks - voiced * (voiced + 1) / 2) / pairs if pairs else float("nan")


def best_threshold(values: Floats, labels: Labels) -> float:
    """The value from which on to say voice, for the largest balanced share; both classes must be there."""
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(labels[order]) / labels.sum() - np.cumsum(~labels[order]) / (~labels).sum()
    last = np.append(np.diff(values[order]) != 0, True)  # equal values are on one side
    return float(values[order][int(np.argmax(np.where(last, hits, -np.inf)))])
