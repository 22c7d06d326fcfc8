"""Skip RNN training: the gradient of p~, the budget's controller, warm starts, resuming, and the whole run's export."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.export_models import random_model
from tests.halted import halt_and_resume, rows
from tinyse.cli.train import compression
from tinyse.core.errors import RecipeError
from tinyse.engines import load_engine
from tinyse.export.pipeline import export_run
from tinyse.graph.groups import Structure, structure_groups
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.shrink import shrink, widths
from tinyse.graph.units import units_of
from tinyse.measure.parity import measure_parity
from tinyse.sound.corpus.store import Corpus
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import gated, train
from tinyse.train.budget import Budget
from tinyse.train.compression import SkipPart
from tinyse.train.gated import governors, pick
from tinyse.train.keras import tf
from tinyse.train.loss import EXPONENT, compressed_error, energy_error, enhanced_magnitude
from tinyse.train.network import Network
from tinyse.train.recipe import load_recipe
from tinyse.train.skipping import GatedLanes, delays, push
from tinyse.train.start import take_weights

TINY = {
    "network.lstm": "[24, 16]", "network.dense": "[16]", "mixing.seconds": "0.5", "mixing.batch": "4",
    "train.float_steps": "4", "train.compress_steps": "30", "train.validate_every": "10", "train.compress_rate": "0.01",
    "train.validate_count": "6", "train.warmup": "2", "prune.every": "2", "train.float_rate": "0.005",
    "prune.multiple": "1", "quantize.freeze": "0.3",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_graphs():
    """Two packed lengths in place of eight: tracing is what these tests would spend their time on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gated, "BUCKETS", 2)
        yield


def recipe(**more):
    asked = compression("unit", 0.4, None, None, 0.5)
    return load_recipe("quick", {**TINY, **asked, **more})


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    return train(recipe(), tmp_path_factory.mktemp("whole"), corpus)


# -- the gradient ----------------------------------------------------------------------------------------------------

LENGTH, BATCH, BANDS, BINS = 14, 2, 3, 5
RNG = np.random.default_rng(0)
SPECTRA = tuple(tf.constant(RNG.uniform(0.2, 1, (LENGTH, BATCH, BINS)).astype(np.float32)) for _ in range(3))
LIFT = tf.constant(RNG.uniform(0, 0.5, (BANDS, BINS)).astype(np.float32))
FRAMES = np.array([[0, 0], [3, 1], [4, 7], [9, LENGTH], [LENGTH, LENGTH]], np.int32)
MASKS = tf.constant(RNG.uniform(0, 1, (5, BATCH, BANDS)).astype(np.float32))


def errors(frames, kind):
    """Each sequence's error with each frame under the mask of its update, summed over frames."""
    held = pick(MASKS, governors(tf.constant(frames), LENGTH))
    clean, noisy, cosine = SPECTRA
    error = kind(enhanced_magnitude(held, noisy, LIFT), clean, cosine)
    return tf.reduce_sum(tf.reduce_mean(error, -1), 0).numpy().astype(float)


def total(frames, kind):
    return errors(frames, kind).sum()


@pytest.mark.parametrize("kind", [compressed_error, energy_error])
def test_the_price_of_a_delay_is_the_loss_with_that_update_moved(kind):
    found, there = (part.numpy() for part in delays(MASKS, tf.constant(FRAMES), SPECTRA, LIFT, kind))
    assert there.tolist() == [[1, 1], [1, 1], [1, 0], [0, 0], [0, 0]]
    for k, b in np.argwhere(there):
        slopes = []
        for way in (1, -1):
            moved = FRAMES.copy()
            moved[k + 1, b] += way
            clash = moved[k + 1, b] <= moved[k, b]
            if not clash:
                slopes.append(way * (total(moved, kind) - total(FRAMES, kind)))
        assert found[k, b] == pytest.approx(np.mean(slopes), abs=1e-5), (k, b)


def test_energy_is_the_error_of_the_waveform():
    one, clean, cosine = 0.7, 0.4, 0.3
    wanted = abs(one - clean * np.exp(1j * np.arccos(cosine))) ** 2
    assert float(energy_error(one ** EXPONENT, clean ** EXPONENT, cosine)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("loss", ["si_sdr", "compressed"])
def test_the_price_by_energy_is_in_units_of_the_loss(loss):
    """One update moved: the share by which its sequence's error grows, as dB of SDR or of the loss that there is."""
    lanes = SimpleNamespace(price="energy", loss=loss, _lift=LIFT)
    governor = governors(tf.constant(FRAMES), LENGTH)
    found, _ = GatedLanes._delays(lanes, MASKS, tf.constant(FRAMES), governor, SPECTRA, tf.constant(0.3))
    plain, _ = delays(MASKS, tf.constant(FRAMES), SPECTRA, LIFT, energy_error)
    share = plain.numpy() / errors(FRAMES, energy_error) * LENGTH
    assert np.allclose(found, share * (10 / np.log(10) if loss == "si_sdr" else 0.3), rtol=1e-4)


def test_the_push_on_p_is_the_budgets_gradient():
    p = tf.constant(RNG.uniform(0.05, 0.9, (5, BATCH)).astype(np.float32))
    found, there = delays(MASKS, tf.constant(FRAMES), SPECTRA, LIFT)
    with tf.GradientTape() as tape:
        tape.watch(p)
        term, sums = push(p, found, there, 0.02, LENGTH * BATCH)
    wanted = -(found - 0.02 * there) / (2 * p * p) / (LENGTH * BATCH)
    assert np.allclose(tape.gradient(term, p), wanted, rtol=1e-4, atol=1e-7)
    weight = there * (1 - p) / (2 * p)
    assert np.allclose(sums, [tf.reduce_sum(weight * found), tf.reduce_sum(weight)], rtol=1e-4)


# -- the controller --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.8])
def test_the_controller_reaches_the_rate_on_a_plant(rate):
    """Updates of p~ spread around the bias, as a network's are."""
    budget, bias = Budget(rate, 0, 80), 1.0
    spread = np.random.default_rng(1).normal(0, 0.7, 4000)
    found = []
    for step in range(200):
        p = 1 / (1 + np.exp(-(spread + bias)))
        found.append(1 / np.mean(np.ceil(128 / np.maximum(np.round(256 * p), 1))))
        bias += budget.after_step(step, 0.1, float(found[-1]))
    assert found[0] > 0.85
    assert np.mean(found[-40:]) == pytest.approx(rate, abs=0.01)
    assert budget.cost(200) == pytest.approx(0.1, rel=0.2)


def test_a_cost_by_hand_leaves_the_bias_alone():
    budget = Budget(0.5, 0, 4, 0.3)
    assert not any(budget.after_step(step, 0.1, 1.0) for step in range(10))
    assert budget.cost(5) == 0.3


# -- recipes, starts, pruning ----------------------------------------------------------------------------------------


def test_recipes_without_skip_are_as_they_were():
    assert not load_recipe("full").skip.enabled
    assert recipe().skip == SkipPart(enabled=True, rate=0.5)
    assert load_recipe("quick", {"skip.cost": "0.25"}).skip.cost == 0.25
    with pytest.raises(RecipeError, match="skip: rate: 0.0 is out of range"):
        load_recipe("quick", {"skip.rate": "0.0"})
    with pytest.raises(RecipeError, match="skip: cost: 'dear' is not a number"):
        load_recipe("quick", {"skip.cost": "dear"})
    with pytest.raises(RecipeError, match="skip.enabled: TF-MOT"):
        load_recipe("quick", {"skip.enabled": "true", "prune.method": "magnitude"})


def test_a_dense_start_gets_an_open_gate_and_keeps_its_mask():
    dense = random_model((6,), (5,), bands=8, quantized=False)
    network = Network(tinylstm(8, (6,), (5,), 9))
    take_weights(network, dense)
    assert np.array_equal(network.twin("dense_1").kernel[:, :-1], dense.arrays["dense_1/kernel"])
    assert network.twin("dense_1").bias.numpy()[-1] == 1.0
    back = Network(tinylstm(8, (6,), (5,), 8))
    take_weights(back, network.export(dense.ends, None, {}))
    assert np.array_equal(back.twin("dense_1").kernel, dense.arrays["dense_1/kernel"])


@pytest.mark.parametrize("structure", list(Structure))
def test_no_structure_may_prune_the_gate(structure):
    groups = structure_groups(units_of(tinylstm(8, (6,), (5,), 9)), structure, (4, 2))
    if structure is Structure.UNIT:
        assert "dense_1" not in [part.name for part in groups]
        return
    part = groups[-1]
    labels = part.members[0][1]
    gate = labels[0, -1]
    assert (labels[:, -1] == gate).all() and not (labels[:, :-1] == gate).any()
    assert sorted(np.unique(labels)) == list(range(part.count)) and (part.sizes() > 0).all()
    assert part.strongest(np.where(np.arange(part.count) == gate, 0.0, 1.0))[gate]


# -- the whole -------------------------------------------------------------------------------------------------------


def test_a_run_reaches_its_rate(whole):
    logged = [float(row["update_rate"]) for row in rows(whole.folder) if row["update_rate"]]
    assert logged[-1] == pytest.approx(0.5, abs=0.12)
    model = Model.load(whole.model)
    assert model.net.skip and Model.load(whole.float_model).net.skip
    assert model.meta["val_update_rate"] == pytest.approx(0.5, abs=0.12)


def test_a_resumed_run_is_the_same(whole, corpus, tmp_path):
    halt_and_resume(recipe(), 21, tmp_path, corpus, whole)


def test_the_export_streams_what_was_trained(whole, corpus):
    model = Model.load(whole.model)
    small = shrink(model)
    assert widths(small)["dense_1"] == 129 and widths(small)["lstm_0"] < 24
    made = export_run(whole.folder, "ethos-u55-128")
    parity = measure_parity(whole.model, made.folder / "model_int8.tflite", Corpus.open(corpus), frames=150)
    assert (parity.streamed_max, parity.streamed_gates) == (0, 0)
    features = np.load(whole.folder / "calibration.npy")[:100]
    tflm, npu = load_engine(made.folder, "tflm"), load_engine(made.folder, "npu")
    for row in features:
        assert tflm.gate.due() == npu.gate.due()
        assert np.array_equal(tflm.mask(row), npu.mask(row))
    assert 0.2 < tflm.update_rate < 0.9
