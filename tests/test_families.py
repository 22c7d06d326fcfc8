"""Families: ours and a user's file, what a recipe makes of them, how their errors read, and a run of one to its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyse.core.errors import RecipeError
from tinyse.families import load, names
from tinyse.graph.model import Model
from tinyse.graph.reference import Reference
from tinyse.sound import Ends
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import train
from tinyse.train.recipe import load_recipe, recipe_of
from tinyse.train.streaming import StreamingNetwork

MINE = '''
from tinyse.graph.build import Build
from tinyse.graph.net import Net
from tinyse.sound import Bands, Ends

ENDS = Ends(bands=Bands(count=24), layout="width")


def net(units: int = 4) -> Net:
    b = Build(ENDS.shape)
    x = b.prelu(b.norm(b.conv(b.x, units, (2, 3), (1, 2))))
    b.exit(b.reshape(b.dense(x, 2, "sigmoid"), (1, 24, 1)))
    x = b.gate(x, b.dense(b.pool(x, (0, 0)), 3))
    x = b.gru(x, units, reset="before")
    return b.done(mask=b.upsample(x, 1, (1, 2), (1, 3), "sigmoid"))
'''


def mine(folder: Path, text: str = MINE) -> str:
    file = folder / "mine.py"
    file.write_text(text)
    return str(file)


def test_ours_are_there_and_fit_their_ends() -> None:
    assert "tinylstm" in names()
    for name in names():
        family = load(name)
        assert family.net({}, family.ends).results


@pytest.mark.parametrize("before", [{"network": {"lstm": [16], "dense": [8]}},
                                    {"family": "tinylstm", "family_options": {"lstm": [16], "dense": [8]}}])
def test_widths_of_older_recipes_are_options_of_tinylstm(before: dict) -> None:
    recipe = recipe_of({"name": "a", **before}, "x")
    assert recipe.family_options == {"lstm": (16,), "dense": (8,)}
    assert recipe_of(recipe.as_dict(), "again") == recipe
    assert list(recipe.net().arrays)[0] == "lstm_0/kernel" and recipe.net().arrays["lstm_0/kernel"].shape == (128, 64)


def test_ends_are_the_family_s_unless_the_recipe_has_its_own(tmp_path: Path) -> None:
    file = mine(tmp_path)
    assert recipe_of({"name": "a", "family": file}, "x").ends.bands.count == 24
    own = recipe_of({"name": "a", "ends": {"bands": {"count": 64}}}, "x")
    assert own.ends == Ends(bands=type(Ends().bands)(count=64)) and own.net().arrays["lstm_0/kernel"].shape[0] == 64


@pytest.mark.parametrize(("text", "line"), [
    ("def net(:", "{file}:1: invalid syntax (a family is a Python file)"),
    ("import numpyy", "{file}:1: ModuleNotFoundError: No module named 'numpyy'"),
    ("raise SystemExit(3)", "{file}:1: SystemExit: 3"),
    ("ENDS = 3", "{file}: no ENDS (ENDS = Ends(...), what a frame is)"),
    ("from tinyse.sound import Ends\nENDS = Ends()", "{file}: no function net (def net(...) -> Net)"),
    (MINE.replace('"sigmoid"), (1, 24, 1)', '"sigmoyd"), (1, 24, 1)'),
     "{file}:12: dense: no activation 'sigmoyd' (one of: linear, relu, sigmoid, tanh, step)"),
    (MINE.replace("b.gate(x, b.dense", "b.gate(z, b.dense"), "{file}:13: NameError: name 'z' is not defined"),
    (MINE.replace("(2, 3), (1, 2)", "3"), "{file}:11: conv: kernel = 3 ((rows, width), such as (1, 3))"),
    (MINE.replace("b.gate(x, b.dense(b.pool(x, (0, 0)), 3))", "b.join('add', x, x, x)"),
     "{file}:13: join_0: join: add of 3 maps (two; a concat takes more)"),
    (MINE.replace("b.gate(x, b.dense(b.pool(x, (0, 0)), 3))", "b.join('concat')"),
     "{file}:13: join_0: join: concat of 0 maps (two; a concat takes more)"),
    (MINE.replace("Build(ENDS.shape)", "Build(ENDS.shape, 'log/power')"),
     "{file}:10: 'log/power' names no node (letters, digits and _)"),
    (MINE[:MINE.index("def net")] + "import functools\nnet = functools.partial(int, 3)",
     "{file}:1: ValueError: no signature found for builtin type <class 'int'>"),
    (MINE.replace("(1, 24, 1)", "(1, 23, 1)"), "{file}:12: reshape_0: reshape: [1, 12, 2] does not make [1, 23, 1]"),
    (MINE.replace("Build(ENDS.shape)", "Build((1, 26, 1))").replace("(1, 24, 1)", "(1, 26, 1)"),
     "{file}:9: net() takes [1, 26, 1], and its ENDS give [1, 24, 1] (begin with Build(ENDS.shape))"),
    (MINE.replace('return b.done(mask=b.upsample(x, 1, (1, 2), (1, 3), "sigmoid"))', "return b"),
     "{file}:9: net() gives Build, not a Net (return what Build.done gives)"),
])
def test_an_error_in_a_user_s_file_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    file = mine(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        recipe_of({"name": "a", "family": file}, "x").net()
    assert caught.value.line() == line.format(file=file)


@pytest.mark.parametrize(("values", "line"), [
    ({"family": "nope"}, "family: 'nope': no such family (a Python file, or one of: "),
    ({"family_options": {"widht": 3}}, "x: family_options: unknown key 'widht' (value 3) (one of: lstm, dense)"),
    ({"family_options": {"lstm": "a"}}, "x: family_options: lstm: 'a' is not a list (a list such as [256, 256])"),
    ({"family": "{mine}", "network": {"lstm": [3]}}, "x: network: widths of tinylstm, and family is "),
    ({"train": {"exits": [0]}}, "x: train.exits: [0.0] is no loss (a weight above 0)"),
])
def test_an_error_in_a_recipe_names_the_key(values: dict, line: str, tmp_path: Path) -> None:
    values = {key: mine(tmp_path) if value == "{mine}" else value for key, value in values.items()}
    with pytest.raises(RecipeError) as caught:
        recipe_of({"name": "a", **values}, "x")
    assert caught.value.line().startswith(line)


@pytest.mark.parametrize(("layer", "said"), [
    ('b.lstm(b.reshape(b.x, (1, 1, 24)), 1)', "an LSTM of one unit, on which Vela crashes"),
    ('b.depthwise(b.x, (1, 5), (1, 4))', "a depthwise convolution of stride 1, 4, where the NPU takes at most 3"),
    ('b.dense(b.reshape(b.x, (1, 1, 24)), 70000)', "is longer than 65535"),
    ('b.join("add", b.x, b.x)', "no result depends on earlier frames: nothing persists between them"),
    ('b.join("add", b.x, b.dense(b.add(GruLayer(4), b.x, name="unread"), 1)) and b.x', "no result depends on earlier"),
])
def test_what_no_target_runs_is_refused_before_training(layer: str, said: str, tmp_path: Path) -> None:
    corpus = synthetic_corpus(tmp_path / "corpus", seed=3).folder
    text = "from tinyse.graph.layers import GruLayer" + MINE[:MINE.index("def net")] + f"""def net() -> Net:
    b = Build(ENDS.shape)
    x = b.pool({layer}, (0, 0))
    return b.done(mask=b.reshape(b.dense(x, 24, "sigmoid"), ENDS.result_shape))
"""
    recipe = load_recipe("quick", {"family": mine(tmp_path, text), "family_options": "{}"})
    with pytest.raises(RecipeError, match=said) as caught:
        train(recipe, tmp_path / "run", corpus)
    assert caught.value.line().startswith("family: ") and not (tmp_path / "run").exists()


def test_a_user_s_network_trains_and_runs_as_integers(tmp_path: Path) -> None:
    """Norms, a gate, a GRU and two exits: float, then on the grids; the model's integers are the network's."""
    corpus = synthetic_corpus(tmp_path / "corpus", seed=3).folder
    recipe = load_recipe("quick", {
        "family": mine(tmp_path), "family_options": "{units: 3}", "mixing.seconds": "0.3",
        "mixing.batch": "4", "mixing.generated": "0", "train.float_steps": "6", "train.compress_steps": "8",
        "train.validate_every": "4", "train.validate_count": "6", "train.warmup": "2", "train.exits": "[1, 2]",
        "prune.method": "threshold", "prune.every": "2", "prune.sparsity": "0.4"})
    result = train(recipe, tmp_path / "run", corpus)
    floating, model = Model.load(result.float_model), Model.load(result.model)
    assert floating.family == model.family == "mine" and "norm_0/mean" in floating.arrays
    assert np.abs(floating.arrays["norm_0/mean"]).max() > 0 and not any("norm" in name for name in model.arrays)
    matrices = np.concatenate([model.arrays[name].reshape(-1) for name in model.matrices])
    assert 0.3 < np.mean(matrices == 0) < 0.5
    plan, stream = model.plan(), StreamingNetwork(model)
    parts, held = [Reference(part) for part in plan.parts], {}
    for frame in np.random.default_rng(0).uniform(0, 2, (20, 24)).astype(np.float32):
        held[plan.inputs[0].name] = plan.inputs[0].grid.quantize(frame).reshape(plan.inputs[0].shape)
        for part in parts:
            held.update(part.run({tensor.name: held[tensor.name] for tensor in part.graph.inputs}))
        wanted = held[plan.results[-1]].reshape(-1).astype(int) + 128
        np.testing.assert_array_equal(np.rint(stream.step(frame) * 256).astype(int), wanted)
