"""The fast LSTM against tf_keras', in values and in gradients; the integer one on its grids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.graph.grid import Grid, cell_power, sigmoid_table
from tinyse.graph.layers import LstmLayer
from tinyse.graph.net import Node
from tinyse.train.arithmetic import table_sigmoid, table_tanh
from tinyse.train.keras import tf, tf_keras
from tinyse.train.layers import Seen
from tinyse.train.layers.lstm import LstmGrids, LstmTwin


class Lstm:
    """The twin of an LSTM alone, on [T, B, in]."""

    def __init__(self, inputs, units):
        self.twin = LstmTwin(Node("lstm", LstmLayer(units), ("x",)), [(1, 1, inputs)])
        self.weights, self.set_weights = self.twin.weights, self.twin.set_weights

    def on(self, grids):
        self.twin.places = grids

    def run(self, x, state=None):
        h, state = self.twin.run((x[:, :, None, None],), state or self.twin.zero_state(x.shape[1]), self.twin.held(),
                                 Seen())
        return h[:, :, 0, 0], state

    def __call__(self, x):
        return self.run(x)[0]


def pair(inputs, units, seed):
    rng = np.random.default_rng(seed)
    ours = Lstm(inputs, units)
    theirs = tf_keras.layers.LSTM(units, return_sequences=True)
    theirs.build((None, None, inputs))
    weights = [rng.normal(size=v.shape).astype(np.float32) * 0.3 for v in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 3), st.integers(1, 12), st.integers(0, 99))
def test_equals_keras_in_value_and_gradient(inputs, units, batch, frames, seed):
    ours, theirs = pair(inputs, units, seed)
    x = tf.constant(np.random.default_rng(seed).normal(size=(batch, frames, inputs)).astype(np.float32))
    target = np.random.default_rng(seed + 1).normal(size=(batch, frames, units)).astype(np.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        a = tf.transpose(ours(tf.transpose(x, (1, 0, 2))), (1, 0, 2))
        b = theirs(x)
        loss_a, loss_b = (tf.reduce_sum(y * target) for y in (a, b))
    np.testing.assert_allclose(a, b, atol=2e-5)
    np.testing.assert_allclose(tape.gradient(loss_a, x), tape.gradient(loss_b, x), atol=2e-4)
    for one, other in zip(tape.gradient(loss_a, ours.weights), tape.gradient(loss_b, theirs.weights), strict=True):
        np.testing.assert_allclose(one, other, atol=3e-4)


@pytest.mark.parametrize("grids", [None, LstmGrids(Grid.of_range(-3, 3), Grid.of_range(-1, 1), 13, True)])
def test_stream_equals_sequence(grids):
    ours, _ = pair(5, 6, 3)
    ours.on(grids)
    x = np.random.default_rng(0).normal(size=(20, 2, 5)).astype(np.float32)
    if grids is not None:
        x = np.round(x / grids.x.scale) * np.float32(grids.x.scale)
    whole, last = ours.run(tf.constant(x))
    state = None
    for t in range(20):
        h, state = ours.run(tf.constant(x[t : t + 1]), state)
        np.testing.assert_allclose(h[0], whole[t], atol=1e-6)
    np.testing.assert_allclose(state[1], last[1], atol=1e-6)


def test_hidden_state_lies_on_its_grid_and_tracks_float():
    ours, _ = pair(8, 16, 1)
    x = np.random.default_rng(1).normal(size=(30, 2, 8)).astype(np.float32)
    grids = LstmGrids(Grid.of_range(-4, 4), Grid.of_range(-1, 1), 12)
    x = np.round(x / grids.x.scale).clip(-127, 127) * np.float32(grids.x.scale)
    real = ours(tf.constant(x)).numpy()
    ours.on(grids)
    rounded = ours(tf.constant(x)).numpy()
    steps = rounded / grids.h.scale
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert 0 < np.abs(rounded - real).max() < 0.08
    ours.on(LstmGrids(grids.x, grids.h, 12, exact=True))
    exact = ours(tf.constant(x)).numpy()
    assert np.abs(exact - rounded).max() <= 2 * grids.h.scale + 1e-6
    assert np.mean(np.abs(exact - rounded) > 1e-6) < 0.05


def test_integer_gradient_is_close_to_float_gradient():
    ours, _ = pair(8, 16, 2)
    grids = LstmGrids(Grid.of_range(-4, 4), Grid.of_range(-1, 1), 12)
    x = np.random.default_rng(1).normal(size=(20, 2, 8)).astype(np.float32)
    x = tf.constant(np.round(x / grids.x.scale).clip(-127, 127) * np.float32(grids.x.scale))

    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(ours(x)))
        return np.concatenate([g.numpy().reshape(-1) for g in tape.gradient(loss, ours.weights)])

    real = gradient()
    ours.on(grids)
    straight = gradient()
    cosine = np.dot(real, straight) / np.linalg.norm(real) / np.linalg.norm(straight)
    assert cosine > 0.99


def test_tables_follow_the_functions():
    z = np.arange(-32768, 32768, 7, dtype=np.float64)
    np.testing.assert_allclose(table_sigmoid(tf.constant(z)) / 32768, 1 / (1 + np.exp(-z / 4096)), atol=1e-4)
    for power in (15, 12, 10):
        np.testing.assert_allclose(table_tanh(tf.constant(z), power) / 32768, np.tanh(z * 2.0**-power), atol=1e-4)
    assert sigmoid_table()[0] == 32768 and sigmoid_table()[-1] <= 65535


@given(st.floats(-50, 0), st.floats(0, 50))
def test_grid_holds_zero_and_covers_the_range(low, high):
    grid = Grid.of_range(low, high)
    assert -128 <= grid.zero_point <= 127
    assert grid.low <= low + grid.scale and grid.high >= high - grid.scale


@pytest.mark.parametrize(("peak", "power"), [(0.9, 15), (1.0, 15), (1.5, 14), (8.0, 12), (8.1, 11)])
def test_cell_power_covers_the_peak(peak, power):
    assert cell_power(-peak, 0.1) == power
