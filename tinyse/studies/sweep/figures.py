"""Pareto plots: SDR against each size and each cost model, dense and offline baselines drawn in."""

from __future__ import annotations

from typing import Any

from tinyse.core.figure import blank_figure, png_of
from tinyse.measure.scores.render import COLOURS, MARKERS
from tinyse.studies.sweep.columns import costs, sizes
from tinyse.studies.sweep.plan import Kind
from tinyse.studies.sweep.results import Column, Group, SweepResult, front


def figures(result: SweepResult) -> dict[str, tuple[str, bytes]]:
    """Column key -> (caption, PNG) for every size and cost model that some point has."""
    groups = result.groups()
    found = {}
    for column in (*sizes(result.columns), *costs(result.columns)):
        if any(group.mean(column.key) for group in groups):
            caption = f"SDR, measured (host), against {column.title}, {column.source}"
            found[column.key] = (caption, _figure(result, groups, column))
    return found


def _figure(result: SweepResult, groups: list[Group], column: Column) -> bytes:
    from matplotlib.ticker import FuncFormatter

    figure = blank_figure(7.5, 4.8)
    axis = figure.subplots()
    families = list(dict.fromkeys(group.first.family for group in groups))
    colours = list(dict.fromkeys(family.split(",")[0] for family in families))
    for family in families:
        alike = [other for other in families if other.split(",")[0] == family.split(",")[0]]
        _curve(axis, family, [g for g in groups if g.first.family == family], column,
               colours.index(family.split(",")[0]), alike.index(family))
    best = front(groups, column.key)
    axis.plot([g.mean(column.key) or 0.0 for g in best], [g.mean("sdr") or 0.0 for g in best], color="black",
              linewidth=0.8, linestyle=":", label="Pareto front", zorder=1)
    if "sdr" in result.reference:
        axis.axhline(result.reference["sdr"], color="black", linewidth=0.8, linestyle="--", label="dense float")
        if any(len(group.points) > 1 for group in groups):
            axis.plot([], [], color="grey", marker="_", linestyle="none", label="bars: worst to best seed")
    axis.set_xscale("log")
    for which in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        which(FuncFormatter(lambda value, _: f"{value:,.4g}" if value < 100 else f"{value:,.0f}"))
    axis.tick_params(axis="x", which="both", labelsize=7, labelrotation=30)
    axis.set_xlabel(f"{column.title}, {column.unit}, {column.source}")
    axis.set_ylabel("SDR, dB, measured (host)")
    axis.set_title(f"{result.name}, {result.target}", fontsize=10)
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize=8)
    return png_of(figure)


def _curve(axis: Any, family: str, groups: list[Group], column: Column, place: int, variant: int) -> None:
    """One family by cost; bars from the worst to the best seed. Offline baselines are hollow and dashed.

    ``place`` is its colour, which families of one structure share; ``variant`` counts those.
    """
    known = sorted((g for g in groups if g.mean(column.key) and g.values("sdr")),
                   key=lambda g: g.mean(column.key) or 0.0)
    if not known:
        return
    xs = [g.mean(column.key) for g in known]
    ys = [g.mean("sdr") or 0.0 for g in known]
    below = [y - min(g.values("sdr")) for y, g in zip(ys, known, strict=True)]
    above = [max(g.values("sdr")) - y for y, g in zip(ys, known, strict=True)]
    offline = known[0].first.kind is Kind.OFFLINE
    axis.errorbar(xs, ys, yerr=[below, above], color=COLOURS[place % len(COLOURS)],
                  marker="*" if family == "dense" else MARKERS[(place + 2 * variant) % len(MARKERS)],
                  markersize=11 if family == "dense" else 6, markerfacecolor="none" if offline else None,
                  linestyle="--" if offline else ("-", "-.")[min(variant, 1)] if len(known) > 1 else "none",
                  linewidth=1, capsize=2,
                  label="dense int8" if family == "dense" else family)
