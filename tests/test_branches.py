"""Networks with branches: labels, removal, order, grids and clusters know nothing of families."""


from dataclasses import replace

import numpy as np
import pytest
from branched import NETS, branched, inputs, normed, random_arrays, residual, run, skipping, without_units
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.core.errors import ExportError, ModelError
from tinyse.graph.build import Build
from tinyse.graph.cluster import join, split
from tinyse.graph.floating import Floating, calibrate
from tinyse.graph.fold import fold
from tinyse.graph.groups import Structure, is_matrix, masks, structure_groups
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.offline import prune_offline
from tinyse.graph.order import densest_first, reorder
from tinyse.graph.shrink import shrink, widths
from tinyse.graph.snap import snap
from tinyse.graph.units import units_of
from tinyse.sound import Ends
from tinyse.train.prune import block_mask


def test_labels_follow_channels_through_branches():
    units = units_of(residual())
    first, last = units.channels["conv_0"], units.channels["reshape_0"]
    for node in ("join_0", "join_1", "activation_0", "depthwise_0", "conv_1", "pool_0"):
        np.testing.assert_array_equal(units.channels[node], first)
    np.testing.assert_array_equal(last, np.tile(first, 4))
    assert units.fixed[units.channels["features"]].all() and units.fixed[units.channels["dense_0"]].all()
    assert [name for name, _ in units.cohorts] == ["conv_0"]
    part, = structure_groups(units, Structure.UNIT)
    arrays = {name for name, _ in part.members}
    assert arrays == set(units.arrays) - {"dense_0/bias"}
    units = units_of(skipping())
    np.testing.assert_array_equal(units.channels["join_2"],
                                  np.concatenate([units.channels["conv_0"], units.channels["conv_1"]]))
    np.testing.assert_array_equal(units.channels["dense_0"], units.channels["conv_1"])  # the gate goes with its map
    assert len(units.cohorts) == 4


@pytest.mark.parametrize("name", NETS)
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.2, 0.6]), st.sampled_from([0.0, 0.7]))
def test_without_dead_units_integers_are_the_same(name, seed, share, zeros):
    model = without_units(branched(name, seed, zeros), share, seed)
    small = shrink(model)
    assert small.parameters <= model.parameters
    assert shrink(small).parameters == small.parameters
    frames = inputs(model.net, 25, seed + 2)
    np.testing.assert_array_equal(run(small, frames), run(model, frames))


@pytest.mark.parametrize("name", NETS)
def test_units_do_go(name):
    model = branched(name, 3)
    assert shrink(model).parameters == model.parameters
    pruned = without_units(model, 0.3, 3)
    small = shrink(pruned)
    assert small.parameters < 0.9 * model.parameters and sum(widths(small).values()) < sum(widths(model).values())
    assert run(model, inputs(model.net, 25, 5)).std() > 0.5


@pytest.mark.parametrize("name", NETS)
@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000))
def test_another_order_of_units_is_the_same_function(name, seed):
    model = branched(name, seed, 0.6)
    ordered = reorder(model)
    frames = inputs(model.net, 25, seed + 2)
    np.testing.assert_array_equal(run(ordered, frames), run(model, frames))
    for order in densest_first(ordered).values():
        np.testing.assert_array_equal(order, np.arange(order.size))
    for array, value in model.arrays.items():
        np.testing.assert_array_equal(np.sort(ordered.arrays[array], axis=None), np.sort(value, axis=None))


def test_an_order_is_another():
    model = branched("residual", 1, 0.6)
    assert any(not np.array_equal(value, reorder(model).arrays[name]) for name, value in model.arrays.items())


@pytest.mark.parametrize("name", NETS)
def test_snapped_weights_lie_on_their_grids_and_zeros_stay(name):
    net = NETS[name]()
    arrays = random_arrays(net, 2, 0.5)
    model = branched(name, 2, 0.5)
    for key, array in net.arrays.items():
        if array.scale is None:
            continue
        assert np.all(model.arrays[key][arrays[key] == 0] == 0)
        others = tuple(n for n in range(len(array.dims)) if n not in array.scaled)
        whole = model.arrays[key].reshape(array.dims)
        peak = np.abs(whole).max(axis=others, keepdims=True)
        steps = whole / np.where(peak > 0, peak / np.float32(127), 1)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
        assert np.all((np.abs(np.rint(steps)).max(axis=others, keepdims=True) == 127) | (peak == 0))
    again = snap(model)
    for key, value in model.arrays.items():
        np.testing.assert_array_equal(again.arrays[key], value)
    assert again.ranges == model.ranges


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("structure", [Structure.WEIGHT, Structure.BLOCK])
def test_tiles_partition_every_matrix_tap_by_tap(name, structure):
    units = units_of(NETS[name]())
    groups = structure_groups(units, structure, (4, 2))
    members = {array: (part, labels) for part in groups for array, labels in part.members}
    assert set(members) == set(filter(is_matrix, units.arrays))
    for array, (part, labels) in members.items():
        dims, axes = units.arrays[array].dims, units.arrays[array].axes
        assert np.all(np.diff(part.families) >= 0) and np.all(part.sizes() > 0)
        if structure is Structure.WEIGHT:
            assert np.unique(labels).size == labels.size
            continue
        for label in np.unique(labels):
            for axis, found in zip(axes, np.nonzero(labels.reshape(dims) == label), strict=True):
                span = {"unit": 2, "in": 4, "in,unit": 4}.get(axis, 1)
                assert np.ptp(found) < (span if axis != "unit" or len(axes) == 1 else 4)


@pytest.mark.parametrize("name", NETS)
def test_splitting_and_joining_give_every_array_back(name):
    net = NETS[name]()
    for key, value in random_arrays(net, 0).items():
        array = net.arrays[key]
        if not array.matrix:
            continue
        rows = split(value, array)
        assert len(rows) == (array.dims[array.axes.index("gate")] if "gate" in array.axes else 1)
        np.testing.assert_array_equal(join(rows, array), value)
        first = tuple(0 if n in array.scaled else slice(None) for n in range(len(array.dims)))
        np.testing.assert_array_equal(rows[0][0], value.reshape(array.dims)[first].reshape(-1))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("structure", list(Structure))
def test_a_finished_graph_of_any_family_is_pruned(name, structure):
    for graph in branched(name, 4).plan().parts:
        pruned = prune_offline(graph, 0.6, structure, (2, 2))
        assert pruned.graph.zeros > graph.zeros and pruned.weights == graph.weights
        assert pruned.sparsity == pytest.approx(pruned.graph.zeros / graph.weights)
        assert [t.grid for t in pruned.graph.tensors] == [t.grid for t in graph.tensors]
        few = prune_offline(graph, 0.6, structure, (2, 2), values=4).graph
        assert all(np.unique(op.weights.values).size <= 5 for op in few.ops if hasattr(op, "weights"))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_a_folded_norm_is_the_same_function(seed):
    net = normed()
    model = Model(net, random_arrays(net, seed), Ends())
    folded = fold(model)
    assert not any(node.layer.kind == "norm" for node in folded.net.nodes)
    frames = inputs(net, 10, seed)
    one, other = (Floating(each.net, each.arrays).run(frames)["mask"] for each in (model, folded))
    np.testing.assert_allclose(one, other, atol=2e-5)
    assert fold(folded) is folded


def test_a_norm_that_cannot_be_folded_is_named():
    b = Build((1, 6, 2))
    net = b.done(mask=b.norm(b.conv(b.x, 5, activation="relu")))
    with pytest.raises(ModelError, match="norm_0: a norm follows conv_0, which is no linear product"):
        fold(Model(net, random_arrays(net, 0), Ends()))


@pytest.mark.parametrize("name", NETS)
def test_the_float_pass_follows_the_integers(name):
    model = branched(name, 7)
    frames = inputs(model.net, 30, 8)

    found = Floating(model.net, model.arrays).run(frames)
    tensor = model.plan().result
    real = tensor.grid.dequantize(run(model, frames)).reshape(len(frames), -1)
    results = np.stack([found[each.tensor].reshape(len(frames), -1) for each in model.net.results])
    assert np.abs(real - results).mean(axis=2).min(axis=0).max() < 0.06  # a frame may stop at any exit


def test_shared_groups_zero_a_unit_as_a_whole():
    model = branched("residual", 5)
    part, = structure_groups(units_of(model.net), Structure.UNIT)
    found = masks([part], [np.arange(part.count) != 2])
    assert not found["conv_0/kernel"][..., 2].any() and not found["conv_1/kernel"][:, :, 2].any()
    assert not found["dense_0/kernel"][2::6].any() and found["dense_0/kernel"].sum() == 8 * 20


@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (2, 3, 6), (1, 3, 7, 2, 5), (7, 5)])
def test_magnitude_blocks_are_cut_tap_by_tap(shape):
    weights = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    mask = block_mask(weights, (4, 2), 0.5)
    assert mask.shape == shape and 0.3 < mask.mean() < 0.7
    taps = mask.reshape(-1, shape[2] if len(shape) > 3 else 1, int(np.prod(shape[3:]) if len(shape) > 3 else shape[-1]))
    for tap in taps if len(shape) > 2 else mask[None]:
        for row in range(0, tap.shape[0], 4):
            for column in range(0, tap.shape[1], 2):
                assert np.ptp(tap[row : row + 4, column : column + 2]) == 0


def test_p_tilde_of_a_finished_skip_rnn_stays():
    net = tinylstm(12, (9,), (7,), 13)
    arrays = random_arrays(net, 3)
    arrays["dense_1/kernel"][:, -1] *= 0.01
    model = Model(net, arrays, Ends())
    graph, = snap(replace(model, ranges=calibrate(model, inputs(net, 40, 1)))).plan().parts
    for structure in (Structure.WEIGHT, Structure.BLOCK):
        kept = prune_offline(graph, 0.7, structure, (4, 4), apart=("mask", 12)).graph.ops[-2].weights
        gone = prune_offline(graph, 0.7, structure, (4, 4)).graph.ops[-2].weights
        np.testing.assert_array_equal(kept.values[-1], graph.ops[-2].weights.values[-1])
        assert not gone.values[-1].all()


def test_calibration_knows_the_cell_s_limit():
    net = tinylstm(6, (5,), (), 6)
    arrays = random_arrays(net, 3)
    arrays["lstm_0/bias"][:15] = 6.0  # the cell only grows
    ranges = calibrate(Model(net, arrays, Ends()), inputs(net, 60, 1))
    assert ranges["lstm_0.c"] == (0.0, 8.0) and set(ranges) == set(net.ranges)
    with pytest.raises(ExportError, match=r"calibration frames of shape \(3, 5\) do not fit the model"):
        calibrate(Model(net, arrays, Ends()), np.zeros((3, 5)))


@pytest.mark.parametrize("name", NETS)
def test_spreading_over_entries_is_the_transpose_of_gathering(name):
    rng = np.random.default_rng(6)
    units = units_of(NETS[name]())
    partial = 0
    for part in structure_groups(units, Structure.UNIT):
        sizes = np.zeros(part.count)
        for member, (array, labels) in enumerate(part.members):
            values, weights = rng.normal(size=labels.shape), rng.normal(size=part.count)
            spread = part.spread(member, weights, 0)
            assert np.sum(values * spread) == pytest.approx(np.sum(part.gather(member, values) * weights))
            assert np.all(part.spread(member, weights, 7)[labels == part.count] == 7)
            assert labels.shape == units.arrays[array].shape
            sizes += part.gather(member, np.ones(labels.shape))
            partial += int((labels == part.count).any())
        np.testing.assert_array_equal(sizes, part.sizes())
    assert partial > 0 or name not in ("skipping", "gru joint", "gru none")
