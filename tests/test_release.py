"""Releases of pruned runs: the card, what they start from, and the Makefile that trains that first."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from export_models import random_model

from tinyse.cli import main
from tinyse.core.artifacts import sha256, write_json
from tinyse.core.errors import ModelError
from tinyse.export.origin import INT8
from tinyse.export.reader import read
from tinyse.export.writer import write
from tinyse.graph.groups import Structure
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.offline import prune_offline
from tinyse.measure.card import card
from tinyse.measure.costs.pipeline import profile
from tinyse.measure.parity import Parity
from tinyse.measure.scores.result import Evaluation
from tinyse.studies.release import reproducible
from tinyse.train.dense import dense_file, dense_model
from tinyse.train.network import Network
from tinyse.train.recipe import load_recipe
from tinyse.train.start import take_weights

REPOSITORY = Path(__file__).parents[1]
MAKEFILE, DENSE = REPOSITORY / "Makefile", REPOSITORY / "models" / "tinylstm-dense"
LAYERS = ("lstm_0", "lstm_1", "dense_0", "dense_1")


@pytest.fixture
def point(tmp_path):
    """What release reads of a run that a sweep has pruned from a dense one: its start is a path of this machine."""
    run = tmp_path / "sweep" / "points" / "unit-50.s3-0badcafe"
    run.mkdir(parents=True)
    recipe = load_recipe("full", {"prune.method": "threshold", "prune.structure": "unit", "seed": "3",
                                  "train.start": json.dumps("/somewhere/runs/full")})
    (run / "recipe.yaml").write_text(recipe.as_yaml())
    random_model((300, 280), (150,), 128, quantized=False).save(run / "float.npz")
    write_json(run / "manifest.json", {"start_sha256": sha256(run / "float.npz"), "corpus": "c" * 64,
                                       "val_noisy_si_sdr_db": 0.25, "val_si_sdr_db": 4.5})
    return run


def test_a_point_s_recipe_starts_from_a_released_model(point, tmp_path):
    models = tmp_path / "models"
    with pytest.raises(ModelError, match="no model of .* is what it starts from") as caught:
        reproducible(point, models, "unit")
    assert caught.value.hint == "release that first: tinyse release /somewhere/runs/full --name NAME"
    held = {"float": sha256(point / "float.npz"), "sha256": {INT8: "1" * 64}}
    write_json(models / "old" / "manifest.json", {"name": "old", "sha256": {}})  # of a tinyse that did not say
    write_json(models / "unit" / "manifest.json", {"name": "unit", **held})
    with pytest.raises(ModelError, match="no model of"):  # released again, it does not start from itself
        reproducible(point, models, "unit")
    write_json(models / "dense" / "manifest.json", {"name": "dense", **held})
    trained = load_recipe(point / "recipe.yaml")
    assert reproducible(point, models, "unit") == replace(trained, train=replace(trained.train, start="runs/dense"))
    write_json(models / "dense" / "manifest.json", {"name": "dense", "sha256": {INT8: held["float"]}})
    assert reproducible(point, models, "unit").train.start == "models/dense"
    (point / "recipe.yaml").write_text(load_recipe("full").as_yaml())
    assert reproducible(point, models, "any") == load_recipe("full")


@pytest.mark.parametrize("words, said", [
    (["--name", ".."], "--name '..': is no name of a model (letters, digits, and . _ - within, such as tinyl"),
    (["--name", "."], "--name '.': is no name"), (["--name", ""], "--name '': is no name"),
    (["--name", "../x"], "--name '../x': is no name"), (["--name", "/x"], "--name '/x': is no name"),
    (["--name", "x", "--target", "cortex-m55"],
     "cortex-m55 has no NPU, for which a release is compiled (an NPU target, such as ethos-u55-128)"),
    (["--name", "x", "--models", "{run}/recipe.yaml"], "recipe.yaml: is no folder (the folder of released models)"),
])
def test_a_name_leads_nowhere_else_and_nothing_is_lost(point, words, said):
    before = sorted(point.parents[2].rglob("*"))
    models = [] if "--models" in words else ["--models", str(point.parents[1])]
    result = CliRunner().invoke(main, ["release", str(point), *models, *(word.format(run=point) for word in words)])
    assert result.exit_code == 1 and said in result.output and len(result.output.splitlines()) == 1, result.output
    assert sorted(point.parents[2].rglob("*")) == before


def test_what_cannot_be_released_is_said_before_anything_runs(point, tmp_path):
    words = ["--name", "x", "--models", str(tmp_path / "models")]

    def said(run):
        result = CliRunner().invoke(main, ["release", str(run), *words])
        assert result.exit_code == 1 and not (tmp_path / "models").exists(), result.output
        return result.output

    assert said(DENSE) == (f"Error: {DENSE}: no model.npz (a finished run's folder, as tinyse train leaves it)\n")
    (point / "checkpoints").mkdir()
    assert said(point) == f"Error: {point}: no model.npz (finish it with: tinyse train ... --resume)\n"
    shutil.copyfile(point / "float.npz", point / "model.npz")
    assert said(point) == (f"Error: {point}: was trained in float alone, and a release is int8 "
                           "(train it with train.compress_steps and quantize.enabled)\n")


def test_a_start_of_an_int8_file_s_weights_is_that_file(point, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(DENSE, models / "tinylstm-dense", ignore=shutil.ignore_patterns("*.png", "*vela*"))
    with pytest.raises(ModelError, match="no model of"):
        reproducible(point, models, "unit")
    dense = dense_model(dense_file(DENSE, "from"), "from")
    for skip in (False, True):
        network = Network(tinylstm(128, (256, 256), (128,), 128 + skip))
        take_weights(network, dense)
        network.export(dense.ends, None, {}).save(point / "float.npz")
        assert (Model.load(point / "float.npz").net.skip is not None) == skip
        assert reproducible(point, models, "unit").train.start == "models/tinylstm-dense"


@pytest.mark.parametrize("rate", [None, 0.25])
def test_the_card_has_layers_costs_and_where_to_start(point, tmp_path, rate):
    int8 = tmp_path / INT8
    int8.write_bytes(write(prune_offline(read((DENSE / INT8).read_bytes()), 0.5, Structure.WEIGHT, (1, 1)).graph))
    found = Evaluation.from_dict(json.loads((DENSE / "evaluation.json").read_text()))
    if rate is not None:
        found = replace(found, clips=tuple(replace(clip, updates={"int8": rate}) for clip in found.clips))
    costs = profile(int8, "ethos-u55-128")
    text = card("unit", point, int8, found, costs, Parity(1000, 0, 0.0, 5, 0.2, 0.01), "runs/dense")
    assert "float is dense before compression" in text and "`make model NAME=unit` trains" in text
    assert "the float weights of [dense](../dense) and trains that first where `runs/dense` is not there" in text
    rows = {cells[0]: cells[1:] for line in text.splitlines() if line.startswith("| ")
            for cells in [[cell.strip() for cell in line.strip("|").split("|")]]}
    widths = [int(rows[name][1]) for name in LAYERS]
    assert [rows[name][2] for name in LAYERS] == ["300", "280", "150", "128"]
    assert widths == [256, 256, 128, 128]
    assert [int(rows[name][0]) for name in LAYERS] == [128, *widths[:3]]
    assert all(2 < int(rows[name][5]) <= 256 for name in LAYERS)
    first, second, third, last = widths
    whole = 4 * first * (128 + first) + 4 * second * (first + second) + second * third + third * last
    assert rows["all"][3] == f"{whole:,}" == rows["int8 weights, multiply-accumulates per frame"][0]
    nonzero = int(rows["of them not zero"][0].replace(",", ""))
    dense = 4 * 300 * 428 + 4 * 280 * 580 + 280 * 150 + 150 * 128
    assert nonzero == costs.sizes.nonzero < whole
    zeros = float(rows["all, of the dense network's"][4].rstrip("%"))
    assert zeros == pytest.approx(100 * (1 - nonzero / dense), abs=0.05)
    means = [rows.get(f"{what} per mean frame{more}") for what, more in (
        ("operations", ", 2 a weight"), ("operations", ", 2 a non-zero weight"), ("cycles", ""))]
    assert means == ([None] * 3 if rate is None else [
        [f"{2 * rate * whole / 1e6:.3f} M", "exact x measured (host)"],
        [f"{2 * rate * nonzero / 1e6:.3f} M", "exact x measured (host)"],
        [f"{rate * costs.npu.cycles:,.0f}", "estimated (Vela) x measured (host)"]])
    assert "noise from Debian packages; packages" in text
    (point / "recipe.yaml").write_text(load_recipe(point / "recipe.yaml", {"corpus.path": "corpora/mine"}).as_yaml())
    alone = card("dense", point, int8, found, costs, Parity(1000, 0, 0.0, 5, 0.2, 0.01))
    assert "The corpus is `corpora/mine`.\n" in alone and "noise from Debian packages" not in alone
    assert "float is the run before compression" in alone and "starts from" not in alone
    again = card("unit", point, int8, found, costs, Parity(1000, 0, 0.0, 5, 0.2, 0.01), "models/dense")
    assert "It starts from the released int8 weights of [dense](../dense).\n" in again


FAKE = """\
#!/bin/sh
echo "$@" >> calls.txt
[ "$3" = train ] || exit 0
case "$4" in *-broken/*) exit 1 ;; esac
while [ "$1" != --out ]; do shift; done
mkdir -p "$2" && touch "$2/model.npz"
"""


def make_model(folder: Path, name: str) -> tuple[int, list[str]]:
    """``make model NAME=name`` with a recorder in the place of Python."""
    (folder / "pyproject.toml").touch()
    shutil.copyfile(MAKEFILE, folder / "Makefile")
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        python.parent.mkdir(parents=True)
        python.write_text(FAKE)
        python.chmod(0o755)
        (folder / "venv" / ".installed").touch()
        later = (folder / "pyproject.toml").stat().st_mtime + 5
        os.utime(folder / "venv" / ".installed", (later, later))
    (folder / "calls.txt").unlink(missing_ok=True)
    done = subprocess.run(["make", "model", f"NAME={name}", "VENV=venv"], cwd=folder, check=False,
                          capture_output=True, text=True)
    calls = folder / "calls.txt"
    lines = calls.read_text().splitlines() if calls.exists() else []
    return done.returncode, [re.sub("^-m tinyse ", "", line) for line in lines]


def test_make_model_trains_what_a_recipe_starts_from_first(tmp_path):
    for name, start in (("one", None), ("two", "runs/one"), ("three", "runs/two"), ("own", "/elsewhere/run"),
                        ("one-broken", None), ("four", "runs/one-broken")):
        (tmp_path / "models" / name).mkdir(parents=True)
        recipe = load_recipe("quick", {"train.start": json.dumps(start), "corpus.tier": "default"})
        (tmp_path / "models" / name / "recipe.yaml").write_text(recipe.as_yaml())

    def trained(name):
        return f"train models/{name}/recipe.yaml --out runs/{name} --resume"

    fetch = "data fetch --tier default"
    assert make_model(tmp_path, "one") == (0, [fetch, trained("one"), "release runs/one --name one"])
    assert make_model(tmp_path, "two") == (0, [fetch, trained("two"), "release runs/two --name two"])
    (tmp_path / "runs" / "one" / "model.npz").unlink()
    (tmp_path / "runs" / "two" / "model.npz").unlink()
    assert make_model(tmp_path, "three") == (
        0, [fetch, fetch, fetch, trained("one"), trained("two"), trained("three"), "release runs/three --name three"])
    assert make_model(tmp_path, "own") == (0, [fetch, trained("own"), "release runs/own --name own"])
    code, calls = make_model(tmp_path, "four")
    assert code != 0 and calls == [fetch, fetch, trained("one-broken")]
    code, calls = make_model(tmp_path, "five")
    assert code != 0 and calls == [fetch]


def test_make_model_fetches_the_tier_that_a_recipe_learns_from(tmp_path):
    (tmp_path / "models" / "wide").mkdir(parents=True)
    (tmp_path / "models/wide/recipe.yaml").write_text(load_recipe("quick", {"corpus.tier": "large"}).as_yaml())
    assert make_model(tmp_path, "wide") == (0, [
        "data fetch --tier default", "data fetch --tier large",
        "train models/wide/recipe.yaml --out runs/wide --resume", "release runs/wide --name wide"])
