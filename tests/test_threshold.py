"""Learned thresholds: gradients by the paper's formula, a sparsity that is reached, masks that freeze and survive."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.graph.groups import Structure, array_scales, masks, structure_groups
from tinyse.graph.model import tinylstm
from tinyse.graph.units import units_of
from tinyse.train.keras import tf, tf_keras
from tinyse.train.network import Network
from tinyse.train.prune import Schedule
from tinyse.train.threshold import ThresholdPruning, inverse_softplus, softplus

SCHEDULE = Schedule(0.75, begin=2, end=62, every=2)
NET = tinylstm(16, (8,), (6,), 16)


def network(seed=1):
    tf_keras.utils.set_random_seed(seed)
    return Network(tinylstm(16, (16, 8), (8,), 16))


def pull(net, target):
    """Gradients of half the squared distance to ``target``, at the weights as they are."""
    return [tf.constant(v.numpy() - t) for v, t in zip(net.trainable_weights, target, strict=True)]


def descend(method, net, target, first, last, rate=0.02):
    """Plain gradient steps [first, last)."""
    for step in range(first, last):
        gradients = method.gradients(step, pull(net, target))
        for variable, gradient in zip(net.trainable_weights, gradients, strict=True):
            variable.assign_sub(rate * gradient)
        method.after_step(step)


def arrays_of(net):
    return {f"{layer.name}/{v.name.split('/')[-1][:-2]}": v.numpy() for layer in net.stack for v in layer.weights}


@pytest.mark.parametrize("structure", list(Structure))
def test_the_target_is_reached_on_schedule_and_then_frozen(structure):
    net = network()
    method = ThresholdPruning(net, SCHEDULE, structure, (4, 4))
    target = [np.random.default_rng(n).laplace(size=v.shape).astype(np.float32) * 0.3
              for n, v in enumerate(net.trainable_weights)]
    descend(method, net, target, 0, SCHEDULE.last + 1)
    matrices = {name: a for name, a in arrays_of(net).items() if not name.endswith("bias")}
    total = sum(a.size for a in matrices.values())
    zeros = sum(int((a == 0).sum()) for a in matrices.values())
    coarse = max(4 * 16 * 3 if structure is Structure.UNIT else 16, 1) / total
    assert 0.75 <= zeros / total < 0.75 + 1.5 * coarse
    frozen = {name: a == 0 for name, a in arrays_of(net).items()}
    descend(method, net, [t + 1 for t in target], SCHEDULE.last + 1, SCHEDULE.last + 30)
    for name, array in arrays_of(net).items():
        assert np.array_equal((array == 0) & frozen[name], frozen[name])
        if method.sparsity().get(name, 0) < 1:
            assert not np.array_equal(array, target), name


@pytest.mark.parametrize("structure", list(Structure))
def test_zeros_are_whole_groups(structure):
    net = network()
    method = ThresholdPruning(net, SCHEDULE, structure, (4, 4))
    descend(method, net, [np.ones(v.shape, np.float32) * 0.1 for v in net.trainable_weights], 0, 63)
    arrays = arrays_of(net)
    expected = masks(method.groups, method.kept)
    for name, array in arrays.items():
        gone = expected[name] == 0 if name in expected else np.zeros(array.shape, bool)
        assert np.all(array[gone] == 0), name
        if name.endswith("kernel"):
            assert np.mean(array == 0) == pytest.approx(gone.mean(), abs=0.01), name
    if structure is Structure.BLOCK:
        for gate in np.split(expected["lstm_0/kernel"], 4, axis=1):
            tiles = gate.reshape(4, 4, 4, 4).mean(axis=(1, 3))
            assert set(np.unique(tiles)) <= {0.0, 1.0}
    if structure is Structure.UNIT:
        assert np.all(arrays["dense_1/bias"] != 0), "the last layer's outputs are never pruned"
        for unit in np.flatnonzero(~method.kept[0]):
            assert not arrays["lstm_0/kernel"].reshape(16, 4, 16)[:, :, unit].any()
            assert not arrays["lstm_0/recurrent_kernel"][unit].any()
            assert not arrays["lstm_0/bias"].reshape(4, 16)[:, unit].any()
            assert not arrays["lstm_1/kernel"][unit].any()


def test_units_are_kept_by_multiples():
    net = network()
    method = ThresholdPruning(net, SCHEDULE, "unit", multiple=4)
    target = [np.random.default_rng(n).laplace(size=v.shape).astype(np.float32) for n, v in
              enumerate(net.trainable_weights)]
    for step in range(0, 63, 9):
        descend(method, net, target, step, step + 9)
        assert {int(kept.sum()) for kept in method.kept} <= {4, 8, 12, 16}
    total = sum(a.size for name, a in arrays_of(net).items() if "kernel" in name)
    assert sum(int((a == 0).sum()) for name, a in arrays_of(net).items() if "kernel" in name) >= 0.75 * total
    norms = np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    assert method._rounded(norms, norms > 4).tolist() == [True, False, True, True, True]
    assert method._rounded(norms, norms > 0).tolist() == [True, False, True, True, True]


@pytest.mark.parametrize("structure", list(Structure))
def test_gradients_are_those_of_the_formula(structure):
    """Against TensorFlow's tape over the same masks with the surrogate's gradient."""
    net = network(3)
    method = ThresholdPruning(net, SCHEDULE, structure, (4, 4))
    method.gradients(2, pull(net, [v.numpy() for v in net.trainable_weights]))  # begins at the weights as they are
    method.theta = inverse_softplus(np.array([float(np.quantile(n, 0.4)) for n in method.norms()]) / method.spread)
    method.means, method.control = np.tile([[0.7], [1.0]], (1, len(method.groups))), 0.0  # lambda 0.7
    method.kept = [n >= tau for n, tau in zip(method.norms(), method.thresholds, strict=True)]
    dense, scales = dict(method.dense), dict(method.scales)
    weights = {name: tf.Variable(value, dtype=tf.float64) for name, value in dense.items()}
    taus = tf.Variable(method.thresholds, dtype=tf.float64)
    wanted = {name: np.random.default_rng(7).normal(size=value.shape) for name, value in dense.items()}
    width = 0.25 * method.spread

    def indicator(norms, tau, k):
        kept = tf.constant(method.kept[k].astype(np.float64))
        soft = tf.sigmoid((norms - tau) / width[k])
        return soft + tf.stop_gradient(kept - soft)

    with tf.GradientTape() as tape:
        masked, price = dict(weights), 0.0
        for k, part in enumerate(method.groups):
            square = sum(tf.math.unsorted_segment_sum(
                tf.reshape(tf.square(weights[name]) / scales[name] ** 2, [-1]), labels.reshape(-1), part.count)
                for name, labels in part.members)
            norms = tf.sqrt(square / part.sizes())
            r = indicator(norms, taus[k], k)
            price += tf.reduce_sum(part.sizes() * r * norms)
            for name, labels in part.members:
                masked[name] = masked[name] * tf.gather(r, labels)
        price = 0.7 * price / sum(part.sizes().sum() for part in method.groups)
        loss = price + sum(tf.reduce_sum(masked[name] * wanted[name]) for name in masked)
    by_tape = tape.gradient(loss, [*weights.values(), taus])
    incoming = [None] * len(net.trainable_weights)
    for name, n in method.place.items():
        incoming[n] = tf.constant(wanted[name], tf.float32)
    moved = []
    method._move = moved.append
    ours = method.gradients(4, incoming)
    for name, reference in zip(weights, by_tape, strict=False):
        np.testing.assert_allclose(ours[method.place[name]], reference, rtol=2e-4, atol=2e-5, err_msg=name)
    against, aid = np.array(moved[0]).T
    np.testing.assert_allclose(against - 0.7 * aid, by_tape[-1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("stop", [1, 20, 70])
def test_a_checkpoint_restores_the_next_steps_to_the_bit(stop):
    target = [np.random.default_rng(n).laplace(size=v.shape).astype(np.float32)
              for n, v in enumerate(network().trainable_weights)]
    one = network()
    method = ThresholdPruning(one, SCHEDULE, "weight")
    descend(method, one, target, 0, stop)
    other = network(9)
    again = ThresholdPruning(other, SCHEDULE, "weight")
    other.set_weights(one.get_weights())
    again.restore(method.state())
    descend(method, one, target, stop, 80)
    descend(again, other, target, stop, 80)
    for left, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_weight_may_return_until_masks_freeze():
    net = network()
    method = ThresholdPruning(net, Schedule(0.5, 0, 40, 2), "weight")
    target = [np.full(v.shape, 0.05, np.float32) for v in net.trainable_weights]
    descend(method, net, target, 0, 31)
    before = masks(method.groups, method.kept)["lstm_0/kernel"]
    method.theta = method.theta - 4.0
    descend(method, net, target, 31, 32, rate=0.0)
    returned = (before == 0) & (masks(method.groups, method.kept)["lstm_0/kernel"] == 1)
    assert returned.any()
    assert np.all(net.twin("lstm_0").kernel.numpy()[returned] != 0), "each returns with the value it had"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5))
def test_groups_partition_every_matrix(bands, units, hidden, high, wide):
    net = tinylstm(bands, (units,), (hidden,), bands)
    labels = units_of(net)
    rng = np.random.default_rng(bands)
    arrays = {name: rng.normal(size=array.shape).astype(np.float32) for name, array in net.arrays.items()}
    weights = sum(a.size for name, a in arrays.items() if "kernel" in name)
    for structure in (Structure.WEIGHT, Structure.BLOCK):
        groups = structure_groups(labels, structure, (high, wide))
        assert sum(part.sizes().sum() for part in groups) == weights
        for part in groups:
            assert np.all(part.sizes() >= 1) and np.all(part.sizes() <= high * wide)
            norms = part.norms(arrays, array_scales(arrays))
            total = sum(np.sum(np.square(arrays[n] / array_scales(arrays)[n], dtype=np.float64))
                        for n, _ in part.members)
            assert np.sum(norms**2 * part.sizes()) == pytest.approx(total, rel=1e-4)
            kept = part.strongest(norms)
            assert kept.sum() == np.unique(part.families).size
    whole = structure_groups(labels, Structure.UNIT)
    assert [part.count for part in whole] == [units, hidden]
    assert set(whole[0].sizes()) == {4 * bands + 4 * units + 4 + 4 * units + hidden}


def test_a_gate_never_loses_its_whole_kernel():
    arrays = {name: np.ones(array.shape, np.float32) for name, array in NET.arrays.items()}
    arrays["lstm_0/kernel"][:, 8:16] = 1e-6
    for structure in (Structure.WEIGHT, Structure.BLOCK):
        part = structure_groups(units_of(NET), structure, (16, 4))[0]
        kept = part.strongest(part.norms(arrays, array_scales(arrays)))
        mask = masks([part], [kept])["lstm_0/kernel"]
        assert all(gate.any() for gate in np.split(mask, 4, axis=1))


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-9, 100))
def test_softplus_and_its_inverse(value):
    assert softplus(inverse_softplus(np.array(value))) == pytest.approx(value, rel=1e-6)
