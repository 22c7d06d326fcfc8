"""Predicted quality of sound of any length, without a reference: a score every step of the network, in bounded memory.

    scorer = Scorer.load(DEFAULT_MODEL)
    for block in blocks:
        scores += list(scorer.push(block))

The integers are the exported file's (``tinyse.graph.tall``), so a score is what a device says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.core.errors import AudioError, ModelError
from tinyse.export.bundle import INT8, model_of, open_bundle
from tinyse.graph.graph import Graph
from tinyse.graph.plan import window
from tinyse.graph.tall import Tall
from tinyse.sound import Ends, Real, features, stft
from tinyse.sound.audio import AudioReader
from tinyse.sound.level import Level

DEFAULT_MODEL = Path(__file__).parent / "quality-model"
"""models/quality, which the package brings along."""
AT_ONCE = 32
"""Steps that are run together: 5.12 s of sound."""
SILENT_DB = -90.0
"""Active level below which there is nothing to score."""


class Scorer:
    """A released or exported predictor, over a stream of samples.

    Attributes:
        ends: what a step is. window: steps that a score is of; before as many there is none. period: seconds of one.
    """

    def __init__(self, graph: Graph, ends: Ends, label: str = "model") -> None:
        """Take a graph that gives one score.

        Raises:
            ModelError: it gives something else.
        """
        if ends.result.kind != "score" or ends.outputs != 1 or not ends.transforms:
            raise ModelError(f"{label}: gives {ends.result.kind}, and no quality", "give models/quality")
        self.ends, self._tall = ends, Tall(graph)
        self.window = window([graph])
        self.period = ends.period * ends.rows
        self.reset()

    @staticmethod
    def load(path: Path | str) -> Scorer:
        """Read an export's or a release's folder, or its int8 file.

        Raises:
            ModelError: there is none, or it gives no quality.
        """
        path = Path(path)
        file = model_of(path) if path.is_dir() else path
        if file is None or not file.is_file():
            raise ModelError(f"{path}: no {INT8} in it", "give the folder of an export, such as models/quality")
        bundle = open_bundle(file)
        plan = bundle.graph_plan()
        if len(plan.graphs) != 1:
            raise ModelError(f"{path}: {len(plan.graphs)} parts, and a predictor has one", "give models/quality")
        return Scorer(plan.graphs[0], bundle.ends, str(path))

    @property
    def seconds(self) -> float:
        """Of the shortest sound that has a score."""
        return self.window * self.period

    def reset(self) -> None:
        """Start a new sound."""
        self._tall.reset()
        framing = self.ends.framing
        self._rest: Real = np.zeros(framing.frame - framing.hop, np.float32)
        self._count = 0

    def push(self, block: Real) -> Real:
        """Hear float32 [n] at the network's rate; the scores of the steps that it completes, float32 [m], m >= 0."""
        framing, rows = self.ends.framing, self.ends.rows
        self._rest = np.concatenate([self._rest, block])
        scores: list[Any] = [np.zeros(0, np.float32)]
        while (ready := ((len(self._rest) - framing.frame) // framing.hop + 1) // rows) > 0:
            steps = min(ready, AT_ONCE)
            span = (steps * rows - 1) * framing.hop + framing.frame
            made = self.steps(features(stft(self._rest[:span], framing), self.ends).reshape(steps, -1))
            self._rest = self._rest[steps * rows * framing.hop :]
            scores.append(made[max(0, self.window - 1 - self._count) :])
            self._count += steps
        found: Real = np.concatenate(scores)
        return found

    def steps(self, given: Real) -> Real:
        """What the network says after each of some steps, float32 [n], of their features [n, inputs]."""
        source, result = self._tall.graph.inputs[0], self._tall.graph.outputs[0]
        made = result.grid.dequantize(self._tall.run(source.grid.quantize(given)))[:, 0]
        return made * np.float32(self.ends.result.limit)


@dataclass(frozen=True)
class Quality:
    """Scores of one sound.

    Attributes:
        seconds: its length. scores: one for every step from the first whole window on. period: seconds of a step.
        window: seconds that each score is of. notes: remarks on the sound.
    """

    seconds: float
    scores: Real
    period: float
    window: float
    notes: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """The mean over all of it."""
        return float(np.mean(self.scores, dtype=np.float64))

    def over_time(self, every: float) -> list[tuple[float, float, float]]:
        """(begin, end, score) in seconds: the score of the window that ends there, at steps of about ``every``.

        The last is of the last whole window of the sound, which may begin before the one in front of it ends.
        """
        stride, last = max(1, round(every / self.period)), len(self.scores) - 1
        return [(at * self.period, at * self.period + self.window, float(self.scores[at]))
                for at in [*range(0, last, stride), last]]


def score_signal(blocks: Iterable[Real], scorer: Scorer) -> Real:
    """Every score of a sound, float32 [m]; empty where it is shorter than a window."""
    scorer.reset()
    return np.concatenate([np.zeros(0, np.float32), *(scorer.push(block) for block in blocks)])


def heard(scores: Iterable[float], hops: int, scorer: Scorer, label: str) -> Quality:
    """What a device said of ``hops`` hops of the sound ``label``, with a network as the scorer's.

    Raises:
        AudioError: it said nothing.
    """
    found = np.array(list(scores), np.float32)
    _check_length(found, scorer, label)
    framing = scorer.ends.framing
    return Quality(hops * framing.hop / framing.rate, found, scorer.period, scorer.seconds)


def _check_length(scores: Real, scorer: Scorer, label: str) -> None:
    if not len(scores):
        raise AudioError(f"{label}: is shorter than the {scorer.seconds:.2f} s that a score is of", "give more of it")


def score_file(path: Path | str, scorer: Scorer) -> Quality:
    """Scores of a sound file of any rate, length and channel count; memory does not grow but by the scores.

    Raises:
        AudioError: it cannot be read, holds nothing or NaN, is silent, clipped, or shorter than a window.
    """
    level, heard = Level(), 0

    def counted(blocks: Iterable[Real]) -> Iterator[Real]:
        nonlocal heard
        for block in blocks:
            level.push(block)
            heard += len(block)
            yield block

    with AudioReader(path, scorer.ends.framing.rate) as reader:
        scores = score_signal(counted(reader.blocks()), scorer)
        notes = tuple(reader.notes)
    seconds = heard / scorer.ends.framing.rate
    _check_length(scores, scorer, str(path))
    if level.db is None or level.db < SILENT_DB:
        raise AudioError(f"{path}: is silent: there is nothing to score", "is the microphone on?")
    if clipped := [note for note in notes if note.startswith("clipped")]:
        raise AudioError(f"{path}: {clipped[0]}: the network has never heard clipping", "record it lower")
    note = level.note()
    return Quality(seconds, scores, scorer.period, scorer.seconds, (*notes, *([note] if note else [])))
