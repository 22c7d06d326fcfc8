"""A Skip RNN over whole sequences: first which frames are updates, then the network over those frames alone.

States move on updates only, and after an update with P the next one is ceil(128 / P) frames later (``tinyse.skip``).
So skipped frames need not exist: each sequence of a batch is packed to its updates, the ordinary network runs over the
packed frames with its fast loops, and each frame takes the mask of the update that governs it. ::

    gated = Gated(network)
    masks, ran = gated.masks(features)        # [T, B, bands], [T, B]

To know the updates, a first pass without gradients walks through them: all layers, one update after the other, all
sequences of the batch side by side, each at its own frame. It computes what ``EnhancerNetwork.run`` computes, with the
weights rounded once. A step costs what the updates cost, so half the updates cost little more than half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.fixedpoint import sigmoid8_table
from tinyse.graph.grid import GATE_ONE, INT16, Grid
from tinyse.keras import tf
from tinyse.lstm import Rescale, _float_gates, _integer_gates, on_gate_grid, to_grid
from tinyse.network import EnhancerNetwork
from tinyse.skip import DUE, FULL, LEAST

BUCKETS = 8
"""Packed lengths are rounded up to this part of the sequence: a graph is traced for few lengths."""

Step = Callable[[Any, list[Any]], tuple[Any, list[Any]]]


@dataclass(frozen=True)
class Updates:
    """Which frames of a batch run the network.

    Attributes:
        frames: int32 [K, B], the frame of each sequence's k-th update; T where it has none.
        governor: int32 [T, B], number of the update whose mask a frame has.
        shortest: a count of updates that every sequence has.
    """

    frames: Any
    governor: Any
    shortest: int


def pick(values: Any, frames: Any) -> Any:
    """Rows ``frames`` [K, B] of ``values`` [T, B, n] -> [K, B, n]; past the end the last one."""
    length, batch = values.shape[0], values.shape[1]
    at = tf.clip_by_value(frames, 0, length - 1)
    columns = tf.broadcast_to(tf.range(batch)[tf.newaxis], tf.shape(at))
    return tf.gather_nd(values, tf.stack([at, columns], -1))


def whole_steps(p: Any) -> Any:
    """p~ in 0..1 as P, float 1..256."""
    return tf.clip_by_value(tf.round(p * FULL), LEAST, FULL)


def _dense_step(layer: Any, dtype: Any) -> Callable[[Any], Any]:
    """One fully connected layer on [B, in]; integers in and out where it has grids."""
    if layer.x is None or layer.out is None:
        return lambda x: layer(x)
    scale = tf.maximum(tf.reduce_max(tf.abs(layer.kernel), axis=0), 1e-8) / 127.0
    kernel = tf.cast(tf.round(layer.kernel / scale), dtype)
    unit = tf.cast(scale * layer.x.scale, dtype)
    bias, rescale = tf.round(tf.cast(layer.bias, dtype) / unit), Rescale.of(unit / layer.out.scale)
    low, high = -128.0 - layer.out.zero_point, 127.0 - layer.out.zero_point
    low = max(low, 0.0) if layer.activation == "relu" else low
    return lambda x: tf.clip_by_value(rescale(tf.matmul(x, kernel) + bias), low, high)


def _lstm_step(layer: Any, dtype: Any) -> Callable[[Any, Any], Any]:
    """One LSTM on x [B, in] and (h, c) -> (h, c); integers where it has grids."""
    if layer.grids is None:

        def real(x: Any, state: Any) -> Any:
            z = tf.matmul(x, layer.kernel) + layer.bias + tf.matmul(state[0], layer.recurrent_kernel)
            _, c, _, h = _float_gates(z, state[1], layer.units)
            return h, c

        return real
    grids = layer.grids
    rounded, scale = on_gate_grid(layer.kernel)
    kernel, unit = tf.cast(tf.round(rounded / scale), dtype), tf.cast(scale, dtype) * grids.x.scale
    bias, enter = tf.round(tf.cast(layer.bias, dtype) / unit), Rescale.of(unit * GATE_ONE)
    rounded, scale = on_gate_grid(layer.recurrent_kernel)
    recurrent = tf.cast(tf.round(rounded / scale), dtype)
    again = Rescale.of(tf.cast(scale, dtype) * (grids.h.scale * GATE_ONE))

    def clip(z: Any) -> Any:
        return tf.clip_by_value(z, -INT16 - 1.0, INT16)

    def integer(x: Any, state: Any) -> Any:
        z = clip(clip(enter(tf.matmul(x, kernel) + bias)) + clip(again(tf.matmul(state[0], recurrent))))
        _, c, _, h = _integer_gates(z, state[1], layer.units, grids)
        return h, c

    return integer


def _steps_table(logits: Grid) -> NDArray[np.float32]:
    """P of every logit, index = integer + 128."""
    table = sigmoid8_table(logits.scale, logits.zero_point).astype(np.float32) + 128.0
    return np.maximum(table, LEAST).astype(np.float32)


def stepper(network: EnhancerNetwork) -> tuple[Step, Any]:
    """The network one frame at a time: (features [B, bands], states) -> (P [B], states), and the states' dtype."""
    grid = network.input_grid
    grids = network.lstms[0].grids
    dtype = tf.float64 if grids is not None and grids.exact else tf.float32
    lstms = [_lstm_step(layer, dtype) for layer in network.lstms]
    denses = [_dense_step(layer, dtype) for layer in network.denses]
    out = network.denses[-1].out
    table = None if out is None else tf.constant(_steps_table(out))

    def step(features: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        x = (features - network.shift) / network.scale if grid is None else tf.cast(to_grid(features, grid), dtype)
        after = []
        for run, state in zip(lstms, states, strict=True):
            h, c = run(x, state)
            after.append((h, c))
            x = h
        for dense in denses:
            x = dense(x)
        if table is None or out is None:
            return whole_steps(tf.sigmoid(x[:, -1])), after
        index = tf.cast(x[:, -1], tf.int32) + (out.zero_point + 128)
        return tf.gather(table, tf.clip_by_value(index, 0, 255)), after

    return step, dtype


def update_frames(network: EnhancerNetwork, features: Any) -> Any:
    """features [T, B, bands] -> int32 [T, B]: frame of every sequence's k-th update, T where it has none."""
    length, batch, _ = features.shape
    step, dtype = stepper(network)
    states = tf.nest.map_structure(lambda state: tf.cast(state, dtype), network.zero_states(batch))
    found = tf.TensorArray(tf.int32, length, element_shape=(batch,))
    found = found.unstack(tf.fill((length, batch), length))

    def body(k: Any, frame: Any, states: Any, found: Any) -> Any:
        p, states = step(pick(features, frame[tf.newaxis])[0], states)
        wait = tf.cast(tf.math.ceil(DUE / p), tf.int32)
        return k + 1, tf.minimum(frame + wait, length), states, found.write(k, frame)

    start = (tf.constant(0), tf.zeros((batch,), tf.int32), states, found)
    final = tf.while_loop(lambda k, frame, *_: tf.reduce_any(frame < length), body, start, maximum_iterations=length)
    return final[3].stack()


def governors(frames: Any, length: int) -> Any:
    """int32 [length, B]: number of the update that governs each frame."""
    return tf.cumsum(tf.reduce_sum(tf.one_hot(frames, length, axis=0, dtype=tf.int32), axis=1)) - 1


class Gated:
    """A Skip RNN's network with its gate, over sequences; graphs are traced once for each shape."""

    def __init__(self, network: EnhancerNetwork, compiled: bool = False) -> None:
        """Trace nothing yet; ``compiled`` has XLA fuse the elementwise work."""
        self.network = network

        def find(features: Any) -> Any:
            frames = update_frames(network, features)
            return frames, governors(frames, features.shape[0])

        def run(features: Any, frames: Any, governor: Any) -> Any:
            packed = pick(features, frames)
            masks, _ = network.run(packed, network.zero_states(packed.shape[1]))
            return pick(masks, governor)[..., : network.spec.bands]

        self._find = tf.function(find, jit_compile=compiled or None)
        self._run = tf.function(run, jit_compile=compiled or None)

    def updates(self, features: Any) -> Updates:
        """The updates in features [T, B, bands]."""
        frames, governor = self._find(features)
        length = features.shape[0]
        counts = tf.reduce_sum(tf.cast(frames < length, tf.int32), 0).numpy()
        bucket = -(-length // BUCKETS)
        kept = min(length, -(-int(counts.max()) // bucket) * bucket)
        return Updates(frames[:kept], governor, max(1, int(counts.min()) // bucket * bucket))

    def masks(self, features: Any) -> tuple[Any, Any]:
        """features [T, B, bands] -> masks [T, B, bands], and whether each frame ran, bool [T, B]."""
        found = self.updates(features)
        masks = self._run(features, found.frames, found.governor)
        before = tf.pad(found.governor[:-1], ((1, 0), (0, 0)), constant_values=-1)
        return masks, found.governor > before
