"""The twins: float against NumPy, exact against integers, gradients against slopes.

Streams against sequences, and the exact stream against integers, are in test_every_engine.py.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from tests.twin_nets import NETS, frames, of, random_arrays, random_model
from tinyse.graph.floating import Floating
from tinyse.graph.grid import nearest
from tinyse.graph.model import Model
from tinyse.graph.net import Net
from tinyse.graph.reference import Reference
from tinyse.graph.runner import Runner
from tinyse.train.keras import tf, tf_keras
from tinyse.train.layers import gru
from tinyse.train.network import Network, restore
from tinyse.train.streaming import StreamingNetwork

FRAMES, LOOPS = 120, ("gru", "lstm")


def whole(network: Network, given: np.ndarray, graph: bool = False) -> list[np.ndarray]:
    """Every part's result over frames [T, inputs] as one sequence: [T, outputs]; ``graph``: as a tf.function."""
    def run(features):
        return network.run(features, network.zero_states(1))[0]

    return [result.numpy()[:, 0] for result in (tf.function(run) if graph else run)(tf.constant(given[:, None]))]


@lru_cache
def quantized(kind: str) -> tuple[Model, np.ndarray]:
    """A network on its grids, and frames that it is given."""
    model = random_model(NETS[kind](), seed=3)
    return model, frames(model.net, FRAMES, 5)


@lru_cache
def exact(kind: str) -> list[np.ndarray]:
    """What the exact twins make of the frames; loops in a graph, which is faster there."""
    model, given = quantized(kind)
    scale = model.plan().inputs[0].grid.scale
    loops = any(node.layer.kind in LOOPS for node in model.net.nodes)
    return whole(restore(model, exact=True), nearest(given, scale) * np.float32(scale), graph=loops)


@pytest.mark.parametrize("kind", NETS)
def test_float_equals_numpy(kind: str) -> None:
    model = random_model(NETS[kind](), quantized=False)
    given = frames(model.net, 20)
    shape = model.net.shapes[model.net.input.name]
    wanted = Floating(model.net, model.arrays).run(given.reshape(-1, *shape))
    for result, values in zip(model.net.results, whole(restore(model), given), strict=True):
        np.testing.assert_allclose(values, wanted[result.tensor].reshape(values.shape), atol=1e-5)


@pytest.mark.parametrize("kind", NETS)
def test_exact_equals_the_integer_reference(kind: str) -> None:
    """Every integer of every part's result; states persist."""
    model, given = quantized(kind)
    plan = model.plan()
    parts = [Reference(part) for part in plan.parts]
    runner, wanted = Runner(plan), []
    for frame in plan.inputs[0].grid.quantize(given):
        held: dict[str, np.ndarray] = {}

        def run(part, inputs, held=held):
            held.update(parts[part].run(inputs))
            return held

        runner.step(run, {plan.inputs[0].name: frame.reshape(plan.inputs[0].shape)})
        wanted.append([held[name].reshape(-1).astype(int) for name in plan.results])
    for number, (values, name) in enumerate(zip(exact(kind), plan.results, strict=True)):
        out = plan.tensor(name).grid
        integers = np.rint(values / np.float32(out.scale)).astype(int) + out.zero_point
        assert np.ptp(integers) > 0
        np.testing.assert_array_equal(integers, [results[number] for results in wanted])


@pytest.mark.parametrize("kind", ["dense", "gru-before-16"])
def test_an_exact_stream_of_raw_features_is_the_sequence(kind: str) -> None:
    """Features outside the input's range too: they saturate."""
    model, given = quantized(kind)
    grid = model.plan().inputs[0].grid
    assert given.min() < grid.low and given.max() > grid.high
    stream = StreamingNetwork(model)
    np.testing.assert_array_equal(np.stack([stream.step(frame) for frame in given]), exact(kind)[-1])


@pytest.mark.parametrize("kind", NETS)
def test_training_arithmetic_stays_by_the_exact(kind: str) -> None:
    """A step apart now and then, by a tie or a bent table; a recurrence carries it on for a while.

    Counted in steps of the result. The logits of "everything" lie on a scale of 0.031, where one step is two of the
    sigmoid's 1/256: a sixth of its logits are one step apart, 0.31 steps of the result on average (measured). Where the
    result has 16 bits a step is one of 8, as what it is made of has.
    """
    model, given = quantized(kind)
    network, count = restore(model), FRAMES // 2
    last = network.twin(model.net.results[-1].node).out
    step = last.scale * 2.0 ** (last.bits - 8)
    apart = np.abs(exact(kind)[-1][:count] - whole(network, given[:count])[-1]) / step
    assert apart.mean() < (0.35 if kind == "everything" else 0.3) and np.mean(apart > 2.5) < 0.02


@pytest.fixture
def double():
    tf_keras.backend.set_floatx("float64")
    yield
    tf_keras.backend.set_floatx("float32")


def steps(net: Net) -> bool:
    """Whether a gradient is no slope, but stands for a step's."""
    return any(getattr(node.layer, "activation", "") == "step" for node in net.nodes)


@pytest.mark.parametrize("kind", [kind for kind, net in NETS.items() if not steps(net())])
@pytest.mark.usefixtures("double")
def test_float_gradients_are_slopes(kind: str) -> None:
    check_slopes(NETS[kind](), statistics=None)


@pytest.mark.parametrize("kind", [kind for kind in NETS if kind.startswith("gru-") and "16" in kind])
@pytest.mark.usefixtures("double")
def test_gradients_of_a_gru_of_many_rows_are_slopes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gru, "MANY", 1)
    check_slopes(NETS[kind](), statistics=None)


@pytest.mark.usefixtures("double")
def test_a_norm_s_gradient_goes_through_its_batch() -> None:
    net = of((1, 3, 4), lambda b: b.prelu(b.norm(b.dense(b.x, 5))))
    check_slopes(net, statistics={})


def check_slopes(net: Net, statistics: dict | None) -> None:
    network = Network(net)
    network.take({name: value.astype(np.float64) for name, value in random_arrays(net, 1).items()})
    given = tf.constant(np.stack([frames(net, 7, seed) for seed in (1, 2)], 1).astype(np.float64))

    def loss() -> tf.Tensor:
        results, _ = network.run(given, network.zero_states(2), statistics=statistics)
        total = tf.constant(0.0, tf.float64)
        for result in results:
            weights = np.random.default_rng(4).normal(size=result.shape)
            total += tf.reduce_mean(tf.square(result) * weights)
        return total

    with tf.GradientTape() as tape:
        tape.watch(given)
        value = loss()
    gradients = tape.gradient(value, network.trainable_weights)
    rng = np.random.default_rng(6)
    for variable, gradient in zip(network.trainable_weights, gradients, strict=True):
        way, base = rng.normal(size=variable.shape), variable.numpy()
        sides = []
        for sign in (1, -1):
            variable.assign(base + sign * 1e-6 * way)
            sides.append(float(loss()))
        variable.assign(base)
        slope = (sides[0] - sides[1]) / 2e-6
        assert float(np.sum(gradient * way)) == pytest.approx(slope, rel=1e-4, abs=1e-8), variable.name


@pytest.mark.parametrize("kind", NETS)
def test_gradients_on_grids_point_where_the_float_ones_do(kind: str) -> None:
    model = random_model(NETS[kind](), seed=3)
    loud = 0.3 if kind.startswith("wave") else 1.0  # a wave is cut at full scale
    given = tf.constant(loud * np.stack([frames(model.net, 20, seed) for seed in range(3)], 1))
    found = []
    for quantized in (False, True):
        network = Network(model.net)
        network.take(model.arrays)
        if quantized:
            network.quantize(model.ranges)
        with tf.GradientTape() as tape:
            results, _ = network.run(given, network.zero_states(3))
            loss = tf.reduce_mean(tf.square(results[-1] - 0.3))
        parts = tape.gradient(loss, network.trainable_weights, unconnected_gradients="zero")
        found.append(np.concatenate([part.numpy().reshape(-1) for part in parts] or [np.ones(1)]))
    real, straight = found
    cosine = np.dot(real, straight) / np.linalg.norm(real) / np.linalg.norm(straight)
    assert cosine > (0.9 if kind in ("everything", "gate") or kind.endswith(("8", "8-joint")) else 0.97)
