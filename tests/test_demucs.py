"""DEMUCS: the paper's MACs, what nothing looks ahead of, what options make, a run of it to its int8 stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from twin_nets import frames, random_arrays, random_model

from tinyse import families
from tinyse.core.errors import RecipeError
from tinyse.engines import load_engine
from tinyse.engines.integer import IntegerEngine
from tinyse.engines.keras import KerasEngine
from tinyse.export.cnetwork import c_network
from tinyse.export.pipeline import export_run
from tinyse.graph.floating import Floating
from tinyse.graph.model import Model
from tinyse.graph.net import Net
from tinyse.graph.order import reorder
from tinyse.graph.plan import Budget
from tinyse.graph.runner import Runner
from tinyse.graph.shrink import shrink
from tinyse.measure.parity import measure_parity
from tinyse.measure.scores.scoring import stream
from tinyse.sound.corpus.store import Corpus
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import train
from tinyse.train.compression import RoutePart
from tinyse.train.keras import tf
from tinyse.train.network import restore
from tinyse.train.recipe import load_recipe
from tinyse.train.routing import routed
from tinyse.train.slimming import SlimLanes, at_each, at_width
from tinyse.train.start import check_losses

PAPER = load_recipe("demucs-paper").family_options
FEW = {"mixing.seconds": "0.5", "mixing.batch": "4", "mixing.shares": "[]", "mixing.noise_room": "0",
       "train.float_steps": "8", "train.compress_steps": "8", "train.validate_every": "8", "train.validate_count": "6",
       "train.warmup": "2", "train.average": "0"}
SHALLOW = "{{width: 4, depth: 2, kernel: 32, stride: 16, groups: 2, {}}}"
"""Quick to trace."""
RESAMPLING = 688
"""MACs a sample of the published 2,224 that are neither blocks nor GRUs: filters that we have no use for."""


def made(**options: object) -> Net:
    family = families.load("demucs")
    return family.net(family.options(options, "x"), family.ends)


@pytest.mark.parametrize(("utilization", "published"), [(0.125, 8_944), (0.25, 15_664), (0.5, 29_104), (1.0, 55_985)])
def test_the_paper_s_network_takes_the_published_macs_a_sample(utilization: float, published: int) -> None:
    net = made(**{**PAPER, "utilization": utilization})
    hop = families.load("demucs").ends.framing.hop
    macs = net.macs() / hop
    assert macs == 53_760 * utilization + 1_536
    assert abs(macs + RESAMPLING - published) <= 1  # which was rounded up
    groups = [node for node in net.nodes if node.layer.kind == "gru"]
    assert [net.shapes[node.name] for node in groups] == 4 * [(1, 1, 128)]
    assert sum(node.layer.macs(*net.shapes_in(node)) for node in groups) == 1_536 * hop


def test_what_a_hop_becomes_depends_on_no_later_one() -> None:
    """So the stream lags by the hop that has to be full, and by nothing else: 16 ms."""
    net = made(width=4, groups=2)
    network = Floating(net, random_arrays(net))
    frames = np.random.default_rng(0).normal(0, 0.3, (12, 256, 1, 1)).astype(np.float32)
    later = frames.copy()
    later[8:] += 1.0
    first, second = (network.run(each)["wave"] for each in (frames, later))
    np.testing.assert_array_equal(first[:8], second[:8])
    assert np.abs(first[8:] - second[8:]).min(axis=(1, 2, 3)).max() > 0
    ends = families.load("demucs").ends
    assert ends.delay == 0 and 2 * ends.period < 0.040  # a hop to fill, and at worst a hop to compute


def test_utilization_narrows_blocks_inside_and_leaves_what_is_between() -> None:
    whole, net = made(width=8), made(width=8, utilization=0.3)
    between = {f"past_{n}" for n in range(4)} | {"join_4"}
    assert {name: whole.shapes[name] for name in between if name in net.shapes} == {
        name: net.shapes[name] for name in between if name in net.shapes}
    assert [net.shapes[f"conv_{n}"][2] for n in (0, 3, 6, 9)] == [3, 5, 10, 20]  # ceil(0.3 C)
    assert net.shapes[net.results[0].node] == (256, 1, 1) and net.parameters < 0.4 * whole.parameters


def test_samples_enter_and_leave_in_16_bits() -> None:
    net = made(width=4, groups=2)
    arrays = random_arrays(net)
    graph = Model(net, arrays, families.load("demucs").ends, {name: (-1.0, 1.0) for name in net.ranges}, {}
                  ).plan().graphs[0]
    assert graph.inputs[0].grid.bits == graph.outputs[0].grid.bits == 16 and graph.inputs[0].grid.scale == 2.0**-15
    assert sum(op.kind == "conv" and op.x.grid.bits == 16 and op.out.shape[1] > 1 for op in graph.ops) == 2


@pytest.mark.parametrize(("options", "said"), [
    ({"utilization": 1.5}, "utilization: 1.5 is outside (0, 1] (such as 0.125, 0.25, 0.5 or 1)"),
    ({"utilization": 0}, "utilization: 0 is outside (0, 1] (such as 0.125, 0.25, 0.5 or 1)"),
    ({"depth": 7}, "depth: 7, stride: 4: a hop of 16384 samples is outside 2 to 8192 (depth: 4, stride: 4)"),
    ({"kernel": 1, "stride": 1}, "depth: 4, stride: 1: a hop of 1 samples is outside 2 to 8192 (depth: 4, stride: 4)"),
    ({"depth": 5, "kernel": 3, "stride": 3}, "take 243 samples (ends: {framing: {frame: 243, hop: 243, fft: 244}})"),
    ({"depth": 3}, "ends: framing: hop: 256: 3 levels of stride 4 take 64 samples "
                   "(ends: {framing: {frame: 64, hop: 64, fft: 64}})"),
    ({"kernel": 6}, "stride: 4 is no divisor of kernel 6, or no multiple of upsample 1 "
                    "(kernel: 8, stride: 4, upsample: 1)"),
    ({"groups": 5}, "groups: 192 channels do not make 5 groups (a divisor of 24)"),
    ({"widths": [0.25, 2]}, "widths: 2 is outside (0, 1] (such as 0.125, 0.25, 0.5 or 1)"),
    ({"widths": [0.5, 0.25]}, "widths: [0.5, 0.25] are not several that rise to 1 ([0.125, 0.25, 0.5, 1])"),
    ({"router": 8}, "router: 8 units choose among widths, and there is one (widths: [0.125, 0.25, 0.5, 1])"),
    ({"width": 0}, "width, depth, kernel, stride, upsample and groups are at least 1"),
])
def test_wrong_options_are_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        made(**options)
    assert caught.value.line().endswith(said) and "\n" not in caught.value.line()


WIDTHS = {"width": 4, "groups": 2, "widths": (0.25, 0.5, 1.0)}


def test_several_widths_share_arrays_ranges_and_states_and_each_is_a_part() -> None:
    whole, net = made(width=4, groups=2), made(**WIDTHS, router=5)
    ours, theirs = ({name: array.size for name, array in each.arrays.items() if array.matrix} for each in (net, whole))
    assert sum(theirs.values()) == sum(size for name, size in ours.items() if net[name.split("/")[0]].part)
    assert [net.macs(part) for part in (1, 2, 3)] == [
        made(width=4, groups=2, utilization=share).macs() for share in WIDTHS["widths"]]
    assert net.exits == (1, 2, 3) and not [name for name in (*net.ranges, *net.states) if "exit" in name]
    assert Net.of_json(net.to_json()) == net
    plan = random_model(net).plan()
    states = [{state.past.name for state in part.states} for part in plan.parts[1:]]
    assert states[0] == states[1] == states[2] and len(states[0]) == 4 + 4 + 2
    for narrow, wide in zip(plan.graphs[1].ops, plan.graphs[3].ops, strict=True):
        for one, other in zip(narrow.matrices, wide.matrices, strict=True):
            np.testing.assert_array_equal(one, other[tuple(map(slice, one.shape))])


def test_on_a_processor_the_same_weights_serve_all_widths() -> None:
    """Of narrow parts only starts, multipliers and weights of 16-bit products are there; the rest is the widest's."""
    plan = random_model(made(**WIDTHS, router=5)).plan()
    network = c_network(plan)
    router, *narrow, widest = (sum(each.bytes for each in part) for part in network.parts)
    apart = [c_network(graph).flash for graph in plan.graphs[1:]]
    assert network.flash == router + sum(narrow) + widest and abs(widest - apart[-1]) < 0.02 * widest
    assert all(ours < 0.35 * theirs for ours, theirs in zip(narrow, apart, strict=False))
    source = network.source(b"model")
    assert source.index("tinyse_part_3(uint8_t *arena) {") < source.index("tinyse_part_1(uint8_t *arena) {")


def test_without_its_dead_channels_and_in_another_order_every_width_gives_the_same_integers() -> None:
    model = replace(random_model(made(**WIDTHS)), ends=families.load("demucs").ends)
    arrays = {name: array.copy() for name, array in model.arrays.items()}
    for name in ("conv_1/kernel", "conv_2/kernel"):
        arrays[name][:, :, 3] = 0
    model = replace(model, arrays=arrays)
    smaller, given = reorder(shrink(model)), frames(model.net, 12, 5)
    assert [smaller.net.shapes[f"conv_0{tag}"][2] for tag in ("_exit_1", "_exit_2", "")] == [1, 2, 3]
    for number in (1, 2, 3):
        answers = []
        for plan in (model.plan().under(Budget(number)), smaller.plan().under(Budget(number))):
            engine = IntegerEngine(plan, model.ends, "model")
            answers.append([engine.mask(row) for row in given])
        np.testing.assert_array_equal(*answers)


def test_training_s_masks_are_the_narrow_parts_where_the_width_changes_from_hop_to_hop() -> None:
    """One pass of the widest part over a sequence, and a stream of parts: every integer."""
    model = replace(random_model(made(**WIDTHS, router=5)), ends=families.load("demucs").ends)
    plan = model.plan()
    features = frames(model.net, 40, 5)
    runner, engine, found = Runner(plan), IntegerEngine(plan, model.ends), []
    for row in plan.inputs[0].grid.quantize(features):
        found.append(runner.step(engine.run, {"features": row.reshape(plan.inputs[0].shape)}).reshape(-1).copy())
    assert len({stop for stop in runner.stops if stop}) > 1, "widths change"
    network = restore(model, exact=True)
    masks, choice = routed(network, tf.constant(features[:, None]))
    np.testing.assert_array_equal(plan.result.grid.quantize(masks[:, 0].numpy()), np.stack(found))
    np.testing.assert_array_equal(choice.numpy().sum((0, 1)), runner.stops[1:])


def test_every_width_has_its_turn_and_a_router_is_pushed_to_its_cost_and_to_all_widths() -> None:
    net = made(**WIDTHS, router=5)
    features = np.zeros((4, 5, 256), np.float32)
    turns = [at_each(net, features, turn)(None).numpy() for turn in range(3)]
    assert all((each == each[:1]).all() and each.sum(-1).all() for each in turns), "one width a sequence"
    np.testing.assert_array_equal(sum(turns), np.ones((4, 5, 3)))
    np.testing.assert_array_equal(at_width(net, features)(None)[..., -1], np.ones((4, 5)))
    part, costs = RoutePart(0.5, efficiency=2.0, balance=0.3), np.array(net.exit_macs) / net.exit_macs[-1]
    lanes = SimpleNamespace(network=SimpleNamespace(net=net), part=part)
    for share in ([1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3]):
        p = np.array(share)
        apart, uneven = abs(p @ costs - 0.5), sum(each * np.log(3 * each) for each in share if each)
        found = float(SlimLanes._wish(lanes, tf.constant(share)))
        assert found == pytest.approx(2.0 * apart + 0.3 * uneven, abs=1e-4)


def test_widths_and_router_train_and_stream_on_integers(tmp_path: Path) -> None:
    corpus = synthetic_corpus(tmp_path / "corpus", seed=3).folder
    recipe = load_recipe("demucs-routed", {
        "family_options": SHALLOW.format("widths: [0.25, 1], router: 4"), **FEW, "route.cost": "0.6"})
    done = train(recipe, tmp_path / "run", corpus)
    assert np.isfinite(done.score)
    model, exported = Model.load(done.model), export_run(tmp_path / "run", "cortex-m55").folder
    moved = Model.load(tmp_path / "run" / "float.npz").arrays["choice/kernel"]
    assert np.abs(moved).max() > 0, "the router is trained from the beginning"
    wave = np.random.default_rng(0).normal(0, 0.1, 12 * 256).astype(np.float32)
    ours, theirs = KerasEngine(model), load_engine(exported)
    for policy in (model.plan().policy, Budget(1), Budget(2)):
        ours.under(policy)
        theirs.under(policy)
        np.testing.assert_array_equal(stream(ours, wave), stream(theirs, wave))


@pytest.mark.parametrize(("changes", "said"), [
    ({"train.order": "layerwise"}, "several widths are trained together and whole "
                                   "(leave train.order, train.exits, prune and cluster out)"),
    ({"prune.method": "threshold"}, "a router with a Skip RNN or pruning is not trained (leave skip and prune out)"),
    ({"route.cost": "0.05"}, "route.cost: 0.05: router and first exit take 0.314 of the last one's MACs "
                             "(0.32 or more)")])
def test_what_widths_cannot_be_trained_with_is_one_line(changes: dict[str, str], said: str) -> None:
    recipe = load_recipe("demucs-routed", {"family_options": "{width: 4, groups: 2, widths: [0.25, 1], router: 4}",
                                           **changes})
    with pytest.raises(RecipeError) as caught:
        check_losses(recipe, recipe.net())
    assert caught.value.line().endswith(said)


def test_it_trains_and_streams_on_integers_as_it_ran_whole(tmp_path: Path) -> None:
    corpus = synthetic_corpus(tmp_path / "corpus", seed=3).folder
    recipe = load_recipe("demucs", {"family_options": SHALLOW.format("utilization: 0.5"), **FEW})
    done = train(recipe, tmp_path / "run", corpus)
    assert np.isfinite(done.score)
    exported = export_run(tmp_path / "run", "cortex-m55").folder
    parity = measure_parity(done.model, exported, Corpus.open(corpus), frames=40)
    assert parity.streamed_max == 0
    engine = load_engine(exported)
    assert engine.input.bits == engine.output.bits == 16
    assert np.abs(stream(engine, np.random.default_rng(0).normal(0, 0.1, 5120).astype(np.float32))).max() > 0
