"""What each part of training gives: runs that differ in one thing, beside the seeds of the one as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinyse.bench.document import put_section, table
from tinyse.core.errors import TinyseError
from tinyse.measure.report.runs import Trained, read_run
from tinyse.measure.scores.metrics import LABELS
from tinyse.measure.scores.result import Evaluation

COMMAND = "python -m tinyse.bench training"
DIGITS = {"si_sdr": 2, "pesq": 3, "stoi": 3}
UNTOLD = ("name", "seed")


def changed(run: Trained, base: Trained) -> dict[str, str]:
    """``section.key`` -> value where a run's recipe is not the base's; but for the seed."""
    return {key: str(run.recipe.get(key)) for key in {**base.recipe, **run.recipe}
            if key not in UNTOLD and run.recipe.get(key) != base.recipe.get(key)}


def _scored(run: Trained) -> str:
    return ", ".join(f"{at} ({', '.join(column for column in DIGITS if column in run.scores[at])})"
                     for at in sorted(run.scores))


def _check_alike(run: Trained, base: Trained) -> None:
    if not run.recipe:
        raise TinyseError(f"{run.name}: no recipe: {run.notes[0] if run.notes else 'empty'}", "name folders of runs")
    if not run.scores or _scored(run) != _scored(base):
        raise TinyseError(f"{run.name}: scored on {_scored(run) or 'nothing'}, {base.name} on "
                          f"{_scored(base) or 'nothing'}", "scripts/ablations scores all alike")
    for at in run.scores:
        heard, first = (Evaluation.read(each.folder / at / "evaluation.json").sound for each in (run, base))
        if heard != first:
            raise TinyseError(f"{run.name}: {at}: scored on other sound than {base.name}",
                              "score both anew, on one corpus, with one --seed and --count")


def text_of(runs: Sequence[Trained]) -> str:
    """Markdown: the first run and its other seeds as means and ranges, then every other run's differences from them.

    Raises:
        TinyseError: a run was not scored as the first was, or its recipe cannot be read.
    """
    base = runs[0]
    for run in runs:
        _check_alike(run, base)
    seeds = [run for run in runs if not changed(run, base)]
    columns = [(at, column) for at in base.scores for column in DIGITS if column in base.scores[at]]
    held = {(at, column): [run.scores[at][column] for run in seeds] for at, column in columns}
    means = {key: sum(values) / len(values) for key, values in held.items()}
    spread = {key: max(values) - min(values) for key, values in held.items()}
    rows = [[title, *(f"{numbers[at, column]:.{DIGITS[column]}f}" for at, column in columns)] for title, numbers in (
        (f"as it is, mean of {len(seeds)} seeds", means), ("largest less smallest of them", spread))]
    for run in runs:
        if run in seeds:
            continue
        cells = []
        for at, column in columns:
            value = run.scores[at][column]
            text = f"{value - means[at, column]:+.{DIGITS[column]}f}"
            inside = min(held[at, column]) <= value <= max(held[at, column])
            cells.append(text if inside else f"**{text}**")
        rows.append([", ".join(f"`{key}: {value}`" for key, value in changed(run, base).items()), *cells])
    head = ["", *(f"{at}: {LABELS[column]}" for at, column in columns)]
    return (f"{table(head, rows)}\n\n**Measured** (host), means on the validation split, float weights; rows below the "
            "second are differences from the first, one seed each, **bold** where outside of what the seeds reach.")


def write_training(runs: Sequence[Path], page: Path) -> Path:
    """Write the section ``ablations`` of a page.

    Raises:
        TinyseError: as ``text_of``, or no run was named.
    """
    if not runs:
        raise TinyseError("no run was named", f"{COMMAND} runs/ablation-*")
    put_section(page, "ablations", COMMAND, text_of([read_run(run) for run in runs]))
    return page
