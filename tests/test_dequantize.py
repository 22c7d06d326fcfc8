"""An int8 file gives back the model it was made of: exporting it again writes the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from export_models import random_model

from tinyse.core.errors import ModelError
from tinyse.engines.tflm import TflmEngine
from tinyse.export.pipeline import export_run
from tinyse.export.reader import read
from tinyse.graph.dequantize import dequantized, floating
from tinyse.graph.model import tinylstm
from tinyse.graph.snap import snap
from tinyse.train.start import load_start

DENSE = Path(__file__).resolve().parents[1] / "models" / "tinylstm-dense"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    snap(random_model(zeros=0.5)).save(folder / "model.npz")
    export_run(folder, "cortex-m55", folder / "export")
    return folder / "export" / "model_int8.tflite"


def test_exported_again_it_is_the_same_file(exported, tmp_path):
    data = exported.read_bytes()
    dequantized(read(data), TflmEngine.load(exported).ends).save(tmp_path / "model.npz")
    export_run(tmp_path / "model.npz", "cortex-m55", tmp_path / "again")
    assert (tmp_path / "again" / "model_int8.tflite").read_bytes() == data


def test_a_released_model_is_a_start():
    start = load_start(str(DENSE), tinylstm(128, (256, 256), (128,), 128))
    assert start.model.ranges is None and start.model.parameters == 968_960
    data = (DENSE / "model_int8.tflite").read_bytes()
    whole = floating(dequantized(read(data), start.model.ends))
    assert start.model.net == whole.net
    for name, array in start.model.arrays.items():
        np.testing.assert_array_equal(array, whole.arrays[name])


def test_a_compiled_file_is_no_start():
    with pytest.raises(ModelError, match=r"train\.start: .*model_vela\.tflite"):
        load_start(str(DENSE / "model_vela.tflite"), tinylstm(128, (256, 256), (128,), 128))


def test_a_folder_without_a_model_is_no_start(tmp_path):
    with pytest.raises(ModelError, match="no model there"):
        load_start(str(tmp_path), tinylstm(128, (256, 256), (128,), 128))
