"""Two profiles side by side: one row a number, with its source and the ratio of the second to the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinyse.core.artifacts import versions
from tinyse.measure.costs.firmware import SKIPPED, STAGE_NAMES
from tinyse.measure.costs.parts import PartCosts
from tinyse.measure.costs.render import SCHEMA, Table, to_json
from tinyse.measure.costs.render_firmware import rate_note
from tinyse.measure.costs.results import Profile
from tinyse.measure.costs.skipping import skip_cost


@dataclass(frozen=True)
class Row:
    """One number of both profiles; ``None`` where a profile does not have it."""

    name: str
    unit: str
    label: str
    first: float | None
    second: float | None

    @property
    def ratio(self) -> float | None:
        """Second over first; None where either is missing or the first is 0."""
        return self.second / self.first if self.first and self.second is not None else None


def compare(first: Profile, second: Profile) -> tuple[Row, ...]:
    """Rows for every number that at least one profile has, in the order of the first.

    Where one of them is a Skip RNN, the mean costs of the other are those of every frame.
    """
    skips = first.skip is not None or second.skip is not None
    left, right = _numbers(first, skips), _numbers(second, skips)
    order = [*left, *(key for key in right if key not in left)]
    return tuple(Row(*key, first=left.get(key), second=right.get(key)) for key in order)


def table(first: Profile, second: Profile) -> Table:
    """The comparison as text; the ratio is second over first."""
    rows = tuple((row.name, row.unit, row.label, _text(row.first), _text(row.second),
                  f"{row.ratio:.3f}" if row.ratio is not None else "-") for row in compare(first, second))
    a, b = first.name, second.name
    if (a, first.target) == (b, second.target):
        a, b = f"{a} (A)", f"{b} (B)"
    notes = tuple(f"{name} only: {line}" for name, profile in ((a, first), (b, second))
                  for line in profile.skipped)
    if first.skip is not None or second.skip is not None:
        notes += ("a Skip RNN's cycles, MACs and bytes are of a frame that runs the network, unless called mean",)
    if first.parts is not None or second.parts is not None:
        notes += ("cycles, MACs and bytes of several parts are of a frame that runs them all, unless called mean",)
    notes += tuple(f"{name}: {rate_note(profile.skip.rate)}" for name, profile in ((a, first), (b, second))
                   if profile.skip is not None and profile.skip.rate is not None)
    return Table(f"{a}, {first.target} against {b}, {second.target}; ratio is second / first",
                 ("number", "unit", "source", a, b, "ratio"), rows, notes)


def comparison_json(first: Profile, second: Profile) -> dict[str, Any]:
    """Both profiles and the rows as JSON values."""
    rows = [{"name": row.name, "unit": row.unit, "label": row.label, "first": row.first, "second": row.second,
             "ratio": row.ratio} for row in compare(first, second)]
    return {"schema": SCHEMA, "kind": "comparison", "versions": versions(), "rows": rows,
            "first": to_json(first), "second": to_json(second)}


def _numbers(profile: Profile, skips: bool) -> dict[tuple[str, str, str], float]:
    found: dict[tuple[str, str, str], float | None] = {}
    npu, arena, sizes, done = profile.npu, profile.arena, profile.sizes, profile.simulation
    if npu is not None:
        label = npu.origin.label
        found["cycles a frame", "cycles", label] = npu.cycles
        found[f"share of the {1000 / npu.frames_per_second:g} ms hop", "%", label] = 100 * npu.hop_share
        if profile.skip is None:
            found["cycles per second of audio", "cycles", label] = npu.cycles_per_second
        for layer in npu.layers:
            if layer.operators:
                found[f"{layer.name}", "cycles", label] = layer.cycles
        for each in npu.traffic:
            found[f"{each.memory} traffic a frame", "B", label] = each.total
        for use in npu.memories:
            found[f"{use.holds} in {use.memory}", "B", label] = use.used
    if done is not None:
        label = done.origin.label
        found["MACs a frame", "MACs", label] = done.total.macs
        found["MACs on zeros", "MACs", label] = done.total.macs_on_zeros
        found["model bytes read a frame", "B", label] = done.total.flash_bytes
        found["arena bytes a frame", "B", label] = done.total.sram_bytes
    if skips:
        found |= _mean_numbers(profile)
    if profile.parts is not None and profile.parts.several:
        found |= _part_numbers(profile.parts)
    found |= _firmware_numbers(profile, skips)
    if arena is not None:
        found["TFLM arena", "B", arena.origin.label] = arena.total
    label = sizes.origin.label
    for name, count in (("weights", sizes.weights), ("weights not zero", sizes.nonzero)):
        found[name, "", label] = count
    for name, count in (("surviving bytes", sizes.surviving), ("bitmask + bytes", sizes.bitmask),
                        ("Vela-encoded weights", sizes.encoded), ("int8 .tflite", sizes.int8_file),
                        ("compiled .tflite", sizes.vela_file)):
        found[name, "B", label] = count
    return {key: value for key, value in found.items() if value is not None}


def _mean_numbers(profile: Profile) -> dict[tuple[str, str, str], float | None]:
    """Of a Skip RNN at its rate, of any other network at a rate of one."""
    found: dict[tuple[str, str, str], float | None] = {}
    skip = profile.skip or skip_cost(profile.firmware, profile.npu, profile.simulation, profile.frames_per_second)
    if skip.rate is not None:
        found["frames that run the network", "%", skip.rate.origin.label] = 100 * skip.rate.rate
    for each in skip.network:
        name = f"NPU {each.name}" if each.unit == "cycles" else each.name
        found[f"{name}, mean of a frame", each.unit, each.origin.label] = each.mean
        found[f"{name}, per second of audio", each.unit, each.origin.label] = each.second
    return found


def _part_numbers(parts: PartCosts) -> dict[tuple[str, str, str], float | None]:
    """How often each part ran, and what a mean frame costs."""
    found: dict[tuple[str, str, str], float | None] = {}
    for part, share in enumerate(parts.rates.shares if parts.rates else ()):
        found[f"frames that run part {part}", "%", parts.rates.origin.label if parts.rates else ""] = 100 * share
    for each in parts.costs:
        if each.part is None:
            name = f"NPU {each.name}" if each.unit == "cycles" else each.name
            found[f"{name}, mean of a frame", each.unit, parts.mean_label(each)] = each.mean
    return found


def _firmware_numbers(profile: Profile, skips: bool) -> dict[tuple[str, str, str], float | None]:
    """Of the firmware; the unit and the label keep numbers of two kinds in rows of their own."""
    found: dict[tuple[str, str, str], float | None] = {}
    run, memory, budget, arm = profile.firmware, profile.memory, profile.budget, profile.runner
    if run is not None:
        label = run.origin.label
        for each in run.stages:
            if each.stage != "network" or run.backend != "npu":
                found[f"{STAGE_NAMES[each.stage]} ({run.core})", run.unit, label] = each.mean
        found[f"front and back end ({run.core})", run.unit, label] = run.ends
        for name in SKIPPED if skips else ():
            if name != "network" or run.backend != "npu":
                found[f"{STAGE_NAMES[name]}, an update ({run.core})", run.unit, label] = run.updating(name)
        if run.npu is not None and run.npu_origin is not None and not run.transfer:
            found["NPU cycles a run", "cycles", run.npu_origin.label] = run.npu.cycles / max(1, run.npu.runs)
        found["stack used", "B", label] = run.stack_used or None
        found["network arena", "B", "exact"] = run.arena_bytes
    if arm is not None and arm.instructions is not None:
        found["Arm's TFLM + CMSIS-NN (cortex-m55)", "instructions", f"{arm.origin.label}, patched"] = arm.instructions
    if budget is not None:
        found["processor's share of the hop, least", "%", budget.origin.label] = budget.percent(budget.low)
        found["processor's share of the hop, most", "%", budget.origin.label] = budget.percent(budget.high)
        if skips:
            worst = budget.updating or budget.shares
            for end, total in (("least", sum(each.low for each in worst)), ("most", sum(each.high for each in worst))):
                found[f"an update's share of the hop, {end}", "%", budget.origin.label] = budget.percent(total)
    if memory is not None:
        for name, count in (("text", memory.text), ("rodata", memory.rodata), ("data", memory.data),
                            ("bss", memory.bss)):
            found[f"{name} of the image", "B", memory.origin.label] = count
    return found


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
