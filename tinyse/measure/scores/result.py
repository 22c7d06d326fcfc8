"""Evaluation: scores of every clip, their means, and what they were measured on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinyse.core.errors import TinyseError

NOISY = "noisy"
SOURCE = "measured (host)"
SAME = 1e-3
"""Difference, in a metric's unit, below which a clip is as it came."""


@dataclass(frozen=True)
class ClipScore:
    """One mixture's scores.

    Attributes:
        name: which mixture.
        snr: its signal-to-noise ratio in dB; None for a user's own pair.
        values: system -> metric column -> value.
        skipped: system -> metric column -> why it could not be scored.
        updates: system -> share of the frames that ran the network; Skip RNNs only.
        parts: system -> share of the frames that ran each of its parts; networks of several only.
    """

    name: str
    snr: float | None
    values: Mapping[str, Mapping[str, float]]
    skipped: Mapping[str, Mapping[str, str]]
    updates: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Scores of the noisy input and of each system on the same clips.

    A mean covers the clips on which every system could be scored, so that systems are compared on the
    same material; ``count`` tells how many those were.

    Attributes:
        systems: "noisy" first, then the labels of the models.
        columns: metric columns (``tinyse.measure.scores.metrics.LABELS``).
        clips: one ClipScore a mixture.
        provenance: models with their hashes, corpus, split, seed, conventions, versions, source.
    """

    systems: tuple[str, ...]
    columns: tuple[str, ...]
    clips: tuple[ClipScore, ...]
    provenance: Mapping[str, Any]

    @property
    def snrs(self) -> tuple[float, ...]:
        """The SNRs that occur, ascending; empty for a user's own pairs."""
        return tuple(sorted({clip.snr for clip in self.clips if clip.snr is not None}))

    def _scored(self, column: str, snr: float | None) -> list[ClipScore]:
        return [clip for clip in self.clips
                if (snr is None or clip.snr == snr)
                and all(column in clip.values.get(system, {}) for system in self.systems)]

    def count(self, column: str, snr: float | None = None) -> int:
        """Clips behind a mean (all SNRs when ``snr`` is None)."""
        return len(self._scored(column, snr))

    def mean(self, system: str, column: str, snr: float | None = None) -> float | None:
        """Mean of one metric for one system, over one SNR or over all clips; None with no clip."""
        scored = self._scored(column, snr)
        return math.fsum(clip.values[system][column] for clip in scored) / len(scored) if scored else None

    def gain(self, system: str, column: str, snr: float | None = None) -> float | None:
        """Mean improvement of ``system`` over the noisy input."""
        after, before = self.mean(system, column, snr), self.mean(NOISY, column, snr)
        return None if after is None or before is None else after - before

    def margin(self, system: str, column: str, against: str = NOISY) -> float | None:
        """Half of the 95 % interval of the mean paired difference over all clips (normal approximation)."""
        scored = self._scored(column, None)
        if len(scored) < 2:
            return None
        steps = [clip.values[system][column] - clip.values[against][column] for clip in scored]
        middle = math.fsum(steps) / len(steps)
        variance = math.fsum((step - middle) ** 2 for step in steps) / (len(steps) - 1)
        return 1.96 * math.sqrt(variance / len(steps))

    def gains(self, system: str, column: str) -> list[float]:
        """Improvement over the noisy input of every clip that counts, ascending."""
        return sorted(clip.values[system][column] - clip.values[NOISY][column] for clip in self._scored(column, None))

    def worse(self, system: str, column: str) -> float | None:
        """Share of clips, 0..1, that ``system`` left worse than they came; None with no clip."""
        gains = self.gains(system, column)
        return sum(gain < -SAME for gain in gains) / len(gains) if gains else None

    def worst_tenth(self, system: str, column: str) -> float | None:
        """Mean improvement over the noisy input of the tenth of the clips that gained least; None with no clip."""
        gains = self.gains(system, column)
        tenth = gains[: max(1, round(len(gains) / 10))]
        return math.fsum(tenth) / len(tenth) if tenth else None

    def update_rate(self, system: str, snr: float | None = None) -> float | None:
        """Mean share of frames that ran ``system``'s network; None where it is no Skip RNN, or with no clip."""
        rates = [clip.updates[system] for clip in self.clips
                 if system in clip.updates and (snr is None or clip.snr == snr)]
        return math.fsum(rates) / len(rates) if rates else None

    def part_rates(self, system: str, snr: float | None = None) -> tuple[float, ...]:
        """Mean share of frames that ran each part of ``system``; empty where it runs whole on every frame."""
        clips = [clip.parts.get(system) or [clip.updates[system]] for clip in self.clips
                 if (system in clip.parts or system in clip.updates) and (snr is None or clip.snr == snr)]
        return tuple(math.fsum(part) / len(clips) for part in zip(*clips, strict=True))

    def named_rates(self, system: str, snr: float | None = None) -> dict[str, float]:
        """The update rate of a Skip RNN and the rates of several parts, by what a table calls them."""
        rate, parts = self.update_rate(system, snr), self.part_rates(system, snr)
        found = {} if rate is None else {RATE_LABEL: rate}
        return found | ({f"part {n} rate": share for n, share in enumerate(parts)} if len(parts) > 1 else {})

    def skips(self) -> list[str]:
        """One line for each metric that lost clips: how many, and why."""
        lines = []
        for column in self.columns:
            reasons: dict[str, int] = {}
            for clip in self.clips:
                found = {reason for part in clip.skipped.values() if (reason := part.get(column))}
                for reason in found:
                    reasons[reason] = reasons.get(reason, 0) + 1
            lost = len(self.clips) - self.count(column)
            if lost:
                why = ", ".join(f"{reason}: {n}" for reason, n in sorted(reasons.items()))
                lines.append(f"{column}: {lost} of {len(self.clips)} clips skipped ({why})")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values: means, then clips."""
        means = {
            column: {
                system: {
                    "mean": self.mean(system, column),
                    "gain": self.gain(system, column),
                    "gain_95": self.margin(system, column),
                    "worse": self.worse(system, column),
                    "worst_tenth_gain": self.worst_tenth(system, column),
                    "per_snr": {f"{snr:g}": self.mean(system, column, snr) for snr in self.snrs},
                }
                for system in self.systems
            }
            for column in self.columns
        }
        return {
            "schema": 1,
            "systems": list(self.systems),
            "columns": list(self.columns),
            "provenance": dict(self.provenance),
            "counts": {column: self.count(column) for column in self.columns},
            "means": means,
            "update_rate": {
                system: {"mean": self.update_rate(system),
                         "per_snr": {f"{snr:g}": self.update_rate(system, snr) for snr in self.snrs}}
                for system in self.systems if self.update_rate(system) is not None
            },
            "part_rates": {
                system: {"mean": rates, "per_snr": {f"{snr:g}": self.part_rates(system, snr) for snr in self.snrs}}
                for system in self.systems if len(rates := self.part_rates(system)) > 1
            },
            "clips": [asdict(clip) for clip in self.clips],
        }

    @property
    def sound(self) -> str:
        """SHA-256 of the samples that were scored; empty where nobody noted it."""
        return str(self.provenance.get("audio_sha256", ""))

    @staticmethod
    def read(file: Path, needed: Iterable[str] = ()) -> Evaluation:
        """What an evaluation.json holds; ``needed``: columns that must have means, of a model and of the noisy input.

        Raises:
            TinyseError: it cannot be read, is no evaluation, or lacks one of ``needed``.
        """
        try:
            found = Evaluation.from_dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TinyseError) as error:
            raise TinyseError(f"{file}: no evaluation: {error}", "score it again: tinyse evaluate") from error
        alone = NOISY not in found.systems or len(found.systems) < 2
        if lacking := [column for column in needed if alone or found.mean(NOISY, column) is None]:
            raise TinyseError(f"{file}: scores no model by {' and '.join(lacking)}",
                              "score it again, with these among --metrics")
        return found

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Evaluation:
        """Rebuild what ``to_dict`` gave.

        Raises:
            TinyseError: the value is not an evaluation.
        """
        try:
            return Evaluation(
                systems=tuple(value["systems"]),
                columns=tuple(value["columns"]),
                clips=tuple(ClipScore(**clip) for clip in value["clips"]),
                provenance=value["provenance"],
            )
        except (KeyError, TypeError) as error:
            raise TinyseError(f"not an evaluation: {error}", "evaluate again") from error


Row = tuple[str, ...]
RATE_LABEL = "update rate"
"""Share of frames on which a Skip RNN ran."""


def table_rows(evaluation: Evaluation, labels: Mapping[str, str]) -> tuple[Row, list[Row]]:
    """Header and rows of the one result table: a row a metric and system, a column an SNR, then the mean."""
    header = ("metric", "signal", *(f"{snr:g} dB" for snr in evaluation.snrs), "mean", "gain")
    rows: list[Row] = []
    for column in evaluation.columns:
        digits = 3 if column == "stoi" else 2
        for system in evaluation.systems:
            cells = [evaluation.mean(system, column, snr) for snr in evaluation.snrs]
            gain = None if system == NOISY else evaluation.gain(system, column)
            rows.append((labels.get(column, column), system, *_texts(cells, digits),
                         *_texts([evaluation.mean(system, column)], digits), _signed(gain, digits)))
    for system in evaluation.systems:
        for name, mean in evaluation.named_rates(system).items():
            shares = [evaluation.named_rates(system, snr)[name] for snr in evaluation.snrs]
            rows.append((name, system, *_texts([*shares, mean], 3), ""))
    return header, rows


def paper_rows(evaluation: Evaluation, columns: Iterable[str], labels: Mapping[str, str]) -> tuple[Row, list[Row]]:
    """Header and rows as papers print them: a row a signal, a column a metric."""
    shown = [column for column in columns if column in evaluation.columns]
    return ("signal", *(labels.get(column, column) for column in shown)), [
        (system, *(text for column in shown for text in _texts([evaluation.mean(system, column)],
                                                              3 if column == "stoi" else 2)))
        for system in evaluation.systems]


def _texts(values: Iterable[float | None], digits: int) -> list[str]:
    return ["-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}" for value in values]


def _signed(value: float | None, digits: int) -> str:
    return "" if value is None else f"{round(value, digits) + 0.0:+.{digits}f}"  # + 0.0: no "-0.00"
