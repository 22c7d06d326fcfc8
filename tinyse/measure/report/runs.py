"""What was trained: every run folder below some folders, how their recipes differ, curves, scores and exports.

Reads what training, evaluation and export wrote there, nothing else; a file that is damaged is a note, not an end.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinyse.core.errors import TinyseError
from tinyse.core.sections import flat
from tinyse.export.bundle import INT8
from tinyse.measure.costs.table import Table, percent
from tinyse.measure.report.judges import JUDGES, Judge, Validated, validated
from tinyse.measure.report.page import Report
from tinyse.measure.scores.metrics import LABELS, UNITS
from tinyse.measure.scores.result import NOISY
from tinyse.train.recipe import load_recipe

DEPTH = 4
"""Folders below a given one in which runs are looked for: a sweep's points are two below."""
UNTOLD = ("name",)
"""Keys of a recipe that make no difference."""
LEGEND = 12


@dataclass(frozen=True)
class Trained:
    """One run.

    Attributes:
        name: its folder as found. folder: the same.
        recipe: ``section.key`` -> value; empty where the recipe cannot be read.
        manifest: of the finished training or the release; empty while it trains.
        log: rows of log.csv, text by column.
        scores: evaluation's folder -> metric column -> mean of its last system, measured (host).
        exports: export's folder -> what its manifest says, "bytes", the int8 file's or files' size,
            and "cycles", Vela's estimate for a frame of all parts, or None.
        notes: what could not be read.
    """

    name: str
    folder: Path
    recipe: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    log: Sequence[Mapping[str, str]] = ()
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    exports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """``done``, ``released``, or the step that it has come to."""
        if self.manifest.get("stage") in ("train", "release"):
            return "done" if self.manifest["stage"] == "train" else "released"
        return f"at step {self.log[-1]['step']}" if self.log else "begun"

    def curve(self, column: str) -> list[tuple[float, float]]:
        """Step and value of a column of the log, where it has one."""
        return [(float(row["step"]), float(row[column])) for row in self.log if row.get(column)]

    @property
    def validation(self) -> Validated | None:
        """What its validation measured (host)."""
        return validated(self.manifest, self.log)


def find_runs(folders: Iterable[Path | str]) -> list[Trained]:
    """Every run in or below the folders, by path.

    Raises:
        TinyseError: a folder is not there, or there is no run in any.
    """
    given = [Path(folder) for folder in folders]
    for folder in given:
        if not folder.is_dir():
            raise TinyseError(f"{folder}: no such folder", "a run's, or one that runs lie in")
    found = sorted({path for folder in given for path in _below(folder, DEPTH)})
    if not found:
        raise TinyseError(f"{', '.join(map(str, given))}: no run there", "tinyse train RECIPE --out DIR")
    return [read_run(path) for path in found]


def _below(folder: Path, depth: int) -> list[Path]:
    """Runs hold no runs; links are followed, as far as ``depth``."""
    if (folder / "recipe.yaml").is_file():
        return [folder]
    if depth == 0:
        return []
    with os.scandir(folder) as entries:
        inner = [Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return [path for each in inner for path in _below(each, depth - 1)]


def read_run(folder: Path) -> Trained:
    """What a run folder holds; what is missing is left out, what is damaged is a note."""
    notes: list[str] = []
    recipe: dict[str, Any] = {}
    try:
        recipe = flat(load_recipe(folder / "recipe.yaml").identity())
        recipe["family"] = re.sub(r"(sha256:.{8}).*", r"\1", recipe["family"])
    except (TinyseError, OSError) as error:
        notes.append(error.line() if isinstance(error, TinyseError) else str(error))
    log: list[dict[str, str]] = []
    if (folder / "log.csv").is_file():
        try:
            with open(folder / "log.csv", newline="", encoding="utf-8") as stream:
                log = [row for row in csv.DictReader(stream)]
            for row in log:  # numbers, or it is no log
                [float(row[key]) for key in ("step", "loss", *(c for each in JUDGES for c in each.log)) if row.get(key)]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            log = []
            notes.append(f"{folder / 'log.csv'}: is no log: {error}")
    scores = {_named(path, folder): _means(value) for path, value in _jsons(folder, "evaluation.json", notes)}
    profiles = {path.parent: value for path, value in _jsons(folder, "profile.json", notes)}
    exports = {_named(path, folder): {
        **value, "bytes": sum(file.stat().st_size for file in path.parent.glob(f"*{INT8}")),
        "cycles": _inner(value, "cycles", "total") or _inner(profiles.get(path.parent, {}), "npu", "cycles")}
        for path, value in _jsons(folder, "manifest.json", notes) if value.get("stage") in ("export", "release")}
    own = next((value for path, value in _jsons(folder, "manifest.json", []) if path.parent == folder), {})
    zeros = own.get("sparsity") or {}
    numbers = [own.get(key) for each in JUDGES for key in each.manifest]
    if not isinstance(zeros, dict) or not all(
            value is None or isinstance(value, int | float) for value in (*numbers, *zeros.values())):
        own = {}
        notes.append(f"{folder / 'manifest.json'}: is no manifest")
    return Trained(str(folder), folder, recipe, own, log, {k: v for k, v in scores.items() if v}, exports, tuple(notes))


def _jsons(folder: Path, name: str, notes: list[str]) -> list[tuple[Path, dict[str, Any]]]:
    """Files of that name in the folder and its subfolders."""
    found = []
    for path in sorted([folder / name, *folder.glob(f"*/{name}")]):
        if path.is_file():
            try:
                value = json.loads(path.read_text(encoding="utf-8"))
                found.append((path, value if isinstance(value, dict) else {}))
            except (OSError, ValueError) as error:
                notes.append(f"{path}: {error}")
    return found


def _inner(value: Mapping[str, Any], part: str, key: str) -> Any:
    inner = value.get(part)
    return inner.get(key) if isinstance(inner, dict) else None


def _named(path: Path, folder: Path) -> str:
    return "" if path.parent == folder else path.parent.name


def _means(value: Mapping[str, Any]) -> dict[str, float]:
    """Means of the last system of an evaluation: what was evaluated, or --against what."""
    try:
        systems = [system for system in value["systems"] if system != NOISY]
        chosen = "int8" if "int8" in systems else systems[0]
        means = {column: value["means"][column][chosen]["mean"] for column in value["columns"]}
        return {column: float(mean) for column, mean in means.items() if mean is not None}
    except (KeyError, IndexError, TypeError, ValueError):
        return {}


def judges_of(runs: Sequence[Trained]) -> tuple[Judge, ...]:
    """The kinds of validation that the runs have had."""
    had = [found.judge for run in runs if (found := run.validation) is not None]
    return tuple(judge for judge in JUDGES if judge in had)


def runs_table(runs: Sequence[Trained]) -> Table:
    """A row a run: state, validation, size; two columns a kind of validation; zeros are the mean over the matrices."""
    rows, judges = [], judges_of(runs) or JUDGES[:1]
    for run in runs:
        found = run.validation
        told = [text for judge in judges for text in (
            judge.shown(found.score, found.other) if found is not None and found.judge == judge else ("-", "-"))]
        zeros = run.manifest.get("sparsity") or {}
        rows.append((run.name, str(run.recipe.get("family", "-")), run.state, *told,
                     _whole(run.manifest.get("parameters")), _whole(run.manifest.get("macs_per_frame")),
                     percent(sum(zeros.values()), len(zeros)) if zeros else "-"))
    heads = [title for judge in judges for title in (f"val. {judge.title}", judge.second)]
    header = ("run", "family", "state", *heads, "parameters", "MACs, a frame", "zeros, mean")
    sources = ("", "", "", *("measured (host)" for _ in heads), "exact", "exact", "exact")
    return Table("runs", header, (sources, *rows),
                 tuple(note for run in runs for note in run.notes))


def difference_table(runs: Sequence[Trained]) -> Table:
    """A row a recipe key whose value is not the same in all runs, a column a run."""
    known = [run for run in runs if run.recipe]
    keys = list(dict.fromkeys(key for run in known for key in run.recipe if key not in UNTOLD))
    rows = [(key, *cells) for key in keys
            if len(set(cells := tuple(_text(run.recipe.get(key)) for run in known))) > 1]
    alike = () if rows else ("the recipes are the same" if len(known) > 1 else "one recipe",)
    return Table("recipe differences", ("key", *(run.name for run in known)) if rows else (), tuple(rows), alike)


def scores_table(runs: Sequence[Trained]) -> Table:
    """A row an evaluation: means of every metric."""
    columns = list(dict.fromkeys(c for run in runs for means in run.scores.values() for c in means))
    rows = [(run.name, name or "-", *(_number(means.get(c), ".3f" if c == "stoi" else ".2f") for c in columns))
            for run in runs for name, means in run.scores.items()]
    heads = (f"{LABELS.get(c, c)}, {UNITS[c]}" if UNITS.get(c) else LABELS.get(c, c) for c in columns)
    return Table("scores, measured (host), means", ("run", "evaluation", *heads) if rows else (), tuple(rows),
                 () if rows else ("nothing was evaluated into a run's folder: tinyse evaluate RUN --out RUN/scores",))


def exports_table(runs: Sequence[Trained]) -> Table:
    """A row an export: target, bytes, cycles."""
    rows = [(run.name, name or "-", str(found.get("target", "-")), _whole(found["bytes"]),
             _whole(found.get("parameters")), _whole(found["cycles"]))
            for run in runs for name, found in run.exports.items()]
    header = ("run", "export", "target", "int8 file, B", "parameters", "cycles, a frame")
    return Table("exports", header if rows else (), (("", "", "", "exact", "exact", "estimated (Vela)"), *rows)
                 if rows else (), () if rows else ("nothing was exported into a run's folder: tinyse export RUN",))


def tables(runs: Sequence[Trained]) -> list[Table]:
    """All of them."""
    return [runs_table(runs), difference_table(runs), scores_table(runs), exports_table(runs)]


def page(runs: Sequence[Trained]) -> Report:
    """Tables and curves as one page."""
    return Report(f"tinyse runs: {len(runs)}", "what was trained; every number with what produced it",
                  curves=curves(runs), tables=tables(runs), below="Runs")


def curves(runs: Sequence[Trained]) -> bytes | None:
    """PNG of training loss and validation of all runs over their steps; None where there is no log."""
    from tinyse.core.figure import blank_figure, png_of

    shown = [run for run in runs if run.log]
    if not shown:
        return None
    judges = judges_of(shown) or JUDGES[:1]
    figure = blank_figure(9.0, 3.25 * (1 + len(judges)))
    upper, *lower = figure.subplots(1 + len(judges), 1, sharex=True)
    for run in shown:
        for axis, column in ((upper, "loss"), *zip(lower, (judge.log[0] for judge in judges), strict=True)):
            axis.plot(*(zip(*run.curve(column), strict=True) if run.curve(column) else ((), ())), linewidth=0.9,
                      marker=None if axis is upper else ".", label=run.name)
    upper.set_ylabel("training loss")
    for axis, judge in zip(lower, judges, strict=True):
        unit = f" ({judge.unit})" if judge.unit else ""
        axis.set_ylabel(f"validation {judge.name}{unit}, measured (host)")
    lower[-1].set_xlabel("step")
    for axis in (upper, *lower):
        axis.grid(alpha=0.3)
    if len(shown) <= LEGEND:
        lower[-1].legend(fontsize=7)
    return png_of(figure)


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _whole(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else "-"


def _text(value: Any) -> str:
    return "-" if value is None else json.dumps(value) if isinstance(value, list | dict) else str(value)
