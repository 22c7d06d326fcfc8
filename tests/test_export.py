"""Conversion that carries trained ranges exactly, the checks that guard it, Vela, and the pipeline."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from export_models import changed, exported, frames, random_model, written
from npu_models import compile_model as compile_bytes

from tinyse.core.artifacts import sha256
from tinyse.core.errors import ExportError, ModelError, RecipeError, ToolError
from tinyse.export import checks, origin, pipeline, vela
from tinyse.export.flatfile import operator_names, unpack
from tinyse.export.reader import read
from tinyse.export.targets import load_target
from tinyse.export.writer import write
from tinyse.graph.floating import calibrate
from tinyse.graph.model import Model
from tinyse.graph.plan import Plan
from tinyse.graph.snap import snap


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(exported("ethos-u55-128").parent / "model.npz")


@pytest.fixture(scope="module")
def data() -> bytes:
    return (exported("ethos-u55-128") / "model_int8.tflite").read_bytes()


def proof(plan: Plan, count: int = 64) -> checks.StreamProof:
    grid = plan.inputs[0].grid
    seen = grid.quantize(frames(count, plan.inputs[0].size, 7))
    return checks.check_stream(plan, [write(graph) for graph in plan.graphs], seen, ["m.tflite"])[0]


def test_operators_and_work_are_the_models(model, data):
    assert operator_names(unpack(data)) == ("UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM",
                                            "FULLY_CONNECTED", "FULLY_CONNECTED", "LOGISTIC")
    assert read(data) == model.plan().graphs[0]
    # 4 x (24x16 + 24x24) + 4 x (16x24 + 16x16) + 16x16 + 16x16
    assert read(data).macs == 3840 + 2560 + 512 == model.macs_per_frame


def test_other_work_than_the_trained_is_refused(model):
    wider = random_model(dense=(17,), zeros=0.5)
    with pytest.raises(ExportError, match="6912 multiply-accumulates a frame, the trained model 6944"):
        checks.check_counts(model.plan(), wider)


def test_pruned_zeros_are_zero_bytes(model, data):
    trained = sum(int((model.arrays[name] == 0).sum()) for name in model.matrices)
    assert trained > 0.45 * model.macs_per_frame
    assert read(data).zeros >= trained
    more = replace(model, arrays={name: np.zeros_like(array) if name.endswith("/kernel") else array
                                  for name, array in random_model(zeros=0.0).arrays.items()})
    with pytest.raises(ExportError, match=r"^\d+ zeros were trained, \d+ are in the file"):
        checks.check_counts(model.plan(), more)


def test_states_persist_and_reset_restores_them(model):
    found = proof(model.plan())
    assert found.frames == 64 and found.remembered > 500


def test_a_model_without_memory_is_refused():
    """Recurrence and forget gate shut: the mask cannot depend on the past."""
    model = random_model((6,), (), 6)
    bias, kernel = model.arrays["lstm_0/bias"].copy(), model.arrays["lstm_0/kernel"].copy()
    bias[6:12] = -40.0
    kernel[:, 6:12] = np.float32(0.3) * np.sign(kernel[:, 6:12] + 1e-9) * 1e-3
    shut = changed(model, lstm_0__recurrent_kernel=np.zeros_like(model.arrays["lstm_0/recurrent_kernel"]),
                   lstm_0__bias=bias, lstm_0__kernel=kernel)
    shut = replace(shut, ranges={**model.ranges, "features": (0.0, 1000.0)})
    with pytest.raises(ExportError, match=r"m.tflite: no result depends on earlier frames: nothing persists"):
        proof(shut.plan(), 20)


def test_a_file_that_the_reference_does_not_agree_with_is_refused(model):
    other = random_model(zeros=0.5, seed=9)
    with pytest.raises(ExportError, match="m.tflite: TFLM and the integer reference disagree"):
        checks.check_stream(model.plan(), [written(replace(other, ranges=model.ranges))],
                            np.zeros((20, 16), np.int8), ["m.tflite"])


def test_a_compiled_file_of_other_weights_is_refused(model):
    snapped = snap(random_model(gain=0.6))
    plan, seen = snapped.plan(), np.random.default_rng(0).integers(-128, 128, (30, 16)).astype(np.int8)
    _, results = checks.check_stream(plan, [written(snapped)], seen, ["m.tflite"])
    good, bad = (compile_bytes(written(each)) for each in (snapped, snap(random_model(gain=0.6, seed=3))))
    assert checks.check_compiled(plan, [good], seen, results, ["m.tflite"]) == 0
    with pytest.raises(ExportError, match=r"m.tflite: the compiled network differs from TFLM in \d+ of 480 values"):
        checks.check_compiled(plan, [bad], seen, results, ["m.tflite"])


def test_post_training_ranges_come_from_ordered_frames(model, tmp_path):
    float_model = replace(model, ranges=None)
    seen = frames(300, 16, 5)
    grown = calibrate(float_model, np.repeat(seen[:1], 200, axis=0))["lstm_0.c"]
    single = calibrate(float_model, seen[:1])["lstm_0.c"]
    assert grown[1] - grown[0] > 1.5 * (single[1] - single[0])
    made = origin.trained(float_model, "", seen, lambda _: None)
    assert made.quantization == "calibrated"
    assert made.plan.inputs[0].grid.scale == pytest.approx(seen.max() / 255, rel=1e-6)
    with pytest.raises(ExportError, match="no calibration frames"):
        origin.trained(float_model, "", None, lambda _: None)


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


def test_a_failed_export_keeps_the_finished_one(tmp_path, monkeypatch):
    shutil.copytree(exported("ethos-u55-128"), tmp_path / "export")
    shutil.copyfile(exported("ethos-u55-128").parent / "model.npz", tmp_path / "model.npz")
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
    with pytest.raises(ModelError, match="the network takes 16 values, its ends give 12"):
        pipeline.export_run(tmp_path / "mine.tflite", "cortex-m7", tmp_path / "out")
    assert not (tmp_path / "out").exists()
