"""Input frames for the simulator: the features of a sound file, or noise shaped like features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.engines.npu import NpuEngine

Ints = NDArray[Any]


def sound_frames(engine: NpuEngine, path: Path | str) -> list[Ints]:
    """Quantized features of a sound file, one array [bands] a hop.

    Raises:
        AudioError: the file cannot be read. ModelError: the network does not fit its ends.
    """
    from tinyse.sound import Intake
    from tinyse.sound.audio import AudioReader, hops_of

    engine.check_ends()
    ends = engine.ends
    intake = Intake(ends)
    with AudioReader(path, ends.framing.rate) as reader:
        hops = hops_of(reader.blocks(), ends.framing.hop)
        return [engine.input.quantize(intake.push(hop)) for hop in hops]


def synthetic_frames(engine: NpuEngine, count: int, seed: int = 0) -> list[Ints]:
    """Seeded frames [bands] over the whole input range: bursts over a floor, correlated in time."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(engine.input.dtype)
    top = engine.input.scale * (limits.max - engine.input.zero_point)
    level, frames = np.zeros(engine.bands), []
    for number in range(count):
        gain = 0.3 if (number // 12) % 3 == 2 else 1.0
        level = 0.6 * level + 0.4 * gain * rng.gamma(0.6, 0.25, engine.bands)
        frames.append(engine.input.quantize((top * level).astype(np.float32)))
    return frames
