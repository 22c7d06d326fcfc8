"""Recipes: what is accepted, and how an error reads."""

import dataclasses

import pytest

from tinyse.core.errors import RecipeError
from tinyse.train.recipe import BUILT_IN, load_recipe


@pytest.mark.parametrize("name", sorted(path.stem for path in BUILT_IN.glob("*.yaml")))
def test_built_in_recipes_load_and_round_trip(name, tmp_path):
    recipe = load_recipe(name)
    path = tmp_path / "again.yaml"
    path.write_text(recipe.as_yaml())
    assert load_recipe(path) == recipe
    assert recipe.name == name


def test_overrides_change_one_key():
    recipe = load_recipe("quick", {"train.float_steps": "7", "mixing.snr_db": "[-3, 3]", "seed": "5"})
    assert recipe.train.float_steps == 7 and recipe.mixing.snr_db == (-3.0, 3.0) and recipe.seed == 5
    assert dataclasses.replace(recipe, seed=1).prune == load_recipe("quick").prune


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: a\nsped: 1",
         "unknown key 'sped' (value 1) (one of: name, seed, corpus, family, family_options, ends, mixing, train, "
         "prune, cluster, quantize, skip, gates, route, labels)"),
        ("name: a\ntrain: {float_steps: many}",
         "train: float_steps: 'many' is not a whole number (give a whole number)"),
        ("name: a\ntrain: {loss: mse}",
         "train: loss: 'mse' is not known (one of: compressed, si_sdr, mixed, levelled, cross_entropy)"),
        ("name: a\nprune: {sparsity: 1.5}", "prune: sparsity: 1.5 is out of range (0 to 0.999)"),
        ("name: a\nmixing: {snr_db: [9, -6]}", "mixing.snr_db: [9.0, -6.0] is not a range ([lowest, highest])"),
        *((f"name: a\n{part}: {{begin: 0.9, end: 0.1}}", f"{part}: begin 0.9 is after end 0.1 (shares of the steps, "
           "the first not above the second)") for part in ("prune", "cluster", "skip", "gates", "route")),
        ("name: a\nquantize: {enabled: 1}", "quantize: enabled: 1 is not true or false (give true or false)"),
        ("name: a\nnetwork: 3", "network: 3 is not a mapping (key: value lines)"),
        ("seed: 1", "missing key 'name' (every recipe has a name)"),
        ("[1, 2]", "list instead of a mapping (key: value lines)"),
        ("train: {float_steps: 3}\ntrain: {float_steps: 4}", "not YAML: train stands twice (key: value lines)"),
        ("a: {b", "not YAML: while parsing a flow mapping (key: value lines)"),
    ],
)
def test_errors_name_file_key_value_and_remedy(text, line, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.line() == f"{path}: {line}"


def test_a_missing_recipe_names_the_built_in_ones():
    with pytest.raises(RecipeError) as caught:
        load_recipe("nope")
    assert caught.value.line().startswith("nope: no such recipe (a YAML file, or a built-in name: demo, demucs, ")


def test_set_errors():
    with pytest.raises(RecipeError, match="seed"):
        load_recipe("quick", {"seed.x": "1"})
    with pytest.raises(RecipeError, match="unknown key 'stps'"):
        load_recipe("quick", {"train.stps": "1"})


OWN = "from tinyse.families.tinylstm import ENDS, net\n"


def test_a_family_s_file_lies_beside_the_recipe_or_here(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    for file in (tmp_path / "mine.py", tmp_path / "there" / "mine.py", tmp_path / "other.py"):
        file.write_text(OWN)
    (tmp_path / "there" / "r.yaml").write_text("name: r\nfamily: mine.py\n")
    assert load_recipe("there/r.yaml").family == "there/mine.py"
    assert load_recipe("there/r.yaml", {"family": "mine.py"}).family == "mine.py"
    assert load_recipe("there/r.yaml", {"family": "other.py"}).family == "other.py"
    (tmp_path / "mine.py").unlink()
    assert load_recipe("there/r.yaml", {"family": "mine.py"}).family == "there/mine.py"
    (tmp_path / "there" / "mine.py").rename(tmp_path / "mine.py")
    assert load_recipe("there/r.yaml").family == "mine.py"
    assert load_recipe("quick", {"family": "demo"}).identity()["family"] == "demo"


def test_an_own_family_goes_along_and_counts_by_its_content(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "r.yaml").write_text("name: r\nfamily: mine.py\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    (tmp_path / "run").mkdir()
    recipe.write(tmp_path / "run")
    held = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert held.family == str(tmp_path / "run" / "mine.py") and held.identity() == recipe.identity()
    held.write(tmp_path / "run")
    assert (tmp_path / "run" / "mine.py").read_text() == OWN
    (tmp_path / "mine.py").write_text(OWN + "# another\n")
    assert recipe.identity() != held.identity() and recipe.identity()["family"].startswith("mine.py sha256:")
