"""Knowledge distillation: the dense float model that a run started from teaches the compressed one.

Papers: Hinton et al. 2015. Our outputs are masks, not classes, so the student is drawn to the teacher's spectrum by the
measure of the training loss: with Y the student's and Z the teacher's enhanced spectrum, both on the noisy phase::

    loss + weight * mean((|Z|^0.3 - |Y|^0.3)^2)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinyse.train.keras import tf
from tinyse.train.loss import enhanced_magnitude, lifting
from tinyse.train.network import restore
from tinyse.train.start import Start


class Teacher:
    """A dense float model on training batches, forward only.

    Attributes:
        weight: of the term in the loss. sha256: of the model's file.
    """

    def __init__(self, start: Start, weight: float, ends: Any, compiled: bool = False) -> None:
        """``ends``: what a frame is. ``compiled``: by XLA, as the lanes are."""
        self.weight, self.sha256 = weight, start.sha256
        self._network = restore(start.model)
        self._lift = lifting(ends)
        self._run: Callable[..., Any] = tf.function(self._enhance, jit_compile=compiled or None)

    def _enhance(self, features: Any, noisy: Any) -> Any:
        network = self._network
        results, _ = network.run(features, network.zero_states(features.shape[1]))
        return enhanced_magnitude(network.bands(results), noisy, self._lift)

    def enhanced(self, features: Any, noisy: Any) -> Any:
        """|Z|^0.3 [T, B, bins] of features [T, B, bands] and |N|^0.3 [T, B, bins]."""
        return self._run(features, noisy)

    def loss(self, mask: Any, target: Any, noisy: Any) -> Any:
        """The weighted term for the student's mask [T, B, bands]; ``target`` is what ``enhanced`` gave."""
        found = enhanced_magnitude(mask, noisy, self._lift)
        return self.weight * tf.reduce_mean(tf.square(target - found))
