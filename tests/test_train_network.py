"""Network: where its weights begin, what folds, what its passes tell."""

from __future__ import annotations

import numpy as np
import pytest

from tests.twin_nets import NETS, everything, frames, of, random_arrays
from tinyse.core.errors import ModelError, RecipeError
from tinyse.graph.build import Build
from tinyse.graph.layers import GruLayer
from tinyse.graph.model import tinylstm
from tinyse.graph.net import Net
from tinyse.graph.normalizer import normalizable
from tinyse.sound import Ends
from tinyse.train.keras import tf, tf_keras
from tinyse.train.lanes import Lanes
from tinyse.train.network import Network


def run(network: Network, given: np.ndarray, **more) -> list[np.ndarray]:
    results, _ = network.run(tf.constant(given[:, None]), network.zero_states(1), **more)
    return [result.numpy() for result in results if result is not None]


def test_weights_begin_as_keras_would_begin_them_in_order() -> None:
    tf_keras.utils.set_random_seed(7)
    found = Network(tinylstm(6, (5,), (4,), 6)).get_weights()
    tf_keras.utils.set_random_seed(7)
    make = tf_keras.initializers
    wanted = [make.GlorotUniform()((6, 20)), make.Orthogonal()((5, 20)), np.repeat([0, 1, 0, 0], 5),
              make.GlorotUniform()((5, 4)), np.zeros(4), make.GlorotUniform()((4, 6)), np.zeros(6)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("kind", "how"), [
    ("tinylstm", "both"), ("dense", "both"), ("conv", "scale"), ("depthwise", "scale"), ("upsample", "scale"),
    ("past", "scale"), ("reshape", "both"), ("add", ""), ("gate", ""), ("gru-after-16", "both"),
    ("everything", "scale")])
def test_a_folded_normalizer_computes_the_same(kind: str, how: str) -> None:
    net = NETS[kind]()
    assert normalizable(net) == how
    network = Network(net, 0.5, 0.4)
    network.take(random_arrays(net))
    given = frames(net, 12)
    before, exported = run(network, given), network.export(Ends(), None, {})
    network.fold_normalizer()
    assert (network.shift, network.scale) == (0.0, 1.0)
    for one, other in zip(before, run(network, given), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    for name, value in network.arrays().items():
        np.testing.assert_allclose(value, exported.arrays[name], atol=1e-6)


def test_a_joint_gru_takes_features_as_they_are() -> None:
    net = of((1, 3, 4), lambda b: b.add(GruLayer(3, "none", 8, True), b.x))
    assert normalizable(net) == "" and Network(net, 0.5, 0.4).scale == 1.0


def test_norms_learn_fold_and_leave() -> None:
    net = everything()
    network = Network(net)
    network.take(random_arrays(net))
    given, statistics = frames(net, 12), {}
    by_batch = run(network, given, statistics=statistics)
    assert list(statistics) == ["norm_0"] and not np.allclose(by_batch[-1], run(network, given)[-1], atol=1e-3)
    for _ in range(1500):
        network.learn(statistics)
    np.testing.assert_allclose(run(network, given)[-1], by_batch[-1], atol=1e-4)
    before, count = run(network, given), len(network.weights)
    with pytest.raises(ModelError, match="the norms are not folded"):
        network.quantize(dict.fromkeys(net.ranges, (-1.0, 1.0)))
    network.fold_norms()
    assert len(network.weights) == count - 4 and not network.has_norms
    for one, other in zip(before, run(network, given), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_a_norm_that_cannot_fold_is_refused_before_it_is_trained() -> None:
    with pytest.raises(ModelError, match="norm_0: a norm follows dense_0"):
        Network(of((1, 3, 4), lambda b: b.norm(b.dense(b.x, 3, "relu"))))


def test_shared_weights_are_one_variable() -> None:
    def make(b: Build) -> str:
        first = b.dense(b.x, 4)
        return b.add(b._nodes[-1].layer, first, weights=first)
    net: Net = of((1, 3, 4), make)
    network = Network(net)
    assert len(network.trainable_weights) == 2 and [twin.name for twin in network.stack] == ["dense_0"]
    with tf.GradientTape() as tape:
        results, _ = network.run(tf.constant(frames(net, 3)[:, None]), {})
        loss = tf.reduce_sum(results[0])
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(loss, network.trainable_weights))


def test_weights_of_exits_are_one_or_as_many_as_there_are() -> None:
    class Mixes:
        ends = Ends()

    with pytest.raises(RecipeError, match="train.exits: 3 weights for 2 results"):
        Lanes(Network(everything()), Mixes(), "compressed", 4, exits=(1.0, 2.0, 3.0))
