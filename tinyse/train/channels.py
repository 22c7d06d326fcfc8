"""Learns which channels to open: what a gate is worth in loss, against what the budget asks for an open channel.

A channel is open where its gate's sum v is at least 1/2, and gradients pass as if the step had the slope s(v)
(``tinyse.train.arithmetic.step_slope``). Every gate's bias is pulled by the loss, and pushed by cost * mean(s) / N, N
the channels of all gates. At the cost ``-sum of dL/dbias / sum of mean(s) / N`` both are alike over all channels: that
is the price, around which ``tinyse.train.budget`` leads the share of open channels to ``gates.share``; what it misses
moves all biases together. So every gate may open as many channels as it is worth, and only their mean is fixed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tinyse.train.budget import Budget
from tinyse.train.keras import tf
from tinyse.train.lanes import Lanes, gradients


def by_channel(seen: Mapping[str, Any], what: str, twins: Sequence[Any]) -> Any:
    """Means over frames of what gates showed ("open", "slope"), every channel of all of them."""
    return tf.concat([tf.reduce_mean(tf.reshape(seen[f"{twin.name}.{what}"], (-1, twin.units)), 0) for twin in twins],
                     0)


class ChannelLanes(Lanes):
    """Gradients of a network with channel gates, with the budget's push on their biases.

    Attributes:
        budget: sets the cost.
    """

    def __init__(self, *given: Any, budget: Budget, **named: Any) -> None:
        super().__init__(*given, **named)
        self.budget = budget
        self._gates = self.network.channel_gates
        place = {id(variable): at for at, variable in enumerate(self.network.trainable_weights)}
        self._places = [place[id(twin.array("bias"))] for twin in self._gates]
        self._measured = tf.function(self._measure, jit_compile=self.compiled or None)
        self._gradient = self._lane_gradient
        self._lanes_seen: list[tuple[Any, Any]] = []
        self._lock = threading.Lock()
        self._found: tuple[float | None, float] = (None, 1.0)

    def _measure(self, *batch: Any) -> Any:
        network, statistics = self.network, self.new_statistics()
        seen: dict[str, Any] = {}
        with tf.GradientTape() as tape:
            results, _ = network.run(batch[0], network.zero_states(batch[0].shape[1]), seen, statistics)
            loss = self._loss(results, batch)
        shares, slopes = by_channel(seen, "open", self._gates), by_channel(seen, "slope", self._gates)
        return loss, gradients(tape, loss, network), statistics or {}, shares, slopes

    def _lane_gradient(self, *batch: Any) -> Any:
        loss, passed, statistics, shares, slopes = self._measured(*batch)
        with self._lock:
            self._lanes_seen.append((shares, slopes))
        return loss, passed, statistics

    def gradient_step(self, step: int) -> tuple[float, list[Any]]:
        """Loss and gradients of step ``step``, the budget's push among them; the loss is without it."""
        self._lanes_seen = []
        loss, found = super().gradient_step(step)
        passed = list(found)
        shares, slopes = (tf.add_n(parts) / self.lanes for parts in zip(*self._lanes_seen, strict=True))
        slopes = slopes / float(slopes.shape[0])
        pulled = -float(sum(tf.reduce_sum(passed[at]) for at in self._places))
        self._found = pulled / float(tf.reduce_sum(slopes)), float(tf.reduce_mean(shares))
        pushes = tf.split(self.budget.cost(step) * slopes, [twin.units for twin in self._gates])
        for at, push in zip(self._places, pushes, strict=True):
            passed[at] = passed[at] + push
        return loss, passed

    @contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Around the optimizer: the budget is told what the step saw, and moves the biases."""
        yield
        shift = self.budget.after_step(step, *self._found)
        for twin in self._gates:
            twin.array("bias").assign_add(tf.fill((twin.units,), shift))
