"""WebRTC's noise suppressor: no weights, a Wiener filter on tracked noise statistics."""

from __future__ import annotations

from typing import Any

from tinyse.bench.packages import Wheel, load_module
from tinyse.bench.peer import Framed, Real, Size, from_pcm, to_pcm

WHEEL = Wheel("webrtc_noise_gain", "1.3.0", "webrtc_noise_gain")
LEVEL = 3
"""Of 1 to 4: "high"."""


class Webrtc(Framed):
    """The audio processor with gain control off and suppression high, 10 ms of 16-bit samples at a time.

    Late by its window of 256 samples less a hop. It filters out what lies under 100 Hz or so, which turns phases: its
    output correlates with clean speech by 0.89 only where another's does by 0.99, and SI-SDR sees that.
    """

    rate = 16000
    hop = 160
    delay = 256 - 160

    def __init__(self) -> None:
        """Load the module; ToolError where the package is not installed."""
        self._module: Any = load_module(WHEEL)
        self.reset()

    def reset(self) -> None:
        """Make a new processor."""
        self._processor = self._module.AudioProcessor(0, LEVEL)

    def push(self, frame: Real) -> Real:
        """Advance one hop: float32 [160] to float32 [160]."""
        return from_pcm(self._processor.Process10ms(to_pcm(frame)).audio)


def size() -> Size:
    """Nothing to count."""
    return Size(0, 0, None, "no weights; its arithmetic is not made of layers")
