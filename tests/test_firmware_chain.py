"""The last link: one WAV through the quantization-aware network, TFLM, the NPU simulator and the firmware.

Networks answer the same bytes everywhere. Front ends differ in the last bits of float32, so a feature that lies on the
boundary of two steps may fall either way; the recurrent network then takes another path, and does not come back to the
host's. So audio is compared twice: with the host's own features, where no feature fell otherwise, and with the
firmware's bytes given to the host's network, always.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from firmware_audio import read_wav, write_wav
from firmware_chain import FULL_SCALE, IMAGES, Heard, Listener, decibels, heard, int16, streamed, tflm
from firmware_images import NPU, export, needs_compiler, needs_qemu, npu_model, scratch

from tinyse.engines.enhance import enhance_file, enhance_signal
from tinyse.engines.npu import NpuEngine
from tinyse.graph.model import Model
from tinyse.sound.corpus.mix import test_mixtures
from tinyse.sound.corpus.store import corpus_dir
from tinyse.train.streaming import StreamingNetwork

pytestmark = [pytest.mark.qemu, needs_compiler, needs_qemu]
DENSE = str(Path(__file__).resolve().parents[1] / "models" / "tinylstm-dense")
MODELS = ["snapped", DENSE]
RATE, SECONDS = 16000, 4
QUIET = -70.0  # dB, the firmware's audio against the host's
BOUNDARY = 2e-3  # steps: how near to a boundary a feature must be to fall either way
TIES = 2e-5  # share of features that may


def speech_like(seconds: float = SECONDS, seed: int = 1) -> np.ndarray:
    """int16 voiced bursts with gliding harmonics, in noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 50 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    voice = sum(np.sin(k * phase) / k**1.2 for k in range(1, 25)) * np.clip(np.sin(2 * np.pi * 1.9 * time), 0, None)
    return int16(0.12 * voice + rng.normal(0, 0.02, len(time)))


@lru_cache
def wav() -> Path:
    return write_wav(scratch() / "chain.wav", speech_like())


@lru_cache
def link(name: str, model: str) -> Heard:
    folder = scratch() / f"chain-{Path(model).name}"
    folder.mkdir(exist_ok=True)
    return heard(name, model, wav(), folder)


@lru_cache
def host(model: str) -> tuple[Listener, np.ndarray]:
    """The host's run, as `tinyse enhance` makes it, and the samples of its file."""
    engine = Listener(tflm(model))
    enhance_file(wav(), scratch() / "host.wav", engine)
    return engine, read_wav(scratch() / "host.wav")


def fallen(got: np.ndarray, engine: Listener) -> int:
    """How many features fell on the other side of a boundary; nothing else may differ."""
    own, exact = np.array(engine.features), np.array(engine.exact)
    assert got.shape == own.shape
    step = got.astype(int) - own
    assert np.abs(step).max() <= 1
    edge = np.abs(np.abs(exact - np.trunc(exact)) - 0.5)
    assert (edge[step != 0] < BOUNDARY).all()
    return int(np.count_nonzero(step))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: Path(model).name)
@pytest.mark.parametrize("name", IMAGES)
def test_network_bytes_are_tflms(name, model):
    run = link(name, model)
    assert np.ptp(run.masks.astype(int)) > 50, "a mask that does not move proves nothing"
    np.testing.assert_array_equal(run.masks, streamed(tflm(model), run.features))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: Path(model).name)
def test_network_bytes_are_the_simulators_and_the_same_on_every_core(model):
    runs = [link(name, model) for name in IMAGES]
    for run in runs:
        np.testing.assert_array_equal(run.masks, streamed(NpuEngine.load(npu_model(model)), run.features))
    m55, m7, npu = runs
    np.testing.assert_array_equal(m55.features, npu.features)
    np.testing.assert_array_equal(m55.masks, npu.masks)
    otherwise = m55.features != m7.features
    assert np.count_nonzero(otherwise) <= max(2, TIES * otherwise.size)
    same = np.cumprod(~otherwise.any(axis=1)).astype(bool)  # until a feature falls otherwise
    np.testing.assert_array_equal(m55.masks[same], m7.masks[same])


def test_network_bytes_are_those_of_the_quantization_aware_network():
    run, engine = link("m55", "snapped"), tflm("snapped")
    keras = StreamingNetwork(Model.load(export_run_of("snapped")))
    masks = np.array([keras.step(engine.input.dequantize(feature)) for feature in run.features])
    np.testing.assert_array_equal(np.rint(masks * 256).astype(int), run.masks.astype(int) - engine.output.zero_point)


def export_run_of(model: str) -> Path:
    export(model, NPU)
    return scratch() / model / "model.npz"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: Path(model).name)
@pytest.mark.parametrize("name", IMAGES)
def test_audio_is_the_hosts(name, model):
    run, (engine, samples) = link(name, model), host(model)
    assert fallen(run.features, engine) <= max(1, TIES * run.features.size)
    if fallen(run.features, engine) == 0:
        assert decibels(run.samples, samples) < QUIET
    fed = enhance_signal(read_wav(wav()).astype(np.float32) / FULL_SCALE, Listener(tflm(model), run.features))
    assert decibels(run.samples, int16(fed)) < QUIET


@lru_cache
def recorded(seconds: float) -> np.ndarray:
    folders = [folder for folder in map(corpus_dir, ("default", "small")) if (folder / "corpus.json").is_file()]
    if not folders:
        pytest.skip("no recorded speech: tinyse data fetch")
    waves = [mixture.noisy for mixture in test_mixtures(folders[0], count_per_snr=10, snrs=(0.0, 12.0))]
    return int16(np.concatenate(waves)[: int(seconds * RATE)])


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGES)
def test_two_thousand_frames_of_speech(name, record_property, tmp_path):
    """Needs a fetched corpus: tinyse data fetch."""
    noisy = recorded(32.0)
    path = write_wav(tmp_path / "speech.wav", noisy)
    run, own = heard(name, DENSE, path, tmp_path), Listener(tflm(DENSE))
    assert len(run.features) > 2000
    np.testing.assert_array_equal(run.masks, streamed(tflm(DENSE), run.features))
    np.testing.assert_array_equal(run.masks, streamed(NpuEngine.load(npu_model(DENSE)), run.features))
    alone = int16(enhance_signal(noisy.astype(np.float32) / FULL_SCALE, own))
    fed = int16(enhance_signal(noisy.astype(np.float32) / FULL_SCALE, Listener(tflm(DENSE), run.features)))
    ties = fallen(run.features, own)
    record_property("features that fell otherwise", int(ties))
    record_property("dB against the host", float(decibels(run.samples, alone)))
    record_property("dB against the host, same features", float(decibels(run.samples, fed)))
    assert ties <= TIES * run.features.size
    assert decibels(run.samples, fed) < QUIET
    assert decibels(run.samples, alone) < (-45.0 if ties else QUIET)
