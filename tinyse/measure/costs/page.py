"""A profile, or two, as one self-contained page: the tables, the frame budget and the roofline."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tinyse.core.artifacts import versions
from tinyse.core.figure import blank_figure, png_of
from tinyse.core.origin import Source
from tinyse.export.targets import Target
from tinyse.measure.costs.channels import channel_figure
from tinyse.measure.costs.firmware import STAGE_NAMES
from tinyse.measure.costs.results import Profile
from tinyse.measure.costs.roofline import draw_roofline
from tinyse.measure.costs.table import Table

COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#e69f00")


def html(profiles: Sequence[Profile], tables: Sequence[Table], target: Target | None = None) -> str:
    """The page as text; equal profiles give equal bytes.

    Args:
        profiles: one, or the two that were compared.
        tables: what the terminal shows.
        target: where the first profile's target is a file of yours.
    """
    from tinyse.measure.report.page import Report, render

    figures = {}
    if any(profile.budget for profile in profiles):
        figures["The frame budget: where the hop goes. Pale: the range that the assumed cycles an instruction leave "
                "open."] = budget_figure(profiles)
    for profile in profiles:
        if profile.channels is not None:
            figures[f"Open channels of {profile.name} on {profile.channels.signal}."] = channel_figure(profile.channels)
    if len(profiles) == 1 and profiles[0].npu is not None:
        with tempfile.TemporaryDirectory() as folder:
            draw_roofline(profiles[0], Path(folder) / "roofline.png", target)
            figures["The roofline of the NPU, estimated."] = (Path(folder) / "roofline.png").read_bytes()
    names = " and ".join(profile.name for profile in profiles)
    lines = [f"{name}: sha256 {digest}" for profile in profiles for name, digest in sorted(profile.sha256.items())]
    return render(Report(
        f"Profile of {names}", "Every table says what produced its numbers: measured, emulated, simulated, estimated "
        "or exact.", tables=[table for table in tables if table.header or table.notes], figures=figures,
        versions=versions(), notes={"Files": lines}))


def budget_figure(profiles: Sequence[Profile]) -> bytes:
    """PNG: a stacked bar over the hop for each processor, with the kind of its numbers beside it.

    An NPU's network has a bar of its own: its cycles are of another kind than those of the processor beside it.
    """
    from matplotlib.patches import Patch

    rows = [row for profile in profiles for row in _bars(profile)]
    figure = blank_figure(10, 1.9 + 0.75 * len(rows))
    axis = figure.subplots()
    colours = dict(zip(STAGE_NAMES, COLOURS, strict=True))
    for place, (_, parts, most) in enumerate(rows):
        start = 0.0
        for stage, width in parts:
            axis.barh(place, width, left=start, color=colours[stage])
            start += width
        if most > start:
            axis.barh(place, most - start, left=start, color="#bbbbbb", alpha=0.5)
    axis.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=8)
    axis.invert_yaxis()
    hops = sorted({1000 / profile.frames_per_second for profile in profiles})
    for hop in hops:
        axis.axvline(hop, color="black", linewidth=1)
    axis.axvline(10, color="#999999", linewidth=1, linestyle="--")
    axis.set_xlim(0, max(hops[-1] + 1, *(1.05 * row[2] for row in rows)))
    named = " and ".join(f"{hop:g}" for hop in hops)
    axis.set_xlabel(f"ms; solid: the {named} ms hop, dashed: TinyLSTMs' limit of 10 ms")
    figure.legend(handles=[Patch(color=colours[stage], label=name) for stage, name in STAGE_NAMES.items()],
                  fontsize=7, ncols=6, loc="outside lower center")
    return png_of(figure)


def _bars(profile: Profile) -> list[tuple[str, list[tuple[str, float]], float]]:
    """Bars of a profile: label, stages with ms, and the ms at the upper end of the range."""
    budget, npu = profile.budget, profile.npu
    if budget is None:
        return []
    head = f"{profile.name}, {profile.target}"
    parts = [(share.stage, budget.milliseconds(share.low)) for share in budget.shares]
    skips = bool(budget.updating)
    of = ", mean of a frame" if skips else ""
    found = [(f"{head}\nprocessor, {budget.clock_mhz:g} MHz{of}\n{budget.origin.label}", parts,
              budget.milliseconds(budget.high))]
    if skips:
        found.append((f"{head}\nprocessor, an update\n{budget.origin.label}",
                      [(share.stage, budget.milliseconds(share.low)) for share in budget.updating],
                      budget.milliseconds(sum(share.high for share in budget.updating))))
    if npu is not None and not any(share.stage == "network" for share in budget.shares):
        rate = profile.skip.rate if profile.skip is not None else None
        if rate is not None:
            mean = npu.milliseconds * rate.rate
            found.append((f"{head}\nNPU, {npu.clock_mhz:g} MHz, mean of a frame\n{Source.ESTIMATED_MEAN}",
                          [("network", mean)], mean))
        update = ", an update" if skips else ""
        found.append((f"{head}\nNPU, {npu.clock_mhz:g} MHz{update}\n{npu.origin.label}",
                      [("network", npu.milliseconds)], npu.milliseconds))
    return found
