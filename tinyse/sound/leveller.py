"""Leveller: a gain for every hop of samples, so that a network on samples hears all sound at about one level.

With m the mean square and p the largest magnitude of the hop's samples, and what a reset leaves l = 0::

    l    = max(m, l * 10^(-fall * period / 10), floor)         the running level, a mean square
    gain = min(target / sqrt(l), 1 / p)

The network is given the hop times ``gain``, and samples that it answers to this hop are divided by ``gain``. A hop is
there whole before it is answered: so nothing lags, the first one is at its level, and nothing exceeds full scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyse.core.errors import RecipeError
from tinyse.core.sections import one_of, within
from tinyse.sound.framing import Framing, Real


@dataclass(frozen=True)
class Leveller:
    """The law and its numbers; docs/front-end.md has the measurement behind them (ours).

    Attributes:
        kind: none: samples as they are; running: as above.
        target_db: RMS that a hop at the running level gets, dB of full scale.
        floor_db: the lowest running level, RMS in dB of full scale: silence is lifted by target less floor at most.
        fall: dB a second by which the running level sinks where hops are softer.
    """

    kind: str = one_of("none", "running", default="none")
    target_db: float = within(-60, 0, default=-18.0)
    floor_db: float = within(-100, 0, default=-60.0)
    fall: float = within(0.1, 1000, default=10.0)

    def __post_init__(self) -> None:
        """Check the kind."""
        if self.kind not in ("none", "running"):
            raise RecipeError(f"level {self.kind!r} is not known", "none or running")

    @property
    def on(self) -> bool:
        """Whether there are gains."""
        return self.kind != "none"

    def numbers(self, framing: Framing) -> tuple[float, float, float]:
        """Target, an RMS; the least level, a mean square; what a level is multiplied by from hop to hop."""
        return (10 ** (self.target_db / 20), 10 ** (self.floor_db / 10), 10 ** (-self.fall * framing.period / 10))


class RunningLevel:
    """The running level of one signal, or of several side by side."""

    def __init__(self, leveller: Leveller, framing: Framing) -> None:
        """Nothing heard yet."""
        self._target, self._floor, self._fall = (np.float32(number) for number in leveller.numbers(framing))
        self.reset()

    def reset(self) -> None:
        """Start a new signal."""
        self._level: Real = np.zeros((), np.float32)

    def push(self, hops: Real) -> Real:
        """The gains, float32 [...], of the next hops, float32 [..., hop]."""
        found: Real = self.gains(np.asarray(hops)[..., np.newaxis, :])[..., 0]
        return found

    def gains(self, hops: Real) -> Real:
        """The gains, float32 [..., frames], of the next hops, float32 [..., frames, hop]."""
        loud: Real = np.asarray(np.mean(np.square(hops), -1), np.float32)
        levels = np.empty_like(loud)
        for frame in range(loud.shape[-1]):
            level = np.fmax(np.fmax(loud[..., frame], self._level * self._fall), self._floor)  # a NaN is not kept
            levels[..., frame] = self._level = np.asarray(level, np.float32)
        wanted, peak = self._target / np.sqrt(levels), np.abs(hops).max(-1)
        found: Real = np.where(wanted * peak > 1, 1 / np.fmax(peak, np.float32(1e-9)), wanted)
        return found


def level_gains(hops: Real, leveller: Leveller, framing: Framing) -> Real:
    """The gains, float32 [..., frames], of the hops of whole signals, float32 [..., frames, hop]."""
    return RunningLevel(leveller, framing).gains(hops)
