"""Sections of a recipe that make a network cheaper: pruning, few values, skipping, gates, routes, integers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tinyse.core.sections import one_of, within


@dataclass(frozen=True)
class PrunePart:
    """Pruning on TF-MOT's polynomial schedule; begin and end are shares of the compressed phase.

    ``method``: TF-MOT's magnitude, or learned thresholds. ``sparsity``: share of zeros over all matrices, whatever the
    structure. ``block``: inputs and outputs of a tile, where ``structure`` is block. ``multiple``: units are kept by so
    many, where it is unit.
    """

    method: str = one_of("none", "magnitude", "threshold", default="none")
    structure: str = one_of("weight", "block", "unit", default="weight")
    sparsity: float = within(0, 0.999, default=0.5)
    block: tuple[int, ...] = within(1, 256, default=(16, 4))
    multiple: int = within(1, 256, default=16)
    begin: float = within(0, 1, default=0.0)
    end: float = within(0, 1, default=0.6)
    every: int = within(1, 10_000, default=10)


@dataclass(frozen=True)
class ClusterPart:
    """Few distinct weights a matrix; begin, end and freeze are shares of the compressed phase.

    ``values``: non-zero values, half of them negative; zero comes on top. 0: any. From ``begin`` to ``end`` weights
    move onto them, from ``freeze`` on none changes its value's rank.
    """

    values: int = within(0, 32, default=0)
    begin: float = within(0, 1, default=0.2)
    end: float = within(0, 1, default=0.6)
    freeze: float = within(0, 1, default=1.0)


@dataclass(frozen=True)
class SkipPart:
    """A Skip RNN: the network runs on some frames only; begin and end are shares of the compressed phase.

    ``rate``: share of frames that it should run on, reached at ``end`` by a controller. ``cost``: of an update, set by
    hand in place of the controller; loss + cost * mean(updates). ``price``: what an update's delay is measured by, the
    spectral loss or the error's energy (as SDR does).
    """

    enabled: bool = False
    rate: float = within(0.02, 1, default=0.5)
    cost: float | None = within(0, 1e6, default=None)
    price: str = one_of("loss", "energy", default="loss")
    begin: float = within(0, 1, default=0.0)
    end: float = within(0, 1, default=0.4)


@dataclass(frozen=True)
class GatesPart:
    """Channel gates of a family that has them; begin and end are shares of all steps.

    ``share``: of channels that should be open, on the mean over gates and frames, reached at ``end`` by a controller
    and held there; none: as the loss alone has it. ``cost``: of open channels, by hand in place of the controller.
    """

    share: float | None = within(0.01, 1, default=None)
    cost: float | None = within(0, 1e6, default=None)
    begin: float = within(0, 1, default=0.1)
    end: float = within(0, 1, default=0.4)


@dataclass(frozen=True)
class RoutePart:
    """A router, of a family that has one; begin and end are shares of the compressed phase, in which it is trained.

    ``cost``: MACs of a mean frame as a share of those of the last exit, the router's included; reached at ``end`` by a
    controller. ``efficiency``, ``balance``: in its place for several widths (``tinyse.train.slimming``).
    """

    cost: float = within(0.01, 1, default=0.5)
    begin: float = within(0, 1, default=0.0)
    end: float = within(0, 1, default=0.4)
    efficiency: float = within(0, 1000, default=1.0)
    balance: float = within(0, 1000, default=0.1)


@dataclass(frozen=True)
class QuantizePart:
    """Quantization-aware training.

    ``bits``: where an operator has fewer than it could, by ``Net.places`` ("conv_0/kernel", "gru_0/kernel.z",
    "gru_0.h"); "*" stands for anything, and later lines win: {"*/*": 4, "conv_0/kernel": 6}.
    """

    enabled: bool = True
    freeze: float = within(0, 1, default=0.5)
    bits: dict[str, Any] = field(default_factory=dict)
