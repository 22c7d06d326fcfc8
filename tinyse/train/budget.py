"""Budget: the controller of what a network may use: frames that run, channels that are open, the work of a route.

Nobody tunes the cost of a use. Training knows the price at which the loss holds on to it, and the cost is moved around
that price until the share in use follows a line from 1 to what the recipe wants; what is missed moves a bias directly.
What is learnt is where the uses belong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SMOOTH_PRICE, SMOOTH_RATE = 0.95, 0.8
"""Of the running means of price and share."""
GAIN, LIMIT = 4.0, 1.0
"""How the cost leaves the price, e^(GAIN log(rate / wanted)), by a factor e^LIMIT at most."""
SHIFT, SHIFT_LIMIT = 0.1, 0.1
"""Part of the missing log share that a bias makes good in one step, and at most how much."""


class Budget:
    """The cost of a use, which leads the share of uses to the one wanted.

    Attributes:
        price: running mean of the cost at which nothing pushes; None before the first step.
        rate: running mean of the share in use.
    """

    def __init__(self, final: float, begin: int, end: int, cost: float | None = None) -> None:
        """``final`` share, reached at step ``end`` from 1 at ``begin``; a ``cost`` set by hand controls nothing."""
        self.final, self.begin, self.end, self.fixed = final, begin, end, cost
        self.price: float | None = None
        self.rate = 1.0

    @property
    def last(self) -> int:
        """The step from which the wanted share stays."""
        return self.end

    def wanted(self, step: int) -> float:
        """Share wanted after step ``step``."""
        done = min(1.0, max(0.0, (step - self.begin) / max(1, self.end - self.begin)))
        return 1.0 - (1.0 - self.final) * done

    def cost(self, step: int) -> float:
        """Cost at step ``step``: loss a unit of the share."""
        if self.fixed is not None:
            return self.fixed
        push = GAIN * float(np.log(self.rate / self.wanted(step)))
        return max(self.price or 0.0, 0.0) * float(np.exp(np.clip(push, -LIMIT, LIMIT)))

    def after_step(self, step: int, price: float | None, rate: float) -> float:
        """Note what a step saw; what to add to the bias of whatever decides."""
        if price is not None:
            self.price = price if self.price is None else SMOOTH_PRICE * self.price + (1 - SMOOTH_PRICE) * price
        self.rate = SMOOTH_RATE * self.rate + (1 - SMOOTH_RATE) * max(rate, 1e-3)
        if self.fixed is not None or step < self.begin:
            return 0.0
        return float(np.clip(SHIFT * np.log(self.wanted(step) / self.rate), -SHIFT_LIMIT, SHIFT_LIMIT))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"price": self.price, "rate": self.rate, "begin": self.begin, "end": self.end}

    def restore(self, state: dict[str, Any]) -> None:
        """Take it up again."""
        self.price, self.rate = state["price"], state["rate"]
        self.begin, self.end = state.get("begin", self.begin), state.get("end", self.end)
