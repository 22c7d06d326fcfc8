"""An evaluation as JSON, CSV and a plot."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tinyse.core.artifacts import atomic_path, write_json, write_text
from tinyse.core.figure import blank_figure, png_of
from tinyse.measure.scores.metrics import LABELS, UNITS
from tinyse.measure.scores.result import Evaluation

COLOURS = ("#7f7f7f", "#d55e00", "#0072b2", "#009e73", "#cc79a7")  # distinct for colour-blind readers
MARKERS = ("o", "s", "^", "D", "v")


def write_evaluation(evaluation: Evaluation, folder: Path | str) -> dict[str, Path]:
    """Write ``evaluation.json``, ``evaluation.csv`` (means), ``clips.csv``, ``files.csv`` and ``evaluation.png``.

    Returns:
        The files by kind.

    Raises:
        TinyseError: the folder cannot be written.
    """
    folder = Path(folder)
    files = {"json": folder / "evaluation.json", "csv": folder / "evaluation.csv",
             "clips": folder / "clips.csv", "files": folder / "files.csv", "plot": folder / "evaluation.png"}
    write_json(files["json"], evaluation.to_dict())
    write_text(files["csv"], means_csv(evaluation))
    write_text(files["clips"], clips_csv(evaluation))
    write_text(files["files"], files_csv(evaluation))
    with atomic_path(files["plot"]) as temporary:
        temporary.write_bytes(plot(evaluation))
    return files


def means_csv(evaluation: Evaluation) -> str:
    """Long form: metric, signal, SNR ("all" for the overall mean), mean, clips."""
    rows: list[tuple[object, ...]] = []
    for column in evaluation.columns:
        for system in evaluation.systems:
            for snr in (*evaluation.snrs, None):
                mean = evaluation.mean(system, column, snr)
                rows.append((column, system, "all" if snr is None else f"{snr:g}",
                             "" if mean is None else f"{mean:.6f}", evaluation.count(column, snr)))
    for system in evaluation.systems:
        for snr in (*evaluation.snrs, None):
            clips = sum(snr in (None, clip.snr) for clip in evaluation.clips)
            rows += [(name.replace(" ", "_"), system, "all" if snr is None else f"{snr:g}", f"{rate:.6f}", clips)
                     for name, rate in evaluation.named_rates(system, snr).items()]
    return _csv(("metric", "signal", "snr_db", "mean", "clips"), rows)


def clips_csv(evaluation: Evaluation) -> str:
    """Long form: one row a clip, signal and metric; the reason in place of a value that is missing."""
    rows: list[tuple[object, ...]] = []
    for clip in evaluation.clips:
        for system in evaluation.systems:
            for column in evaluation.columns:
                value = clip.values.get(system, {}).get(column)
                reason = clip.skipped.get(system, {}).get(column, "")
                rows.append((clip.name, "" if clip.snr is None else f"{clip.snr:g}", system, column,
                             "" if value is None else f"{value:.6f}", reason))
    return _csv(("clip", "snr_db", "signal", "metric", "value", "skipped"), rows)


def files_csv(evaluation: Evaluation) -> str:
    """Wide form: one row a clip and signal, one column a metric; the last two rows or more are the means."""
    rows: list[tuple[object, ...]] = []
    for clip in evaluation.clips:
        for system in evaluation.systems:
            values = clip.values.get(system, {})
            rows.append((clip.name, system, *(f"{values[name]:.6f}" if name in values else ""
                                              for name in evaluation.columns)))
    for system in evaluation.systems:
        means = [evaluation.mean(system, column) for column in evaluation.columns]
        rows.append(("mean", system, *("" if mean is None else f"{mean:.6f}" for mean in means)))
    return _csv(("file", "signal", *evaluation.columns), rows)


def _csv(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()


def plot(evaluation: Evaluation) -> bytes:
    """PNG of every metric against SNR, one panel a metric; bars of the means where clips carry no SNR."""
    count = len(evaluation.columns)
    columns = min(count, 4)
    rows = -(-count // columns)
    figure = blank_figure(3.4 * columns, 2.8 * rows, 100)
    for index, column in enumerate(evaluation.columns):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.set_title(LABELS.get(column, column), fontsize=10)
        axes.set_ylabel(UNITS.get(column, ""), fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        for place, system in enumerate(evaluation.systems):
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            if evaluation.snrs:
                means = [evaluation.mean(system, column, snr) for snr in evaluation.snrs]
                shown = [float("nan") if mean is None else mean for mean in means]
                axes.plot(evaluation.snrs, shown, color=colour, marker=marker, markersize=4, label=system)
                axes.set_xlabel("input SNR in dB", fontsize=8)
                axes.set_xticks(evaluation.snrs)
            else:
                axes.bar(system, evaluation.mean(system, column) or 0.0, color=colour, label=system)
        if index == 0 and evaluation.snrs:
            axes.legend(fontsize=8)
    return png_of(figure)
