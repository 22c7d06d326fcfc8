"""Running many frames: how fast the simulator is on this host."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tinyse.engines.npu import NpuEngine
from tinyse.npu.trace import trace


def run_frames(engine: NpuEngine, frames: Sequence[NDArray[Any]], target: Path | None = None) -> tuple[int, float]:
    """Run quantized frames [bands] from reset.

    Args:
        target: also run them traced, and write every map there.

    Returns:
        The number of frames, and frames per second (wall clock of this host, without tracing).
    """
    engine.reset()
    start = time.perf_counter()
    for frame in frames:
        engine.step(frame)
    seconds = time.perf_counter() - start
    if target is not None:
        trace(engine.machine, frames, target)
    return len(frames), len(frames) / max(seconds, 1e-9)
