"""Routers: a gated GRU's gradient, streams as sequences, what a choice costs, the controller, a training to its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from twin_nets import frames, random_model

from tinyse import families
from tinyse.core.errors import RecipeError
from tinyse.engines.keras import KerasEngine
from tinyse.graph.build import Build
from tinyse.graph.layers import GruLayer
from tinyse.graph.model import Model
from tinyse.graph.net import Net, Node
from tinyse.graph.plan import Budget, Route
from tinyse.graph.runner import Runner
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import train
from tinyse.train.compression import RoutePart
from tinyse.train.keras import tf, tf_keras
from tinyse.train.layers.gru import GruTwin, sequence
from tinyse.train.mixer import Batch
from tinyse.train.network import Network, restore
from tinyse.train.recipe import load_recipe
from tinyse.train.routing import RoutedLanes, Toll, choose, chosen, exit_costs, routed
from tinyse.train.start import load_start

OPTIONS = {"first": 5, "gru": (6, 4), "dense": (5, 6), "exits": (1, 2), "router": 3}


def net(**options: object) -> Net:
    family = families.load("nsnet2")
    return family.net({**OPTIONS, **options}, family.ends)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("reset", ["none", "before", "after"])
def test_a_gated_gru_has_the_gradient_of_its_plain_form(reset: str, many: bool) -> None:
    """Against tf's own gradient of the recurrence written out, x, weights and gates alike."""
    rows, units = (130, 3) if many else (2, 3)
    twin = GruTwin(Node("gru", GruLayer(units, reset)), ((1, 1, 4),))
    rng = np.random.default_rng(0)
    for variable in twin.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape).astype(np.float32))
    x, h0 = (tf.constant(rng.normal(0, 1, shape).astype(np.float32)) for shape in ((6, rows, 4), (rows, units)))
    opened = tf.constant((rng.random((6, rows, 1)) < 0.6).astype(np.float32))
    target = tf.constant(rng.normal(0, 1, (6, rows, units)).astype(np.float32))

    def plain(x, opened, kernel, bias, recurrent, after=None):
        h, found = h0, []
        for t in range(6):
            from_x, from_h = tf.matmul(x[t], kernel) + bias, tf.matmul(h, recurrent)
            z = tf.sigmoid(from_x[:, :units] + from_h[:, :units])
            late = from_h[:, -units:]
            if reset != "none":
                r = tf.sigmoid(from_x[:, units:-units] + from_h[:, units:-units])
                late = r * (late + after) if reset == "after" else tf.matmul(r * h, recurrent[:, -units:])
            fresh = h + z * (tf.tanh(from_x[:, -units:] + late) - h)
            found.append(fresh)
            h = opened[t] * fresh + (1 - opened[t]) * h
        return tf.stack(found), h

    weights, step = twin.held()
    order = (weights[0], weights[1], *weights[2:])
    answers = []
    for which in (lambda *a: sequence(a[0], a[2:], h0, step, a[1])[::2], plain):
        with tf.GradientTape() as tape:
            tape.watch([x, opened, *order])
            h, last = which(x, opened, *order)
            loss = tf.reduce_sum(target * h * h)
        answers.append((h, last, *tape.gradient(loss, [x, opened, *order])))
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


def stream(model: Model, features: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """What the plan gives frame by frame, and the exit of each frame."""
    engine = KerasEngine(replace(model, ends=families.load("nsnet2").ends))
    runner, source, made, taken = Runner(engine.plan), engine.plan.inputs[0], [], []
    for frame in features:
        values = frame if engine.real else source.grid.quantize(frame)
        result = runner.step(engine.run, {source.name: values.reshape(source.shape)}).reshape(-1)
        made.append(result if engine.real else engine.output.dequantize(result))
        taken.append(engine.plan.exits.index(runner.ran[-1]))
    return np.stack(made), taken


@pytest.mark.parametrize("exact", [False, True])
def test_a_routed_stream_is_the_routed_sequence(exact: bool) -> None:
    model = random_model(net())
    model = model if exact else replace(model, ranges=None)
    features = frames(model.net, 60, 5)
    masks, choice = routed(restore(model, exact), tf.constant(features[:, np.newaxis]))
    made, taken = stream(model, features)
    assert np.argmax(choice[:, 0], -1).tolist() == taken and set(taken) == {0, 1, 2}
    np.testing.assert_allclose(made, masks[:, 0], atol=0 if exact else 1e-5)


def test_a_choice_is_its_largest_logit_with_the_softmax_s_gradient() -> None:
    logits = tf.constant([[[0.5, 0.5, -1.0]], [[0.0, 1.0, 2.0]]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        y = choose(logits)
        loss = tf.reduce_sum(y * tf.constant([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(y[:, 0], [[1, 0, 0], [0, 0, 1]])
    soft = tf.nn.softmax(logits).numpy()
    expected = soft * ([1, 2, 4] - (soft * [1, 2, 4]).sum(-1, keepdims=True))
    np.testing.assert_allclose(tape.gradient(loss, logits), expected, rtol=1e-5)
    masks = [tf.fill((2, 1, 4), float(at)) for at in range(3)]
    np.testing.assert_array_equal(chosen(masks, y)[:, 0, 0], [0, 2])


def test_an_exit_costs_what_it_needs_and_the_router() -> None:
    made = net()
    router = 257 * 3 + 2 * 3 * 6 + 3 * 3
    first, second = 257 * 5 + 5 * 257, 257 * 5 + 3 * 6 * 11 + 6 * 257
    last = 257 * 5 + 3 * 6 * 11 + 3 * 4 * 10 + 4 * 5 + 5 * 6 + 6 * 257
    assert made.exit_macs == tuple(router + macs for macs in (first, second, last))
    assert exit_costs(made) == tuple((router + macs) / (router + last) for macs in (first, second, last))


def test_the_toll_leads_a_mean_cost_to_what_is_wanted() -> None:
    """A softmax whose logits follow the toll and the bias; the loss wants late exits by a fixed price."""
    made = net(first=32, gru=(32, 32), dense=(32, 32))
    network, toll = Network(made), Toll(RoutePart(cost=0.8, end=0.3), made, 0, 400)
    assert toll.wanted(0) == 1.0 and toll.wanted(400) == pytest.approx(0.8)
    bias, rng = network.choice.array("bias"), np.random.default_rng(0)
    wish, learnt, seen = rng.normal(0, 1, (500, 3)) * 2, np.zeros(3), []
    for step in range(400):
        exits = np.argmax(wish + learnt + bias.numpy(), 1)
        mean = float(toll.costs[exits].mean())
        learnt -= 0.05 * (toll.cost(step) - 1.0) * (toll.costs - toll.costs.mean())
        bias.assign(bias + toll.shifts(step, 1.0, mean))
        seen.append(mean)
    assert np.mean(seen[200:]) == pytest.approx(0.8, abs=0.02)
    again = Toll(RoutePart(cost=0.8, end=0.3), made, 0, 400)
    again.restore(toll.state())
    assert again.cost(400) == toll.cost(400)


class Batches:
    """In place of a mixer."""

    ends = families.load("nsnet2").ends

    def batch(self, step: int, lane: int, size: int) -> Batch:
        rng = np.random.default_rng([step, lane])
        sizes = (np.abs(rng.standard_normal((5, size, 257))).astype(np.float32) for _ in range(3))
        waves = (0.1 * rng.standard_normal((2, size, 4 * 256 + 512))).astype(np.float32)
        return Batch(rng.standard_normal((5, size, 257)).astype(np.float32), *sizes, waves)


def routed_lanes(loss: str) -> tuple[RoutedLanes, tuple[object, ...]]:
    """Lanes of a router before two memoryless masks, and a batch."""
    b = Build((1, 1, 257))
    policy = b.route(b.dense(b.gru(b.dense(b.x, 4, "tanh"), 4, reset="none"), 2))
    b.exit(b.dense(b.x, 257, "sigmoid"))
    made = b.done(policy, mask=b.dense(b.dense(b.x, 8, "relu"), 257, "sigmoid"))
    tf_keras.utils.set_random_seed(2)
    network = Network(made)
    network.choice.array("kernel").assign(np.random.default_rng(1).normal(0, 1, (4, 2)).astype(np.float32))
    network.choice.array("bias").assign([0.0, 0.0])
    lanes = RoutedLanes(network, Batches(), loss, 8, False, None, (1.0,), budget=Toll(RoutePart(), made, 0, 10))
    return lanes, lanes._draw(3, 0)


@pytest.mark.parametrize("loss", ["compressed", "mixed", "si_sdr"])
def test_at_its_price_the_toll_pushes_as_hard_as_the_loss_pulls(loss: str) -> None:
    """The gradient of the choice's bias is then none along the costs."""
    lanes, batch = routed_lanes(loss)
    at = next(n for n, each in enumerate(lanes.network.trainable_weights) if each is lanes.network.choice.array("bias"))
    zero = lanes._route(tf.constant(0), tf.constant(0.0), *batch)
    price = -float(zero[3][0] / zero[3][1])
    there = lanes._route(tf.constant(0), tf.constant(price), *batch)
    alone, both = zero[1][at].numpy(), there[1][at].numpy()
    push = (both - alone) / price
    assert np.abs(alone).max() > 1e-4 and abs(both @ push) < 2e-3 * np.linalg.norm(alone) * np.linalg.norm(push)
    assert float(there[0]) == pytest.approx(float(zero[0])), "the loss is without the toll"
    taken = float(zero[3][2])
    assert min(lanes.budget.costs) < taken < max(lanes.budget.costs), "both exits are taken"
    lanes.close()


def test_what_an_exit_would_cost_in_loss_is_that_loss() -> None:
    lanes, batch = routed_lanes("compressed")
    results, _ = lanes.network.run(batch[0], lanes.network.zero_states(4))
    masks = [result for result in results if result is not None]
    found = tf.reduce_mean(lanes._exit_losses(masks, masks[0], batch), (0, 1)).numpy()
    np.testing.assert_allclose(found, [float(lanes._recipe_loss(mask, batch)) for mask in masks], rtol=1e-4)
    lanes.close()


def test_other_sequences_stop_at_each_exit_in_turn() -> None:
    lanes, _ = routed_lanes("compressed")
    free, forced = lanes._forced(6, tf.constant(1))
    assert free.numpy()[:, 0].tolist() == [1, 1, 1, 0, 0, 0] and forced.numpy()[:3].sum() == 0
    assert np.argmax(forced[3:], 1).tolist() == [0, 1, 0]
    lanes.close()


SHORT = {"family": "nsnet2", "mixing.seconds": "0.4", "mixing.batch": "8", "mixing.generated": "0",
         "train.validate_every": "4", "train.validate_count": "6", "train.warmup": "2", "prune.method": "none"}


@pytest.mark.parametrize("loss", ["compressed", pytest.param("levelled", marks=pytest.mark.slow)])
def test_a_router_is_trained_from_a_run_without_one(loss: str, tmp_path: Path) -> None:
    corpus = synthetic_corpus(tmp_path / "corpus", seed=3).folder
    options = "{first: 6, gru: [5, 4], dense: [6, 5], exits: [1, 2]%s}"
    first = train(load_recipe("quick", {**SHORT, "family_options": options % "", "train.float_steps": "4",
                                        "train.compress_steps": "0"}), tmp_path / "first", corpus)
    recipe = load_recipe("quick", {**SHORT, "family_options": options % ", router: 3", "train.start": str(
        tmp_path / "first"), "train.compress_steps": "12", "train.loss": loss, "route.cost": "0.97"})
    result = train(recipe, tmp_path / "run", corpus)
    before, after = Model.load(first.float_model), Model.load(result.model)
    assert isinstance(after.net.policy, Route) and isinstance(before.net.policy, Budget)
    start = Model.load(result.float_model)
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(start.arrays[name], array, name)
    assert np.abs(after.arrays["choice/kernel"]).max() > 0, "the router learns"
    assert "cost" in (tmp_path / "run" / "log.csv").read_text().splitlines()[0]
    features = np.load(tmp_path / "run" / "calibration.npy")[:20]
    masks, _ = routed(restore(after, exact=True), tf.constant(features[:, np.newaxis]))
    np.testing.assert_array_equal(stream(after, features)[0], masks[:, 0])


def lstm_behind(_: object = None) -> str:
    return """
from tinyse.families.nsnet2 import ENDS
from tinyse.graph.build import Build


def net():
    b = Build(ENDS.shape)
    policy = b.route(b.dense(b.x, CHOICES))
    b.exit(b.dense(b.x, 257, "sigmoid"))
    return b.done(policy, mask=b.dense(LAST, 257, "sigmoid"))
"""


@pytest.mark.parametrize(("changes", "said"), [
    ({"family_options": "{router: 4, exits: [1]}", "route.cost": "0.05"},
     "route.cost: 0.05: router and first exit take 0."),
    ({"LAST": "b.lstm(b.x, 4)", "CHOICES": "2"},
     "lstm_0: a router is trained with states of GRUs only (exits, or a budget)"),
    ({"LAST": "b.gru(b.x, 4)", "CHOICES": "3"}, "a router of 3 choices for 2 exits (one each)"),
    ({"family_options": "{router: 4, exits: [1]}", "prune.method": "threshold"},
     "a router with a Skip RNN or pruning is not trained (leave skip and prune out)"),
    ({"family_options": "{router: 4, exits: [1]}", "train.float_steps": "0"},
     "family: nsnet2: a router without its network: train.float_steps is 0, and there is no train.start ("),
    ({"family_options": "{exits: [1]}"}, "route: nsnet2 has no router here (a family with one, such as nsnet2"),
])
def test_what_cannot_be_trained_is_one_line(changes: dict[str, str], said: str, tmp_path: Path) -> None:
    corpus = synthetic_corpus(tmp_path / "corpus", seed=3).folder
    own = {key: changes.pop(key) for key in ("LAST", "CHOICES") if key in changes}
    if own:
        text = lstm_behind()
        for key, value in own.items():
            text = text.replace(key, value)
        (tmp_path / "mine.py").write_text(text)
        changes |= {"family": str(tmp_path / "mine.py"), "family_options": "{}"}
    with pytest.raises(RecipeError) as caught:
        train(load_recipe("quick", {**SHORT, "route.cost": "0.9", **changes}), tmp_path / "run", corpus)
    assert said in caught.value.line() and "\n" not in caught.value.line() and not (tmp_path / "run").exists()


def test_a_router_trained_for_other_exits_is_one_line(tmp_path: Path) -> None:
    random_model(net(), quantized=False).save(tmp_path / "float.npz")
    for exits, said in (((1, 2, 3), "choice/kernel: [3, 4], but"), ((1, 3), "gains_3/kernel: [4, 257], but")):
        with pytest.raises(RecipeError, match="train.start: ") as caught:
            load_start(str(tmp_path), net(exits=exits))
        assert said in caught.value.line()
    assert load_start(str(tmp_path), net()).model.net.route is not None


def test_a_build_names_its_router_s_choice() -> None:
    b = Build((1, 1, 4))
    policy = b.route(b.dense(b.x, 2))
    b.exit(b.dense(b.x, 3))
    made = b.done(policy, mask=b.dense(b.gru(b.x, 3), 3))
    assert made.route == Route("choice") and made.results[0].node == "" and made.needs == ((0,), (1,), (2,))
