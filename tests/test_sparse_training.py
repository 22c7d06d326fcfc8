"""Pruned runs from the command line: a dense start, the target in the int8 file, resuming, one-line errors."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from tinyse.cli import main
from tinyse.core.artifacts import sha256
from tinyse.export.pipeline import export_run
from tinyse.export.reader import read
from tinyse.graph.model import Model
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import train
from tinyse.train.recipe import load_recipe

TINY = {
    "network.lstm": "[24, 16]", "network.dense": "[16]", "mixing.seconds": "0.5", "mixing.batch": "4",
    "mixing.generated": "0", "train.float_steps": "6", "train.compress_steps": "0", "train.validate_every": "6",
    "train.validate_count": "6", "train.warmup": "2",
}
COMPRESS = {**TINY, "train.compress_steps": "18", "prune.every": "2", "prune.end": "0.5",
            "prune.multiple": "1"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    return folder


@pytest.fixture(scope="module")
def dense(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense")
    train(load_recipe("quick", {**TINY, "prune.method": "none"}), folder, corpus)
    return folder


def tinyse(*words, **settings):
    pairs = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return CliRunner().invoke(main, [*map(str, words), *pairs])


def losses(folder):
    with open(folder / "log.csv") as stream:
        return [(row["step"], row["phase"], row["loss"], row["val_si_sdr"], row["sparsity"])
                for row in csv.DictReader(stream)]


@pytest.mark.parametrize(("structure", "target", "zeros"),
                         [("weight", 0.8, 0.8), ("block", 0.6, 0.6), ("unit", 0.5, 0)])
def test_one_line_prunes_from_a_dense_run_into_the_int8_file(structure, target, zeros, corpus, dense, tmp_path):
    out = tmp_path / "run"
    result = tinyse("train", "quick", "--compress", structure, "--target-sparsity", target, "--from", dense,
                    "--corpus", corpus, "--out", out, **COMPRESS)
    assert result.exit_code == 0, result.output
    model = Model.load(out / "model.npz")
    matrices = [model.arrays[name] for name in model.matrices]
    share = sum(int((a == 0).sum()) for a in matrices) / model.macs_per_frame
    assert target <= share < target + 0.06
    logged = float([row[4] for row in losses(out) if row[4]][-1])
    assert target - 1e-4 <= logged <= share + 1e-4  # rounding to int8 adds a few zeros
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["start_sha256"] == sha256(dense / "float.npz")
    assert all(row[1] == "compress" for row in losses(out))
    kept = Model.load(out / "float.npz")
    before = Model.load(dense / "float.npz").arrays
    assert {name: array.tobytes() for name, array in kept.arrays.items() if "recurrent" not in name} == {
        name: array.tobytes() for name, array in before.items() if "recurrent" not in name}
    made = export_run(out, "cortex-m55")
    graph = read(made.files["model_int8.tflite"].read_bytes())
    assert graph.zeros / graph.weights >= zeros
    if structure == "unit":
        assert made.parameters < model.parameters * (1 - target) * 1.1
    else:
        assert made.parameters == model.parameters


def test_an_interrupted_pruned_run_resumes_to_the_same_curve(corpus, dense, tmp_path):
    recipe = load_recipe("quick", {**COMPRESS, "prune.method": "threshold", "prune.sparsity": "0.7",
                                   "train.start": json.dumps(str(dense))})
    whole = train(recipe, tmp_path / "whole", corpus)
    for stop in (3, 7, 15):

        def halt(step, stop=stop):
            if step.task == "train compress" and step.done == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "parts", corpus, halt, resume=True)
    again = train(recipe, tmp_path / "parts", corpus, resume=True)
    assert losses(again.folder) == losses(whole.folder)
    assert again.model.read_bytes() == whole.model.read_bytes()
    assert (again.folder / "manifest.json").read_text() == (whole.folder / "manifest.json").read_text()


def test_pruning_from_scratch_needs_no_float_phase(corpus, tmp_path):
    result = tinyse("train", "quick", "--compress", "weight", "--target-sparsity", "0.6", "--corpus", corpus, "--out",
                    tmp_path / "run", **{**COMPRESS, "train.float_steps": "0"})
    assert result.exit_code == 0, result.output
    model = Model.load(tmp_path / "run" / "model.npz")
    assert np.mean(np.concatenate([model.arrays[name].reshape(-1) for name in model.matrices]) == 0) >= 0.6


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--compress", "weight", "--target-sparsity", "1.5"], "prune: sparsity: 1.5 is out of range (0 to 0.999)"),
        (["--compress", "none", "--target-sparsity", "0.5"],
         "--target-sparsity 0.5: the recipe does not prune (prune.method: 'none') "
         "(add --compress weight, block or unit)"),
        (["--from", "nowhere"],
         "train.start: nowhere: no model there "
         "(a folder with float.npz or model_int8.tflite, such as models/tinylstm-dense)"),
        (["--set", "prune.structure=unit"],
         "prune.structure: 'unit' is not for method magnitude (method: threshold)"),
        (["--set", "skip.rate=0.3"], "--set skip.rate: changes nothing, skip is off (--set skip.enabled=true too)"),
        (["--compress", "none", "--set", "prune.sparsity=0.9"],
         "--set prune.sparsity: changes nothing, prune is off (--set prune.method=threshold too)"),
        (["--set", "prune.structure=row"], "prune: structure: 'row' is not known (one of: weight, block, unit)"),
    ],
)
def test_errors_name_the_key_and_the_value(words, line, corpus, tmp_path):
    result = tinyse("train", "quick", "--corpus", corpus, "--out", tmp_path / "run", *words)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1 and result.stderr.endswith(f"{line}\n")
    assert not (tmp_path / "run").exists()


def test_a_start_of_other_widths_or_of_integers_is_refused(corpus, dense, tmp_path):
    other = tinyse("train", "quick", "--from", dense, "--corpus", corpus, "--out", tmp_path / "a",
                   **{**COMPRESS, "network.lstm": "[24, 8]"})
    assert other.exit_code == 1 and other.stderr.startswith("Error: train.start: lstm_1/kernel: [24, 32], but ")
    assert other.stderr.endswith("has [24, 64] (the family and family_options that it was trained with)\n")
    done = tmp_path / "b"
    first = tinyse("train", "quick", "--compress", "none", "--from", dense, "--corpus", corpus, "--out", done,
                   **{**TINY, "train.compress_steps": "6"})
    assert first.exit_code == 0, first.output
    whole = tinyse("train", "quick", "--from", done / "model.npz", "--corpus", corpus, "--out", tmp_path / "c",
                   **COMPRESS)
    assert whole.exit_code == 1 and "model.npz is quantized already (give the run's float.npz)" in whole.stderr
