"""When a Skip RNN runs: the paper's gate in exact integers, the same on every engine and on the device.

Papers: Skip RNN (Campos et al. 2018) as TinyLSTMs uses it. One gate serves the whole network. A frame either runs it,
or keeps its states and its mask. The mask layer has one output more than there are bands; it is p~, how much of an
update each coming frame adds. On the int8 output's grid (scale 1/256, zero point -128) p~ x 256 is the integer P::

    u_t = u_{t-1} + min(p, 1 - u_{t-1})        the frame runs where u_t >= 1/2; u then starts again at 0

In steps of 1/256 nothing rounds, so Keras, TFLM, the NPU simulator and the firmware decide alike. After an update with
P the next comes ceil(128 / P) frames later; P = 0 counts as 1, so 128 frames are the longest pause. ::

    gate = SkipGate()
    for frame in frames:
        if gate.due():
            mask, p = run(frame)
            gate.ran(p)
        else:
            gate.skipped()
"""

from __future__ import annotations

FULL = 256
"""u and P of one whole update."""
DUE = 128
"""u from which a frame runs: round(u) = 1, a tie upwards."""
LEAST = 1
"""The smallest P: a network that says 0 would never run again."""


class SkipGate:
    """The gate of one stream.

    Attributes:
        frames: frames decided since ``reset``.
        updates: how many of them ran the network.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Before the first frame, which always runs."""
        self._u = FULL
        self._p = FULL
        self.frames = 0
        self.updates = 0

    def due(self) -> bool:
        """Whether this frame runs the network; asking changes nothing."""
        return self._u >= DUE

    def ran(self, p: int) -> None:
        """This frame ran, and the last output was ``p`` / 256 (0..256)."""
        self._p = max(int(p), LEAST)
        self._u = min(self._p, FULL)
        self.frames += 1
        self.updates += 1

    def skipped(self) -> None:
        """This frame did not run."""
        self._u = min(self._u + self._p, FULL)
        self.frames += 1

    @property
    def rate(self) -> float:
        """Share of frames that ran, 1 where there were none."""
        return self.updates / self.frames if self.frames else 1.0
