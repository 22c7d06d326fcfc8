"""Quality against what it costs: one point a contender, and the front that nobody is better than."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinyse.bench.facts import Facts
from tinyse.core.figure import blank_figure, png_of
from tinyse.measure.scores.metrics import LABELS, UNITS
from tinyse.measure.scores.result import NOISY, Evaluation

OURS, THEIRS, FRONT = "#d55e00", "#0072b2", "#999999"
Point = tuple[float, float]
MARK = 9.0
"""Pixels that a point takes."""
PLACES = tuple((side * x, y) for x, y in ((6, 4), (6, -10), (5, 14), (5, -20), (16, 25), (16, -31), (16, 36), (16, -42))
               for side in (1, -1))
"""Where a label may stand about its point, in points of type, the first that is free."""


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats: cheaper or as cheap, and better. Ascending in cost."""
    best: list[Point] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or value > best[-1][1]:
            best.append((cost, value))
    return best


def plot(evaluation: Evaluation, facts: Sequence[Facts], cost: Callable[[Facts], float | None], label: str,
         columns: Sequence[str] = ("pesq", "si_sdr", "dnsmos_ovrl")) -> bytes:
    """PNG: a panel a metric, means over all clips against a cost on a logarithmic axis.

    What has no weights lies on no point of that axis; it is a dotted line, as the noisy input is.
    """
    shown = [column for column in columns if column in evaluation.columns]
    figure = blank_figure(4.6 * len(shown), 4.4, 100)
    names: list[tuple[Any, Facts, Point]] = []
    for index, column in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), index + 1)
        points: list[Point] = []
        for fact in facts:
            value, price = evaluation.mean(fact.name, column), cost(fact)
            if value is None:
                continue
            if not price:
                axes.axhline(value, color=FRONT, linestyle=":", linewidth=1)
                axes.annotate(fact.name, (0.99, value), xycoords=("axes fraction", "data"), fontsize=7, color="#555555",
                              ha="right", va="bottom")
                continue
            points.append((price, value))
            axes.plot(price, value, "s" if fact.ours else "o", color=OURS if fact.ours else THEIRS, markersize=6)
            names.append((axes, fact, (price, value)))
        if (noisy := evaluation.mean(NOISY, column)) is not None:
            axes.axhline(noisy, color="#000000", linestyle=":", linewidth=1)
            axes.annotate(NOISY, (0.01, noisy), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
        edge = front(points)
        axes.plot([cost for cost, _ in edge], [value for _, value in edge], color=FRONT, linewidth=1, zorder=0,
                  drawstyle="steps-post")
        axes.set_xscale("log")
        axes.margins(x=0.35, y=0.12)
        axes.set_title(LABELS[column], fontsize=10)
        axes.set_xlabel(label, fontsize=9)
        axes.set_ylabel(UNITS[column], fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    _annotate(figure, names)
    return png_of(figure, 110)


def _annotate(figure: Any, names: Sequence[tuple[Any, Facts, Point]]) -> None:
    """Name every point where nothing else stands; far names get a line to their point. Ours without their prefix."""
    from matplotlib.transforms import Bbox

    figure.canvas.draw()  # fixes the layout, so that extents are final
    figure.set_layout_engine("none")
    middles = [axes.transData.transform(point) for axes, _, point in names]
    taken: list[Any] = [Bbox.from_bounds(x - MARK / 2, y - MARK / 2, MARK, MARK) for x, y in middles]
    for axes, fact, point in sorted(names, key=lambda each: -each[2][1]):
        text = fact.name.removeprefix("tinylstm-").removesuffix(" int8")
        for place in PLACES:
            label = axes.annotate(text, point, xytext=place, textcoords="offset points", fontsize=7,
                                  color=OURS if fact.ours else THEIRS, ha="left" if place[0] > 0 else "right",
                                  arrowprops={"arrowstyle": "-", "color": FRONT, "linewidth": 0.5}
                                  if abs(place[1]) > 15 else None)
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
            if place is not PLACES[-1]:
                label.remove()
        taken.append(box)
