"""Two profiles side by side: one row a number, with its source and the ratio of the second to the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinyse.artifacts import versions
from tinyse.profile.firmware import STAGE_NAMES
from tinyse.profile.render import SCHEMA, Table, to_json
from tinyse.profile.results import Profile


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
    """Rows for every number that at least one profile has, in the order of the first."""
    left, right = _numbers(first), _numbers(second)
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
    return Table(f"{a}, {first.target} against {b}, {second.target}; ratio is second / first",
                 ("number", "unit", "source", a, b, "ratio"), rows, notes)


def comparison_json(first: Profile, second: Profile) -> dict[str, Any]:
    """Both profiles and the rows as JSON values."""
    rows = [{"name": row.name, "unit": row.unit, "label": row.label, "first": row.first, "second": row.second,
             "ratio": row.ratio} for row in compare(first, second)]
    return {"schema": SCHEMA, "kind": "comparison", "versions": versions(), "rows": rows,
            "first": to_json(first), "second": to_json(second)}


def _numbers(profile: Profile) -> dict[tuple[str, str, str], float]:
    found: dict[tuple[str, str, str], float | None] = {}
    npu, arena, sizes, done = profile.npu, profile.arena, profile.sizes, profile.simulation
    if npu is not None:
        label = npu.origin.label
        found["cycles a frame", "cycles", label] = npu.cycles
        found["share of the 16 ms hop", "%", label] = 100 * npu.hop_share
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
    found |= _firmware_numbers(profile)
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


def _firmware_numbers(profile: Profile) -> dict[tuple[str, str, str], float | None]:
    """Of the firmware; the unit and the label keep numbers of two kinds in rows of their own."""
    found: dict[tuple[str, str, str], float | None] = {}
    run, memory, budget, arm = profile.firmware, profile.memory, profile.budget, profile.runner
    if run is not None:
        label = run.origin.label
        for each in run.stages:
            if each.stage != "network" or run.backend != "npu":
                found[f"{STAGE_NAMES[each.stage]} ({run.core})", run.unit, label] = each.mean
        found[f"front and back end ({run.core})", run.unit, label] = run.ends
        if run.npu is not None and run.npu_origin is not None and not run.transfer:
            found["NPU cycles a run", "cycles", run.npu_origin.label] = run.npu.cycles / max(1, run.npu.runs)
        found["stack used", "B", label] = run.stack_used or None
        found["network arena", "B", "exact"] = run.arena_bytes
    if arm is not None and arm.instructions is not None:
        found["Arm's TFLM + CMSIS-NN (cortex-m55)", "instructions", f"{arm.origin.label}, patched"] = arm.instructions
    if budget is not None:
        found["processor's share of the hop, least", "%", budget.origin.label] = budget.percent(budget.low)
        found["processor's share of the hop, most", "%", budget.origin.label] = budget.percent(budget.high)
    if memory is not None:
        for name, count in (("text", memory.text), ("rodata", memory.rodata), ("data", memory.data),
                            ("bss", memory.bss)):
            found[f"{name} of the image", "B", memory.origin.label] = count
    return found


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
