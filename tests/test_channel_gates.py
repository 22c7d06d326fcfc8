"""Channel gates: the family, what gates save, their gradients and controller, and a run of one to its end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from twin_nets import frames, random_model

from tinyse.core.errors import ModelError, RecipeError
from tinyse.engines import load_engine
from tinyse.export.cnetwork import c_network
from tinyse.export.pipeline import export_run
from tinyse.families import load
from tinyse.graph.build import Build
from tinyse.graph.fold import fold
from tinyse.graph.gates import gate_nodes, gates, is_open, open_macs
from tinyse.graph.layers import NormLayer
from tinyse.graph.model import Model
from tinyse.graph.net import Net
from tinyse.graph.reference import Reference
from tinyse.sound.corpus.store import Corpus
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import train
from tinyse.train.arithmetic import heaviside
from tinyse.train.budget import Budget
from tinyse.train.channels import ChannelLanes
from tinyse.train.compression import GatesPart
from tinyse.train.keras import tf, tf_keras
from tinyse.train.mixer import Mixer
from tinyse.train.network import Network, restore
from tinyse.train.recipe import load_recipe, recipe_of

SMALL = {"channels": 12, "hidden": 24, "stacks": 1, "gates": True}


def net(**options: object) -> Net:
    family = load("fsenet")
    return family.net(options, family.ends)


def test_the_network_is_the_paper_s() -> None:
    plain = net()
    assert plain.macs() == 662_528
    model = fold(Model(plain, {name: np.ones(a.shape, np.float32) for name, a in plain.arrays.items()},
                       load("fsenet").ends))
    assert model.parameters == 668_673 and model.macs_per_frame == 662_528
    dilations = [node.layer.dilation[0] for node in plain.nodes if node.layer.kind == "depthwise"]
    assert dilations == [1, 2, 4] * 3
    assert plain.states["past_8.past"] == (8, 1, 256)


@pytest.mark.parametrize(("units", "macs", "at_a_quarter"), [(0, 256, 0.338), (8, 3072, 0.300)])
def test_gates_save_what_the_paper_says_less_themselves(units: int, macs: int, at_a_quarter: float) -> None:
    gated = net(gates=True, gate_units=units)
    assert len(gate_nodes(gated)) == 9 and gated.macs() == 662_528 + 9 * macs
    graph = random_model(gated).plan().graphs[0]
    found = gates(graph)
    assert [(gate.channels, gate.macs) for gate in found] == [(256, 131)] * 9
    shares = {gate.opened.name: 0.25 for gate in found}
    assert open_macs(graph, dict.fromkeys(shares, 1.0)) == graph.macs
    assert 1 - open_macs(graph, shares) / 662_528 == pytest.approx(at_a_quarter, abs=5e-4)
    static = net(hidden=160)  # the plain network of the recipe fsenet-narrow
    assert units or static.macs() == pytest.approx(open_macs(graph, shares), rel=1e-3)


def test_a_gate_rounds_nothing_and_closed_channels_are_zero_whatever_their_weights() -> None:
    graph = random_model(net(**SMALL)).plan().graphs[0]
    reference, shares = Reference(graph), []
    for frame in graph.inputs[0].grid.quantize(np.abs(frames(net(**SMALL), 12))):
        reference.run({graph.inputs[0].name: frame.reshape(graph.inputs[0].shape)})
        for gate in gates(graph):
            opened = is_open(reference.taps[gate.opened.name])
            taken, given = reference.taps[gate.mul.out.name], reference.taps[gate.depthwise.out.name]
            np.testing.assert_array_equal(taken, np.where(opened, given, gate.mul.out.grid.zero_point))
            shares.append(opened.mean())
    assert 0.05 < np.mean(shares) < 0.95


def test_what_is_no_gate_of_channels_is_not_taken_for_one() -> None:
    def of(make) -> int:
        b = Build((1, 1, 6))
        return len(gates(random_model(b.done(result=make(b))).plan().graphs[0]))

    def over(b: Build) -> str:
        return b.depthwise(b.dense(b.x, 8, "relu"), (2, 1), activation="relu")

    assert of(lambda b: b.dense(b.join("mul", over(b), b.threshold(b.dense(b.x, 8))), 3)) == 1
    assert of(lambda b: b.dense(b.gate(b.dense(b.x, 8), b.x), 3)) == 0  # a matrix reads more than its channel
    assert of(lambda b: b.dense(b.join("mul", over(b), b.dense(b.x, 8, "sigmoid")), 3)) == 0

    def read_twice(b: Build) -> str:
        x = b.join("mul", over(b), b.threshold(b.dense(b.x, 8)))
        return b.join("add", b.dense(x, 8), x)

    assert of(read_twice) == 0
    assert of(lambda b: b.prelu(b.join("mul", over(b), b.threshold(b.dense(b.x, 8))))) == 0


def test_a_norm_s_relu_becomes_its_product_s() -> None:
    b = Build((1, 1, 4))
    model = random_model(b.done(result=b.dense(b.norm(b.dense(b.x, 5), "relu"), 3)), quantized=False)
    folded, network = fold(model), Network(model.net)
    assert [node.layer.activation for node in folded.net.nodes[1:]] == ["relu", "linear"]
    assert Net.of_json(model.net.to_json()) == model.net
    network.take(model.arrays)
    x = tf.constant(frames(model.net, 9)[None])
    before = network(x).numpy()
    network.fold_norms()
    np.testing.assert_allclose(network(x).numpy(), before, atol=1e-5)
    assert (before != 0).any()
    with pytest.raises(ModelError, match="norm: activation = 'tanh'"):
        NormLayer("tanh")


# -- gradients and the controller ------------------------------------------------------------------------------------


def test_the_step_s_gradient_is_the_surrogate_s() -> None:
    value = tf.constant([-2.0, 0.4, 0.5, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(value)
        made = heaviside(value)
    np.testing.assert_array_equal(made, [0, 0, 1, 1])
    np.testing.assert_allclose(tape.gradient(made, value), 1 / (np.abs(value.numpy() - 0.5) + 1) ** 2, rtol=1e-6)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    return folder


def recipe(**more: str):
    return load_recipe("fsenet-gated", {
        "family_options": "{channels: 12, hidden: 24, stacks: 1, gates: true}", "corpus": "{tier: small}",
        "mixing": "{seconds: 0.5, batch: 4, generated: 0}", "train.float_steps": "40", "train.compress_steps": "30",
        "train.validate_every": "10", "train.validate_count": "6", "train.warmup": "2", "train.float_rate": "0.005",
        "train.compress_rate": "0.003", "train.average": "0", "quantize.freeze": "0.3", **more})


@pytest.fixture(scope="module")
def lanes(corpus):
    tf_keras.utils.set_random_seed(1)
    made = recipe()
    mixer = Mixer(Corpus.open(corpus), made.mixing, made.ends, 1)
    network = Network(made.net())
    opened = ChannelLanes(network, mixer, "compressed", 4, budget=Budget(0.25, 0, 10, 2.0))
    yield opened
    opened.close()


def test_gates_start_open_and_the_loss_reaches_them_through_the_step(lanes) -> None:
    loss, passed = lanes.gradient_step(0)
    assert lanes._found[1] > 0.95 and np.isfinite(loss)
    kernel = lanes._gates[0].array("kernel")
    place = next(n for n, each in enumerate(lanes.network.trainable_weights) if each is kernel)
    assert np.abs(passed[place].numpy()).max() > 0


def test_the_push_is_the_cost_times_the_surrogate_of_the_share(lanes) -> None:
    """Against TensorFlow's own gradient of loss + cost * share, the share by each gate's bias alone."""
    _, passed = lanes.gradient_step(0)
    batches = [lanes._draw(0, lane) for lane in range(2)]
    wanted = []
    for twin in lanes._gates:
        total = 0.0
        for batch in batches:
            with tf.GradientTape(persistent=True) as tape:
                seen: dict = {}
                results, _ = lanes.network.run(batch[0], lanes.network.zero_states(batch[0].shape[1]), seen, {})
                loss = lanes._loss(results, batch)
            direct = tf.reduce_mean(tf.reshape(seen[f"{twin.name}.slope"], (-1, 24)), 0) / (3 * 24)
            total += 0.5 * (tape.gradient(loss, twin.array("bias")) + 2.0 * direct)
        wanted.append(total.numpy())
    found = [passed[at].numpy() for at in lanes._places]
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(wanted), rtol=2e-3, atol=1e-6)


def test_the_price_is_where_push_and_pull_are_alike(lanes) -> None:
    lanes.budget.fixed = 0.0
    _, passed = lanes.gradient_step(3)
    pulled = sum(float(tf.reduce_sum(passed[at])) for at in lanes._places)
    price, share = lanes._found
    lanes.budget.fixed = price
    _, passed = lanes.gradient_step(3)
    assert sum(float(tf.reduce_sum(passed[at])) for at in lanes._places) == pytest.approx(0, abs=1e-3 * abs(pulled))
    assert 0 < share <= 1


@pytest.mark.parametrize("share", [0.125, 0.25, 0.5, 0.75])
def test_the_controller_reaches_the_share_on_a_plant(share: float) -> None:
    budget, bias = Budget(share, 10, 200), 1.0
    values = np.abs(np.random.default_rng(1).normal(0, 1.0, 4000))
    found = []
    for step in range(300):
        found.append(float(np.mean(values + bias >= 0.5)))
        bias += budget.after_step(step, 0.1, found[-1])
    assert found[:10] == [1.0] * 10
    assert np.mean(found[-50:]) == pytest.approx(share, abs=0.01)


# -- recipes and a whole run -----------------------------------------------------------------------------------------


def test_recipes_of_the_family() -> None:
    plain, gated, narrow = (load_recipe(name) for name in ("fsenet", "fsenet-gated", "fsenet-narrow"))
    assert gated.gates.share == 0.25 and gate_nodes(gated.net()) and not gate_nodes(plain.net())
    assert narrow.net().macs() == pytest.approx(open_macs(random_model(gated.net()).plan().graphs[0], dict.fromkeys(
        (node.name for node in gate_nodes(gated.net())), 0.25)), rel=1e-3)
    assert plain.train == gated.train == narrow.train and plain.mixing == gated.mixing == narrow.mixing
    with pytest.raises(RecipeError, match="gates: share: 1.5 is out of range"):
        load_recipe("fsenet-gated", {"gates.share": "1.5"})
    with pytest.raises(RecipeError, match="gates.share: a Skip RNN has a budget of its own"):
        recipe_of({"name": "a", "skip": {"enabled": True}, "gates": {"share": 0.5}}, "x")


def test_a_share_without_gates_is_refused_before_training(corpus, tmp_path) -> None:
    plain = recipe(family_options="{channels: 12, hidden: 24, stacks: 1}")
    by_hand = dataclasses.replace(plain, gates=GatesPart(cost=0.5))
    for asked, said in ((plain, "share: 0.25"), (by_hand, "cost: 0.5")):
        with pytest.raises(RecipeError, match=f"^gates.{said}: fsenet has no channel gates here"):
            train(asked, tmp_path / "run", corpus)
    assert not (tmp_path / "run").exists()


def test_a_run_reaches_its_share_and_its_export_opens_the_same_channels(corpus, tmp_path, monkeypatch) -> None:
    rates, after_step = [], Budget.after_step
    monkeypatch.setattr(Budget, "after_step", lambda self, *seen: (after_step(self, *seen), rates.append(self.rate))[0])
    result = train(recipe(**{"train.float_steps": "95", "gates.end": "0.5"}), tmp_path / "run", corpus)
    model = Model.load(result.model)
    assert rates[-1] == pytest.approx(0.25, abs=0.08)
    assert model.meta["val_open_share"] == pytest.approx(0.25, abs=0.13)  # on 12 mixtures that training has not heard
    export_run(tmp_path / "run", "cortex-m55", tmp_path / "export")
    plan = model.plan()
    graph, engine = plan.graphs[0], load_engine(tmp_path / "export", "tflm")
    assert len(gates(graph)) == 3 and engine is not None
    reference, shares = Reference(graph), []
    for row in np.load(tmp_path / "run" / "calibration.npy")[:100]:
        reference.run({graph.inputs[0].name: graph.inputs[0].grid.quantize(row).reshape(graph.inputs[0].shape)})
        shares.append(np.mean([is_open(reference.taps[gate.opened.name]).mean() for gate in gates(graph)]))
    assert np.mean(shares) == pytest.approx(0.25, abs=0.15) and np.std(shares) > 0.01


@pytest.mark.parametrize("weight", [0.0, 1e-9, 1e-6, -1e-5])
def test_a_gate_s_weight_next_to_nothing_is_exported_and_is_its_bias(weight: float) -> None:
    """Weights that the optimizer takes through zero are no reason to fail when all is trained."""
    b = Build((1, 1, 4))
    over = b.depthwise(b.dense(b.x, 5, "relu"), (2, 1), activation="relu")
    model = random_model(b.done(result=b.dense(b.join("mul", over, b.threshold(b.dense(b.x, 5))), 3)))
    name = gate_nodes(model.net)[0].name
    bias = np.array([2.0, -2.0, 0.7, 0.3, 1.0], np.float32)
    changed = {f"{name}/kernel": np.full((1, 1, 5), weight, np.float32), f"{name}/bias": bias}
    model = Model(model.net, {**model.arrays, **changed}, model.ends, model.ranges)
    graph, network = model.plan().graphs[0], restore(model, exact=True)
    source = graph.inputs[0]
    values = source.grid.quantize(frames(model.net, 6))
    reference, wanted = Reference(graph), []
    for row in values:
        reference.run({source.name: row.reshape(source.shape)})
        assert is_open(reference.taps[name]).reshape(-1).tolist() == (bias >= 0.5).tolist()
        wanted.append(reference.taps[graph.outputs[0].name].reshape(-1))
    result, _ = network.run(tf.constant(source.grid.dequantize(values)[:, None]), network.zero_states(1))
    np.testing.assert_array_equal(graph.outputs[0].grid.quantize(result[-1].numpy()[:, 0]), wanted)
    c_network(graph)
