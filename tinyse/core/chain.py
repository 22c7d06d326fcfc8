"""A chain of stages that can be cut anywhere and taken up again.

Each finished stage leaves ``stages/<name>.json``: what went in, the hash of every file that came out, and
its value. A stage whose inputs are the same and whose files are untouched is not run again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinyse.core.artifacts import sha256, versions, write_json
from tinyse.core.progress import Progress, Step, silent


@dataclass(frozen=True)
class Outcome:
    """What a stage gives.

    Attributes:
        files: everything it wrote that later stages or the user rely on.
        value: JSON-ready numbers and names for later stages.
    """

    files: Iterable[Path] = ()
    value: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageTime:
    """How long a stage took in this call, in seconds (measured); ``skipped`` if its result was there."""

    name: str
    seconds: float
    skipped: bool


class Chain:
    """Runs stages in one folder.

    Args:
        folder: where records are kept; files of stages are named relative to it where they lie inside.
        progress: told when each stage ends.
        clock: seconds, for the elapsed times.
    """

    def __init__(self, folder: Path, progress: Progress = silent,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.times: list[StageTime] = []
        self._progress = progress
        self._clock = clock

    def stage(self, name: str, inputs: Mapping[str, Any], work: Callable[[], Outcome]) -> Mapping[str, Any]:
        """Run ``work`` unless its record holds; return its value.

        Args:
            name: of the record and of the elapsed time.
            inputs: JSON-ready; whatever decides the outcome beside the installed versions.
            work: does the stage.
        """
        record = self.folder / "stages" / f"{name}.json"
        wanted = json.loads(json.dumps({**inputs, "versions": versions()}))
        begun = self._clock()
        known = self._recall(record, wanted)
        if known is None:
            outcome = work()
            files = {self._name(path): sha256(path) for path in outcome.files}
            known = json.loads(json.dumps(dict(outcome.value)))
            write_json(record, {"inputs": wanted, "files": files, "value": known})
            self._ended(name, self._clock() - begun, skipped=False)
        else:
            self._ended(name, self._clock() - begun, skipped=True)
        return known

    def _ended(self, name: str, seconds: float, *, skipped: bool) -> None:
        self.times.append(StageTime(name, seconds, skipped))
        note = "already there" if skipped else f"{seconds:.1f} s"
        self._progress(Step(f"stage {name}", 1, 1, note))

    def _recall(self, record: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """The stage's value if its record matches and every file is as it was."""
        try:
            held = json.loads(record.read_text(encoding="utf-8"))
            same = held["inputs"] == wanted and all(
                sha256(self.folder / name) == digest for name, digest in held["files"].items())
            return held["value"] if same else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # no record, or a damaged one: the stage runs again

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else str(path.absolute())
