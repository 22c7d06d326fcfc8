"""Two minutes of sound, frame by frame against whole: float to 1e-5, integers equal, on every host engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinyse.engines import Engine, load_engine
from tinyse.engines.integer import IntegerEngine
from tinyse.engines.keras import KerasEngine
from tinyse.export.bundle import open_bundle
from tinyse.graph.grid import nearest
from tinyse.sound import features, stft
from tinyse.train.dense import bundled_model
from tinyse.train.keras import tf
from tinyse.train.network import Network, restore

MODEL = Path(__file__).parent.parent / "models" / "tinylstm-small"
pytestmark = pytest.mark.slow


def two_minutes() -> np.ndarray:
    """Features [T, bands] of bursts over a floor."""
    rng, time = np.random.default_rng(0), np.arange(120 * 16000) / 16000
    loud = 0.2 * np.sin(2 * np.pi * (150 + 90 * np.sin(time)) * time) * (np.sin(2 * np.pi * 1.7 * time) > 0)
    return features(stft((loud + 0.02 * rng.standard_normal(time.size)).astype(np.float32)))


def streamed(engine: Engine, given: np.ndarray) -> np.ndarray:
    engine.reset()
    return np.stack([engine.mask(frame) for frame in given])


def whole(network: Network, given: np.ndarray) -> np.ndarray:
    """The sequence at once, its 7,500 steps in a graph: step by step the whole test took 408 s, alone on two cores."""
    run = tf.function(lambda frames: network.run(frames, network.zero_states(1))[0][-1])
    return run(tf.constant(given[:, None])).numpy()[:, 0]


def test_a_stream_is_the_sequence() -> None:
    given, bundle = two_minutes(), open_bundle(MODEL)
    model = bundled_model(bundle)
    real = replace(model, ranges=None)
    np.testing.assert_allclose(streamed(KerasEngine(real), given), whole(restore(real), given), atol=1e-5)

    grid = bundle.plan.inputs[0].grid
    entering = nearest(given, grid.scale) * np.float32(grid.scale)
    wanted = whole(restore(model, exact=True), entering)
    others = [load_engine(MODEL, kind) for kind in ("tflm", "npu")]
    for engine in (IntegerEngine.load(MODEL), *others, KerasEngine(model)):
        np.testing.assert_array_equal(streamed(engine, given), wanted, engine.name)
