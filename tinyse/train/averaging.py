"""Running mean of the weights, which validations score and may choose in place of the last step's.

Steps of a batch each jump about in a wide valley; their mean lies nearer its middle and generalizes better than any one
of them (Polyak & Juditsky 1992; Izmailov et al. 2018, stochastic weight averaging). It begins once masks and grids
stand, so zeros stay zeros; clustered weights are clustered again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.train.prune import PruningMethod


class Average:
    """The mean over about 1 / (1 - decay) steps, and over all of them while they are fewer.

    Attributes:
        mean: of each variable, in the network's order; empty before the first step. count: steps in it.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.mean: list[NDArray[np.float32]] = []
        self.count = 0

    def forget(self) -> None:
        """Start anew."""
        self.mean, self.count = [], 0

    def add(self, network: Any) -> None:
        """Take in the network's weights after a step."""
        weights = network.get_weights()
        self.count += 1
        share = np.float32(max(1.0 - self.decay, 1.0 / self.count))
        self.mean = ([mean + share * (now - mean) for mean, now in zip(self.mean, weights, strict=True)]
                     if self.mean else weights)

    @contextmanager
    def shown(self, network: Any, pruning: PruningMethod | None) -> Iterator[None]:
        """The network with the mean in place of its weights; they return at the end."""
        if not self.mean:
            yield
            return
        weights = network.get_weights()
        network.set_weights(self.mean)
        if pruning is not None:
            pruning.project()
        try:
            yield
        finally:
            network.set_weights(weights)
