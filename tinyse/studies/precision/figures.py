"""The Pareto plot of a search, and the genes of its points as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyse.measure.scores.render import COLOURS
from tinyse.studies.precision.genes import LEAST, MOST, Genes, Genome
from tinyse.studies.precision.points import Point
from tinyse.studies.precision.search import front

if TYPE_CHECKING:
    from tinyse.train.validation import Validation

Numbers = Mapping[str, float]
SIZES = {"encoded": "weights as Vela encodes them, kB, exact", "packed": "constants packed for the CPU, kB, exact"}


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)  # no display needed
    return figure


def pareto(found: Mapping[Genome, Numbers], points: Sequence[Point], title: str,
           judge: type[Validation]) -> bytes:
    """PNG: every genome, the fronts, homogeneous and tuned points; one panel a kind of bytes."""
    figure = _figure(11, 4.6)
    lowest = max((point.numbers["loss"] for point in points), default=0.0)
    for axis, (key, label) in zip(figure.subplots(1, 2, sharey=True), SIZES.items(), strict=True):
        def line(rows: Sequence[Numbers], key: str = key, axis: Any = axis, **how: Any) -> None:
            axis.plot([row[key] / 1000 for row in rows], [row["loss"] for row in rows], **how)

        line(list(found.values()), marker=".", linestyle="none", color="#c8c8c8", markersize=4, label="genomes")
        line([found[genome] for genome in front(found, ("loss", key))], color="#a0a0a0", linewidth=1.0,
             label="their front")
        for tuned, mixed, how in ((False, False, {"marker": "s", "markerfacecolor": "none", "color": COLOURS[1]}),
                                  (False, True, {"marker": "*", "markersize": 10, "markerfacecolor": "none",
                                                 "color": COLOURS[3]}),
                                  (True, False, {"marker": "s", "color": COLOURS[1]}),
                                  (True, True, {"marker": "*", "markersize": 10, "color": COLOURS[3]})):
            some = [point for point in points if (point.tuned, point.mixed) == (tuned, mixed)]
            if some:
                kind = "mixed" if mixed else "homogeneous"
                line([point.numbers for point in some], linestyle="none",
                     label=f"{kind}, {'fine-tuned' if tuned else 'not trained'}", **how)
            if not mixed:
                for point in some:
                    axis.annotate(point.name, (point.numbers[key] / 1000, point.numbers["loss"]), fontsize=7,
                                  xytext=(4, -9), textcoords="offset points")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
        axis.set_ylim(1.15 * lowest + 0.05, -0.05)
    lost = f"{judge.name} lost a mixture, gains not counted, {judge.unit}, measured (host)"
    figure.axes[0].set_ylabel(lost, fontsize=8)
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    return _png(figure)


def genes_picture(genes: Genes, points: Sequence[Point], unit: str) -> bytes:
    """PNG: a row a point, a column a matrix or gate, the bits as colour and number."""
    figure = _figure(max(5.0, 0.32 * len(genes.places) + 2.5), 0.36 * len(points) + 2.4)
    axis = figure.subplots()
    values = np.array([point.genome for point in points])
    shown = axis.imshow(values, aspect="auto", vmin=LEAST, vmax=MOST, cmap="viridis")
    for (row, column), bits in np.ndenumerate(values):
        axis.text(column, row, str(bits), ha="center", va="center", fontsize=7, color="white" if bits < 6 else "black")
    axis.set_yticks(range(len(points)), [f"{point.name}, -{point.numbers['loss']:.2f} {unit}" for point in points],
                    fontsize=8)
    axis.set_xticks(range(len(genes.places)), genes.places, rotation=90, fontsize=7)
    figure.colorbar(shown, ax=axis, ticks=range(LEAST, MOST + 1), label="bits of a weight", fraction=0.03)
    return _png(figure)
