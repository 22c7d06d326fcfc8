"""Files of the comparison: a section of docs/benchmarks.md, JSON and CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from tinyse.bench.document import put_section, table
from tinyse.bench.pace.catalogue import Speed
from tinyse.bench.pace.race import Result, Timed
from tinyse.bench.speed import SOURCE
from tinyse.core.artifacts import write_json, write_text

COMMAND = "make bench-speed"


def write_speed(speed: Speed, docs: Path, folder: Path) -> list[Path]:
    """Write ``speed.json`` and ``speed.csv`` to ``folder`` and, where every contest was held, the page's section.

    Returns:
        The files that were written.

    Raises:
        TinyseError: a folder cannot be written.
    """
    files = [folder / "speed.json", folder / "speed.csv"]
    write_json(files[0], to_dict(speed))
    write_text(files[1], rounds_csv(speed))
    if speed.complete:  # part of a table would take the place of the whole one
        files.append(docs / "benchmarks.md")
        put_section(files[-1], "speed", COMMAND, section(speed))
    return files


def summary(speed: Speed) -> str:
    """One line a contest, for the terminal."""
    return "\n".join(f"{result.title}: {_speed(result, result.ours)}, the plain way {_speed(result, result.plain)}, "
                     f"ratio {_ratio(result)}" for result in speed.results)


def section(speed: Speed) -> str:
    """Markdown of every contest."""
    host, known = speed.host, speed.provenance
    about = (f"Model {known['model']} ({known['sha256'][:12]}), {known['rounds']} rounds. Every way runs in a process "
             f"of its own, warmed up before its first round; within a round all ways of a group take turns. Speeds are "
             "medians of wall time; the ratio is the median of the rounds' own ratios, smallest and largest in "
             f"brackets, and above 1 tinyse is faster. **{SOURCE}**: {host['cpu']}, {host['cores']} cores, load "
             f"{host['load']:g} before the start.")
    rows = [(result.title, _speed(result, result.ours), _speed(result, result.plain), _ratio(result))
            for result in speed.results]
    how = [f"* {result.title}: {_way(result.ours)}, against {_way(result.plain)}; {result.agreement}."
           for result in speed.results]
    return "\n\n".join(["## Speed, beside the plain way to do it", about,
                        table(("", "tinyse", "the plain way", "ratio"), rows), "\n".join(how)])


def rounds_csv(speed: Speed) -> str:
    """One line a round: contest, round, units a second of both, their ratio."""
    stream = io.StringIO()
    lines = csv.writer(stream, lineterminator="\n")
    lines.writerow(("contest", "unit", "round", "ours_per_second", "plain_per_second", "ratio"))
    for result in speed.results:
        for number, values in enumerate(zip(result.ours.speeds, result.plain.speeds, result.ratios, strict=True), 1):
            lines.writerow((result.name, result.unit, number, *(f"{value:.6g}" for value in values)))
    return stream.getvalue()


def to_dict(speed: Speed) -> dict[str, Any]:
    """The comparison as JSON-ready values."""
    return {"schema": 1, "source": SOURCE, "host": dict(speed.host), **speed.provenance,
            "contests": {result.name: _contest(result) for result in speed.results}}


def _contest(result: Result) -> dict[str, Any]:
    return {"title": result.title, "unit": result.unit, "agreement": result.agreement,
            "ratio": {"median": result.ratio, "min": min(result.ratios), "max": max(result.ratios)},
            **{side: {"name": timed.name, "threads": timed.threads, "per_second": list(timed.speeds),
                      "median": timed.median, "real_time_factor": result.real_time_factor(timed)}
               for side, timed in (("ours", result.ours), ("plain", result.plain))}}


def _speed(result: Result, timed: Timed) -> str:
    if result.unit == "exports":
        return f"{1 / timed.median:.2f} s"
    factor = result.real_time_factor(timed)
    return f"{timed.median:,.0f} frames/s" + ("" if factor is None else f", real-time factor {factor:.4f}")


def _ratio(result: Result) -> str:
    return f"{result.ratio:.2f} ({min(result.ratios):.2f} to {max(result.ratios):.2f})"


def _way(timed: Timed) -> str:
    return f"{timed.name} ({timed.threads})"
