"""What a run writes as it goes: log.csv, TensorBoard events, curves.png."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyse.core.artifacts import write_bytes, write_text
from tinyse.core.figure import blank_figure, png_of
from tinyse.core.sections import flat
from tinyse.train.keras import tf
from tinyse.train.validation import Validation

BEFORE, BEHIND = ("step", "phase", "loss", "rate"), ("sparsity", "update_rate", "cost", "open_share")
"""Columns of the log around the validation's two."""


class Records:
    """Rows of the log, kept in memory so that a resumed run continues the same file."""

    def __init__(self, folder: Path, rows: list[dict[str, Any]], judge: type[Validation]) -> None:
        self.folder, self.rows, self.judge = folder, rows, judge
        self.score, self.beside = f"val_{judge.key}", f"val_{judge.beside}"
        self._events = tf.summary.create_file_writer(os.fsencode(folder / "tb"))

    def add(self, **row: Any) -> None:
        """Add one row; absent columns stay empty."""
        self.rows.append(row)
        with self._events.as_default(step=int(row["step"])):
            for name, value in row.items():
                if name not in ("step", "phase"):
                    tf.summary.scalar(name, value)

    def settings(self, values: Mapping[str, Any]) -> None:
        """Tell TensorBoard's HParams plugin the recipe, nested values; its metrics are the scalars of the log."""
        from tensorboard.plugins.hparams import api

        told = {key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
                for key, value in flat(values).items()}
        with self._events.as_default(step=0):
            api.hparams(told, trial_id=os.fsdecode(self.folder))

    def write(self) -> None:
        """Write log.csv."""
        text = io.StringIO()
        writer = csv.DictWriter(text, (*BEFORE, self.score, self.beside, *BEHIND), lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
        write_text(self.folder / "log.csv", text.getvalue())
        self._events.flush()

    def draw(self) -> Path:
        """Draw loss and validation score over the steps as curves.png."""
        figure = blank_figure(8, 5)
        loss_axis, score_axis = figure.subplots(2, 1, sharex=True)
        for phase, colour in (("float", "tab:blue"), ("compress", "tab:orange")):
            rows = [row for row in self.rows if row["phase"] == phase]
            losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
            scores = [(row["step"], row[self.score]) for row in rows if self.score in row]
            if losses:
                loss_axis.plot(*zip(*losses, strict=True), color=colour, label=phase, linewidth=0.8)
            if scores:
                score_axis.plot(*zip(*scores, strict=True), color=colour, marker=".", label=phase)
        before = [row[self.beside] for row in self.rows if self.beside in row]
        if before:
            score_axis.axhline(before[-1], color="grey", linestyle="--", label=self.judge.beside)
        loss_axis.set_ylabel("training loss")
        score_axis.set_ylabel(f"validation {self.judge.name} ({self.judge.unit})")
        score_axis.set_xlabel("step")
        for axis in (loss_axis, score_axis):
            axis.grid(alpha=0.3)
            if axis.get_legend_handles_labels()[0]:
                axis.legend()
        path = self.folder / "curves.png"
        write_bytes(path, png_of(figure))
        return path
