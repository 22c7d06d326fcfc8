"""An int8 network gives back the model it was made of: lowered or exported again it has the same integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import twin_nets
from branched import NETS, branched, inputs, normed, random_arrays, without_units
from export_models import random_model

from tinyse.core.artifacts import write_text
from tinyse.core.errors import ModelError, RecipeError
from tinyse.export.bundle import open_bundle
from tinyse.export.pipeline import export_run
from tinyse.families import load
from tinyse.graph.constants import constants
from tinyse.graph.dequantize import dequantized
from tinyse.graph.floating import calibrate
from tinyse.graph.fold import fold
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.net import Net
from tinyse.graph.shrink import shrink
from tinyse.graph.snap import snap
from tinyse.sound import Ends
from tinyse.train.dense import bundled_model
from tinyse.train.recipe import load_recipe
from tinyse.train.start import load_start

MODELS = Path(__file__).resolve().parents[1] / "models"
DENSE = MODELS / "tinylstm-dense"
DESCRIBED = {**NETS, "normed": normed, "demo": lambda: load("demo").net({}, load("demo").ends),
             "subband": lambda: load("subband").net({"channels": 6, "wide": 5}, load("subband").ends),
             "tinylstm": lambda: tinylstm(12, (9, 8), (7,), 13)}


def quantized(net: Net, seed: int = 3) -> Model:
    """Random weights and calibrated ranges; no scale is snapped."""
    model = fold(Model(net, random_arrays(net, seed, 0.3), Ends()))
    return replace(model, ranges=calibrate(model, inputs(net, 30, seed + 1)))


@pytest.mark.parametrize("name", DESCRIBED)
def test_integers_to_reals_and_back_are_the_same_integers(name):
    net = DESCRIBED[name]()
    for model in (quantized(net), snap(quantized(net))):
        plan = model.plan()
        again = dequantized(plan, net, model.ends)
        assert again.net == model.net and again.ranges.keys() == model.ranges.keys()
        assert again.plan().graphs == plan.graphs


@pytest.mark.parametrize("name", NETS)
def test_widths_are_those_that_pruning_left(name):
    model = shrink(without_units(branched(name, 4), 0.5, 4))
    again = dequantized(model.plan(), NETS[name](), model.ends)
    assert again.net == model.net != NETS[name]()
    assert again.plan().graphs == model.plan().graphs


@pytest.mark.parametrize("folder", [path.parent for path in sorted(MODELS.glob("*/model_int8.tflite"))],
                         ids=lambda folder: folder.name)
def test_every_released_model_gives_its_weights_back(folder):
    bundle = open_bundle(folder)
    model = bundled_model(bundle)
    graph, again = bundle.graph_plan().graphs[0], model.plan().graphs[0]
    assert model.family == load_recipe(folder / "recipe.yaml").family
    for one, other in zip(graph.ops, again.ops, strict=True):
        assert one.out.grid == other.out.grid
        for (array, integers, step), (_, others, its) in zip(constants(one), constants(other), strict=True):
            if array.scale is not None:  # a unit without weights had another scale of the converter
                np.testing.assert_array_equal(integers, others)
            np.testing.assert_allclose(integers * step, others * its, rtol=1e-7)


def test_another_network_is_refused_by_the_layer_that_differs():
    plan = branched("residual").plan()
    with pytest.raises(ModelError, match=r"few: is not the .* said to be: features: is \[1, 1, 8, 2\], not"):
        dequantized(plan, tinylstm(16, (4,), (), 8), Ends(), "few")
    with pytest.raises(ModelError, match="1 parts, and the family has 2"):
        dequantized(plan, NETS["exits"](), Ends())
    for name in ("skipping", "gru after", "reshaped"):
        with pytest.raises(ModelError, match="is not the network that it is said to be"):
            dequantized(plan, NETS[name](), Ends())


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    snap(random_model(zeros=0.5)).save(folder / "model.npz")
    export_run(folder, "cortex-m55", folder / "export")
    return folder / "export" / "model_int8.tflite"


def test_exported_again_it_is_the_same_file(exported, tmp_path):
    """A file that no recipe describes is taken for a TinyLSTM."""
    bundled_model(open_bundle(exported)).save(tmp_path / "model.npz")
    export_run(tmp_path / "model.npz", "cortex-m55", tmp_path / "again")
    assert (tmp_path / "again" / "model_int8.tflite").read_bytes() == exported.read_bytes()


def test_a_released_model_is_a_start():
    start = load_start(str(DENSE), tinylstm(128, (256, 256), (128,), 128))
    assert start.model.ranges is None and start.model.parameters == 968_960
    whole = bundled_model(open_bundle(DENSE))
    assert start.model.net == whole.net
    for name, array in start.model.arrays.items():
        np.testing.assert_array_equal(array, whole.arrays[name])


def test_a_released_model_of_another_family_is_a_start(tmp_path):
    file = MODELS / "subband-small" / "model_int8.tflite"
    net = load_recipe(file.parent / "recipe.yaml").net()
    start = load_start(str(file), net)
    assert start.model.net == net and start.model.ranges is None and start.model.family == "subband"
    with pytest.raises(RecipeError, match=r"train.start: .*: \[.*\], but .*model_int8.tflite has \["):
        load_start(str(file), load("subband").net({}, load("subband").ends))
    with pytest.raises(RecipeError, match="was trained with another ends.framing: window: sqrt_hann"):
        load_start(str(file), net, Ends())
    (tmp_path / "bare.tflite").write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match=r"bare.tflite: no recipe.yaml beside it says its family, and it is no Tiny"):
        load_start(str(tmp_path / "bare.tflite"), net)
    write_text(tmp_path / "recipe.yaml", "name: x\nfamily: demo\n")
    with pytest.raises(ModelError, match="bare.tflite: is not the network that it is said to be: "):
        load_start(str(tmp_path / "bare.tflite"), net)


def test_a_compiled_file_is_no_start():
    with pytest.raises(ModelError, match=r"train\.start: .*model_vela\.tflite"):
        load_start(str(DENSE / "model_vela.tflite"), tinylstm(128, (256, 256), (128,), 128))


def test_a_folder_without_a_model_is_no_start(tmp_path):
    with pytest.raises(ModelError, match="no model there"):
        load_start(str(tmp_path), tinylstm(128, (256, 256), (128,), 128))


@pytest.mark.parametrize("name", [name for name in twin_nets.NETS if name.startswith("few-")])
def test_integers_of_few_bits_give_the_same_ones(name):
    """The bits of matrices and of what has no range are found; those of other activations are in their ranges."""
    model = snap(twin_nets.random_model(twin_nets.NETS[name]()))
    again = dequantized(model.plan(), twin_nets.NETS[name]().with_bits({}), model.ends)
    assert again.plan().graphs == model.plan().graphs
    assert again.net.bits == tuple((place, bits) for place, bits in model.net.bits
                                   if "/" in place or place not in model.net.ranges)
