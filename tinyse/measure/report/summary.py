"""The one table a run ends in: noisy, float, quantized; cycles; bytes; each number with its source."""

from __future__ import annotations

from dataclasses import dataclass

from tinyse.measure.scores.metrics import LABELS, UNITS
from tinyse.measure.scores.result import NOISY, Evaluation

SHOWN = ("si_sdr", "sdr", "pesq", "stoi", "dnsmos_ovrl")


@dataclass(frozen=True)
class Number:
    """A value with its unit and what produced it: measured, emulated, simulated or estimated."""

    value: float
    unit: str
    source: str

    def text(self) -> str:
        """Value and unit: thousands grouped where whole, else three significant digits or more."""
        whole = float(self.value).is_integer()
        digits = f"{self.value:,.0f}" if whole or abs(self.value) >= 1000 else f"{self.value:.3g}"
        return f"{digits} {self.unit}".strip()


@dataclass(frozen=True)
class Costs:
    """What a frame costs, by name and in the order to show.

    Attributes:
        model: system label ("float", "quantized") -> cost column -> number.
        columns: cost columns in order ("cycles per frame", "bytes").
    """

    model: dict[str, dict[str, Number]]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """The table as text cells.

    Attributes:
        header: "", the signals (noisy first), "source".
        rows: one a metric, then one a cost.
        notes: lines to print below.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    @staticmethod
    def of(evaluation: Evaluation, costs: Costs) -> Summary:
        """Join an evaluation and the costs of its systems."""
        rows = []
        for column in (column for column in SHOWN if column in evaluation.columns):
            digits = 3 if column == "stoi" else 2
            name = f"{LABELS[column]}, {UNITS[column]}" if UNITS[column] else LABELS[column]
            cells = [_score(evaluation, system, column, digits) for system in evaluation.systems]
            rows.append((name, *cells, str(evaluation.provenance.get("source", ""))))
        for cost in costs.columns:
            numbers = [costs.model.get(system, {}).get(cost) for system in evaluation.systems]
            sources = sorted({number.source for number in numbers if number is not None})
            if sources:
                rows.append((cost, *("-" if n is None else n.text() for n in numbers), ", ".join(sources)))
        snrs = evaluation.snrs
        over = f" from {snrs[0]:g} to {snrs[-1]:g} dB" if snrs else ""
        notes = (f"means over {len(evaluation.clips)} clips{over}; in brackets the gain over noisy",
                 *evaluation.skips())
        return Summary(("", *evaluation.systems, "source"), tuple(rows), notes)


def _score(evaluation: Evaluation, system: str, column: str, digits: int) -> str:
    mean, gain = evaluation.mean(system, column), evaluation.gain(system, column)
    if mean is None:
        return "-"
    plain = f"{round(mean, digits) + 0.0:.{digits}f}"
    return plain if system == NOISY or gain is None else f"{plain} ({round(gain, digits) + 0.0:+.{digits}f})"
