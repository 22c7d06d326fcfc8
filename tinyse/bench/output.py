"""Files of the comparison: a page and figures for the repository, JSON and CSV, a listening page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyse.bench.document import put_section
from tinyse.bench.facts import Facts
from tinyse.bench.pareto import plot
from tinyse.bench.quality import Quality
from tinyse.bench.section import section
from tinyse.core.artifacts import write_bytes, write_json, write_text
from tinyse.measure.scores.render import clips_csv, means_csv

COMMAND = "make bench-quality"
Cost = Callable[[Facts], float | None]
COSTS: dict[str, tuple[str, Cost]] = {
    "bytes": ("bytes of weights", lambda fact: fact.size.weight_bytes),
    "macs": ("multiply-accumulates per second", lambda fact: fact.size.macs),
}


def write_quality(quality: Quality, docs: Path, folder: Path) -> list[Path]:
    """Write ``docs/benchmarks.md``, its figures and JSON beside it, and every clip's scores to ``folder``.

    Returns:
        The files that were written.

    Raises:
        TinyseError: a folder cannot be written.
    """
    beside = docs / "benchmarks"
    files: list[Path] = []
    figures: list[tuple[str, str]] = []
    for name, evaluation in quality.tables.items():
        for kind, (label, cost) in COSTS.items():
            path = beside / f"{name}-{kind}.png"
            write_bytes(path, plot(evaluation, quality.facts, cost, label))
            figures.append((f"benchmarks/{path.name}", f"{name}: quality against {label}"))
            files.append(path)
        for path, text in ((beside / f"{name}.csv", means_csv(evaluation)),
                           (folder / f"{name}-clips.csv", clips_csv(evaluation))):
            write_text(path, text)
            files.append(path)
    write_json(beside / "quality.json", to_dict(quality))
    page = docs / "benchmarks.md"
    put_section(page, "quality", COMMAND, section(quality, figures))
    return [*files, beside / "quality.json", page]


def to_dict(quality: Quality) -> dict[str, Any]:
    """The comparison as JSON-ready values: facts, what is missing, means of every table."""
    tables = {}
    for name, evaluation in quality.tables.items():
        value = evaluation.to_dict()
        del value["clips"]
        tables[name] = value
    return {"schema": 1, "facts": [fact.to_dict() for fact in quality.facts], "missing": dict(quality.missing),
            "tables": tables}
