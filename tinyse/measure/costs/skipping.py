"""What a Skip RNN costs on average: how often its network ran in the firmware, and every cost at that rate.

Vela and the NPU simulator know the cost of one run of the network; how often it runs depends on the sound. The rate is
counted by the firmware, on the signal that is named beside it, and belongs to no other.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyse.core.origin import Origin, Source
from tinyse.measure.costs.firmware import FirmwareRun
from tinyse.measure.costs.results import NpuEstimate, Simulation
from tinyse.sound import DEFAULT

UNKNOWN = "update rate: the firmware did not run; all costs are of a frame that runs the network"


@dataclass(frozen=True)
class MeanCost:
    """One cost of a Skip RNN.

    Attributes:
        name, unit: what it counts. origin: of ``mean`` and ``second``.
        update: of a frame that runs the network. mean: of a frame. second: per second of audio.
    """

    name: str
    unit: str
    origin: Origin
    update: float
    mean: float
    second: float


@dataclass(frozen=True)
class SkipRate:
    """How often the network ran: ``updates`` of ``frames`` frames of ``signal``; ``rate`` is their ratio, 0..1."""

    origin: Origin
    signal: str
    frames: int
    updates: int
    rate: float


@dataclass(frozen=True)
class SkipCost:
    """A Skip RNN's rate and mean costs; None and empty where the firmware did not run.

    Attributes:
        rate: how often the network ran.
        stages: the firmware's stages by name, and ``frame``: their sum.
        network: what other sources know of the network, at that rate.
    """

    rate: SkipRate | None
    stages: tuple[MeanCost, ...] = ()
    network: tuple[MeanCost, ...] = ()


def skip_cost(run: FirmwareRun | None, npu: NpuEstimate | None, simulation: Simulation | None,
              frames_per_second: float = DEFAULT.frames_per_second) -> SkipCost:
    """Every cost of a Skip RNN at the rate of ``run``; ``frames_per_second``: of sound."""
    if run is None or not run.frames:
        return SkipCost(None)
    rate = SkipRate(run.origin, run.signal, run.frames, run.updates, run.updates / run.frames)

    def cost(name: str, unit: str, origin: Origin, update: float, mean: float) -> MeanCost:
        return MeanCost(name, unit, origin, update, mean, mean * frames_per_second)

    def rated(name: str, unit: str, source: Source, origin: Origin, update: float) -> MeanCost:
        return cost(name, unit, Origin(source, origin.tool, origin.where), update, update * rate.rate)

    stages = tuple(cost(each.stage, run.unit, run.origin, run.updating(each.stage), each.mean)
                   for each in (*run.stages, run.frame))
    network = []
    if npu is not None:
        network.append(rated("cycles", "cycles", Source.ESTIMATED_MEAN, npu.origin, npu.cycles))
    if run.npu is not None and run.npu_origin is not None and not run.transfer:
        cycles = run.npu.cycles
        network.append(cost("cycles", "cycles", run.npu_origin, cycles / max(1, run.npu.runs), cycles / run.frames))
    if simulation is not None:
        total = simulation.total
        network += [rated(name, unit, Source.SIMULATED_MEAN, simulation.origin, count) for name, unit, count in (
            ("MACs", "MACs", total.macs), ("MACs on zeros", "MACs", total.macs_on_zeros),
            ("model bytes read", "B", total.flash_bytes), ("arena bytes", "B", total.sram_bytes))]
    return SkipCost(rate, stages, tuple(network))
