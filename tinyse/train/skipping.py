"""Learns when a Skip RNN updates: what moving an update costs in loss, against what it saves.

Papers: Skip RNN (Campos et al. 2018), ``loss += cost * mean(g)``; g is rounded, so p~ needs a gradient of our choice.
An update k holds its mask for d_k frames, d = 1 / (2 p~) but for rounding. If the next update came one frame later, one
more frame would be heard through the old mask; if it came one earlier, one less. With l(frame; mask) the loss of a
frame and n the next update's frame::

    D_k = 1/2 [l(n; m_k) - l(n; m_k+1) + l(n-1; m_k) - l(n-1; m_k+1)]      (the first half alone where d_k = 1)
    dL/dd_k = (D_k - cost * rate) / (frames * batch)                       each frame of delay saves ``rate`` updates
    dL/dp~_k = -dL/dd_k / (2 p~^2)

These are differences of the loss, not its slope at the present mask: where masks fit their frames the slope is nothing,
the difference is not. docs/skip.md says which paths of the straight-through gradient this keeps.

Nobody tunes the cost: at ``sum of w D / sum of w / rate``, with w = |dd/dlogit|, the budget pushes updates apart as
hard as the loss pulls them together, and what is learnt is where they belong. A controller moves the cost around that
price, and the bias of p~ by what is missed, until the share of updates follows a line from 1 to ``skip.rate``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinyse.graph.skip import FULL
from tinyse.train.gated import Gated, Updates, pick
from tinyse.train.keras import tf
from tinyse.train.lanes import Lanes, gradients
from tinyse.train.loss import compressed_error, energy_error, enhanced_magnitude
from tinyse.train.recipe import SkipPart

SMOOTH_PRICE, SMOOTH_RATE = 0.95, 0.8
"""Of the running means of price and update rate."""
GAIN, LIMIT = 4.0, 1.0
"""How the cost leaves the price, e^(GAIN log(rate / wanted)), by a factor e^LIMIT at most."""
SHIFT, SHIFT_LIMIT = 0.1, 0.1
"""Part of the missing log rate that the bias makes good in one step, and at most how much."""
DECIBEL = 10.0 / float(np.log(10.0))
"""dB of SDR for a share of the error's energy."""
SPEED = 10.0
"""Steps of p~'s weights are so many times those of others: Adam's are alike for all, and these have a short phase to
come from zero in (docs/skip.md)."""


class Budget:
    """The cost of an update, which leads the share of updates to ``skip.rate``.

    Attributes:
        price: running mean of the cost at which nothing pushes; None before the first step.
        rate: running mean of the share of updates.
    """

    def __init__(self, part: SkipPart, first: int, steps: int) -> None:
        self.part = part
        self.begin, self.end = first + int(part.begin * steps), first + int(part.end * steps)
        self.price: float | None = None
        self.rate = 1.0

    @property
    def last(self) -> int:
        """The step from which the wanted rate stays."""
        return self.end

    def wanted(self, step: int) -> float:
        """Share of updates wanted after step ``step``."""
        done = min(1.0, max(0.0, (step - self.begin) / max(1, self.end - self.begin)))
        return 1.0 - (1.0 - self.part.rate) * done

    def cost(self, step: int) -> float:
        """Cost of an update at step ``step``: loss a unit of mean(g)."""
        if self.part.cost is not None:
            return self.part.cost
        push = GAIN * float(np.log(self.rate / self.wanted(step)))
        return max(self.price or 0.0, 0.0) * float(np.exp(np.clip(push, -LIMIT, LIMIT)))

    def after_step(self, step: int, price: float | None, rate: float, gate: tuple[Any, int]) -> None:
        """Note what a step saw; move the bias of p~, output ``gate[1]`` of the twin ``gate[0]``."""
        if price is not None:
            self.price = price if self.price is None else SMOOTH_PRICE * self.price + (1 - SMOOTH_PRICE) * price
        self.rate = SMOOTH_RATE * self.rate + (1 - SMOOTH_RATE) * rate
        if self.part.cost is None and step >= self.begin:
            self.move(float(np.log(self.wanted(step) / self.rate)), gate)

    def move(self, missed: float, gate: tuple[Any, int]) -> None:
        """Move the bias of p~ by what of the log rate is missed."""
        variable = gate[0].array("bias")
        bias = variable.numpy()
        bias[gate[1]] += np.clip(missed * SHIFT, -SHIFT_LIMIT, SHIFT_LIMIT)
        variable.assign(bias)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"price": self.price, "rate": self.rate}

    def restore(self, state: dict[str, Any]) -> None:
        """Take it up again."""
        self.price, self.rate = state["price"], state["rate"]


def delays(masks: Any, frames: Any, spectra: tuple[Any, Any, Any], lift: Any,
           error: Callable[[Any, Any, Any], Any] = compressed_error) -> tuple[Any, Any]:
    """What each update's successor would cost one frame later.

    Args:
        masks: [K, B, bands], of the updates.
        frames: int32 [K, B], theirs; the length T where there is none.
        spectra: clean, noisy, cosine, each [T, B, bins], as ``tinyse.train.loss`` takes them.
        lift: [bands, bins].
        error: of every bin, from ``tinyse.train.loss``; its mean over a frame's bins is l.

    Returns:
        D [K, B], zero where there is no successor; and where there is one, as 0 and 1.
    """
    length = spectra[0].shape[0]
    after = tf.concat([frames[1:], tf.fill(frames[:1].shape, length)], 0)
    old = enhanced_magnitude(masks, tf.ones(()), lift)  # gains: the same update is heard in several frames
    new = tf.concat([old[1:], old[-1:]], 0)
    there = tf.cast(after < length, masks.dtype)

    def gained(at: Any) -> Any:
        clean, noisy, cosine = (pick(part, at) for part in spectra)
        late, right = (error(gain * noisy, clean, cosine) for gain in (old, new))
        return tf.reduce_mean(late - right, -1)

    later, sooner = gained(after), gained(after - 1)
    longer = after - frames > 1
    return there * tf.where(longer, 0.5 * (later + sooner), later), there


def push(p: Any, delay: Any, there: Any, saved: Any, frames: int) -> tuple[Any, Any]:
    """The term whose gradient moves p~, and the sums that give the price.

    Args:
        p: p~ [K, B] as the network gave it. delay, there: from ``delays``.
        saved: what the budget gains by a frame of delay, cost * rate. frames: of the batch, over all its sequences.

    Returns:
        A scalar of which only the gradient means anything; [sum of w D, sum of w].
    """
    safe = tf.maximum(p, 1.0 / FULL)
    length = 0.5 / safe
    weight = there * tf.stop_gradient(length * (1.0 - safe))
    pull = tf.stop_gradient(delay - there * saved)
    return tf.reduce_sum(pull * length) / frames, tf.stack([tf.reduce_sum(weight * delay), tf.reduce_sum(weight)])


class GatedLanes(Lanes):
    """Gradients of a Skip RNN: packed to its updates, with the push on p~.

    Attributes:
        budget: sets the cost.
    """

    def __init__(self, *given: Any, budget: Budget, **named: Any) -> None:
        super().__init__(*given, **named)
        self.budget = budget
        self._packed = tf.function(self._pack, jit_compile=self.compiled or None)
        self._gradient = self._lane_gradient
        self._gated = Gated(self.network, self.compiled)
        self._sums: list[list[float]] = []
        self._lock = threading.Lock()
        self._saved = 0.0

    def _pack(self, frames: Any, governor: Any, saved: Any, *batch: Any) -> Any:
        bands, statistics = self.network.gate[1], self.new_statistics()
        count = governor.shape[0] * governor.shape[1]
        with tf.GradientTape() as tape:
            packed = pick(batch[0], frames)
            results, _ = self.network.run(packed, self.network.zero_states(packed.shape[1]), statistics=statistics)
            found = results[-1]
            loss = self._loss([pick(found, governor)[..., :bands]], batch)
            masks = tf.stop_gradient(found[..., :bands])
            delay, there = self._delays(masks, frames, governor, batch[1:4], tf.stop_gradient(loss))
            term, sums = push(found[..., bands], delay, there, saved, count)
            total = loss + term
        return loss, gradients(tape, total, self.network), statistics or {}, sums

    def _delays(self, masks: Any, frames: Any, governor: Any, spectra: Any, loss: Any) -> tuple[Any, Any]:
        """``delays`` in units of the loss."""
        if self.budget.part.price == "loss":
            return delays(masks, frames, spectra, self._lift)
        clean, noisy, cosine = spectra
        heard = enhanced_magnitude(pick(masks, governor), noisy, self._lift)
        whole = tf.reduce_mean(energy_error(heard, clean, cosine), (0, 2))  # of each sequence, [B]
        delay, there = delays(masks, frames, spectra, self._lift, energy_error)
        unit = DECIBEL if self.loss == "si_sdr" else loss
        return delay * unit / tf.maximum(whole, 1e-12), there

    def _lane_gradient(self, *batch: Any) -> Any:
        found: Updates = self._gated.updates(batch[0])
        length, columns = found.governor.shape
        rate = float(tf.reduce_mean(tf.cast(found.governor[-1] + 1, tf.float32))) / length
        saved = tf.constant(self._saved, tf.float32)
        loss, passed, statistics, sums = self._packed(found.frames, found.governor, saved, *batch)
        with self._lock:
            self._sums.append([*(float(value) for value in sums), rate])
        return loss, passed, statistics

    def gradient_step(self, step: int) -> tuple[float, list[Any]]:
        """Loss and gradients of step ``step``; the loss is without the budget."""
        self._saved, self._sums = self.budget.cost(step) * self.budget.rate, []
        return super().gradient_step(step)

    @contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Around the optimizer: p~'s own weights go further, and the budget is told what the step saw."""
        twin, at = self.network.gate
        before = [variable.numpy()[..., at] for variable in twin.weights]
        yield
        for variable, old in zip(twin.weights, before, strict=True):
            value = variable.numpy()
            value[..., at] = old + SPEED * (value[..., at] - old)
            variable.assign(value)
        delay, weight, rate = (sum(column) for column in zip(*sorted(self._sums), strict=True))
        rate /= self.lanes
        price = delay / weight / rate if weight > 0 else None
        self.budget.after_step(step, price, rate, (twin, at))
