"""Conversion that carries trained ranges exactly, the checks that guard it, Vela, and the pipeline."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from export_models import exported, frames, random_model
from hypothesis import given
from hypothesis import strategies as st

from tinyse.core.artifacts import sha256
from tinyse.core.errors import ExportError, ModelError, RecipeError, ToolError
from tinyse.export import checks, origin, pipeline, tflite, vela, verify
from tinyse.export.network import parse
from tinyse.export.quantization import asymmetric, on_grid, quantize_weights, weight_scale
from tinyse.graph.floating import calibrate
from tinyse.model import TrainedModel
from tinyse.export.targets import load_target


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return TrainedModel.load(exported("ethos-u55-128").parent / "model.npz")


@pytest.fixture(scope="module")
def data() -> bytes:
    return (exported("ethos-u55-128") / "model_int8.tflite").read_bytes()


@pytest.fixture(scope="module")
def tree(model):
    return tflite._calibrated(model)


def changed(model: TrainedModel, layer: int, **arrays: np.ndarray) -> TrainedModel:
    layers = list(model.layers)
    layers[layer] = replace(layers[layer], arrays={**layers[layer].arrays, **arrays})
    return replace(model, layers=tuple(layers))


def test_operators_and_work_are_the_models(model, data):
    network = checks.check_operators(data, model)
    assert network.operators == ("UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM",
                                 "FULLY_CONNECTED", "FULLY_CONNECTED", "LOGISTIC")
    # 4 x (24x16 + 24x24) + 4 x (16x24 + 16x16) + 16x16 + 16x16
    assert network.macs_per_frame == 3840 + 2560 + 512 == model.macs_per_frame


def test_folded_work_is_refused(model, data):
    wider = changed(model, 2, kernel=np.ones((16, 17), np.float32))
    with pytest.raises(ExportError, match="6912 multiply-accumulates a frame, the trained model 6928"):
        checks.check_operators(data, wider)
    with pytest.raises(ExportError, match="where UNIDIRECTIONAL_SEQUENCE_LSTM, FULLY_CONNECTED, LOGISTIC"):
        checks.check_operators(data, replace(model, layers=(model.layers[0], model.layers[3])))


def test_every_weight_is_the_rounded_trained_weight(model, data):
    network = parse(data)
    kernel = np.split(model.layers[0].arrays["kernel"], 4, axis=1)[2]
    scale = np.abs(kernel).max() / 127
    np.testing.assert_array_equal(network.layers[0].gates[2].kernel, np.rint(kernel.T / scale))
    dense = model.layers[2].arrays["kernel"]
    np.testing.assert_array_equal(network.layers[2].weights, np.rint((dense / (np.abs(dense).max(axis=0) / 127)).T))


def test_learned_ranges_arrive_exactly(model, data):
    network = parse(data)
    low, high = model.ranges["lstm_0.h"]
    assert network.layers[0].h.scale == (np.float32(high) - np.float32(low)) / np.float32(255)
    bound = max(map(abs, model.ranges["lstm_1.c"]))
    assert bound <= network.layers[1].cell_scale * 2**15 < 2 * bound
    assert network.output.scales == (1 / 256,) and network.output.zero_point == -128
    assert network.features.zero_point == -128  # features are never negative


range_end = st.floats(0.0, 20.0).map(lambda value: round(value, 3))


@given(range_end, range_end)
def test_grids_hold_zero_and_the_range(low, high):
    if low + high < 1e-2:
        return
    grid = asymmetric(-low, high)
    assert grid.quantize(np.zeros(1))[0] == grid.zero_point
    assert grid.dequantize(np.array([grid.zero_point]))[0] == 0
    ends = grid.dequantize(np.array([-128, 127]))
    assert ends == pytest.approx([-low, high], abs=0.51 * grid.scale)


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 0]))
def test_weights_on_the_grid_quantize_to_themselves(seed, axis):
    weights = np.random.default_rng(seed).laplace(0, 1, (7, 5)).astype(np.float32)
    scale = weight_scale(weights, axis)
    snapped = on_grid(weights, scale)
    np.testing.assert_array_equal(weight_scale(snapped, axis), scale)
    np.testing.assert_array_equal(quantize_weights(snapped, scale), quantize_weights(weights, scale))


@pytest.mark.parametrize("low, high", [(-0.236, 0.236), (-1.5, 253.5), (-0.5, 254.5), (0.0, 0.3), (-4.0, 0.0),
                                       (-8.0, 8.0), (0.25, 3.0)])
def test_grid_rule_is_the_converters(model, tree, low, high):
    """Ties, symmetric and one-sided ranges: where rounding rules differ, the file decides."""
    ranges = {**model.ranges, "features": (low, high), "lstm_0.h": (low, high), "dense_0.out": (low, high)}
    written = tflite._quantize(tflite._with_ranges(tree, model, ranges))
    verify.verify(written, model, ranges)


@pytest.mark.parametrize("bound, power", [(1.0, 15), (1.001, 14), (0.124, 18), (8.0, 12), (20.0, 10)])
def test_cell_scale_is_the_converters_power_of_two(model, tree, bound, power):
    ranges = {**model.ranges, "lstm_0.c": (-bound, bound / 2)}
    written = tflite._quantize(tflite._with_ranges(tree, model, ranges))
    assert parse(written).layers[0].cell_scale == 2.0**-power
    verify.verify(written, model, ranges)


@pytest.mark.parametrize("name", ["features", "lstm_0.h", "lstm_1.c", "dense_0.out", "dense_1.out"])
def test_a_range_that_is_not_in_the_file_is_named(model, data, name):
    low, high = model.ranges[name]
    with pytest.raises(ExportError, match=name.split(".")[0]):
        verify.verify(data, model, {**model.ranges, name: (low, 3 * high + 1)})


def test_a_weight_that_is_not_in_the_file_is_named(model, data):
    kernel = model.layers[1].arrays["recurrent_kernel"].copy()
    row, column = np.argwhere(np.abs(kernel) > 0.02)[0]
    kernel[row, column] *= 0.5
    with pytest.raises(ExportError, match="lstm_1.recurrent_kernel_i: 1 of 256 weights"):
        verify.verify(data, changed(model, 1, recurrent_kernel=kernel), model.ranges)


def test_pruned_zeros_are_zero_bytes(model, data):
    trained = sum(int((a == 0).sum()) for layer in model.layers for n, a in layer.arrays.items() if n != "bias")
    assert trained > 0.45 * model.macs_per_frame
    assert checks.check_zeros(data, model) >= trained
    dense = random_model(zeros=0.0)
    more = replace(model, layers=tuple(
        replace(layer, arrays={n: np.zeros_like(a) if n == "kernel" else a for n, a in layer.arrays.items()})
        for layer in dense.layers))
    with pytest.raises(ExportError, match="lstm_1: 1536 zeros were trained, 1294 are in the file"):
        checks.check_zeros(data, more)


def test_states_persist_and_reset_restores_them(data):
    proof = checks.check_stream(data, frames(64, 16, 7))
    assert proof.frames == 64 and proof.remembered > 500


def test_a_model_without_memory_is_refused():
    """Recurrence and forget gate shut: the mask cannot depend on the past."""
    model = random_model((6,), (), 6)
    arrays = model.layers[0].arrays
    bias = arrays["bias"].copy()
    bias[6:12] = -40.0
    kernel = arrays["kernel"].copy()
    kernel[:, 6:12] = np.float32(0.3) * np.sign(kernel[:, 6:12] + 1e-9) * 1e-3
    shut = changed(model, 0, recurrent_kernel=np.zeros_like(arrays["recurrent_kernel"]), bias=bias, kernel=kernel)
    shut = replace(shut, ranges={**model.ranges, "features": (0.0, 1000.0)})
    with pytest.raises(ExportError, match="no mask depends on earlier frames"):
        checks.check_stream(tflite.to_int8(shut), frames(20, 6))


def test_post_training_ranges_come_from_ordered_frames(model, tree, monkeypatch):
    monkeypatch.setattr(tflite, "_calibrated", lambda _: tree)
    float_model = replace(model, ranges=None)
    seen = frames(300, 16, 5)
    network = parse(tflite.to_int8(float_model, seen))
    assert network.features.scale == pytest.approx(seen.max() / 255, rel=1e-6)
    grown = calibrate(float_model.model, np.repeat(seen[:1], 200, axis=0))["lstm_0.c"]
    single = calibrate(float_model.model, seen[:1])["lstm_0.c"]
    assert grown[1] - grown[0] > 1.5 * (single[1] - single[0])
    with pytest.raises(ExportError, match="no calibration frames"):
        tflite.to_int8(float_model)
    with pytest.raises(ExportError, match="do not fit"):
        tflite.to_int8(float_model, seen[:, :5])


def test_models_that_cannot_be_exported_say_why(model):
    with pytest.raises(ExportError, match="no range for lstm_0.h"):
        tflite.to_int8(replace(model, ranges={k: v for k, v in model.ranges.items() if k != "lstm_0.h"}))
    with pytest.raises(ExportError, match="must be, a sigmoid"):
        tflite.to_int8(replace(model, layers=model.layers[:-1]))
    with pytest.raises(ExportError, match="layers dense cannot"):
        tflite.to_int8(replace(model, layers=model.layers[3:]))
    with pytest.raises(ExportError, match="lstm_1 takes 24 values, but 16 arrive"):
        tflite.to_int8(replace(model, layers=(random_model((16,)).layers[0], *model.layers[1:])))
    with pytest.raises(ExportError, match="lstm_0 holds weights that are not finite"):
        tflite.to_int8(changed(model, 0, bias=np.full(96, np.nan, np.float32)))
    with pytest.raises(ExportError, match="features: range 0.0..nan"):
        tflite.to_int8(replace(model, ranges={**model.ranges, "features": (0.0, float("nan"))}))


def test_a_converter_that_fails_is_one_line():
    with pytest.raises(ExportError, match="TensorFlow's converter: "):
        tflite._quantize(b"no flatbuffer")


def test_the_same_export_twice_gives_the_same_bytes(tmp_path):
    first = exported("ethos-u55-128")
    shutil.copyfile(first.parent / "model.npz", tmp_path / "model.npz")
    second = pipeline.export_run(tmp_path, "ethos-u55", tmp_path / "again").folder
    names = sorted(str(path.relative_to(first)) for path in first.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(second)) for path in second.rglob("*") if path.is_file())
    assert [sha256(first / name) for name in names] == [sha256(second / name) for name in names]


def test_manifest_hashes_every_file():
    folder = exported("ethos-u55-128")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["target"] == "ethos-u55-128" and manifest["stage"] == "export"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"manifest.json"}
    assert set(manifest["sha256"]) == files
    assert all(sha256(folder / name) == digest for name, digest in manifest["sha256"].items())
    assert manifest["macs_per_frame"] == 6912 and manifest["cycles"]["source"] == "estimated (Vela)"


def test_memory_report_places_every_state_apart():
    memory = json.loads((exported("ethos-u55-128") / "memory.json").read_text())
    assert [(state["name"], state["type"], state["bytes"]) for state in memory["states"]] == [
        ("lstm_0.h", "int8", 24), ("lstm_0.c", "int16", 48), ("lstm_1.h", "int8", 16), ("lstm_1.c", "int16", 32)]
    spans = sorted((state["offset"], state["offset"] + state["bytes"]) for state in memory["states"])
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))
    assert spans[-1][1] <= memory["arena_bytes"] and memory["arena_bytes"] % 16 == 0
    assert "lstm_0.h" in (exported("ethos-u55-128") / "memory.txt").read_text()


def test_processor_target_has_no_vela_and_a_measured_arena():
    folder = exported("cortex-m7")
    assert not (folder / "vela").exists() and not (folder / "model_vela.tflite").exists()
    memory = json.loads((folder / "memory.json").read_text())
    assert memory["source"].startswith("measured on host") and memory["arena_bytes"] > 1000
    assert all(state["offset"] is None for state in memory["states"])


def test_an_operator_left_to_the_cpu_is_named(tmp_path):
    """A float model: Vela compiles none of it."""
    from tinyse.train.keras import tf, tf_keras

    source = tf_keras.Input(batch_shape=(1, 8))
    network = tf_keras.Model(source, tf_keras.layers.Dense(8)(source))
    path = tmp_path / "float.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    with pytest.raises(ExportError, match="Vela leaves FullyConnected .* to the CPU"):
        vela.compile_model(path, load_target("ethos-u55-128"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_vela_failures_are_one_line(tmp_path, monkeypatch):
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(ToolError, match="Vela: "):
        vela.compile_model(path, load_target("ethos-u55-128"), tmp_path / "out")
    with pytest.raises(ExportError, match="cortex-m7 has no NPU"):
        vela.compile_model(path, load_target("cortex-m7"), tmp_path / "out")
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho \"/usr/bin/python: No module named ethosu\" >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(vela.sys, "executable", str(fake))
    with pytest.raises(ToolError, match="not installed") as caught:
        vela.compile_model(path, load_target("ethos-u55-128"), tmp_path / "out")
    assert caught.value.hint == "pip install ethos-u-vela"


def test_a_failed_export_keeps_the_finished_one(data, tmp_path, monkeypatch):
    shutil.copytree(exported("ethos-u55-128"), tmp_path / "export")
    shutil.copyfile(exported("ethos-u55-128").parent / "model.npz", tmp_path / "model.npz")
    monkeypatch.setattr(origin, "to_int8", lambda *_: data)
    before = {path: path.read_bytes() for path in (tmp_path / "export").rglob("*") if path.is_file()}

    def fail(*_: object) -> None:
        raise ToolError("Vela: out of paper")

    monkeypatch.setattr(pipeline, "compile_model", fail)
    with pytest.raises(ToolError, match="out of paper"):
        pipeline.export_run(tmp_path, "ethos-u55-128")
    assert {path: path.read_bytes() for path in (tmp_path / "export").rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "model.npz"]


def test_bad_runs_are_named(tmp_path):
    with pytest.raises(ModelError, match="no such run"):
        pipeline.export_run(tmp_path / "missing", "cortex-m7")
    with pytest.raises(ModelError, match="holds no model.npz"):
        pipeline.export_run(tmp_path, "cortex-m7")
    (tmp_path / "model.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ModelError, match="damaged"):
        pipeline.export_run(tmp_path, "cortex-m7")
    with pytest.raises(RecipeError, match="'ethos-u99' is not known"):
        pipeline.export_run(tmp_path, "ethos-u99")
    random_model().save(tmp_path / "model.npz")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "thesis.txt").write_text("keep me")
    with pytest.raises(ExportError, match="no export"):
        pipeline.export_run(tmp_path, "cortex-m7")
    assert Path(tmp_path / "export" / "thesis.txt").exists()
    np.save(tmp_path / "calibration.npy", np.zeros((5, 3), np.float32))
    with pytest.raises(ModelError, match=r"calibration.npy: shape \(5, 3\) does not fit"):
        pipeline.export_run(tmp_path, "cortex-m7", tmp_path / "out")


@pytest.mark.parametrize("target", ["cortex-m7", "ethos-u55-128"])
def test_an_int8_file_exports_to_the_same_code_as_the_run_it_came_from(tmp_path, target):
    first = exported(target)
    shutil.copyfile(first / "model_int8.tflite", tmp_path / "model_int8.tflite")
    shutil.copyfile(first / "manifest.json", tmp_path / "manifest.json")
    again = pipeline.export_run(tmp_path, target)
    assert again.folder == tmp_path / "export" and again.quantization == "as given"
    manifest = json.loads((first / "manifest.json").read_text())
    assert (again.parameters, again.zeros) == (manifest["parameters"], manifest["zeros"])
    for name in ("model_int8.tflite", "packed.h", "packed.c", "memory.json"):
        assert (again.folder / name).read_bytes() == (first / name).read_bytes(), name
    for name in ("model.h", "model.c"):
        lines = [[line for line in (folder / name).read_text().splitlines() if " trained  sha256 " not in line]
                 for folder in (first, again.folder)]
        assert lines[0] == lines[1], name


def test_an_int8_file_of_another_front_end_is_refused(tmp_path):
    shutil.copyfile(exported("cortex-m7") / "model_int8.tflite", tmp_path / "mine.tflite")
    (tmp_path / "manifest.json").write_text('{"frontend": {"bands": 12}}')
    with pytest.raises(ModelError, match="the front end has 12 bands, the network 16"):
        pipeline.export_run(tmp_path / "mine.tflite", "cortex-m7", tmp_path / "out")
    assert not (tmp_path / "out").exists()
