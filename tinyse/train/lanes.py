"""Gradients on every core: each lane mixes and differentiates its own share of the batch.

Small recurrent products do not split well over threads, so one thread runs one half batch through the whole
graph, and the gradients are added in lane order: the sum does not depend on which lane was first. While the caller
prunes and applies them, on one core, the lanes already mix the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from tinyse.core.errors import RecipeError
from tinyse.graph.net import Net
from tinyse.sound import DEFAULT
from tinyse.sound.voice import voice
from tinyse.train.distillation import Teacher
from tinyse.train.ends import sounded, stft
from tinyse.train.interrupt import at_once
from tinyse.train.keras import tf
from tinyse.train.loss import (
    complex_spectral,
    compressed_spectral,
    cross_entropy,
    level_weights,
    lifting,
    si_sdr,
)
from tinyse.train.mixer import Mixer
from tinyse.train.network import Network
from tinyse.train.recipe import SPECTRAL

LANES = 2
WHOLE = DEFAULT.framing
"""What the spectra of a network that answers samples are taken with."""
WORTH_COMPILING = 100
"""Steps of a phase from which XLA's compilation, seconds a trace, is repaid (docs/quantization.md)."""


def use_lanes(net: Net, lanes: int = LANES, compiled: bool = False) -> None:
    """``lanes`` operations at once, on a TensorFlow thread each; before TensorFlow's first operation.

    XLA runs a compiled graph's independent kernels on the threads of operations. Where there was one for both lanes,
    they came to wait for each other: a network over maps took twice as long on grids, an LSTM 1.4 times. Without XLA
    one thread is faster.
    """
    maps = any(width > 1 for _, width, _ in net.shapes.values())
    try:
        tf.config.threading.set_intra_op_parallelism_threads(lanes if maps or compiled else 1)
        tf.config.threading.set_inter_op_parallelism_threads(lanes)
    except RuntimeError:
        pass  # already running: slower, not wrong


def gradients(tape: Any, loss: Any, network: Network) -> list[Any]:
    """Of every trainable weight; zeros for what the loss does not know, such as an untrained score."""
    found: list[Any] = tape.gradient(loss, network.trainable_weights,
                                     unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return found


def sees_gpu() -> bool:
    """Whether TensorFlow can compute on a GPU here."""
    return bool(tf.config.list_physical_devices("GPU"))


class Lanes:
    """Computes the gradient of one step over ``LANES`` threads, or as one ``whole`` batch.

    ``gradient_step(step)`` returns the mean loss and the mean gradients, and moves the norms' running means.
    """

    def __init__(self, network: Network, mixer: Mixer, loss: str, batch: int, compiled: bool = False,
                 teacher: Teacher | None = None, exits: Sequence[float] = (1.0,), whole: bool = False,
                 spectral: float = SPECTRAL) -> None:
        """Trace nothing yet.

        Args:
            compiled: have XLA fuse the elementwise work, other rounding in the last bits.
            exits: weights of the losses of the network's results, in order; one for all alike.
            whole: the plain step, for a GPU: the lanes' mixtures as one batch, other rounding in the last bits.
            spectral: weight of the spectrum beside SI-SDR, where the loss has both.

        Raises:
            RecipeError: neither one weight nor as many as there are results.
        """
        self.teacher = teacher
        count = sum(bool(result.node) for result in network.net.results)
        if len(exits) not in (1, count):
            raise RecipeError(f"train.exits: {len(exits)} weights for {count} results", "one each, or one for all")
        self._exits = [weight / sum(exits) for weight in exits] if len(exits) == count else [1.0 / count] * count
        self.network, self.mixer, self.loss, self.compiled = network, mixer, loss, compiled
        self.spectral = spectral
        self.share, self.lanes = max(1, batch // LANES), 1 if whole else LANES
        self._lift = lifting(mixer.ends) if mixer.ends.result.kind == "gains" else None
        self._level = ("level",) if mixer.ends.restores else ()  # in the teacher's place: that is for gains
        self._pool = ThreadPoolExecutor(LANES)
        self._gradient: Callable[..., Any] = tf.function(self._differentiate, jit_compile=compiled or None)
        self._mean: Callable[..., Any] = tf.function(
            lambda parts: [tf.add_n(same) / self.lanes for same in zip(*parts, strict=True)])
        self._ahead: tuple[int, list[Future[Any]]] | None = None

    @property
    def batch(self) -> int:
        """Mixtures a step, over all lanes."""
        return self.share * LANES

    def close(self, wait: bool = True) -> None:
        """Stop the threads; without waiting, those that are at work end when they can."""
        self._pool.shutdown(wait, cancel_futures=True)

    def settle(self) -> None:
        """Wait for what is mixed ahead: nothing runs until the next step."""
        for drawn in self._ahead[1] if self._ahead is not None else ():
            drawn.result()

    def around(self, step: int) -> AbstractContextManager[None]:
        """Entered while the optimizer applies the gradients of step ``step``."""
        return nullcontext()

    def _loss(self, results: list[Any], batch: tuple[Any, ...]) -> Any:
        """The weighted mean over the network's results, each without a Skip RNN's p~."""
        outputs = self.mixer.ends.outputs
        losses = [self._result_loss(result[..., :outputs], batch) for result in results if result is not None]
        if len(losses) == 1:
            return losses[0]
        return tf.add_n([weight * loss for weight, loss in zip(self._exits, losses, strict=True) if weight])

    def _result_loss(self, mask: Any, batch: tuple[Any, ...]) -> Any:
        loss = self._recipe_loss(mask, batch)
        return loss if self.teacher is None else loss + self.teacher.loss(mask, batch[5], batch[2])

    def _recipe_loss(self, answer: Any, batch: tuple[Any, ...]) -> Any:
        if self.loss == "cross_entropy":
            return cross_entropy(answer[..., 0], batch[5])
        _, clean, noisy, cosine, waves = batch[:5]
        ends, compressed = self.mixer.ends, 0.0
        weights = level_weights(waves[1]) if self.loss == "levelled" else 1.0
        if self._lift is not None and self.loss != "si_sdr":
            compressed = compressed_spectral(answer, clean, noisy, cosine, self._lift, weights)
        if self._lift is not None and self.loss == "compressed":
            return compressed
        level = tf.transpose(batch[5]) if ends.restores else None
        estimate = sounded(stft(waves[0], ends.framing), tf.transpose(answer, (1, 0, 2)), ends, level)
        edge = max(ends.framing.hop, ends.framing.frame - ends.framing.hop)
        pair = estimate[:, edge:-edge], waves[1][:, edge : estimate.shape[1] - edge]
        if self._lift is None and self.loss != "si_sdr":
            framing = ends.framing if ends.synthesizes else WHOLE
            ours, theirs = (stft(wave, framing) for wave in pair)
            compressed = complex_spectral(ours, theirs, weights)
        if self.loss == "compressed":
            return compressed
        return self.spectral * compressed - tf.reduce_mean(si_sdr(*pair))

    def _differentiate(self, *batch: Any) -> Any:
        network, statistics = self.network, self.new_statistics()
        with tf.GradientTape() as tape:
            results, _ = network.run(batch[0], network.zero_states(batch[0].shape[1]), statistics=statistics)
            loss = self._loss(results, batch)
        return loss, gradients(tape, loss, network), statistics or {}

    def new_statistics(self) -> dict[str, Any] | None:
        """What receives the norms' batch statistics; None where there are no norms."""
        return {} if self.network.has_norms else None

    def _draw(self, step: int, lane: int) -> tuple[Any, ...]:
        """A lane's mixtures; of the whole batch those of every lane, on the axis of the batch, 1 of all arrays."""
        batches = [self.mixer.batch(step, each, self.share) for each in (range(LANES) if self.lanes == 1 else [lane])]
        arrays = ([getattr(batch, name) for batch in batches]
                  for name in ("features", "clean", "noisy", "cosine", "waves", *self._level))
        drawn = tuple(tf.constant(parts[0] if len(parts) == 1 else np.concatenate(parts, 1), tf.float32)
                      for parts in arrays)
        if self.loss == "cross_entropy":
            framing = self.mixer.ends.framing
            labels = [voice(wave, framing.frame, framing.hop) for batch in batches for wave in batch.waves[1]]
            drawn += (tf.constant(np.stack(labels, 1), tf.float32),)
        return drawn if self.teacher is None else (*drawn, self.teacher.enhanced(drawn[0], drawn[2]))

    def _start(self, step: int) -> list[Future[Any]]:
        return [self._pool.submit(self._draw, step, lane) for lane in range(self.lanes)]

    def gradient_step(self, step: int) -> tuple[float, list[Any]]:
        """Loss and gradients of step ``step``."""
        drawn = self._ahead[1] if self._ahead is not None and self._ahead[0] == step else self._start(step)
        with at_once():
            results = list(self._pool.map(lambda batch: self._gradient(*batch.result()), drawn))
        loss = sum(float(result[0]) for result in results) / self.lanes
        self._ahead = (step + 1, self._start(step + 1))
        for name in results[0][2]:  # in lane order, here alone: no lane races another
            self.network.learn({name: tuple(tf.add_n(parts) / self.lanes for parts in zip(
                *(result[2][name] for result in results), strict=True))})
        return loss, self._mean([result[1] for result in results])
