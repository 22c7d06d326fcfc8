"""Released models: what lies in models/ is what its manifest and card say."""

import json
from pathlib import Path

import numpy as np
import pytest

from tinyse.artifacts import sha256
from tinyse.engines import load_engine
from tinyse.export.network import operator_names, unpack
from tinyse.recipe import load_recipe

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[1] / "models").glob("*/manifest.json"))


def test_the_dense_baseline_is_released():
    assert "tinylstm-dense" in {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_files_are_those_of_the_manifest(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    found = {path.name: sha256(path) for path in folder.iterdir() if path.name != "manifest.json"}
    assert found == manifest["sha256"]
    assert manifest["name"] == folder.name
    load_recipe(folder / "recipe.yaml")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_int8_model_streams_and_the_compiled_one_is_the_npu_s_alone(folder):
    names = operator_names(unpack((folder / "model_int8.tflite").read_bytes()))
    assert set(names) == {"UNIDIRECTIONAL_SEQUENCE_LSTM", "FULLY_CONNECTED", "LOGISTIC"}
    engine = load_engine(folder / "model_int8.tflite", "tflm")
    loud = np.full(engine.bands, 1.0, np.float32)
    first, second = engine.mask(loud).copy(), engine.mask(loud).copy()
    assert not np.array_equal(first, second)
    engine.reset()
    np.testing.assert_array_equal(engine.mask(loud), first)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_card_s_bars_hold(folder):
    """Streaming Keras equals TFLM; int8 loses at most 0.1 dB SI-SDR and 0.03 PESQ against float."""
    from tinyse.evaluate.result import Evaluation

    parity = json.loads((folder / "parity.json").read_text())
    assert parity["frames"] >= 1000 and parity["streamed_max"] <= 2 and parity["streamed_mean"] <= 0.2
    assert parity["si_sdr_apart"] <= 0.02
    scores = Evaluation.from_dict(json.loads((folder / "evaluation.json").read_text()))
    if folder.name == "tinylstm-dense":
        assert scores.mean("float", "si_sdr") - scores.mean("int8", "si_sdr") <= 0.1
        assert scores.mean("float", "pesq") - scores.mean("int8", "pesq") <= 0.03
    assert scores.mean("int8", "si_sdr") > scores.mean("noisy", "si_sdr") + 3
