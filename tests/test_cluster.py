"""Few distinct weights: the projection, its integers through export, fewer bytes from Vela, training and resuming."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from export_models import exported, frames, integers, streamed
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.cli import main
from tinyse.core.errors import RecipeError
from tinyse.engines.keras import KerasEngine
from tinyse.export.pipeline import export_run
from tinyse.export.reader import read
from tinyse.export.writer import write
from tinyse.graph.cluster import Codebook, cluster_integers, distinct_values, join, split
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.offline import prune_offline
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import train
from tinyse.train.recipe import load_recipe

TINY = {
    "network.lstm": "[24, 16]", "network.dense": "[16]", "mixing.seconds": "0.5", "mixing.batch": "4",
    "mixing.generated": "0", "train.float_steps": "0", "train.compress_steps": "16", "train.validate_every": "8",
    "train.validate_count": "6", "train.warmup": "2", "prune.every": "2", "prune.end": "0.5", "prune.multiple": "1",
}


@st.composite
def matrices(draw):
    """Rows of any make: Laplace or few values, sparse or not, rows of zeros, scales far apart."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(1, 300), (1, 5), (7, 40), (16, 1)]))
    rows = rng.laplace(size=shape) if draw(st.booleans()) else rng.integers(-3, 4, shape)
    rows = rows * (rng.random(shape) >= draw(st.sampled_from([0, 0.5, 0.95, 1])))
    return (rows * 10.0 ** rng.uniform(-4, 2, (shape[0], 1))).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(matrices(), st.integers(1, 16))
def test_the_projection_is_export_s_integers(rows, levels):
    book = Codebook.fit(rows, levels)
    index = book.assign(rows)
    values = book.values(rows, index)
    assert np.all(np.diff(book.levels) >= 0) and book.levels[-1] == 1
    peaks = np.abs(values).max(axis=1, keepdims=True)
    # Export's own rule, max|w| / 127, finds the codebook's integers, each row's largest at 127, and nothing is lost.
    scale = np.where(peaks > 0, peaks, 127).astype(np.float32) / np.float32(127)
    integers = np.rint(values / scale)
    np.testing.assert_array_equal(integers, np.sign(rows) * book.integers()[index])
    np.testing.assert_array_equal((integers * scale).astype(np.float32), values)
    assert np.array_equal(peaks[:, 0] > 0, rows.any(axis=1))
    assert np.unique(np.abs(integers[integers != 0])).size <= levels
    assert np.all(values[rows == 0] == 0) and not np.any(np.signbit(values[values == 0]))
    again = book.refit(rows, index).values(rows, index)
    assert np.square(again - rows).sum() <= np.square(values - rows).sum() * 1.02 + 1e-12


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_every_weight_is_at_its_nearest_level(seed, levels):
    rows = np.random.default_rng(seed).laplace(size=(3, 200)).astype(np.float32)
    book = Codebook.fit(rows, levels)
    index = book.assign(rows)
    choices = np.concatenate([[0.0], book.levels]) * book.scales[:, None]
    distance = np.abs(np.abs(rows)[:, :, None] - choices[:, None, :])
    chosen = np.take_along_axis(distance, index[:, :, None].astype(int), axis=2)[:, :, 0]
    forced = np.abs(rows) == np.abs(rows).max(axis=1, keepdims=True)
    assert np.all((chosen <= distance.min(axis=2) + 1e-5) | forced)
    assert np.all(index[forced] == levels)


def test_more_levels_are_closer_and_as_many_as_values_are_exact():
    rows = np.random.default_rng(1).laplace(size=(1, 5000)).astype(np.float32)
    errors = []
    for levels in (1, 2, 4, 8, 16):
        book = Codebook.fit(rows, levels)
        errors.append(float(np.square(book.values(rows, book.assign(rows)) - rows).mean() / np.square(rows).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.28 and errors[-1] < 0.01  # the optimal ternary quantizer of a Laplace source leaves 0.24
    few = np.float32([[0, 1, -3, 3, 0, -1]]) * np.float32(0.5)
    book = Codebook.fit(few, 2)
    np.testing.assert_allclose(book.values(few, book.assign(few)), few, rtol=1e-2)


@pytest.mark.parametrize(("name", "parts"), [("lstm_0/kernel", 4), ("dense_0/kernel", 1)])
def test_splitting_and_joining_give_the_matrix_back(name, parts):
    array = tinylstm(5, (3,), (), 12).arrays[name]
    matrix = np.arange(array.size, dtype=np.float32).reshape(array.shape)
    rows = split(matrix, array)
    assert len(rows) == parts and rows[0].shape[0] == (1 if parts == 4 else 12)
    np.testing.assert_array_equal(join(rows, array), matrix)


def test_vela_s_codec_needs_fewer_bytes_with_fewer_values():
    codec = pytest.importorskip("ethosu.mlw_codec", reason="pip install ethos-u-vela")
    rng = np.random.default_rng(2)
    dense = np.clip(np.rint(rng.laplace(size=(256, 256)) * 18), -127, 127).astype(np.int8)
    sparse = dense * (np.abs(dense) > 54)

    def size(weights):
        return len(codec.reorder_encode(8, 8, weights.astype(np.int16).reshape(256, 1, 1, 256), 64, False, False,
                                        8, 8, 8)[0])

    for weights, share in ((dense, 0.40), (sparse, 0.70)):
        sizes = [size(cluster_integers(weights, levels)) for levels in (1, 2, 4, 8)]
        assert sizes == sorted(sizes) and sizes[1] < share * size(weights)


# -- a finished file --------------------------------------------------------------------------------------


def tensors(data):
    yield from read(data).matrices


def test_prune_offline_clusters_a_file_that_tflm_runs(tmp_path):
    model, out = exported("cortex-m55") / "model_int8.tflite", tmp_path / "few.tflite"
    result = CliRunner().invoke(main, ["prune-offline", str(model), "--sparsity", "0.8", "--clusters", "4", "--out",
                                       str(out)])
    assert result.exit_code == 0, result.output
    data = out.read_bytes()
    assert all(np.unique(w[w != 0]).size <= 4 for w in tensors(data))
    zeros = sum(int((w == 0).sum()) for w in tensors(data)) / 6912
    assert zeros >= 0.799 and f"{zeros:.1%} of 6,912 weights are zero" in result.stdout
    pruned = write(prune_offline(read(model.read_bytes()), 0.8).graph)
    assert all(not np.any((new != 0) & (old == 0)) and np.all(new * old.astype(int) >= 0)
               for new, old in zip(tensors(data), tensors(pruned), strict=True))
    inputs = read(data).inputs[0].grid.quantize(frames(40, 16))
    np.testing.assert_array_equal(streamed(data, inputs), integers(data, inputs))
    with pytest.raises(RecipeError, match="clusters: 3 is out of range"):
        prune_offline(read(pruned), 0.5, values=3)


# -- training ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    return folder


@pytest.fixture(scope="module")
def clustered(corpus, tmp_path_factory):
    """Weights pruned and clustered together, from the command line."""
    folder = tmp_path_factory.mktemp("run") / "few"
    pairs = [word for key, value in {**TINY, "cluster.freeze": "0.8"}.items() for word in ("--set", f"{key}={value}")]
    result = CliRunner().invoke(main, ["train", "quick", "--compress", "weight", "--target-sparsity", "0.6",
                                       "--clusters", "4", "--corpus", str(corpus), "--out", str(folder), *pairs])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def data(clustered):
    """Its int8 file."""
    return export_run(clustered, "cortex-m55").files["model_int8.tflite"].read_bytes()


def test_the_exported_integers_are_the_trained_clusters(clustered, data):
    model = Model.load(clustered / "model.npz")
    values, arrays = distinct_values(model), model.net.arrays
    assert max(values.values()) <= 5 and min(values.values()) >= 3
    assert json.loads((clustered / "manifest.json").read_text())["distinct"] == values
    for made in read(data).lstms:
        names = [f"{made.out.name}/{name}" for name in ("kernel", "recurrent_kernel")]
        parts = (split(model.arrays[name], arrays[name]) for name in names)
        for gate, (kernel, recurrent) in enumerate(zip(*parts, strict=True)):
            for rows, tensor in ((kernel, made.gates[gate].kernel), (recurrent, made.gates[gate].recurrent)):
                scale = np.abs(rows).max() / np.float32(127)
                np.testing.assert_array_equal(np.rint(rows / scale).reshape(-1, tensor.shape[0]).T, tensor)
    assert max(np.unique(w).size for w in tensors(data)) <= 5
    assert sum(int((w == 0).sum()) for w in tensors(data)) / model.macs_per_frame >= 0.6


def test_the_clustered_network_equals_tflm_bit_for_bit(clustered, data):
    keras = KerasEngine(Model.load(clustered / "model.npz"))
    steps = np.random.default_rng(4).integers(-128, 128, (120, 128)).astype(np.int8)
    made = streamed(data, steps)
    np.testing.assert_array_equal(made, np.stack([keras.step(frame) for frame in steps]))
    assert made.std() > 0.5


@pytest.mark.parametrize(("stop", "changes"), [
    (5, {"prune.method": "threshold", "prune.sparsity": "0.7"}),  # on the way to the levels
    (13, {"prune.method": "none", "cluster.freeze": "0.7"})], ids=["pruned", "frozen"])
def test_an_interrupted_clustered_run_resumes_to_the_same_model(stop, changes, corpus, tmp_path):
    recipe = load_recipe("quick", {**TINY, "cluster.values": "4", **changes})
    whole = train(recipe, tmp_path / "whole", corpus)

    def halt(step):
        if step.task == "train compress" and step.done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", corpus, halt)
    again = train(recipe, tmp_path / "parts", corpus, resume=True)
    assert again.model.read_bytes() == whole.model.read_bytes()
    assert (again.folder / "manifest.json").read_text() == (whole.folder / "manifest.json").read_text()
    assert max(distinct_values(Model.load(again.model)).values()) <= 5


def test_an_odd_number_of_values_is_refused():
    with pytest.raises(RecipeError, match=r"cluster\.values: 3 is odd"):
        load_recipe("quick", {"cluster.values": "3"})
    assert load_recipe("quick").cluster.values == 0
