"""A Skip RNN in images on QEMU: decisions, masks and audio are those of the host's engines."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from firmware_audio import write_wav
from firmware_chain import FULL_SCALE, IMAGES, Heard, decibels, heard, int16, tflm
from firmware_images import needs_compiler, needs_qemu, npu_model, scratch

from tinyse.engines.enhance import enhance_signal
from tinyse.engines.npu import NpuEngine
from tinyse.engines.tflm import TflmEngine
from tinyse.graph.skip import SkipGate

pytestmark = [pytest.mark.qemu, needs_compiler, needs_qemu]

def fading(seconds: float = 3, seed: int = 4) -> np.ndarray:
    """int16 noise that is loud and quiet by turns, so that the network's answers move."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(16000 * seconds)) / 16000
    tone = np.sin(2 * np.pi * 220 * time * (1 + time)) * (np.sin(9 * time) > 0)
    return int16(0.3 * tone + rng.normal(0, 0.03, len(time)) * np.abs(np.sin(2 * time)))


@lru_cache
def link(name: str) -> Heard:
    folder = scratch() / "chain-skipping"
    folder.mkdir(exist_ok=True)
    return heard(name, "skipping", write_wav(folder / "in.wav", fading()), folder)


def by_the_host(engine, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 outputs [frames, bands + 1] that hold, and which frames ran, of an engine under `SkipGate`."""
    engine.reset()
    gate, outputs, ran = SkipGate(), [], []
    for feature in features:
        ran.append(gate.due())
        if ran[-1]:
            outputs.append(engine.step(feature))
            gate.ran(int(outputs[-1][-1]) + 128)
        else:
            gate.skipped()
            outputs.append(outputs[-1])
    return np.array(outputs), np.array(ran)


@pytest.mark.parametrize("name", IMAGES)
def test_images_decide_and_answer_as_tflm_and_the_simulator(name):
    run = link(name)
    pauses = np.diff(np.flatnonzero(run.ran))
    assert 0.1 < run.ran.mean() < 0.9 and len(set(pauses)) > 2, "a gate that does not move proves nothing"
    assert np.ptp(run.masks[:, :-1].astype(int)) > 50
    for engine in (tflm("skipping"), NpuEngine.load(npu_model("skipping"))):
        outputs, ran = by_the_host(engine, run.features)
        np.testing.assert_array_equal(run.masks, outputs)
        np.testing.assert_array_equal(run.ran, ran)


@pytest.mark.parametrize("name", IMAGES)
def test_images_count_frames_and_updates(name):
    run = link(name)
    told = run.results
    assert (told.frames, told.updates) == (len(run.ran), np.count_nonzero(run.ran))
    if name == "npu":
        assert told.npu.runs == told.updates


def test_every_core_makes_the_same_of_the_same_features():
    m55, m7, npu = (link(name) for name in IMAGES)
    for part in ("features", "masks", "ran"):
        np.testing.assert_array_equal(getattr(m55, part), getattr(npu, part))
    same = np.cumprod((m55.features == m7.features).all(axis=1)).astype(bool)  # until a feature falls otherwise
    np.testing.assert_array_equal(m55.masks[same], m7.masks[same])
    np.testing.assert_array_equal(m55.ran[same], m7.ran[same])


def enhanced(features: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, TflmEngine]:
    """What `tinyse enhance` makes of the sound: int16 samples, the int8 features of frames that ran, the engine.

    ``features`` take the place of the host's own.
    """
    engine, asked = tflm("skipping"), []
    (name, shape), run = (engine.plan.inputs[0].name, engine.plan.inputs[0].shape), engine.run

    def instead(part: int, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked.append(inputs[name].ravel())
        return run(part, inputs if features is None else {name: features[len(asked) - 1].reshape(shape)})

    engine.run = instead
    wave = enhance_signal(fading().astype(np.float32) / FULL_SCALE, engine)
    return int16(wave), np.array(asked), engine


@pytest.mark.parametrize("name", IMAGES)
def test_audio_is_that_of_tinyse_enhance(name):
    run = link(name)
    wanted, _, engine = enhanced(run.features[run.ran])
    assert (engine.gate.frames, engine.gate.updates) == (run.results.frames, run.results.updates)
    assert decibels(run.samples, wanted) < -70
    wanted, asked, engine = enhanced()
    if np.array_equal(asked, run.features[run.ran]):  # else a feature on a boundary fell otherwise
        assert decibels(run.samples, wanted) < -70
        assert engine.update_rate == run.ran.mean()
