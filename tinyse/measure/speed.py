"""Running many frames: how fast the simulator is on this host."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ModelError
from tinyse.engines.npu import NpuEngine
from tinyse.npu.trace import trace


def run_frames(engine: NpuEngine, frames: Sequence[NDArray[Any]], target: Path | None = None) -> tuple[int, float]:
    """Run quantized frames [bands] from reset.

    Args:
        target: also run them traced, and write every map there.

    Raises:
        ModelError: several parts are to be traced.

    Returns:
        The number of frames, and frames per second (wall clock of this host, without tracing).
    """
    engine.reset()
    start = time.perf_counter()
    for frame in frames:
        engine.step(frame)
    seconds = time.perf_counter() - start
    if target is not None:
        if len(engine.plan.parts) > 1:
            raise ModelError(f"{engine.label}: {len(engine.plan.parts)} parts, of which --trace writes one",
                             "give the compiled file of one part")
        trace(engine.machine, _fed(engine, frames), target)
    return len(frames), len(frames) / max(seconds, 1e-9)


def _fed(engine: NpuEngine, frames: Sequence[NDArray[Any]]) -> Iterator[list[NDArray[Any]]]:
    """Each frame and what the states are before it."""
    part = engine.plan.parts[0]
    states = [np.full(state.past.shape, state.past.grid.zero_point, state.past.grid.dtype) for state in part.states]
    for frame in frames:
        yield [frame, *states]
        states = engine.machines.outputs(0)[len(part.outputs):]
