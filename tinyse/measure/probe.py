"""A linear probe: do gates know when somebody speaks? (After the follow-up of Miccini et al.; details are ours.)

Features are the open channels of a frame, labels the energy of the clean speech in the same frame of the mixture. A
ridge regression, voice and pause weighed alike, is fitted on the mixtures of one split and scored on another's. Beside
it stand what always answering the same scores, and the same regression on the level of the noisy frame alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import CorpusError
from tinyse.core.progress import Progress, Step, silent
from tinyse.engines.integer import IntegerEngine
from tinyse.measure.channels import joined, opened
from tinyse.measure.scores.pairs import Pair
from tinyse.sound.voice import Floats, Labels, Score, frame_levels, voice

RIDGE = 1e-3
"""Of the mean square of a feature."""


@dataclass(frozen=True)
class Probe:
    """What came out, on ``frames`` scored frames of which the share ``voiced`` is voice.

    Attributes:
        features: open or closed channels that it saw. gates, level: of the probe, and of the noisy level alone.
    """

    frames: int
    voiced: float
    features: int
    gates: Score
    level: Score

    @property
    def constant(self) -> float:
        """Accuracy of always answering what is more frequent."""
        return max(self.voiced, 1.0 - self.voiced)


class Ridge:
    """Least squares on frames that come clip by clip; voice and pause weigh alike in all."""

    def __init__(self, features: int) -> None:
        self.squares = np.zeros((2, features + 1, features + 1))
        self.counts = np.zeros(2)

    def add(self, values: Floats, labels: Labels) -> None:
        """Frames [n, features] and whether each is voice."""
        wide = np.pad(values, ((0, 0), (0, 1)), constant_values=1.0)
        for label in (0, 1):
            part = wide[labels == bool(label)]
            self.squares[label] += part.T @ part
            self.counts[label] += len(part)

    def weights(self) -> Floats:
        """[features + 1], the last a constant; voice is where the sum is above 0."""
        pause, spoken = (each / max(1.0, count) for each, count in zip(self.squares, self.counts, strict=True))
        total, wanted = pause + spoken, spoken[-1] - pause[-1]
        scale = RIDGE * max(float(np.trace(total)) / len(total), 1e-12)
        return np.asarray(np.linalg.solve(total + scale * np.eye(len(total)), wanted))


def probe(engine: IntegerEngine, fitted: Iterable[Pair], scored: Iterable[Pair], total: int = 0,
          progress: Progress = silent) -> Probe:
    """Fit on one set of mixtures, score on another.

    Args:
        total: how many mixtures to expect in all, for the progress bar.

    Raises:
        ModelError: the network has no channel gates. CorpusError: a set is empty, or holds voice or pauses alone.
    """
    framing, done = engine.ends.framing, 0

    def frames(pairs: Iterable[Pair]) -> Iterable[tuple[Floats, Floats, Labels]]:
        nonlocal done
        for pair in pairs:
            masks = joined(opened(engine, pair.noisy)).astype(np.float64)
            levels = frame_levels(pair.noisy, framing.frame, framing.hop)[: len(masks), None]
            labels = voice(pair.clean, framing.frame, framing.hop)[: len(masks)]
            done += 1
            progress(Step("probe", done, total, pair.name))
            yield masks[: len(labels)], levels, labels

    ridges: tuple[Ridge, Ridge] | None = None
    for masks, levels, labels in frames(fitted):
        ridges = ridges or (Ridge(masks.shape[1]), Ridge(1))
        ridges[0].add(masks, labels)
        ridges[1].add(levels, labels)
    if ridges is None or not ridges[0].counts.all():
        raise CorpusError("nothing to fit a probe on: no mixture, or voice or pauses alone", "more or longer mixtures")
    chosen = [ridge.weights() for ridge in ridges]
    right: NDArray[np.int64] = np.zeros((2, 2), np.int64)  # of gates and level, of pauses and voice
    counts = np.zeros(2, np.int64)
    for masks, levels, labels in frames(scored):
        counts += np.bincount(labels, minlength=2)
        for each, (values, weights) in enumerate(zip((masks, levels), chosen, strict=True)):
            answers = values @ weights[:-1] + weights[-1] > 0
            right[each] += np.bincount(labels[answers == labels], minlength=2)
    if not counts.all():
        raise CorpusError("nothing to score a probe on: no mixture, or voice or pauses alone", "more mixtures")
    scores = [Score(float(each.sum() / counts.sum()), float(each[1] / counts[1]), float(each[0] / counts[0]))
              for each in right]
    return Probe(int(counts.sum()), float(counts[1] / counts.sum()), len(chosen[0]) - 1, scores[0], scores[1])


def lines(found: Probe, fitted: str, scored: str) -> list[str]:
    """What a command prints of it."""
    def of(name: str, score: Score) -> str:
        return (f"  {name}: {100 * score.accuracy:.1f} % of frames right, {100 * score.balanced:.1f} % on the mean of "
                f"voice ({100 * score.voice:.1f} %) and pauses ({100 * score.pause:.1f} %)")

    return [f"voice activity by a linear probe, fitted on {fitted}, scored on {scored}, measured (host): "
            f"{found.frames:,} frames, {100 * found.voiced:.1f} % voice",
            of(f"{found.features:,} channel gates", found.gates), of("level of the noisy frame", found.level),
            f"  always the same answer: {100 * found.constant:.1f} % of frames right"]
