"""Engines: finding a model, quantizing frames, state and reset, damaged files."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from export_models import changed
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import BANDS, float_tflite, tiny_tflite, tiny_trained

from tinyse.core.artifacts import sha256
from tinyse.core.errors import ModelError
from tinyse.engines import find_model, load_engine
from tinyse.engines.keras import KerasEngine
from tinyse.engines.tflm import TflmEngine
from tinyse.export.bundle import open_bundle
from tinyse.graph.grid import Grid
from tinyse.graph.model import Model
from tinyse.sound import Bands, Ends, Feature


@pytest.fixture(scope="module")
def tflite(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model_int8.tflite"
    path.write_bytes(tiny_tflite())
    return path


def frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 4, (count, BANDS)).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@given(st.floats(-300, 300, width=32), st.floats(2.0**-10, 1.0, width=32), st.integers(-128, 127))
def test_quantize_rounds_halves_away_from_zero_and_saturates(value, scale, zero_point):
    grid = Grid(scale, zero_point)
    ratio = float(np.float32(value) / np.float32(scale))
    nearest = int(abs(ratio) + 0.5) * (1 if ratio >= 0 else -1)
    expected = max(-128, min(127, nearest + zero_point))
    # float32 addition of a half may cross to the neighbour only beyond 2^23, where both saturate.
    assert grid.quantize(np.array([value], np.float32))[0] == expected


def test_quantize_at_exact_halves():
    grid = Grid(0.5, 3)
    values = np.array([0.25, 0.75, -0.25, -0.75, 1000, -1000], np.float32)
    np.testing.assert_array_equal(grid.quantize(values), [4, 5, 2, 1, 127, -128])
    np.testing.assert_array_equal(grid.dequantize(np.array([3, 4, -1], np.int8)), [0, 0.5, -2])


def test_tflm_keeps_state_and_reset_restores_it(tflite):
    engine = load_engine(tflite)
    assert engine.name == "tflm" and engine.bands == BANDS
    features = frames(20)
    first = np.array([engine.mask(f) for f in features])
    again = np.array([engine.mask(f) for f in features])
    engine.reset()
    np.testing.assert_array_equal(first, [engine.mask(f) for f in features])
    assert not np.array_equal(first, again)
    assert first.dtype == np.float32 and first.min() >= 0 and first.max() <= 255 / 256


def test_tflm_mask_is_the_dequantized_step(tflite):
    engine = TflmEngine.load(tflite)
    feature = frames(1)[0]
    integers = engine.step(engine.input.quantize(feature))
    engine.reset()
    np.testing.assert_array_equal(engine.mask(feature), (integers.astype(np.float32) + 128) / 256)


def test_two_tflm_engines_do_not_share_state(tflite):
    one, other = TflmEngine.load(tflite), TflmEngine.load(tflite)
    features = frames(5)
    expected = [one.mask(f) for f in features]
    one.mask(features[0])
    np.testing.assert_array_equal(expected, [other.mask(f) for f in features])


def test_keras_engine_is_the_network_frame_by_frame(tmp_path):
    model = tiny_trained()
    model.save(tmp_path / "model.npz")
    engine = load_engine(tmp_path)
    assert engine.name == "keras" and engine.ends == model.ends
    lstm, relu, out = ({name.partition("/")[2]: array for name, array in model.arrays.items() if name.startswith(node)}
                       for node in ("lstm_0/", "dense_0/", "dense_1/"))
    h = c = np.zeros(16)
    expected = []
    for feature in frames(12):
        i, f, g, o = np.split(feature @ lstm["kernel"] + h @ lstm["recurrent_kernel"] + lstm["bias"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        hidden = np.maximum(0, h @ relu["kernel"] + relu["bias"])
        expected.append(sigmoid(hidden @ out["kernel"] + out["bias"]))
    got = np.array([engine.mask(f) for f in frames(12)])
    np.testing.assert_allclose(got, expected, atol=2e-5)
    engine.reset()
    np.testing.assert_array_equal(got, [engine.mask(f) for f in frames(12)])


def test_keras_engine_refuses_another_width():
    model = dataclasses.replace(tiny_trained(), ends=Ends(bands=Bands(count=64)))
    with pytest.raises(ModelError, match="128 values to 128, its ends are 64 to 64"):
        KerasEngine(model)


def test_a_model_is_found_in_run_and_export_folders(tmp_path):
    run = tmp_path / "run"
    (run / "export").mkdir(parents=True)
    (run / "float.npz").write_bytes(b"x")
    assert find_model(run) == ("keras", run / "float.npz")
    (run / "model.npz").write_bytes(b"x")
    assert find_model(run) == ("keras", run / "model.npz")
    (run / "export" / "model_int8.tflite").write_bytes(b"x")
    (run / "export" / "model_vela.tflite").write_bytes(b"..ethos-u\0..")
    assert find_model(run) == ("tflm", run / "export" / "model_int8.tflite")
    assert find_model(run / "export", "npu") == ("npu", run / "export" / "model_vela.tflite")
    assert find_model(run, "keras") == ("keras", run / "model.npz")
    assert find_model(run / "export" / "model_vela.tflite")[0] == "npu"


@pytest.mark.parametrize("name, kind, said", [
    ("model.npz", "tflm", "model.npz: the tflm engine needs a .tflite file (drop --engine, or use keras)"),
    ("int8.tflite", "keras", "int8.tflite: the keras engine needs a .npz model (drop --engine, or use tflm)"),
    ("vela.tflite", "tflm", "vela.tflite: is compiled by Vela; the tflm engine cannot run it "
                            "(use the npu engine)"),
    ("int8.tflite", "npu", "int8.tflite: is not compiled by Vela; the npu engine cannot run it "
                           "(use the tflm engine)"),
    ("int8.tflite", "gpu", "no engine named gpu (engines are keras, tflm, npu)"),
    ("gone.tflite", None, "gone.tflite: no such model "
                          "(give a run folder, an export folder, a .npz or a .tflite)"),
    (".", None, ": no model_int8.tflite or model.npz in this folder (give a run folder of `tinyse train` "
                "or an export folder of `tinyse export`)"),
])
def test_unsuitable_models_are_named(tmp_path, name, kind, said):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "model.npz").write_bytes(b"x")
    (tmp_path / "int8.tflite").write_bytes(b"x")
    (tmp_path / "vela.tflite").write_bytes(b"ethos-u\0")
    path = folder if name == "." else tmp_path / name
    with pytest.raises(ModelError) as caught:
        load_engine(path, kind)
    assert caught.value.line().replace(f"{tmp_path}/", "").removeprefix("folder") == said


@pytest.mark.parametrize("damage, said", [
    (lambda data: b"", "not a TFLite file"),
    (lambda data: b"RIFF" + data[4:400].replace(b"TFL3", b"WAVE"), "not a TFLite file"),
    (lambda data: data[: len(data) // 2], "damaged or cut short"),
    (lambda data: data[:100], "damaged or cut short"),
    (lambda data: data[:-4000] + bytes(4000), "the file is damaged"),
    (lambda data: b"\xff\xff\xff\x7f" + data[4:], "damaged or cut short"),
], ids=["empty", "other", "half", "head", "zeroed tail", "root offset"])
def test_damaged_files_are_one_line_and_do_not_end_the_process(damage, said):
    with pytest.raises(ModelError, match=said) as caught:
        TflmEngine.of_bytes(damage(tiny_tflite()), "m.tflite")
    assert caught.value.line().startswith("m.tflite: ") and len(caught.value.line()) < 200


def test_random_damage_never_ends_the_process():
    rng = np.random.default_rng(7)
    data = tiny_tflite()
    for trial in range(12):
        damaged = bytearray(data)
        for at in rng.integers(len(data) - 5000 if trial % 2 else 0, len(data), 4):
            damaged[at] = rng.integers(256)
        try:
            TflmEngine.of_bytes(bytes(damaged)).mask(frames(1)[0])
        except ModelError as error:
            assert "\n" not in error.line()


def test_a_float_model_is_refused():
    with pytest.raises(ModelError, match="m.tflite: serving_default_.* is float32, not quantized to int8"):
        TflmEngine.of_bytes(float_tflite(), "m.tflite")


def test_the_manifest_beside_a_file_is_kept_to(tmp_path):
    path = tmp_path / "model_int8.tflite"
    path.write_bytes(tiny_tflite())
    manifest = {"sha256": {path.name: sha256(path)}, "frontend": {"power": 0.5}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert TflmEngine.load(path).ends == Ends(feature=Feature(power=0.5))
    manifest["sha256"][path.name] = "0" * 64
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="differs from what manifest.json hashed"):
        load_engine(path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ModelError, match="is no manifest"):
        load_engine(path)


def test_a_front_end_of_another_width_is_refused():
    with pytest.raises(ModelError, match="128 values to 128, its ends are 64 to 64"):
        TflmEngine.of_bytes(tiny_tflite(), ends=Ends(bands=Bands(count=64)))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = tiny_trained()
    kernel = model.arrays["lstm_0/kernel"].copy()
    kernel[0, 0] = np.nan
    changed(model, lstm_0__kernel=kernel).save(tmp_path / "model.npz")
    with pytest.raises(ModelError, match="lstm_0/kernel holds weights that are not finite"):
        load_engine(tmp_path)


@pytest.mark.parametrize(("compiled", "hint"), [(False, "give an export's folder, or its model_int8.tflite"), (
    True, "tinyse export --target ethos-u55-128 writes model_vela.tflite")])
def test_a_missing_file_says_what_writes_it(tmp_path, compiled, hint):
    with pytest.raises(ModelError, match=r"model_\w+.tflite: No such file or directory") as told:
        open_bundle(tmp_path, compiled)
    assert told.value.hint == hint


def restated(model: Model, path: Path, **changes: object) -> Path:
    """The model's file with another header."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["header.json"] = json.dumps({**json.loads(parts["header.json"]), **changes}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def test_an_old_model_is_read(tmp_path):
    """Format 1 knew TinyLSTMs alone, by their layers."""
    model = tiny_trained()
    layers = [{"name": node.name, "kind": node.layer.kind} for node in model.net.nodes[1:]]
    frontend = {"bands": BANDS, "fft": 512, "frame": 512, "hop": 256, "low_hz": 100.0, "high_hz": 7500.0,
                "power": 0.3, "sample_rate": 16000}
    old = Model.load(restated(model, tmp_path / "old.npz", format="tinyse-model-1", layers=layers, frontend=frontend,
                              net=None, ends=frontend))
    assert (old.net, old.ends) == (model.net, model.ends)
    assert all(np.array_equal(old.arrays[name], array) for name, array in model.arrays.items())


def test_a_newer_model_is_refused_with_its_version(tmp_path):
    path = restated(tiny_trained(), tmp_path / "new.npz", format="tinyse-model-3")
    with pytest.raises(ModelError) as told:
        load_engine(path)
    assert told.value.line() == f"{path}: written in format 3, this tinyse reads up to 2 (update tinyse)"
    path = restated(tiny_trained(), tmp_path / "layer.npz", net={"nodes": [{"name": "x", "kind": "mamba"}]})
    with pytest.raises(ModelError, match="layer.npz: not a network of this version"):
        Model.load(path)
