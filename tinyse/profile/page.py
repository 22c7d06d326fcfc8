"""A profile, or two, as one self-contained page: the tables, the frame budget and the roofline."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tinyse.artifacts import versions
from tinyse.profile.firmware import STAGE_NAMES
from tinyse.profile.results import Profile
from tinyse.profile.roofline import draw_roofline
from tinyse.profile.table import Table
from tinyse.targets import Target

COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#e69f00")


def html(profiles: Sequence[Profile], tables: Sequence[Table], target: Target | None = None) -> str:
    """The page as text; equal profiles give equal bytes.

    Args:
        profiles: one, or the two that were compared.
        tables: what the terminal shows.
        target: where the first profile's target is a file of yours.
    """
    from tinyse.report.page import Report, render

    figures = {}
    if any(profile.budget for profile in profiles):
        figures["The frame budget: where the hop goes. Pale: the range that the assumed cycles an instruction leave "
                "open."] = budget_figure(profiles)
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
    """PNG: one stacked bar a profile over the 16 ms hop, a stage a colour; each bar says of which kind it is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [profile for profile in profiles if profile.budget is not None]
    figure = Figure(figsize=(10, 1.8 + 0.8 * len(shown)), layout="constrained")
    axis = figure.subplots()
    labels = []
    for row, profile in enumerate(shown):
        budget = profile.budget
        assert budget is not None
        colours = dict(zip(STAGE_NAMES, COLOURS, strict=True))
        start = 0.0
        for share in budget.shares:
            width = budget.milliseconds(share.low)
            axis.barh(row, width, left=start, color=colours[share.stage],
                      label=STAGE_NAMES[share.stage] if row == 0 else None)
            start += width
        rest = budget.milliseconds(budget.high) - start
        if rest > 0:
            axis.barh(row, rest, left=start, color="#bbbbbb", alpha=0.5)
        labels.append(f"{profile.name}\n{profile.target}, {budget.clock_mhz:g} MHz\n{budget.origin.label}")
    axis.set_yticks(range(len(shown)), labels, fontsize=8)
    axis.axvline(16, color="black", linewidth=1)
    axis.axvline(10, color="#999999", linewidth=1, linestyle="--")
    axis.set_xlim(0, 17)
    axis.set_xlabel("ms of the 16 ms hop; dashed: TinyLSTMs' limit of 10 ms")
    axis.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.35))
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=110, format="png", metadata={"Software": None})
    return stream.getvalue()
