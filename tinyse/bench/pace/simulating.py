"""Ways to run the device's int8 network on the host, network only, one thread each: int8 frames in, int8 masks out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyse.bench.pace.race import Lap, Run
from tinyse.core.errors import ToolError
from tinyse.sound import Ends

SECONDS = 10.0
CLIPS = 16
"""Sequences side by side, half a batch of the quick recipe."""


def ours(model: Path, seconds: float = SECONDS) -> Run:
    """The compiled file on the NPU simulator."""
    from tinyse.engines.npu import NpuEngine

    engine = NpuEngine.load(model)
    return _frames(engine.reset, engine.step, engine.ends, engine.input.quantize, seconds)


def tflm(model: Path, seconds: float = SECONDS) -> Run:
    """The int8 file under TFLM's interpreter."""
    from tinyse.engines.tflm import TflmEngine

    engine = TflmEngine.load(model)
    return _frames(engine.reset, engine.step, engine.ends, engine.input.quantize, seconds)


def numpy(model: Path, seconds: float = SECONDS) -> Run:
    """The int8 file in plain NumPy, operator by operator: the reference that export is checked against."""
    from tinyse.engines.integer import IntegerEngine

    engine = IntegerEngine.load(model)
    return _frames(engine.reset, engine.step, engine.ends, engine.input.quantize, seconds)


def sequences(model: Path, seconds: float = SECONDS) -> Run:
    """A quantized .npz on TFLM's grids, with its exact tables, as training sees it: ``CLIPS`` whole clips at once."""
    import numpy as np

    from tinyse.graph.grid import MASK_SCALE, MASK_ZERO_POINT, Grid, nearest
    from tinyse.graph.model import Model
    from tinyse.train.keras import tf
    from tinyse.train.network import restore

    trained = Model.load(model)
    spec, network = trained.ends, restore(trained, exact=True)
    scale = np.float32(Grid.of_range(*(trained.ranges or {})["features"]).scale)
    one = nearest(_given(spec, seconds), float(scale)) * scale
    batch = tf.constant(np.repeat(one[:, None], CLIPS, axis=1))
    states = network.zero_states(CLIPS)
    masks = tf.function(lambda rows: network.run(rows, states)[0][-1])

    def run() -> Lap:
        started = time.perf_counter()
        found = masks(batch).numpy()
        taken = time.perf_counter() - started
        return Lap(found.shape[0] * CLIPS, taken, np.rint(found[:, 0] / MASK_SCALE).astype(np.int64) + MASK_ZERO_POINT)

    return run


def _frames(reset: Callable[[], None], step: Callable[[Any], Any], ends: Ends, quantize: Callable[[Any], Any],
            seconds: float) -> Run:
    import numpy as np

    frames = list(quantize(_given(ends, seconds)))

    def run() -> Lap:
        reset()
        started = time.perf_counter()
        masks = [step(frame) for frame in frames]
        return Lap(len(frames), time.perf_counter() - started, np.stack(masks).reshape(len(frames), -1))

    return run


def _given(ends: Ends, seconds: float) -> Any:
    from tinyse.bench.speed import test_signal
    from tinyse.sound import rows, stft

    wave = test_signal(ends.framing.rate, seconds)
    return rows(wave, stft(wave, ends.framing), ends)


def same_masks(ours: Any, plain: Any, most: int) -> str:
    """Both gave the same masks, at most ``most`` steps of 1/256 apart.

    Raises:
        ToolError: they did not.
    """
    import numpy as np

    if ours.shape != plain.shape:
        raise ToolError(f"the two outputs differ: {ours.shape} and {plain.shape}")
    apart = np.abs(ours.astype(np.int64) - plain)
    if apart.max() > most:
        raise ToolError(f"the two masks differ by {apart.max()} steps, at most {most} are expected")
    same = float(np.mean(apart == 0))
    return "the masks are the same to the last bit" if same == 1 else (
        f"{same:.2%} of the mask bytes are the same, the others {apart.max()} at most apart")
