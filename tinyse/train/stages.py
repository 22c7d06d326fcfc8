"""Stages: the exits of a network trained one after the other in the float phase (``train.order: layerwise``).

Papers: dynamic nsNet2 (Miccini et al. 2023), layer-wise training. Each exit has an equal share of the steps. In its
stage the loss is its own alone, and of the parts that it needs those are trained that no earlier exit needed; schedule,
optimizer and choice of the best validation start anew (ours). The compressed phase trains all exits together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinyse.graph.net import Net
from tinyse.train.keras import tf

if TYPE_CHECKING:
    from tinyse.train.loop import Run
    from tinyse.train.network import Network


class Stages:
    """Which exit is trained when, and what then stands still.

    Attributes:
        exits: parts that give a result. at: number of the stage.
    """

    def __init__(self, net: Net, steps: int) -> None:
        self.exits, self.steps, self.at = net.exits, steps, 0
        done: set[int] = set()
        self._parts: list[set[int]] = []
        for part in self.exits:
            self._parts.append(set(net.needs[part]) - done)
            done |= set(net.needs[part])

    @property
    def bounds(self) -> tuple[int, int]:
        """First step of the stage, and the one after its last."""
        begin, end = (self.steps * number // len(self.exits) for number in (self.at, self.at + 1))
        return begin, end

    @property
    def last(self) -> bool:
        """Whether no stage follows."""
        return self.at + 1 == len(self.exits)

    @property
    def exit(self) -> int:
        """The part whose result is trained."""
        return self.exits[self.at]

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the exits' losses."""
        return tuple(float(part == self.exit) for part in self.exits)

    def gradients(self, network: Network, gradients: list[Any]) -> list[Any]:
        """The gradients of what the stage trains; zeros for the rest, which a fresh Adam then leaves as it is."""
        parts = {id(variable): twin.node.part for twin in network.twins for variable in twin.weights}
        return [gradient if parts[id(variable)] in self._parts[self.at] else tf.zeros_like(gradient)
                for variable, gradient in zip(network.trainable_weights, gradients, strict=True)]


def restart(run: Run) -> None:
    """Go on from a run's best weights, and choose anew."""
    if run.best_weights:
        run.network.set_weights(run.best_weights)
    run.stale, run.best, run.best_weights = 0, {"score": -1e9, "step": -1}, []
    if run.average is not None:
        run.average.forget()


def goes_on(run: Run, end: int) -> bool:
    """Whether a run takes a step before ``end``; a stage that is over, or no longer gains, gives way to the next."""
    stages, patience = run.staged, run.recipe.train.patience
    if stages is not None and not stages.last and (run.step >= stages.bounds[1] or run.stale >= patience):
        run.step, stages.at = stages.bounds[1], stages.at + 1
        restart(run)
        run.begin_phase()
    return run.step < end and run.stale < patience
