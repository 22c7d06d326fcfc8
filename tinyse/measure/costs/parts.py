"""What a network of several parts costs: each part by itself, and at the rate at which the firmware ran it.

Vela and the NPU simulator know the cost of one run of a part; how often it runs depends on the plan and on the sound.
The rates are counted by the firmware, on the signal that is named beside them, and belong to no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tinyse.core.origin import Origin
from tinyse.export.hostarena import HostArena
from tinyse.export.targets import Holds
from tinyse.measure.costs.firmware import FirmwareRun
from tinyse.measure.costs.results import MemoryUse, NpuEstimate, SimulatedCost, Simulation, Traffic

UNKNOWN = "rates of the parts: the firmware did not run; all costs are of a frame that runs every part"


@dataclass(frozen=True)
class PartCost:
    """One cost of one part, or of all of them (``part`` None).

    Attributes:
        name, unit: what it counts. origin: of ``once``; the mean's is that times the rate.
        once: of a run, for all of them of a frame that runs every part. mean: of a frame; None without rates.
    """

    part: int | None
    name: str
    unit: str
    origin: Origin
    once: float
    mean: float | None


@dataclass(frozen=True)
class PartCosts:
    """Rates and costs.

    Attributes:
        runs: how often each part ran on ``frames`` frames of ``signal``; empty where the firmware did not run.
        origin: what counted them. costs: by quantity; the parts in order, then all.
    """

    origin: Origin | None
    signal: str
    frames: int
    runs: tuple[int, ...]
    costs: tuple[PartCost, ...]


def part_costs(run: FirmwareRun | None, npus: Sequence[NpuEstimate], simulations: Sequence[Simulation]) -> PartCosts:
    """Costs of the parts from what is there of each: Vela's estimates, the simulator's accounts."""
    counted = run if run is not None and run.frames else None
    rates = None if counted is None else [runs / counted.frames for runs in counted.parts]
    costs: list[PartCost] = []

    def add(name: str, unit: str, origin: Origin, values: Sequence[int]) -> None:
        means = [None] * len(values) if rates is None else [v * r for v, r in zip(values, rates, strict=True)]
        costs.extend(PartCost(part, name, unit, origin, value, mean)
                     for part, (value, mean) in enumerate(zip(values, means, strict=True)))
        known = [mean for mean in means if mean is not None]
        costs.append(PartCost(None, name, unit, origin, sum(values), sum(known) if known else None))

    if npus:
        add("cycles", "cycles", npus[0].origin, [each.cycles for each in npus])
    if simulations:
        totals, origin = [each.total for each in simulations], simulations[0].origin
        add("MACs", "MACs", origin, [each.macs for each in totals])
        add("model bytes read", "B", origin, [each.flash_bytes for each in totals])
        add("arena bytes", "B", origin, [each.sram_bytes for each in totals])
    if counted is None:
        return PartCosts(None, "", 0, (), tuple(costs))
    return PartCosts(counted.origin, counted.signal, counted.frames, counted.parts, tuple(costs))


def whole_estimate(parts: Sequence[NpuEstimate]) -> NpuEstimate | None:
    """A frame that runs every part: sums, the memories' largest use, layers and operators in a row."""
    if len(parts) < 2:
        return parts[0] if parts else None
    sums = {name: sum(getattr(part, name) for part in parts) for name in (
        "cycles", "npu_cycles", "macs", "milliseconds", "hop_share", "cycles_per_second")}
    traffic: dict[str, Traffic] = {}
    for each in (each for part in parts for each in part.traffic):
        had = traffic.get(each.memory)
        traffic[each.memory] = each if had is None else Traffic(each.memory, *(
            getattr(had, name) + getattr(each, name) for name in (
                "feature_read", "feature_write", "weight_read", "weight_write", "total", "cycles")))
    uses: dict[tuple[str, str], MemoryUse] = {}
    for use in (use for part in parts for use in part.memories):
        other = uses.get((use.memory, use.holds))
        if other is not None:  # every part has its own model; the rest they use in turn
            use = replace(use, used=other.used + use.used if use.holds == Holds.MODEL else max(other.used, use.used))
        uses[use.memory, use.holds] = use
    return replace(
        parts[0], **sums,
        layers=tuple(replace(layer, name=f"{number}: {layer.name}") for number, part in enumerate(parts)
                     for layer in part.layers),
        operators=tuple(replace(each, layer=f"{number}: {each.layer}") for number, part in enumerate(parts)
                        for each in part.operators),
        traffic=tuple(traffic.values()), memories=tuple(uses.values()),
        regions=tuple(region for part in parts for region in part.regions))


def whole_simulation(parts: Sequence[Simulation]) -> Simulation | None:
    """As `whole_estimate`, of the simulator's account."""
    if len(parts) < 2:
        return parts[0] if parts else None
    counts = (sum(getattr(part.total, name) for part in parts) for name in (
        "operators", "macs", "macs_on_zeros", "flash_bytes", "sram_bytes"))
    return Simulation(parts[0].origin, tuple(replace(layer, layer=f"{number}: {layer.layer}")
                                             for number, part in enumerate(parts) for layer in part.layers),
                      SimulatedCost("total", *counts))


def whole_arena(parts: Sequence[HostArena]) -> HostArena:
    """An interpreter a part, each with an arena of its own."""
    if len(parts) == 1:
        return parts[0]
    total, head, tail = (sum(getattr(part, name) for part in parts) for name in ("total", "head", "tail"))
    named = tuple((f"{number}: {name}", size) for number, part in enumerate(parts) for name, size in part.parts)
    return HostArena(parts[0].origin, total, head, tail, named)
