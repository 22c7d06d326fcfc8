"""Masks: TF-MOT's where it can, ours where it cannot, one schedule, zeros that stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.twin_nets import everything
from tinyse.graph.model import tinylstm
from tinyse.train.network import Network
from tinyse.train.prune import GroupMasks, MagnitudePruning, Schedule, TfmotMasks, block_mask

SCHEDULE = Schedule(0.75, begin=2, end=10, every=2)


def network():
    return Network(tinylstm(16, (32, 16), (16,), 16))


@pytest.mark.parametrize("block", [(1, 1), (4, 4), (1, 16), (16, 1)])
def test_every_layer_reaches_the_sparsity_in_whole_blocks(block):
    net = network()
    method = MagnitudePruning(net, SCHEDULE, block)
    before = [w.copy() for w in net.get_weights()]
    for step in range(13):
        method.after_step(step)
    for name, share in method.sparsity().items():
        assert share == pytest.approx(0.75, abs=0.05), name
    for layer in net.stack:
        for matrix in layer.get_prunable_weights():
            zero = matrix.numpy() == 0
            rows, columns = block
            tiles = zero.reshape(zero.shape[0] // rows, rows, zero.shape[1] // columns, columns)
            assert set(np.unique(tiles.mean(axis=(1, 3)))) <= {0.0, 1.0}
    survivors = [np.array_equal(w[w != 0], b[w != 0]) for w, b in zip(net.get_weights(), before, strict=True)]
    assert all(survivors)


def test_pruned_weights_stay_zero_when_the_optimizer_moves_them():
    net = network()
    method = MagnitudePruning(net, SCHEDULE)
    for step in range(12):
        method.after_step(step)
    gone = [v.numpy() == 0 for v in net.twin("lstm_0").get_prunable_weights()]
    for variable in net.twin("lstm_0").get_prunable_weights():
        variable.assign_add(np.ones(variable.shape, np.float32))
    method.after_step(12)
    for variable, zero in zip(net.twin("lstm_0").get_prunable_weights(), gone, strict=True):
        assert np.array_equal(variable.numpy() == 0, zero)


def test_masks_survive_a_checkpoint():
    net = network()
    method = MagnitudePruning(net, SCHEDULE)
    for step in range(7):
        method.after_step(step)
    other = MagnitudePruning(net, SCHEDULE)
    other.restore(method.state())
    for name, mask in method.state().items():
        np.testing.assert_array_equal(mask, other.state()[name])


@pytest.mark.parametrize("block", [(1, 1), (4, 4)])
def test_our_masks_agree_with_tfmot(block):
    layer = network().twin("lstm_0")
    ours, theirs = GroupMasks(layer, SCHEDULE, block), TfmotMasks(layer, SCHEDULE, block)
    for step in (4, 8, 10):
        ours.update(step)
        theirs.update(step)
        for one, other in zip(ours.get(), theirs.get(), strict=True):
            assert np.mean(one != other) < 0.02


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 5), st.integers(1, 5), st.floats(0, 1))
def test_block_mask_zeroes_the_weakest_blocks(rows, columns, high, wide, sparsity):
    weights = np.random.default_rng(rows * 31 + columns).normal(size=(rows, columns)).astype(np.float32)
    mask = block_mask(weights, (high, wide), sparsity)
    assert mask.shape == weights.shape and set(np.unique(mask)) <= {0.0, 1.0}
    means = {}
    for r in range(0, rows, high):
        for c in range(0, columns, wide):
            tile = mask[r : r + high, c : c + wide]
            assert tile.min() == tile.max()
            means.setdefault(float(tile[0, 0]), []).append(np.abs(weights[r : r + high, c : c + wide]).mean())
    blocks = sum(map(len, means.values()))
    assert len(means.get(0.0, [])) == round(sparsity * blocks)
    if 0.0 in means and 1.0 in means:
        assert max(means[0.0]) <= min(means[1.0]) + 1e-6


@pytest.mark.parametrize("block", [(1, 1), (3, 2)])
def test_convolutions_and_grus_are_pruned_too_and_slopes_are_not(block):
    """A convolution's inputs are what its taps see, one after the other."""
    net = Network(everything())
    method = MagnitudePruning(net, Schedule(0.5, begin=2, end=10, every=2), block)
    for step in range(13):
        method.after_step(step)
    shares = method.sparsity()
    assert set(shares) == {name for name, array in net.net.arrays.items() if array.matrix}
    kernel = net.twin("conv_1").array("kernel").numpy()
    assert kernel.ndim == 4 and shares["conv_1/kernel"] == pytest.approx(0.5, abs=0.05)
    blocks = (kernel == 0).reshape(36 // block[0], block[0], 6 // block[1], block[1])
    assert np.array_equal(blocks.any((1, 3)), blocks.all((1, 3)))
