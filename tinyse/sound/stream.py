"""Streaming: hops of sound through a network, hop by hop; ``Enhancer`` gives sound, ``Meter`` scores."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tinyse.core.errors import ModelError
from tinyse.sound.ends import DEFAULT, Ends
from tinyse.sound.features import applied, features
from tinyse.sound.framing import Analysis, Numbers, Real, Synthesis


class Network(Protocol):
    """What runs on a frame, with its state inside."""

    def reset(self) -> None:
        """Return to the state before the first frame."""

    def mask(self, feature: Real) -> Real:
        """Advance one frame: float32 [inputs] to the answer, float32 [outputs]."""


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
            what = "scores" if ends.result.kind == "score" else "where voice is"
            raise ModelError(f"the network gives {what}, and no sound", "it measures; it cannot enhance")
        self.engine = engine
        self.ends = ends
        self._analysis = Analysis(ends.framing)
        self._synthesis = Synthesis(ends.framing)
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

        The first ``delay`` samples lie before the signal; there, only what the gains smear forward sounds.
        """
        hop = np.asarray(hop, np.float32)
        if not self.ends.transforms:
            return self.engine.mask(hop) * np.float32(self.ends.result.limit)
        spectrum = self._analysis.push(hop)
        answer = self.engine.mask(hop if self.ends.feature.kind == "samples" else features(spectrum, self.ends))
        if not self.ends.synthesizes:
            return answer * np.float32(self.ends.result.limit)
        return self._synthesis.push(applied(spectrum, answer, self.ends))

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
        self._analysis = Analysis(ends.framing)
        self.reset()

    def reset(self) -> None:
        """Start a new signal; there is no score yet."""
        self._analysis.reset()
        self.engine.reset()
        self._rows: list[Real] = []
        self.score: Real | None = None
        """The newest answer, float32 [count]; None before the first."""

    def push(self, hop: Numbers) -> Real | None:
        """Hear float32 [hop]; the newest score."""
        hop = np.asarray(hop, np.float32)
        self._rows.append(features(self._analysis.push(hop), self.ends) if self.ends.transforms else hop)
        if len(self._rows) == self.ends.rows:
            self.score = self.engine.mask(np.concatenate(self._rows)) * np.float32(self.ends.result.limit)
            self._rows = []
        return self.score
