"""Several widths of one set of weights: sequences at every width, and with a router at those that it chooses.

Papers: adaptive slimming of DEMUCS (arXiv 2507.04879). Only the widest part runs, with the channels that a frame's
width does not have at zero: states then are what they are where widths change within a sequence, and integers are those
of the narrow parts. Each width has as many sequences of a batch as the next. With a router half of the
sequences are routed, from the first step on, by a straight-through choice; the others keep the fixed widths what they
were (ours). Beside their loss stand, with c the MACs of a frame as a share of the widest's, p the mean choice::

    route.efficiency |mean c - route.cost|  +  route.balance sum_k p_k ln(W p_k)      W widths
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyse.graph.net import Net
from tinyse.train.compression import RoutePart
from tinyse.train.keras import tf
from tinyse.train.lanes import Lanes, gradients
from tinyse.train.routing import choose, exit_costs

Chooser = Callable[[Any], Any]


def at_width(net: Net, features: Any, exit: int = -1) -> Chooser:
    """What has every frame of features [T, B, inputs] run at one width, by default the whole."""
    count = len(net.exits)
    return lambda _: tf.one_hot(tf.fill(features.shape[:2], exit % count), count)


def at_each(net: Net, features: Any, turn: Any = 0) -> Chooser:
    """What has the sequences of features [T, B, inputs] run at one width after the other."""
    frames, batch, _ = features.shape
    count = len(net.exits)
    return lambda _: tf.tile(tf.one_hot((tf.range(batch) + turn) % count, count)[tf.newaxis], (frames, 1, 1))


class SlimLanes(Lanes):
    """Gradients of a network of several widths; ``part``: what its router is asked for."""

    def __init__(self, *given: Any, part: RoutePart, **named: Any) -> None:
        super().__init__(*given, **named)
        self.part = part
        self._slimmed = tf.function(self._slim, jit_compile=self.compiled or None)
        self._gradient = lambda *batch: self._slimmed(tf.constant(self._turn), *batch)
        self._turn = 0

    def _slim(self, turn: Any, *batch: Any) -> Any:
        network, features = self.network, batch[0]
        fixed, routed = at_each(network.net, features, turn)(None), network.net.route is not None
        free = tf.constant(np.arange(features.shape[1]) < (features.shape[1] + 1) // 2, features.dtype)[:, tf.newaxis]
        asked: list[Any] = []

        def route(logits: Any) -> Any:
            if not routed:
                return fixed
            asked.append(choose(logits))
            return asked[0] * free + fixed * (1.0 - free)

        statistics = self.new_statistics()
        with tf.GradientTape() as tape:
            results, _ = network.run(features, network.zero_states(features.shape[1]), statistics=statistics,
                                     route=route)
            loss = total = self._result_loss(results[-1], batch)
            if routed:
                share = tf.reduce_sum(asked[0] * free, (0, 1)) / (tf.reduce_sum(free) * float(features.shape[0]))
                total = loss + self._wish(share)
        return loss, gradients(tape, total, network), statistics or {}

    def _wish(self, share: Any) -> Any:
        """The penalty of a mean choice [widths]."""
        costs = tf.constant(exit_costs(self.network.net), share.dtype)
        apart = tf.abs(tf.reduce_sum(share * costs) - self.part.cost)
        uneven = tf.reduce_sum(share * tf.math.log(len(costs) * share + 1e-6))
        return self.part.efficiency * apart + self.part.balance * uneven

    def gradient_step(self, step: int) -> tuple[float, list[Any]]:
        """Loss and gradients of step ``step``; the loss is without the router's penalty."""
        self._turn = step
        return super().gradient_step(step)
