"""Streaming: hops of sound through a network, hop by hop; ``Enhancer`` gives sound, ``Meter`` scores."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tinyse.core.errors import ModelError
from tinyse.sound.ends import DEFAULT, Ends
from tinyse.sound.features import RunningMean, applied, features
from tinyse.sound.framing import Analysis, Complex, Numbers, Real, Synthesis
from tinyse.sound.leveller import RunningLevel


class Network(Protocol):
    """What runs on a frame, with its state inside."""

    def reset(self) -> None:
        """Return to the state before the first frame."""

    def mask(self, feature: Real) -> Real:
        """Advance one frame: float32 [inputs] to the answer, float32 [outputs]."""


class Intake:
    """Hops in, rows of the network's input out.

    Attributes:
        spectrum: complex64 [bins] of the newest frame, where a frame is transformed. gain: of the newest hop's level.
    """

    def __init__(self, ends: Ends) -> None:
        """Start from silence."""
        self.ends = ends
        self._analysis, self._level = Analysis(ends.framing), RunningLevel(ends.level, ends.framing)
        self._mean = RunningMean(ends)
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._analysis.reset()
        self._level.reset()
        self._mean.reset()
        self.spectrum: Complex = np.zeros(self.ends.framing.bins, np.complex64)
        self.gain = np.float32(1)

    def hold(self, value: float) -> None:
        """Let the past be ``value`` throughout."""
        self._analysis.hold(value)

    def push(self, hop: Numbers) -> Real:
        """The row, float32 [row], of the next hop, float32 [hop]."""
        hop = np.asarray(hop, np.float32)
        if self.ends.transforms:
            self.spectrum = self._analysis.push(hop)
        if self.ends.feature.kind != "samples":
            return self._mean.less(features(self.spectrum, self.ends))
        if not self.ends.level.on:
            return hop
        self.gain = np.float32(self._level.push(hop))
        return hop * self.gain


class StreamingEnhancer:
    """One hop in, one hop out, ``ends.delay`` samples later.

    Equals ``istft(applied(stft(x), answers))`` on the same signal with ``delay`` zeros before it. Memory is two frames
    plus the network's state.
    """

    def __init__(self, engine: Network, ends: Ends = DEFAULT) -> None:
        """Take over ``engine`` and reset it.

        Raises:
            ModelError: the result is no sound.
        """
        if ends.result.scores:
            what, how = (("scores", "it measures: tinyse score-quality FILE") if ends.result.kind == "score" else
                         ("where voice is", "it measures; it cannot enhance"))
            raise ModelError(f"the network gives {what}, and no sound", how)
        self.engine = engine
        self.ends = ends
        self._intake = Intake(ends)
        self._synthesis = Synthesis(ends.framing)
        self.reset()

    def reset(self) -> None:
        """Start a new signal: zero history, the engine's initial state."""
        self._intake.reset()
        self._synthesis.reset()
        self.engine.reset()

    def hold(self, value: float) -> None:
        """Let the past be ``value`` rather than zeros: a signal's first sample, so that an offset is no step."""
        self._intake.hold(value)

    def push(self, hop: Numbers) -> Real:
        """Enhance: float32 [hop] in, float32 [hop] out, the samples of ``delay`` ago.

        The first ``delay`` samples lie before the signal; there, only what the gains smear forward sounds.
        """
        answer = self.engine.mask(self._intake.push(hop))
        if self.ends.synthesizes:
            return self._synthesis.push(applied(self._intake.spectrum, answer, self.ends))
        answer = answer * np.float32(self.ends.result.limit)
        return answer / self._intake.gain if self.ends.restores else answer

    def flush(self, value: float = 0.0) -> Real:
        """The last ``delay`` samples, float32 [delay], by pushing ``value``; call ``reset`` afterwards."""
        hop, delay = self.ends.framing.hop, self.ends.delay
        held = np.full(hop, value, np.float32)
        rest = [self.push(held) for _ in range(-(-delay // hop))]
        return np.concatenate([np.zeros(0, np.float32), *rest])[:delay]


class Meter:
    """Hops in, a score after every ``ends.rows`` frames; the sound itself is left as it is."""

    def __init__(self, engine: Network, ends: Ends) -> None:
        """Take over ``engine`` and reset it.

        Raises:
            ModelError: the result is no score.
        """
        if not ends.result.scores:
            raise ModelError(f"the network gives {ends.result.kind}, and no scores", "enhance with it")
        self.engine, self.ends = engine, ends
        self._intake = Intake(ends)
        self.reset()

    def reset(self) -> None:
        """Start a new signal; there is no score yet."""
        self._intake.reset()
        self.engine.reset()
        self._rows: list[Real] = []
        self.score: Real | None = None
        """The newest answer, float32 [count]; None before the first."""

    def push(self, hop: Numbers) -> Real | None:
        """Hear float32 [hop]; the newest score."""
        self._rows.append(self._intake.push(hop))
        if len(self._rows) == self.ends.rows:
            self.score = self.engine.mask(np.concatenate(self._rows)) * np.float32(self.ends.result.limit)
            self._rows = []
        return self.score
