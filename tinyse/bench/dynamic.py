"""Dynamic networks beside static ones: quality over what a mean frame takes, one point a run and exit.

A run folder holds ``export/`` and ``scores/TABLE-EXIT/evaluation.json``, as ``scripts/dynamic`` leaves them; exit 0
is what the plan itself chose.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyse.bench.document import put_section, table
from tinyse.core.artifacts import write_bytes
from tinyse.core.errors import TinyseError
from tinyse.core.figure import blank_figure, png_of
from tinyse.engines.integer import IntegerEngine
from tinyse.export.bundle import manifest_of, open_bundle
from tinyse.measure.channels import gates_of, mean_macs
from tinyse.measure.scores.metrics import LABELS, UNITS
from tinyse.measure.scores.pairs import corpus_pairs
from tinyse.measure.scores.result import NOISY, Evaluation

COLUMNS = ("si_sdr", "pesq")
COMMAND = "python -m tinyse.bench dynamic"
ROUTER, STATIC, GATED = ", its router", "static", "channel gates"
FOLDER = re.compile(r"(.+)-(\d+)")
MIXTURES, LENGTH = 4, 4.0
"""On which open channels are counted: how many an SNR, of the seed that the scores have, and their seconds."""
GATES = (" Of channel gates, MACs are **measured** (integer reference): those of open channels, gates counted, over "
         f"{MIXTURES} mixtures of {LENGTH:g} s at each SNR of the first table; Vela's cycles are of all channels.")
COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class Point:
    """A run at one exit.

    Attributes:
        run, exit: which; exit 0 is the plan's own choice.
        macs: of a mean frame, by table: exact for each part, times its measured rate; of channel gates, as measured.
        cycles: the same of Vela's estimates, on the first table; None without an NPU.
        scores: by table, each evaluation.
        gated: whether channels open and close.
    """

    run: str
    exit: int
    macs: Mapping[str, float]
    cycles: float | None
    scores: Mapping[str, Evaluation]
    gated: bool = False

    @property
    def label(self) -> str:
        """``nsnet2-exits, exit 2``."""
        return f"{self.run}, exit {self.exit}" if self.exit else self.run

    def mean(self, at: str, column: str) -> float:
        """Mean of a metric on a table, of the model."""
        evaluation = self.scores[at]
        found = evaluation.mean(evaluation.systems[1], column)
        return math.nan if found is None else found


def points_of(run: Path, mixtures: Path | None = None) -> list[Point]:
    """What a run was scored at, by exit.

    Args:
        mixtures: a corpus, of whose test split come the mixtures on which channel gates are counted.

    Raises:
        TinyseError: it is not exported, a score cannot be read or is of other parts, or it has channel gates and there
            are no ``mixtures``. ModelError: its export is damaged.
    """
    export, found = run / "export", dict[int, dict[str, Evaluation]]()
    for file in sorted(run.glob("scores/*/evaluation.json")):
        name = FOLDER.fullmatch(file.parent.name)
        if name is None:
            continue
        found.setdefault(int(name[2]), {})[name[1]] = Evaluation.read(file, COLUMNS)
    if not found:
        raise TinyseError(f"{run}: has no scores/TABLE-EXIT/evaluation.json", "scripts/dynamic makes them")
    bundle = open_bundle(export)
    parts: list[float] = [graph.macs for graph in bundle.graph_plan().graphs]
    engine = IntegerEngine(bundle.graph_plan(), bundle.ends, bundle.label)
    gated = len(parts) == 1 and bool(gates_of(engine))
    if gated:
        if mixtures is None:
            raise TinyseError(f"{run}: what its channel gates save is not known", "--mixtures CORPUS counts it")
        scored = next(iter(next(iter(found.values())).values()))
        seed = int(scored.provenance.get("seed", 0))
        pairs = corpus_pairs(mixtures, "test", scored.snrs or (0.0,), MIXTURES, LENGTH, seed)
        parts = [mean_macs(engine, (pair.noisy for pair in pairs))]
    known = (manifest_of(export, needed=True).get("cycles") or {}).get("parts")
    points = []
    for exit_at, tables in sorted(found.items()):
        rates = {at: scores.part_rates(scores.systems[1]) or (1.0,) * len(parts) for at, scores in tables.items()}
        if other := [len(each) for each in rates.values() if len(each) != len(parts)]:
            raise TinyseError(f"{run}: scores at exit {exit_at} are of {other[0]} parts, its export has {len(parts)}",
                              "remove its scores and score again")
        points.append(Point(run.name, exit_at, {at: _mean(parts, each) for at, each in rates.items()},
                            _mean(known, next(iter(rates.values()))) if known else None, tables, gated))
    return points


def _mean(costs: Sequence[float], rates: Sequence[float]) -> float:
    return math.fsum(cost * rate for cost, rate in zip(costs, rates, strict=True))


def between(points: Iterable[Point], macs: float, at: str, column: str) -> float | None:
    """The straight line through points at ``macs``, both of a table; None outside of them."""
    line = sorted((point.macs[at], point.mean(at, column)) for point in points)
    for (low, below), (high, above) in zip(line, line[1:], strict=False):
        if low <= macs <= high and high > low:
            return below + (above - below) * (macs - low) / (high - low)
    return None


def groups_of(points: Iterable[Point]) -> dict[str, list[Point]]:
    """Points that share a line: exits of a run, a run's own choice, and all runs without exits."""
    listed, groups = list(points), dict[str, list[Point]]()
    exits = {point.run for point in listed if point.exit}
    for point in listed:
        chosen = point.run + ROUTER if point.run in exits else GATED if point.gated else STATIC
        name = point.run if point.exit else chosen
        groups.setdefault(name, []).append(point)
    return groups


def text_of(points: Sequence[Point]) -> str:
    """Table of all points, and where each router stands beside the lines of fixed exits and of static networks."""
    tables = list(points[0].scores)
    head = ["", "MACs of a mean frame", "cycles", *(f"{at}: {LABELS[column]}" for at in tables for column in COLUMNS)]
    digits = {"si_sdr": 2, "pesq": 3}
    noisy = ["noisy", "", ""] + [f"{points[0].scores[at].mean(NOISY, column):.{digits[column]}f}"
                                 for at in tables for column in COLUMNS]
    rows = [noisy]
    for point in sorted(points, key=lambda point: (point.run, point.exit or 99)):
        macs = " / ".join(dict.fromkeys(f"{point.macs[at]:,.0f}" for at in tables))
        rows.append([point.label, macs, "-" if point.cycles is None else f"{point.cycles:,.0f}",
                     *(f"{point.mean(at, column):.{digits[column]}f}" for at in tables for column in COLUMNS)])
    count = len(points[0].scores[tables[0]].clips)
    lines = [f"Means over {count} mixtures a table, **measured** (host) on the streamed int8 files; MACs **exact**, "
             "cycles **estimated** (Vela), each times the measured rates of the parts: "
             "MACs table by table where those differ, cycles on the first."
             + (GATES if any(point.gated for point in points) else ""), "", table(head, rows), ""]
    groups = groups_of(points)
    for name, point in [(name, point) for name, group in groups.items() for point in group
                        if name == GATED or name.endswith(ROUTER)]:
        own = [] if point.gated else [("its own fixed exits", groups[point.run])]
        for kind, line in (*own, ("static networks", groups.get(STATIC, []))):
            beside = [(at, column, between(line, point.macs[at], at, column)) for at in tables for column in COLUMNS]
            said = [f"{at} {point.mean(at, column) - value:+.{digits[column]}f} {UNITS[column]}".strip()
                    + f" ({LABELS[column]})" for at, column, value in beside if value is not None]
            lines.append(f"* {point.run if point.gated else name} against the line through {kind}, at the same MACs: "
                         + (", ".join(said) or "outside of it") + ".")
    return "\n".join(lines)


def plot_of(points: Sequence[Point]) -> bytes:
    """PNG: a panel a table and metric, quality over the MACs of a mean frame."""
    tables = list(points[0].scores)
    panels = [(at, column) for column in COLUMNS for at in tables]
    figure = blank_figure(4.6 * len(tables), 3.8 * len(COLUMNS), 100)
    for index, (at, column) in enumerate(panels):
        axes = figure.add_subplot(len(COLUMNS), len(tables), index + 1)
        for color, (name, group) in zip(COLORS * len(points), groups_of(points).items(), strict=False):
            line = sorted((point.macs[at] / 1e3, point.mean(at, column)) for point in group)
            axes.plot([x for x, _ in line], [y for _, y in line], "*-" if name.endswith(ROUTER) else "o-", color=color,
                      label=name, markersize=9 if name.endswith(ROUTER) else 5)
        axes.set_title(at, fontsize=9)
        axes.set_xlabel("thousand MACs of a mean frame (exact x measured rates)", fontsize=8)
        axes.set_ylabel(LABELS[column], fontsize=8)
        axes.grid(alpha=0.3)
        if not index:
            axes.legend(fontsize=7)
    return png_of(figure)


def write_dynamic(runs: Sequence[Path], page: Path, mixtures: Path | None = None) -> list[Path]:
    """Write the section ``dynamic`` of a page and the plot beside it, ``PAGE-dynamic.png``; ``points_of`` reads runs.

    Raises:
        TinyseError: no run was scored, or they were scored on different tables or other mixtures.
    """
    points = [point for run in runs for point in points_of(run, mixtures)]
    if not points:
        raise TinyseError("no run was named", f"{COMMAND} runs/nsnet2-*")
    for point in points:
        if set(point.scores) != set(points[0].scores):
            raise TinyseError(f"{point.label}: scored on {', '.join(point.scores)}, {points[0].label} on "
                              f"{', '.join(points[0].scores)}", "score all on the same tables")
        for at, scores in point.scores.items():
            if scores.sound != points[0].scores[at].sound:
                raise TinyseError(f"{point.label}: {at}: scored on other sound than {points[0].label}",
                                  "score both anew, on one corpus, with one --seed and --count")
    picture = page.with_name(f"{page.stem}-dynamic.png")
    write_bytes(picture, plot_of(points))
    put_section(page, "dynamic", COMMAND, f"{text_of(points)}\n\n![Quality over MACs]({picture.name})")
    return [page, picture]
