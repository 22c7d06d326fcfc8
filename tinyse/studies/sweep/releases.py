"""Released models as a sweep's points: scores of their cards, sizes and costs of their profiles."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinyse.core.errors import ModelError, TinyseError
from tinyse.export.bundle import MANIFEST, manifest_of
from tinyse.measure.costs.parts import USED
from tinyse.measure.scores.result import Evaluation
from tinyse.studies.sweep.columns import MEAN, RATE, SIZES, VAL, sweep_columns
from tinyse.studies.sweep.plan import Kind
from tinyse.studies.sweep.results import FILE, Column, PointResult, SweepResult

BY = "by"
"""Of the settings: the score that chooses among releases; a sweep has none and is judged on validation."""
SCORES = ("si_sdr", "pesq", "stoi")
QUANTIZED = "int8"
SILENT = ("score", "voice")
"""Kinds of result that are no sound."""
SHARED = {"target": "another target", "corpus": "mixtures of another corpus, seed or length"}
"""What models must share to be compared, and what is said of those that do not."""
UNREADABLE = "evaluation.json or profile.json missing or damaged"


def holds_releases(folder: Path) -> bool:
    """Whether it holds released models and is no sweep's or search's folder."""
    return not (folder / FILE).exists() and bool(_manifests(folder))


def read_releases(folder: Path, by: str = SCORES[0]) -> SweepResult:
    """The releases of a folder that give sound, as points whose score is their card's, of test mixtures.

    Models for another target or scored on other mixtures than most are in ``failed``, as is what lacks a number.

    Args:
        folder: of `tinyse release`. by: one of `SCORES`.

    Raises:
        TinyseError: there is none to choose from.
    """
    points: list[tuple[PointResult, dict[str, str]]] = []
    failed: dict[str, str] = {}
    for path, manifest in _manifests(folder).items():
        try:
            if manifest.get("ends", {}).get("result", {}).get("kind") in SILENT:
                continue
            points.append(_point(path, manifest))
        except (TinyseError, OSError, ValueError, KeyError, TypeError, AttributeError):
            failed[path.name] = UNREADABLE
    for key, reason in SHARED.items():
        usual = Counter(shared[key] for _, shared in points).most_common(1)
        failed |= {point.name: reason for point, shared in points if shared[key] != usual[0][0]}
        points = [each for each in points if each[0].name not in failed]
    failed |= {point.name: f"no {by} on its card" for point, _ in points if by not in point.values}
    kept = tuple(point for point, _ in points if point.name not in failed)
    if not kept:
        raise TinyseError(f"{folder}: no released model has a profile and {by} on its card",
                          "tinyse release RUN --name NAME")
    target = points[0][1]["target"]
    columns = tuple(each for each in sweep_columns(target, (), SCORES, skips=True)
                    if any(each.key in point.values for point in kept))
    return SweepResult(str(folder), target, {BY: by}, columns, {}, kept, failed, {})


def remarks(result: SweepResult, limited: Iterable[Column]) -> list[str]:
    """A line for each reason for which models were left out, and for each limited column that some do not have."""
    reasons: dict[str, list[str]] = {}
    for name, reason in result.failed.items():
        reasons.setdefault(f"left out, {reason}", []).append(name)
    for column in limited:
        if lacking := [point.name for point in result.points if column.key not in point.values]:
            reasons[f"without {column.title} in profile.json"] = lacking
    return [f"{reason}: {', '.join(names)}" for reason, names in reasons.items()]


def _manifests(folder: Path) -> dict[Path, Mapping[str, Any]]:
    found: dict[Path, Mapping[str, Any]] = {}
    for file in sorted(folder.glob(f"*/{MANIFEST}")):
        with suppress(ModelError):  # what it is of cannot be told
            if (manifest := manifest_of(file.parent)).get("stage") == "release":
                found[file.parent] = manifest
    return found


def _point(folder: Path, manifest: Mapping[str, Any]) -> tuple[PointResult, dict[str, str]]:
    """One release, and what it shares with those that it may be compared with."""
    card = Evaluation.read(folder / "evaluation.json", SCORES[:1])
    profile = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
    means = {column: card.mean(QUANTIZED, column) for column in SCORES if column in card.columns}
    values = {key: float(mean) for key, mean in means.items() if mean is not None}
    values |= {key: float(profile["sizes"][key]) for key in (*SIZES, "constants")
               if profile["sizes"].get(key) is not None}
    rate = card.update_rate(QUANTIZED)
    values |= ({} if rate is None else {RATE: rate}) | _costs(profile, 1.0 if rate is None else rate)
    judged = {key: card.provenance.get(key) for key in ("split", "seed", "snrs", "count_per_snr", "seconds")}
    return PointResult(folder.name, 0, Kind.OFFLINE, "", "", 0.0, str(folder), values, (), dict(manifest["sha256"])), {
        "target": str(manifest["target"]), "corpus": json.dumps([card.sound, judged])}


def _costs(profile: Mapping[str, Any], rate: float) -> dict[str, float]:
    """Costs of a frame that runs every part, and of a mean frame of the card's mixtures.

    Profiles of before networks had parts have Vela's cycles alone. A mean cost is limited by what the card has: it
    stands where a sweep has that of validation.
    """
    found = {"cycles": (float(profile["npu"]["cycles"]), None)}
    for cost in (profile.get("parts") or {}).get("costs", ()):
        key = {(USED, "exact"): "macs", ("cycles", "estimated"): "cycles"}.get((cost["name"], cost["origin"]["source"]))
        if key is not None and cost["part"] is None:
            found[key] = (float(cost["once"]), cost["mean"])
    mean = {MEAN + key: rate * once if known is None else float(known) for key, (once, known) in found.items()}
    return {key: once for key, (once, _) in found.items()} | mean | {VAL + key: cost for key, cost in mean.items()}
