"""A sweep as CSV, as tables of text, and as one page; every column says what produced it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tinyse.core.artifacts import write_bytes, write_json, write_text
from tinyse.measure.costs.table import Table
from tinyse.studies.sweep.columns import RATE, costs, sizes
from tinyse.studies.sweep.results import EXACT, FILE, Column, Group, SweepResult

SUMMARY = ("zeros", "val_delta", "sdr", "delta", "surviving", "bitmask", "encoded", "smaller")
"""Columns of the first table; the second has the cost models, and all are in the files."""


def write_data(result: SweepResult, out: Path) -> None:
    """Write ``sweep.json`` and ``sweep.csv``."""
    write_json(out / FILE, result.to_json())
    write_text(out / "sweep.csv", points_csv(result))


def write_presentation(result: SweepResult, out: Path) -> None:
    """Write data, ``plots/*.png`` and ``sweep.html``."""
    from tinyse.measure.report.page import Report, render
    from tinyse.studies.sweep.figures import figures

    write_data(result, out)
    drawn = figures(result)
    for key, (_, png) in drawn.items():
        write_bytes(out / "plots" / f"sdr-{key}.png", png)
    scoring = result.settings["scoring"]
    report = Report(
        title=f"tinyse sweep: {result.name}",
        subtitle=f"{len(result.points)} points for {result.target}; corpus {result.settings['corpus'][:12]}; "
                 f"{scoring['count'] * len(scoring['snrs'])} test mixtures, seed {scoring['seed']}; "
                 "streamed int8 output under TFLM",
        figures=dict(drawn.values()),
        tables=shown(result),
        versions=result.versions,
        notes={"Not there": lines} if (lines := missing(result)) else {},
    )
    write_text(out / "sweep.html", render(report))


def points_csv(result: SweepResult) -> str:
    """A row a point, all columns, each with its unit and source in the header."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["point", "seed", "kind", "family", "target sparsity",
                     *(f"{c.title} [{', '.join(filter(None, (c.unit, c.source)))}]" for c in result.columns), "folder"])
    for point in result.points:
        cells = [f"{point.values[c.key]:.10g}" if c.key in point.values else "" for c in result.columns]
        writer.writerow([point.name, point.seed, point.kind, point.family, f"{point.sparsity:g}", *cells, point.folder])
    return stream.getvalue()


def shown(result: SweepResult) -> list[Table]:
    """Every table of a sweep."""
    return [summary_table(result), cost_table(result), ratio_table(result), spread_table(result)]


def summary_table(result: SweepResult) -> Table:
    """Quality and size, a row a configuration: means over its seeds."""
    chosen = [c for key in SUMMARY if (c := result.column(key))]
    float_sdr, noisy = result.reference.get("sdr"), result.reference.get("noisy_sdr")
    notes = [] if float_sdr is None or noisy is None else [
        f"SDR of the dense float model {float_sdr:.2f} dB, of the noisy input {noisy:.2f} dB, measured (host); "
        f"float size {result.reference['bytes']:,.0f} B, exact"]
    notes += ["zeros: of the dense weights; encoded: by Vela; float: the dense float model",
              "SDR is of the test split, models are chosen on validation only; several seeds: the mean"]
    return _table(f"{result.name}, {result.target}", result, chosen, notes)


def cost_table(result: SweepResult) -> Table:
    """The cost models, a row a configuration: means over its seeds."""
    notes = ["MACs: of weights that are not zero; in tiles: what the CPU kernels compute; network: they"]
    chosen = costs(result.columns)
    rates = [c for c in result.columns if c.key == RATE or c.key.startswith("part_")]
    if rates:
        chosen = (*rates, *chosen)
        notes.append("costs are of a frame that runs the network, every part of it, the worst; mean: times the update "
                     "rate, or each part times its rate, of the test split; 1 MAC = 2 operations")
    return _table("one frame", result, chosen, notes)


def _table(title: str, result: SweepResult, chosen: Sequence[Column], notes: list[str]) -> Table:
    header = ("point", "seeds", *(f"{c.title}, {c.unit}" if c.unit else c.title for c in chosen))
    sources = ("", "", *(c.source for c in chosen))
    rows = [(group.first.name, str(len(group.points)), *(text(group.mean(c.key), c) for c in chosen))
            for group in result.groups()]
    return Table(title, header, (sources, *rows), tuple(notes))


def ratio_table(result: SweepResult) -> Table:
    """How many times less each configuration takes than the dense int8 model, under each size and cost model."""
    groups = result.groups()
    dense = groups[0]
    chosen = [*sizes(result.columns), *costs(result.columns)]
    rows = []
    for group in groups:
        cells = []
        for column in chosen:
            ours, theirs = group.mean(column.key), dense.mean(column.key)
            cells.append(f"{theirs / ours:.2f}" if ours and theirs else "-")
        rows.append((group.first.name, text(group.mean("delta"), result.column("delta")), *cells))
    return Table("times less than the dense int8 model", ("point", "SDR - float, dB", *(c.title for c in chosen)),
                 (("", "measured (host)", *(c.source for c in chosen)), *rows))


def spread_table(result: SweepResult) -> Table:
    """Configurations with several seeds: every seed's SDR, mean, extremes and standard deviation."""
    rows = []
    for group in result.groups():
        deviation, mean = group.deviation("delta"), group.mean("delta")
        if deviation is not None and mean is not None:
            each = ", ".join(f"{p.seed}: {p.values['delta']:+.3f}" for p in group.points if "delta" in p.values)
            extremes = [f"{value:+.3f}" for value in (min(group.values("delta")), max(group.values("delta")))]
            rows.append((group.first.name, f"{mean:+.3f}", *extremes, f"{deviation:.3f}", f"{_validated(group):+.3f}",
                         each))
    header = ("point", "mean, dB", "lowest, dB", "highest, dB", "standard deviation, dB", "seed best on validation, dB",
              "seed: dB")
    return Table("SDR - float over seeds, measured (host)", header if rows else (), tuple(rows),
                 () if rows else ("no point has several seeds",))


def _validated(group: Group) -> float:
    """Test result of the seed that is best on validation."""
    scored = [point for point in group.points if "delta" in point.values]
    return max(scored, key=lambda point: point.values.get("val_sdr", float("-inf"))).values["delta"]


def missing(result: SweepResult) -> list[str]:
    """A line for each failed point, and for each note with the points that it is of."""
    notes: dict[str, list[str]] = {}
    for point in result.points:
        for note in point.notes:
            notes.setdefault(note, []).append(point.label)
    lines = [f"{note} ({'all points' if len(labels) == len(result.points) else ', '.join(labels)})"
             for note, labels in notes.items()]
    return [f"{label} failed: {error}" for label, error in result.failed.items()] + lines


def text(value: float | None, column: Column | None) -> str:
    """A value as its column shows it."""
    if value is None:
        return "-"
    if column is not None and column.unit == "dB":
        return f"{value:+.2f}" if column.key.endswith("delta") else f"{value:.2f}"
    if column is not None and column.unit in ("%", "x"):
        return f"{value:.1f}"
    if column is not None and column.source == EXACT or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}"
