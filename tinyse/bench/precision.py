"""docs/mixed-precision.md: what fine-tuned points of a precision search weigh, and how their streamed output scores.

A point is a run folder and, in it, scores/TABLE/evaluation.json of its export. Differences are over the same mixtures,
clip by clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyse.bench.document import put_section, table
from tinyse.core.errors import ModelError, TinyseError
from tinyse.core.origin import Source
from tinyse.export.cnetwork import c_network
from tinyse.export.encoded import encoded
from tinyse.export.targets import load_target
from tinyse.graph.model import Model
from tinyse.measure.scores.metrics import VOICE
from tinyse.measure.scores.result import NOISY, Evaluation
from tinyse.studies.precision.genes import Genes
from tinyse.studies.precision.points import mean_bits

COLUMNS = {"si_sdr": "SI-SDR", "pesq": "PESQ", "stoi": "STOI"} | {key: f"{label}, %" for key, label in VOICE.items()}


@dataclass(frozen=True)
class Tuned:
    """A run: exact bytes, Vela's cycles a frame, scores [clips] by table and column, the sound's SHA-256 by table."""

    name: str
    bits: float
    encoded: int
    packed: int
    cycles: int
    scores: dict[str, dict[str, NDArray[np.float64]]]
    sounds: dict[str, str]


def tuned(run: Path, tables: Sequence[str], target: str) -> Tuned:
    """Read a run.

    Raises:
        TinyseError: it is not trained, or not scored on one of ``tables``.
    """
    model = Model.load(run / "model.npz")
    if model.ranges is None:
        raise ModelError(f"{run}: a float model", "a run that trained quantization-aware")
    plan, genes, scores, sounds = model.plan(), Genes.of(model.net), {}, {}
    for name in tables:
        file = run / "scores" / name / "evaluation.json"
        found = Evaluation.read(file)
        system = next((each for each in found.systems if each != NOISY), None)
        if system is None:
            raise TinyseError(f"{file}: scores no model", "tinyse evaluate RUN/export --out RUN/scores/TABLE")
        sounds[name] = found.sound
        scores[name] = {column: np.array([clip.values[system].get(column, np.nan) for clip in found.clips])
                        for column in COLUMNS if column in found.columns}
    made = encoded(plan, load_target(target))
    bits = mean_bits(genes, tuple(model.net.bits_of(place) for place in genes.places))
    return Tuned(run.name, bits, made.bytes, c_network(plan).flash, made.cycles, scores, sounds)


def page(runs: Sequence[Path], tables: Sequence[str], target: str) -> str:
    """The section: costs, then a table of scores for each of ``tables``; the first run is what others differ from.

    Raises:
        TinyseError: a run lacks something, or was scored on other mixtures than the first.
    """
    points = [tuned(run, tables, target) for run in runs]
    first = points[0]
    texts = [table(("point", "bits a weight", f"Vela-encoded, B, {Source.EXACT}", "fewer",
                    f"packed, B, {Source.EXACT}", f"cycles a frame, {Source.ESTIMATED} (Vela)"),
                   [(p.name, f"{p.bits:.2f}", f"{p.encoded:,}", f"{1 - p.encoded / first.encoded:.0%}",
                     f"{p.packed:,}", f"{p.cycles:,}") for p in points])]
    for name in tables:
        columns = {key: label for key, label in COLUMNS.items() if key in first.scores[name]}
        count = {column.size for p in points for column in p.scores[name].values()}
        if len(count) != 1:
            raise TinyseError(f"{name}: runs scored on {sorted(count)} mixtures", "evaluate them alike")
        for p in points:
            if (p.sounds[name], p.scores[name].keys()) != (first.sounds[name], first.scores[name].keys()):
                raise TinyseError(f"{name}: {p.name} was scored on other sound or by other metrics than {first.name}",
                                  "evaluate them alike: one corpus, one --seed and --metrics")
        texts.append(f"{name}: {count.pop()} mixtures, streamed int8 output, {Source.MEASURED} (host); +- is half of "
                     "the 95 % interval of the mean difference, clip by clip:")
        header = [text for label in columns.values() for text in (label, f"- {first.name}")]
        texts.append(table(("point", *header), [(p.name, *(text for key in columns for text in _cells(
            p.scores[name][key], first.scores[name][key], 3 if key in ("pesq", "stoi") else 2))) for p in points]))
    return "\n\n".join(texts)


def _cells(own: NDArray[np.float64], first: NDArray[np.float64], digits: int) -> tuple[str, str]:
    scored = np.isfinite(own) & np.isfinite(first)
    own, apart = own[scored], (own - first)[scored]
    margin = 1.96 * float(apart.std(ddof=1)) / math.sqrt(apart.size) if apart.any() else 0.0
    difference = f"{apart.mean():+.{digits}f} +- {margin:.{digits}f}" if apart.any() else ""
    return f"{own.mean():.{digits}f}", difference


def write_precision(runs: Sequence[Path], docs: Path, tables: Sequence[str], target: str, section: str = "points",
                    command: str = "scripts/mixed-precision") -> Path:
    """Put the section into docs/mixed-precision.md."""
    place = docs / "mixed-precision.md"
    put_section(place, section, command, page(runs, tables, target))
    return place
