"""Learns which exit a frame stops at: what each exit's mask would cost in loss there, against what it takes to compute.

Papers: the follow-up of dynamic nsNet2, a small GRU that chooses the exit of every frame, with a straight-through
estimator: forwards the choice is the largest of its logits, backwards it is their softmax. A frame that stops early
leaves the GRUs of later parts as they were, in training as in the firmware, and each mask is what it would be if its
parts ran on the states as they are. So the loss D_k of every exit's mask is known on every frame, and what is minimized
is, with c_k the MACs of router and exit k as a share of those of router and last exit::

    L(chosen masks) + mean over frames of sum_k y_k (D_k + toll c_k)        y the choice, D_k held fast

D_k are differences of the loss, not its slope at the chosen mask, as in ``tinyse.train.skipping``; the gradient also
goes through y into the states that it moves. Half of the sequences of a batch are routed; each of the others stops at
one exit throughout, so that fixed exits stay what they were (ours).

Nobody tunes the toll: at -(a . b) / (b . b), with a and b the gradients of D's and the cost's sums by the logits'
biases, the cost pushes as hard towards early exits as the loss pulls to late ones. A controller moves the toll around
that price, and the biases by what is missed, until the mean cost follows a line from 1 to ``route.cost``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinyse.graph.net import Net
from tinyse.train.budget import Budget
from tinyse.train.compression import RoutePart
from tinyse.train.keras import tf
from tinyse.train.lanes import Lanes, gradients
from tinyse.train.loss import compressed_error, energy_error, enhanced_magnitude, level_weights
from tinyse.train.network import Network
from tinyse.train.skipping import DECIBEL


def exit_costs(net: Net) -> tuple[float, ...]:
    """MACs of a frame that stops at each exit, as a share of the last exit's; of both with the router's."""
    return tuple(macs / net.exit_macs[-1] for macs in net.exit_macs)


def choose(logits: Any) -> Any:
    """1 for the largest of logits [..., exits], of equal ones the first, else 0; the gradient is their softmax's."""
    soft = tf.nn.softmax(logits)
    hard = tf.one_hot(tf.argmax(logits, -1), logits.shape[-1], dtype=logits.dtype)
    return hard + (soft - tf.stop_gradient(soft))


def chosen(masks: list[Any], choice: Any) -> Any:
    """The masks [T, B, outputs] that a choice [T, B, exits] of 0 and 1 takes."""
    return tf.add_n([mask * choice[..., at : at + 1] for at, mask in enumerate(masks)])


def routed(network: Network, features: Any) -> tuple[Any, Any]:
    """features [T, B, inputs] -> what the router makes of them [T, B, outputs], and its choice [T, B, exits]."""
    found: list[Any] = []

    def route(logits: Any) -> Any:
        found.append(tf.stop_gradient(choose(logits)))
        return found[0]

    results, _ = network.run(features, network.zero_states(features.shape[1]), route=route)
    masks = [result for result in results if result is not None]
    return masks[0] if network.net.widths else chosen(masks, found[0]), found[0]


class Toll(Budget):
    """The cost of work, which leads a mean frame's MACs to ``route.cost``.

    Attributes:
        costs: of every exit. rate: running mean of the mean cost.
    """

    def __init__(self, part: RoutePart, net: Net, first: int, steps: int) -> None:
        super().__init__(part.cost, *(first + int(share * steps) for share in (part.begin, part.end)))
        self.costs = np.array(exit_costs(net), np.float32)

    def shifts(self, step: int, price: float | None, mean: float) -> Any:
        """Note what a step saw; what to add to the biases of the choice, along the costs."""
        spread = (self.costs - self.costs.mean()) / max(float(np.ptp(self.costs)), 1e-6)
        return np.float32(self.after_step(step, price, mean)) * spread


class RoutedLanes(Lanes):
    """Gradients of a network with a router.

    Attributes:
        budget: sets the toll.
    """

    def __init__(self, *given: Any, budget: Toll, **named: Any) -> None:
        super().__init__(*given, **named)
        self.budget = budget
        self._routed = tf.function(self._route, jit_compile=self.compiled or None)
        self._gradient = self._lane_gradient
        self._sums: list[Any] = []
        self._lock = threading.Lock()
        self._toll, self._turn = 0.0, 0

    def _forced(self, batch: int, turn: Any) -> tuple[Any, Any]:
        """1 for the sequences that are routed, else 0, [B, 1]; the exits of the others, [B, exits]."""
        exits = len(self.budget.costs)
        free = tf.constant(np.arange(batch) < (batch + 1) // 2, tf.float32)[:, tf.newaxis]
        return free, tf.one_hot((tf.range(batch) + turn) % exits, exits) * (1.0 - free)

    def _route(self, turn: Any, toll: Any, *batch: Any) -> Any:
        network, statistics = self.network, self.new_statistics()
        free, forced = self._forced(batch[0].shape[1], turn)
        seen: list[Any] = []
        with tf.GradientTape() as tape:
            def route(logits: Any) -> Any:
                seen.extend((logits, choose(logits)))
                return seen[1] * free + forced

            results, _ = network.run(batch[0], network.zero_states(batch[0].shape[1]), statistics=statistics,
                                     route=route)
            masks = [result for result in results if result is not None]
            taken = tf.stop_gradient(seen[1] * free + forced)
            mask = chosen(masks, taken)
            loss = self._result_loss(mask, batch)
            delta = self._exit_losses(masks, mask, batch)
            costs = tf.constant(self.budget.costs)
            count = tf.reduce_sum(free) * float(batch[0].shape[0])
            term = tf.reduce_sum(seen[1] * free * (delta + toll * costs)) / count
            total = loss + term - tf.stop_gradient(term)
        soft = tf.nn.softmax(seen[0])
        pulls, pushes = (tf.reduce_sum(soft * free * (values - tf.reduce_sum(soft * values, -1, keepdims=True)), (0, 1))
                         for values in (delta, tf.broadcast_to(costs, tf.shape(delta))))
        mean = tf.reduce_sum(taken * free * costs) / count
        sums = tf.stack([tf.reduce_sum(pulls * pushes), tf.reduce_sum(pushes * pushes), mean])
        return loss, gradients(tape, total, network), statistics or {}, sums

    def _exit_losses(self, masks: list[Any], taken: Any, batch: tuple[Any, ...]) -> Any:
        """D [T, B, exits], in units of the loss, of every exit's mask; no gradient."""
        _, clean, noisy, cosine, waves = batch[:5]
        heard = [enhanced_magnitude(tf.stop_gradient(mask), noisy, self._lift) for mask in (*masks, taken)]
        parts = []
        if self.loss != "si_sdr":
            weight = 1.0 if self.loss == "compressed" else self.spectral
            levels = level_weights(waves[1])[:, tf.newaxis] if self.loss == "levelled" else 1.0
            parts.append([weight * levels * tf.reduce_mean(compressed_error(each, clean, cosine), -1, keepdims=True)
                          for each in heard[:-1]])
        if self.loss != "compressed":
            whole = tf.reduce_mean(energy_error(heard[-1], clean, cosine), (0, 2))[:, tf.newaxis]
            parts.append([DECIBEL * tf.reduce_mean(energy_error(each, clean, cosine), -1, keepdims=True)
                          / tf.maximum(whole, 1e-12) for each in heard[:-1]])
        return tf.concat([tf.add_n(list(each)) for each in zip(*parts, strict=True)], -1)

    def _lane_gradient(self, *batch: Any) -> Any:
        given = tf.constant(self._turn), tf.constant(self._toll, tf.float32)
        loss, passed, statistics, sums = self._routed(*given, *batch)
        with self._lock:
            self._sums.append(sums.numpy())
        return loss, passed, statistics

    @contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Around the optimizer: the budget is told what the step saw."""
        yield
        seen = sorted(tuple(map(float, sums)) for sums in self._sums)
        pull, push, mean = (sum(column) / self.lanes for column in zip(*seen, strict=True))
        price = -pull / push if push > 0 else None
        bias = self.network.choice.array("bias")
        bias.assign(bias + self.budget.shifts(step, price, mean))

    def gradient_step(self, step: int) -> tuple[float, list[Any]]:
        """Loss and gradients of step ``step``; the loss is without the toll."""
        self._toll, self._turn, self._sums = self.budget.cost(step), step, []
        return super().gradient_step(step)
