"""Gradient lanes: drawn ahead, compiled or not, they give the same gradients."""

import numpy as np
import pytest

from tinyse.graph.model import tinylstm
from tinyse.sound import Ends
from tinyse.sound.corpus.store import Corpus
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train.budget import Budget
from tinyse.train.calibration import learn_ranges
from tinyse.train.keras import tf, tf_keras
from tinyse.train.lanes import Lanes
from tinyse.train.mixer import Mixer
from tinyse.train.network import Network
from tinyse.train.recipe import load_recipe
from tinyse.train.skipping import GatedLanes


@pytest.fixture(scope="module")
def mixer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    part = load_recipe("quick", {"mixing.seconds": "0.3", "mixing.batch": "4", "mixing.generated": "0"}).mixing
    return Mixer(Corpus.open(folder), part, Ends(), 1)


def network(mixer, quantized=True, seed=1):
    tf_keras.utils.set_random_seed(seed)
    net = Network(tinylstm(128, (12,), (8,), 128))
    if quantized:
        net.quantize(learn_ranges(net, mixer, 4, 0))
    return net


def gradient(lanes, step):
    loss, parts = lanes.gradient_step(step)
    return loss, np.concatenate([part.numpy().reshape(-1) for part in parts])


@pytest.mark.parametrize(("loss", "quantized"), [("compressed", True), ("si_sdr", False)])
def test_compiled_lanes_give_the_same_gradient(mixer, loss, quantized):
    net = network(mixer, quantized)
    plain, compiled = (Lanes(net, mixer, loss, 4, compiled=flag) for flag in (False, True))
    one, other = (gradient(lanes, 0) for lanes in (plain, compiled))
    plain.close()
    compiled.close()
    assert other[0] == pytest.approx(one[0], rel=1e-3)
    cosine = np.dot(one[1], other[1]) / np.linalg.norm(one[1]) / np.linalg.norm(other[1])
    assert cosine > 0.999


@pytest.mark.parametrize("compiled", [True, False])
def test_a_skip_rnn_s_graphs_are_compiled_where_the_others_are(mixer, monkeypatch, compiled):
    """The loop gives every lane the same arguments, by position; one that is not told would be slow."""
    asked, make = [], tf.function
    monkeypatch.setattr(tf, "function", lambda run, **named: asked.extend(named.values()) or make(run, **named))
    net = Network(tinylstm(128, (12,), (8,), 129))
    budget = Budget(0.5, 0, 4)
    GatedLanes(net, mixer, "compressed", 4, compiled, None, (1.0,), budget=budget).close()
    assert asked == [compiled or None] * 4  # a plain step, the packed one, its updates, its masks


def test_a_compiled_skip_rnn_gives_the_same_gradient(mixer):
    net = Network(tinylstm(128, (12,), (8,), 129))
    found = []
    for compiled in (False, True):
        budget = Budget(0.5, 0, 4)
        lanes = GatedLanes(net, mixer, "compressed", 4, compiled, None, (1.0,), budget=budget)
        found.append(gradient(lanes, 0))
        lanes.close()
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-3)
    cosine = np.dot(found[0][1], found[1][1]) / np.linalg.norm(found[0][1]) / np.linalg.norm(found[1][1])
    assert cosine > 0.999


def test_a_step_does_not_depend_on_what_was_drawn_ahead(mixer):
    net = network(mixer)
    lanes, fresh = (Lanes(net, mixer, "compressed", 4) for _ in range(2))
    lanes.gradient_step(4)
    ahead = gradient(lanes, 5)
    lanes.gradient_step(9)
    again = gradient(lanes, 5)
    alone = gradient(fresh, 5)
    lanes.close()
    fresh.close()
    assert ahead[0] == again[0] == alone[0]
    np.testing.assert_array_equal(ahead[1], alone[1])
    np.testing.assert_array_equal(again[1], alone[1])


@pytest.mark.parametrize(("loss", "quantized"), [("compressed", True), ("mixed", False)])
def test_the_plain_step_is_the_lanes_step(mixer, loss, quantized):
    """What a GPU does, here on the CPU: the same mixtures in one batch, the same loss and gradient but for rounding."""
    net = network(mixer, quantized)
    alike(*(Lanes(net, mixer, loss, 4, whole=whole) for whole in (False, True)))


def test_the_plain_step_of_another_family_is_its_lanes_step(tmp_path_factory):
    """Convolutions, a GRU and exits; norms excepted, which see the whole batch."""
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    recipe = load_recipe("demo", {"mixing.seconds": "0.3", "mixing.batch": "4", "mixing.generated": "0"})
    mixer = Mixer(Corpus.open(folder), recipe.mixing, recipe.ends, 1)
    tf_keras.utils.set_random_seed(1)
    net = Network(recipe.net())
    alike(*(Lanes(net, mixer, recipe.train.loss, 4, whole=whole) for whole in (False, True)))


def test_a_gpu_computes_in_whole_float32():
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_the_plain_step_of_a_skip_rnn_is_its_lanes_step(mixer):
    tf_keras.utils.set_random_seed(1)
    net = Network(tinylstm(128, (12,), (8,), 129))
    budgets = [Budget(0.5, 0, 40) for _ in range(2)]
    lanes, plain = (GatedLanes(net, mixer, "compressed", 4, whole=whole, budget=budget)
                    for whole, budget in zip((False, True), budgets, strict=True))
    alike(lanes, plain)
    for one in (lanes, plain):
        with one.around(0):
            pass
    assert budgets[1].rate == pytest.approx(budgets[0].rate, rel=1e-5)
    assert budgets[1].price == pytest.approx(budgets[0].price, rel=1e-3)


def alike(lanes, plain):
    for step in (0, 7):
        one, other = gradient(lanes, step), gradient(plain, step)
        assert other[0] == pytest.approx(one[0], rel=1e-5)
        np.testing.assert_allclose(other[1], one[1], rtol=1e-2, atol=1e-4 * np.abs(one[1]).max())
    assert plain.batch == lanes.batch == 4
    lanes.close()
    plain.close()
