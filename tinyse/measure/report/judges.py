"""What the validation of a run measures, by what its log and its manifest hold: SI-SDR, voice, quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Judge:
    """One kind of validation: a score, and a number beside it.

    Attributes:
        name, unit, form: of the score; measured (host), as is what is beside.
        second: title of what is shown beside, with its unit; ``gain``: it is the score less that number.
        log: columns of log.csv of both. manifest: keys of the run's manifest.json of both.
    """

    name: str
    unit: str
    form: str
    second: str
    gain: bool
    log: tuple[str, str]
    manifest: tuple[str, str]

    @property
    def title(self) -> str:
        """Of the score, with its unit where it has one."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    def beside(self, score: float, other: float) -> float:
        """What is shown beside the score."""
        return score - other if self.gain else other

    def shown(self, score: float, other: float) -> tuple[str, str]:
        """Both as text."""
        return format(score, self.form), format(self.beside(score, other), f"+{self.form}" if self.gain else self.form)


JUDGES = (
    Judge("SI-SDR", "dB", ".2f", "gain, dB", True, ("val_si_sdr", "val_noisy"),
          ("val_si_sdr_db", "val_noisy_si_sdr_db")),
    Judge("balanced accuracy", "%", ".2f", "over level, %", True, ("val_balanced", "val_level"),
          ("val_balanced", "val_level")),
    Judge("Pearson", "", ".3f", "error, MOS", False, ("pearson", "rmse"), ("val_pearson", "val_rmse")))


@dataclass(frozen=True)
class Validated:
    """A run's score on validation, and the number beside it, as log and manifest have it."""

    judge: Judge
    score: float
    other: float


def validated(manifest: Mapping[str, Any], log: Sequence[Mapping[str, str]]) -> Validated | None:
    """Of the model that was kept; without a manifest that says so the log's last. None: there is neither."""
    for judge in JUDGES:
        score, other = (manifest.get(key) for key in judge.manifest)
        if score is not None and other is not None:
            return Validated(judge, float(score), float(other))
    for judge in JUDGES:
        score, other = (next((row[key] for row in reversed(log) if row.get(key)), None) for key in judge.log)
        if score is not None and other is not None:
            return Validated(judge, float(score), float(other))
    return None
