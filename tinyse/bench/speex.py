"""SpeexDSP's preprocessor: no weights, spectral gains from tracked noise, 15 dB of suppression by default."""

from __future__ import annotations

from typing import Any

from tinyse.bench.packages import Wheel, load_module
from tinyse.bench.peer import Framed, Real, Size, from_pcm, to_pcm

WHEEL = Wheel("speexdsp_ns", "0.1.2", "speexdsp_ns")


class Speex(Framed):
    """The preprocessor on frames of 16 ms, 16-bit samples; windows of two frames, so late by one."""

    rate = 16000
    hop = 256
    delay = 256

    def __init__(self) -> None:
        """Load the module; ToolError where the package is not installed."""
        self._module: Any = load_module(WHEEL)
        self.reset()

    def reset(self) -> None:
        """Make a new preprocessor."""
        self._state = self._module.NoiseSuppression.create(self.hop, self.rate)

    def push(self, frame: Real) -> Real:
        """Advance one hop: float32 [256] to float32 [256]."""
        return from_pcm(self._state.process(to_pcm(frame)))


def size() -> Size:
    """Nothing to count."""
    return Size(0, 0, None, "no weights; its arithmetic is not made of layers")
