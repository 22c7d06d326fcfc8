"""What a network costs by parts and rates: each part by itself, and a mean frame at the rate at which each runs.

The files, Vela and the NPU simulator know the cost of one run of a part; how often it runs depends on the plan and on
the sound. Rates are counted by the firmware or by an evaluation, on the signal that is named beside them, and belong
to no other. Profile, card, sweep and report take both from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tinyse.core.origin import Origin, Source
from tinyse.export.hostarena import HostArena
from tinyse.export.targets import Holds
from tinyse.graph.graph import Graph
from tinyse.graph.plan import Budget, Plan, Route
from tinyse.measure.costs.firmware import FirmwareRun
from tinyse.measure.costs.results import MemoryUse, NpuEstimate, Profile, SimulatedCost, Simulation, Traffic
from tinyse.measure.scores.result import Evaluation

UNKNOWN = "rates of the parts: the firmware did not run; all costs are of a frame that runs every part"


USED = "MACs on weights that are not zero"


@dataclass(frozen=True)
class Rates:
    """How often each part ran.

    Attributes:
        origin: what counted. signal: on what. shares: of the frames, one a part, 0..1.
    """

    origin: Origin
    signal: str
    shares: tuple[float, ...]


@dataclass(frozen=True)
class PartCost:
    """One cost of one part, or of all of them (``part`` None).

    Attributes:
        name, unit: what it counts. origin: of ``once``; the mean's is that times the rates'.
        once: of a run, for all of them of a frame that runs every part. mean: of a frame; None without rates.
    """

    part: int | None
    name: str
    unit: str
    origin: Origin
    once: float
    mean: float | None = None


@dataclass(frozen=True)
class PartCosts:
    """What parts and exits cost.

    Attributes:
        rates: None where nothing counted them. costs: by quantity; the parts in order, then all.
        exits: parts that a frame runs which stops at each exit, a router's among them; empty where there is one.
        worst: parts of the frames that may be the most expensive, as the plan says.
    """

    rates: Rates | None
    costs: tuple[PartCost, ...]
    exits: tuple[tuple[int, ...], ...] = ()
    worst: tuple[tuple[int, ...], ...] = ()

    @property
    def several(self) -> bool:
        """Whether there is more than one part."""
        return any(each.part for each in self.costs)

    def at(self, rates: Rates | None) -> PartCosts:
        """The same at other rates."""
        if rates is None:
            return replace(self, rates=None, costs=tuple(replace(each, mean=None) for each in self.costs))
        found, total = [], 0.0
        for each in self.costs:
            mean = total if each.part is None else each.once * rates.shares[each.part]
            total = 0.0 if each.part is None else total + mean
            found.append(replace(each, mean=mean))
        return replace(self, rates=rates, costs=tuple(found))

    def stopping(self) -> list[tuple[str, Origin, list[tuple[str, float]]]]:
        """For each quantity its name and origin, and what a frame takes: at each exit, at worst, and the mean."""
        found = []
        for whole in (each for each in self.costs if each.part is None and self.exits):
            once = [each.once for each in self.of(whole.name, whole.origin.source) if each.part is not None]
            rows = [(f"exit {number}", sum(once[part] for part in parts)) for number, parts in enumerate(self.exits, 1)]
            rows.append(("worst case", max(sum(once[part] for part in parts) for parts in self.worst)))
            rows += [("mean", whole.mean)] if whole.mean is not None else []
            found.append((whole.name, whole.origin, rows))
        return found

    def of(self, name: str, source: Source) -> list[PartCost]:
        """One quantity: the parts, then all; empty where it is not known from there."""
        return [each for each in self.costs if each.name == name and each.origin.source is source]

    def mean_label(self, cost: PartCost) -> str:
        """What produced a mean: ``estimated x measured (host)``."""
        return f"{cost.origin.label} x {self.rates.origin.label}" if self.rates else cost.origin.label


def part_costs(rates: Rates | None, plan: Plan, graphs: Sequence[Graph], npus: Sequence[NpuEstimate],
               simulations: Sequence[Simulation]) -> PartCosts:
    """Costs of the parts from what is there of each: int8 files, Vela's estimates, the simulator's accounts."""
    costs: list[PartCost] = []

    def add(name: str, unit: str, origin: Origin, values: Sequence[int]) -> None:
        costs.extend(PartCost(part, name, unit, origin, value) for part, value in enumerate(values))
        costs.append(PartCost(None, name, unit, origin, sum(values)))

    if graphs:
        exact = Origin(Source.EXACT, "counted in the files")
        add("MACs", "MACs", exact, [each.macs for each in graphs])
        add(USED, "MACs", exact, [each.used_macs for each in graphs])
    if npus:
        add("cycles", "cycles", npus[0].origin, [each.cycles for each in npus])
    if simulations:
        totals, origin = [each.total for each in simulations], simulations[0].origin
        add("MACs", "MACs", origin, [each.macs for each in totals])
        add("model bytes read", "B", origin, [each.flash_bytes for each in totals])
        add("arena bytes", "B", origin, [each.sram_bytes for each in totals])
    if len(plan.exits) < 2:
        return PartCosts(None, tuple(costs)).at(rates)
    policy, first = plan.policy, {0} if isinstance(plan.policy, Route) else set()
    exits = tuple(tuple(sorted(first.union(plan.needs[at]))) for at in plan.exits)
    worst = exits[policy.exit - 1] if isinstance(policy, Budget) else tuple(range(len(plan.parts)))
    return PartCosts(None, tuple(costs), exits, exits if first else (worst,)).at(rates)


def counted_rates(run: FirmwareRun | None) -> Rates | None:
    """Those that the firmware counted; None where it did not run."""
    if run is None or not run.frames:
        return None
    return Rates(run.origin, f"{run.signal}, {run.frames:,} frames", tuple(runs / run.frames for runs in run.parts))


def scored_rates(evaluation: Evaluation, system: str) -> Rates | None:
    """Those of a system in an evaluation; None where it runs whole on every frame."""
    shares, split = evaluation.part_rates(system), evaluation.provenance.get("split", "unknown")
    return Rates(Origin(Source.MEASURED, "TFLM", "host"), f"{len(evaluation.clips)} clips of the {split} split",
                 shares) if shares else None


def rated(profile: Profile, rates: Rates | None) -> Profile:
    """The profile with its parts at these rates; None leaves it as it is."""
    if rates is None or profile.parts is None:
        return profile
    return replace(profile, parts=profile.parts.at(rates), skipped=tuple(s for s in profile.skipped if s != UNKNOWN))


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
