"""Pruning methods behind one shape: decide masks as training goes on, keep the zeros zero.

::

    method = MagnitudePruning(network, schedule, block=(1, 1))
    gradients = method.gradients(step, gradients)   # before the optimizer
    method.after_step(step)                         # after it: update masks where due, then zero what is pruned
    method.sparsity()                               # {"lstm_0/kernel": 0.5, ...}

``threshold`` is the other method. ``MagnitudePruning`` drives TF-MOT's ``prune_low_magnitude`` (Zhu & Gupta
2017). TF-MOT prunes in the wrapped layer's forward call, which two gradient lanes would race on; here its pruning
step runs once after the optimizer. Where TF-MOT cannot take a layer with a block shape, ``GroupMasks`` does the same by
the same schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinyse.train.keras import tf

Mask = NDArray[np.float32]


class PruningMethod(Protocol):
    """What training asks of a pruning method."""

    @property
    def last(self) -> int:
        """The step after which masks no longer change."""

    def gradients(self, step: int, gradients: list[Any]) -> list[Any]:
        """What the optimizer should use for ``network.trainable_weights`` in place of ``gradients``."""

    def after_step(self, step: int) -> None:
        """Update masks where the schedule says so; re-apply them to the weights."""

    def project(self) -> None:
        """Bring weights that were set from outside, a mean of earlier ones, to what is allowed; keep no trace."""

    def sparsity(self) -> dict[str, float]:
        """Share of zeros in each prunable matrix, by "<layer>/<matrix>"."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Masks, and all else that decides the next step, by name, for a checkpoint."""

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take it back from a checkpoint."""


@dataclass(frozen=True)
class Schedule:
    """TF-MOT's polynomial decay: from no zeros at ``begin`` to ``sparsity`` at ``end``, power 3."""

    sparsity: float
    begin: int
    end: int
    every: int

    @property
    def last(self) -> int:
        """The step of the last change: the last whole interval before ``end``, one at least."""
        return self.begin + max(1, (self.end - self.begin) // self.every) * self.every

    def due(self, step: int) -> bool:
        """Whether masks change after step ``step``."""
        return self.begin <= step <= self.last and (step - self.begin) % self.every == 0

    def tfmot(self) -> Any:
        """The TF-MOT schedule."""
        import tensorflow_model_optimization as tfmot

        return tfmot.sparsity.keras.PolynomialDecay(0.0, self.sparsity, self.begin, self.last, frequency=self.every)

    def target(self, step: int) -> float:
        """Sparsity wanted after step ``step``, as TF-MOT computes it."""
        return float(self.tfmot()(tf.constant(step, tf.int64))[1])


def block_mask(weights: Mask, block: tuple[int, int], sparsity: float) -> Mask:
    """Zero the blocks of least mean magnitude.

    Args:
        weights: [rows, columns] = [in, out]; edges that do not fill a block form smaller blocks. With taps,
            [kt, kf, in, ...] or depthwise [kt, kf, unit], each tap is cut on its own.
        block: rows and columns of a block.
        sparsity: share of blocks to zero, 0..1; rounded to whole blocks.

    Returns:
        A mask of zeros and ones of the same shape.
    """
    taps = weights.shape[0] * weights.shape[1] if weights.ndim > 2 else 1
    cut = weights.reshape(taps, weights.shape[0 if weights.ndim == 2 else 2] if weights.ndim != 3 else 1, -1)
    rows, columns = -(-cut.shape[1] // block[0]), -(-cut.shape[2] // block[1])
    padding = ((0, 0), (0, rows * block[0] - cut.shape[1]), (0, columns * block[1] - cut.shape[2]))
    shape = (taps, rows, block[0], columns, block[1])
    total = np.pad(np.abs(cut), padding).reshape(shape).sum(axis=(2, 4))
    count = np.pad(np.ones_like(cut), padding).reshape(shape).sum(axis=(2, 4))
    order = np.argsort((total / count).reshape(-1), kind="stable")
    keep = np.ones(order.size, np.float32)
    keep[order[: round(sparsity * order.size)]] = 0.0
    grid = np.kron(keep.reshape(taps, rows, columns), np.ones((1, *block), np.float32))
    return grid[:, : cut.shape[1], : cut.shape[2]].reshape(weights.shape).astype(np.float32)


class GroupMasks:
    """Magnitude masks of one layer by our own hand, for the shapes that TF-MOT refuses."""

    def __init__(self, layer: Any, schedule: Schedule, block: tuple[int, int]) -> None:
        self.variables = layer.get_prunable_weights()
        self.schedule, self.block = schedule, block
        self.masks = [np.ones(v.shape, np.float32) for v in self.variables]

    def update(self, step: int) -> None:
        """Choose the masks for the sparsity wanted at ``step``."""
        target = self.schedule.target(step)
        matrices = [v.numpy() for v in self.variables]
        self.masks = [block_mask(m.reshape(-1, m.shape[-1]), self.block, target).reshape(m.shape) for m in matrices]

    def apply(self) -> None:
        """Zero what is pruned."""
        for variable, mask in zip(self.variables, self.masks, strict=True):
            variable.assign(variable * mask)

    def get(self) -> list[Mask]:
        """One mask a matrix."""
        return self.masks

    def set(self, masks: list[Mask]) -> None:
        """Take masks back."""
        self.masks = masks


class TfmotMasks:
    """Magnitude masks of one layer by TF-MOT's wrapper and its pruning object."""

    def __init__(self, layer: Any, schedule: Schedule, block: tuple[int, int]) -> None:
        """Wrap the layer.

        Raises:
            ValueError: TF-MOT cannot prune this layer in such blocks.
        """
        import tensorflow_model_optimization as tfmot

        self.wrapper = tfmot.sparsity.keras.prune_low_magnitude(
            layer, pruning_schedule=schedule.tfmot(), block_size=block, block_pooling_type="AVG")
        self.wrapper.build((None, int(layer.kernel.shape[0])))
        self.update(schedule.begin)

    def update(self, step: int) -> None:
        """Let TF-MOT choose the masks for the sparsity wanted at ``step``."""
        self.wrapper.pruning_step.assign(step)
        self.wrapper.pruning_obj.conditional_mask_update()

    def apply(self) -> None:
        """Zero what is pruned."""
        self.wrapper.pruning_obj.weight_mask_op()

    def get(self) -> list[Mask]:
        """One mask a matrix."""
        return [mask.numpy() for _, mask, _ in self.wrapper.pruning_vars]

    def set(self, masks: list[Mask]) -> None:
        """Take masks back."""
        for (_, variable, _), mask in zip(self.wrapper.pruning_vars, masks, strict=True):
            variable.assign(mask)


class MagnitudePruning:
    """Magnitude pruning of every matrix of a network, single weights or blocks, on a polynomial schedule."""

    def __init__(self, network: Any, schedule: Schedule, block: tuple[int, int] = (1, 1)) -> None:
        self.schedule = schedule
        self.layers = {layer.name: layer for layer in network.stack if layer.get_prunable_weights()}
        self.masks: dict[str, GroupMasks | TfmotMasks] = {}
        for name, layer in self.layers.items():
            try:
                self.masks[name] = TfmotMasks(layer, schedule, block)
            except ValueError:
                self.masks[name] = GroupMasks(layer, schedule, block)

    @property
    def last(self) -> int:
        """The step after which masks no longer change."""
        return self.schedule.last

    def gradients(self, step: int, gradients: list[Any]) -> list[Any]:
        """As they are: what is pruned is zeroed after the step."""
        return gradients

    def after_step(self, step: int) -> None:
        """Update masks where due; zero what is pruned."""
        for masks in self.masks.values():
            if self.schedule.due(step):
                masks.update(step)
        self.project()

    def project(self) -> None:
        """Zero what is pruned."""
        for masks in self.masks.values():
            masks.apply()

    def sparsity(self) -> dict[str, float]:
        """Share of zeros in each matrix."""
        return {f"{name}/{short_name(v)}": float(np.mean(v.numpy() == 0.0))
                for name, layer in self.layers.items() for v in layer.get_prunable_weights()}

    def state(self) -> dict[str, NDArray[Any]]:
        """Masks by "<layer>/<n>"."""
        return {f"{name}/{n}": mask for name, masks in self.masks.items() for n, mask in enumerate(masks.get())}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take masks back from ``state``."""
        for name, masks in self.masks.items():
            masks.set([state[f"{name}/{n}"] for n in range(len(masks.get()))])


def short_name(variable: Any) -> str:
    """The "kernel" of a variable "lstm_0/kernel:0"."""
    return str(variable.name).split("/")[-1].split(":")[0]
