"""How loud a signal is, measured as it passes: the active level that mixtures are made with, in dB of full scale.

    level = Level()
    for block in blocks:
        level.push(block)
    level.db, level.note()
"""

from __future__ import annotations

import numpy as np

from tinyse.sound.framing import Real

FRAME = 320
"""Samples: 20 ms at 16 kHz."""
ACTIVE_DB = 40
"""Frames this far below the loudest count as pauses (as in `tinyse.sound.corpus.mix`)."""
LOWEST_DB, HIGHEST_DB = -45.0, -10.0
"""Where models do what they promise: within about 1 dB of SI-SDR of their best (docs/evaluation.md)."""
GOOD_DB = -25.0
SILENT_DB = -140


class Level:
    """Sums of frames by their own level in steps of 1 dB, so memory does not grow; a constant offset does not count."""

    def __init__(self) -> None:
        """Nothing heard yet."""
        self._rest = np.zeros(0, np.float32)
        self._frames: dict[int, tuple[int, float]] = {}

    def push(self, block: Real) -> None:
        """Hear float32 [n] at 16 kHz."""
        wave = np.concatenate([self._rest, block])
        whole = len(wave) // FRAME * FRAME
        self._rest = wave[whole:]
        power = wave[:whole].reshape(-1, FRAME).var(axis=1, dtype=np.float64)
        for step, one in zip(np.floor(10 * np.log10(np.maximum(power, 1e-14))).astype(int).tolist(), power.tolist(),
                             strict=True):
            count, total = self._frames.get(step, (0, 0.0))
            self._frames[step] = count + 1, total + one

    @property
    def db(self) -> float | None:
        """Mean power of the active frames, dB of full scale; None below 20 ms, and for digital silence."""
        loudest = max(self._frames, default=SILENT_DB)
        if loudest <= SILENT_DB:
            return None
        active = [frames for step, frames in self._frames.items() if step >= loudest - ACTIVE_DB]
        return float(10 * np.log10(sum(total for _, total in active) / sum(count for count, _ in active)))

    def note(self) -> str:
        """What to tell where models were not made for this level, or ""."""
        if self.db is None or LOWEST_DB <= self.db <= HIGHEST_DB:
            return ""
        change = GOOD_DB - self.db
        how = "amplify" if change > 0 else "attenuate"
        return (f"the sound's active level is {self.db:.0f} dBFS; models expect {LOWEST_DB:.0f} to {HIGHEST_DB:.0f} "
                f"dBFS and do worse outside: {how} it by {abs(change):.0f} dB first")
