"""The Skip RNN over sequences: packed against the equations frame by frame, and against streaming."""

from __future__ import annotations

import numpy as np
import pytest

from tests.export_models import frames, random_model
from tinyse.engines.keras import KerasEngine
from tinyse.graph.model import Model, tinylstm
from tinyse.train.gated import Gated, pick
from tinyse.train.keras import tf
from tinyse.train.network import Network, restore

BANDS, LENGTH, BATCH = 8, 20, 3
FLOAT = random_model((6, 5), (7,), bands=BANDS, seed=2, quantized=False, skip=True)
INTEGER = random_model((6, 5), (7,), bands=BANDS, seed=2, skip=True)


def features(seed: int = 0) -> np.ndarray:
    return np.stack([frames(LENGTH, BANDS, seed + n) for n in range(BATCH)], 1)


def literal(network: Network, given: np.ndarray, ran: np.ndarray, run=None):
    """The paper's state update, frame by frame: new states and mask where ``ran`` is 1, the old where it is 0."""
    run = run or tf.function(network.run)
    states = network.zero_states(BATCH)
    mask, masks, gates = tf.zeros((BATCH, BANDS)), [], []
    for frame, g in zip(given, tf.constant(ran, tf.float32), strict=True):
        new, after = run(tf.constant(frame[np.newaxis]), states)
        keep = g[:, tf.newaxis]
        held = g[:, tf.newaxis, tf.newaxis, tf.newaxis]
        states = tf.nest.map_structure(lambda a, b, held=held: held * a + (1 - held) * b, after, states)
        mask = keep * new[-1][0, :, :-1] + (1 - keep) * mask
        masks.append(mask)
        gates.append(new[-1][0, :, -1])
    return tf.stack(masks), tf.stack(gates)


@pytest.mark.parametrize("model", [FLOAT, INTEGER], ids=["float", "integer"])
def test_the_sequence_is_the_papers_recursion(model: Model) -> None:
    network = restore(model)
    given = features()
    masks, ran = Gated(network).masks(tf.constant(given))
    slow, gates = literal(network, given, ran.numpy())
    assert 0.1 < ran.numpy().mean() < 0.9
    assert np.abs(masks.numpy() - slow.numpy()).max() < (1e-5 if model.ranges is None else 1e-6)
    u, p = np.zeros(BATCH), np.ones(BATCH)
    for frame in range(LENGTH):
        u = u + np.minimum(p, 1 - u)
        g = u >= 0.5
        assert np.array_equal(g, ran[frame])
        steps = np.clip(np.round(gates[frame].numpy() * 256), 1, 256) / 256
        p, u = np.where(g, steps, p), np.where(g, 0.0, u)


def test_streaming_equals_the_sequence() -> None:
    """Decisions included; the integer network's are held to TFLM's in test_skip_training.py."""
    given = features(5)
    masks, ran = Gated(restore(FLOAT)).masks(tf.constant(given))
    engine = KerasEngine(FLOAT)
    for column in range(BATCH):
        engine.reset()
        for frame in range(LENGTH):
            before = engine.gate.updates
            mask = engine.mask(given[frame, column])
            assert (engine.gate.updates > before) == bool(ran[frame, column])
            assert np.abs(mask - masks[frame, column].numpy()).max() < 1e-5


def test_the_gradient_is_the_recursions() -> None:
    """With the gates given, the packed loops' gradient is the slope of the literal recursion, for every weight."""
    network = restore(random_model((6, 5), (), bands=BANDS, seed=2, quantized=False, skip=True))  # ReLU has kinks
    given, target = features(7), np.random.default_rng(1).uniform(size=(LENGTH, BATCH, BANDS)).astype(np.float32)
    gated = Gated(network)
    found = gated.updates(tf.constant(given))
    _, ran = gated.masks(tf.constant(given))
    with tf.GradientTape() as tape:
        packed, _ = network.run(pick(tf.constant(given), found.frames), network.zero_states(BATCH))
        masks = pick(packed[-1], found.governor)[..., :-1]
        loss = tf.reduce_mean(tf.square(masks - target))
    fast = tape.gradient(loss, network.trainable_weights)
    rng, run = np.random.default_rng(2), tf.function(network.run)
    for variable, gradient in zip(network.trainable_weights, fast, strict=True):
        way = rng.normal(size=variable.shape).astype(np.float32)
        way /= np.linalg.norm(way)
        base, values = variable.numpy(), []
        for sign in (1, -1):
            variable.assign(base + sign * 1e-2 * way)
            slow, _ = literal(network, given, ran.numpy(), run)
            values.append(float(tf.reduce_mean(tf.square(tf.cast(slow, tf.float64) - target))))
        variable.assign(base)
        assert float(np.sum(gradient * way)) == pytest.approx((values[0] - values[1]) / 2e-2, rel=1e-2, abs=2e-6)


def test_an_open_gate_is_the_dense_network() -> None:
    network = Network(tinylstm(BANDS, (6, 5), (7,), BANDS + 1))
    given = tf.constant(features(3))
    masks, ran = Gated(network).masks(given)
    assert bool(tf.reduce_all(ran))
    dense, _ = network.run(given, network.zero_states(BATCH))
    assert np.abs(masks - dense[-1][..., :-1]).max() < 1e-6
