"""Figures that need no display, and the same bytes for the same figure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def blank_figure(width: float, height: float, dpi: int = 110) -> Figure:
    """A figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: Figure, dpi: int | None = None) -> bytes:
    """The figure as PNG, at its own resolution unless another is given."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi or "figure", metadata={"Software": None})
    return stream.getvalue()
