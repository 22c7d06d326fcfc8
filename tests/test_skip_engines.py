"""A Skip RNN exported and streamed: every engine decides alike, and a skipped frame keeps states and mask."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from click.testing import CliRunner

from tests.export_models import frames, integers, random_model
from tinyse.cli import main
from tinyse.core.errors import ModelError
from tinyse.engines import load_engine
from tinyse.engines.keras import KerasEngine
from tinyse.export.bundle import open_bundle
from tinyse.export.pipeline import export_run
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.skip import SkipGate

BANDS = 128


@lru_cache
def exported() -> Path:
    """Run folder of a small Skip RNN with its export."""
    folder = Path(tempfile.mkdtemp(prefix="tinyse-test-"))
    atexit.register(shutil.rmtree, folder, True)
    random_model((16, 16), (16,), bands=BANDS, seed=4, skip=True).save(folder / "model.npz")
    export_run(folder, "ethos-u55-128")
    return folder


def watched(engine, features):
    """Masks, and whether each frame ran."""
    masks, ran = [], []
    engine.reset()
    for feature in features:
        before = engine.gate.updates
        masks.append(engine.mask(feature))
        ran.append(engine.gate.updates > before)
    return np.stack(masks), np.array(ran)


def test_tflm_the_npu_and_keras_give_the_same_masks_and_decisions():
    features = frames(150, BANDS, 9)
    masks, ran = watched(load_engine(exported(), "tflm"), features)
    assert 0.1 < ran.mean() < 0.9
    for kind in ("npu", "keras"):
        other, also = watched(load_engine(exported(), kind), features)
        assert np.array_equal(ran, also), kind
        assert np.array_equal(masks, other), kind


def test_a_skipped_frame_moves_nothing():
    """Only the frames that ran reach the network: fed alone, they give the same masks."""
    features = frames(80, BANDS, 2)
    engine = load_engine(exported(), "tflm")
    masks, ran = watched(engine, features)
    kept = integers((exported() / "export" / "model_int8.tflite").read_bytes(), engine.input.quantize(features[ran]))
    assert np.array_equal(masks[ran], engine.output.dequantize(kept)[:, :-1])
    assert np.array_equal(masks, masks[ran][np.cumsum(ran) - 1])
    gate, wanted = SkipGate(), []
    for _ in features:
        wanted.append(gate.due())
        if wanted[-1]:
            gate.ran(int(kept[sum(wanted) - 1, -1]) + 128)
        else:
            gate.skipped()
    assert np.array_equal(ran, wanted)
    assert engine.update_rate == ran.mean() == gate.rate


def test_reset_restores_the_gate():
    features = frames(40, BANDS, 3)
    for kind in ("tflm", "npu", "keras"):
        engine = load_engine(exported(), kind)
        masks, ran = watched(engine, features)
        again, also = watched(engine, features)
        assert np.array_equal(masks, again) and np.array_equal(ran, also)


def test_the_manifest_says_skip(tmp_path):
    policy = json.loads((exported() / "export" / "manifest.json").read_text())["plan"]["policy"]
    assert policy == {"kind": "skip", "tensor": "mask", "at": BANDS}
    random_model(bands=16).save(tmp_path / "model.npz")
    export_run(tmp_path, "cortex-m7")
    assert json.loads((tmp_path / "export" / "manifest.json").read_text())["plan"]["policy"] == {"kind": "always"}


def test_a_width_decides_nothing_where_a_plan_is_named(tmp_path):
    """Of a file of before there were plans one output more is p~; a plan that says otherwise is obeyed."""
    data = (exported() / "export" / "model_int8.tflite").read_bytes()
    (tmp_path / "model_int8.tflite").write_bytes(data)
    assert open_bundle(tmp_path).gate == ("mask", BANDS)
    (tmp_path / "manifest.json").write_text(json.dumps(
        {"plan": {"parts": 1, "results": ["mask"], "policy": {"kind": "always"}}}))
    assert open_bundle(tmp_path).gate is None
    with pytest.raises(ModelError, match="128 values to 129, its ends are 128 to 128"):
        load_engine(tmp_path)


def test_a_width_that_is_neither_is_refused():
    model = random_model((8,), (8,), bands=BANDS, quantized=False)
    with pytest.raises(ModelError, match="130 values to 130, its ends are 128 to 128"):
        KerasEngine(replace(random_model((8,), (8,), bands=130, quantized=False), ends=model.ends))
    net = tinylstm(BANDS, (8,), (8,), 130)
    with pytest.raises(ModelError, match="128 values to 130, its ends are 128 to 129"):
        KerasEngine(Model(net, {name: np.zeros(array.shape, np.float32) for name, array in net.arrays.items()},
                          model.ends))


def test_enhance_and_evaluate_report_the_update_rate(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 24000).astype(np.float32)
    for kind in ("noisy", "clean"):
        (tmp_path / kind).mkdir()
        sf.write(tmp_path / kind / "a.wav", noise * (1.0 if kind == "noisy" else 0.5), 16000)
    model = str(exported() / "export" / "model_int8.tflite")
    done = CliRunner().invoke(main, ["enhance", str(tmp_path / "noisy" / "a.wav"), str(tmp_path / "o.wav"),
                                     "--model", model])
    assert done.exit_code == 0, done.output
    assert "the network ran on" in done.output
    done = CliRunner().invoke(main, ["evaluate", model, "--noisy", str(tmp_path / "noisy"), "--clean",
                                     str(tmp_path / "clean"), "--metrics", "si_sdr", "--workers", "1",
                                     "--out", str(tmp_path / "scores")])
    assert done.exit_code == 0, done.output
    assert "update rate" in done.output
    rates = json.loads((tmp_path / "scores" / "evaluation.json").read_text())["update_rate"]
    assert set(rates) == {"enhanced"}
    assert 0.0 < rates["enhanced"]["mean"] < 1.0
    assert "update_rate,enhanced,all" in (tmp_path / "scores" / "evaluation.csv").read_text()
