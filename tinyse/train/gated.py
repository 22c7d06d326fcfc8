"""A Skip RNN over whole sequences: first which frames are updates, then the network over those frames alone.

States move on updates only, and after an update with P the next one is ceil(128 / P) frames later (graph/skip.py).
So skipped frames need not exist: each sequence of a batch is packed to its updates, the ordinary network runs over the
packed frames with its fast loops, and each frame takes the mask of the update that governs it. ::

    gated = Gated(network)
    masks, ran = gated.masks(features)        # [T, B, bands], [T, B]

To know the updates, a first pass without gradients walks through them: all layers, one update after the other, all
sequences of the batch side by side, each at its own frame, with the weights rounded once. A step costs what the
updates cost, so half the updates cost little more than half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinyse.graph.skip import DUE, FULL, LEAST
from tinyse.train.keras import tf
from tinyse.train.network import Network

BUCKETS = 8
"""Packed lengths are rounded up to this part of the sequence: a graph is traced for few lengths."""


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


def update_frames(network: Network, features: Any) -> Any:
    """features [T, B, bands] -> int32 [T, B]: frame of every sequence's k-th update, T where it has none."""
    length, batch, _ = features.shape
    held, at = network.held(), network.gate[1]
    found = tf.TensorArray(tf.int32, length, element_shape=(batch,))
    found = found.unstack(tf.fill((length, batch), length))

    def body(k: Any, frame: Any, states: Any, found: Any) -> Any:
        results, states = network.run(pick(features, frame[tf.newaxis]), states, held=held)
        wait = tf.cast(tf.math.ceil(DUE / whole_steps(results[-1][0, :, at])), tf.int32)
        return k + 1, tf.minimum(frame + wait, length), states, found.write(k, frame)

    start = (tf.constant(0), tf.zeros((batch,), tf.int32), network.zero_states(batch), found)
    final = tf.while_loop(lambda k, frame, *_: tf.reduce_any(frame < length), body, start, maximum_iterations=length)
    return final[3].stack()


def governors(frames: Any, length: int) -> Any:
    """int32 [length, B]: number of the update that governs each frame."""
    return tf.cumsum(tf.reduce_sum(tf.one_hot(frames, length, axis=0, dtype=tf.int32), axis=1)) - 1


class Gated:
    """A Skip RNN's network with its gate, over sequences; graphs are traced once for each shape."""

    def __init__(self, network: Network, compiled: bool = False) -> None:
        """Trace nothing yet; ``compiled`` has XLA fuse the elementwise work."""
        self.network = network

        def find(features: Any) -> Any:
            frames = update_frames(network, features)
            return frames, governors(frames, features.shape[0])

        def run(features: Any, frames: Any, governor: Any) -> Any:
            packed = pick(features, frames)
            results, _ = network.run(packed, network.zero_states(packed.shape[1]))
            return pick(network.bands(results), governor)

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
