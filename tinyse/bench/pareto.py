"""Quality against what it costs: one point a contender, and the front that nobody is better than."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from tinyse.bench.facts import Facts
from tinyse.evaluate.metrics import LABELS, UNITS
from tinyse.evaluate.result import NOISY, Evaluation

OURS, THEIRS, FRONT = "#d55e00", "#0072b2", "#999999"
Point = tuple[float, float]


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [column for column in columns if column in evaluation.columns]
    figure = Figure(figsize=(4.6 * len(shown), 4.4), layout="constrained")
    FigureCanvasAgg(figure)  # no display needed
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
            axes.annotate(fact.name, (price, value), xytext=(4, 4), textcoords="offset points", fontsize=7)
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
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()
