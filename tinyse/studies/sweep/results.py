"""What a sweep found: columns of one source each, a value per point and column, means over seeds, fronts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinyse.core.errors import TinyseError
from tinyse.studies.sweep.plan import Kind

SCHEMA = 1
FILE = "sweep.json"
MEASURED, EXACT, ESTIMATED, EMULATED = "measured (host)", "exact", "estimated (Vela)", "emulated (QEMU)"


@dataclass(frozen=True)
class Column:
    """A kind of number.

    Attributes:
        key: in the files. title: shown. unit: such as "dB", "B"; may be empty.
        source: what produces every value of the column. higher: whether more is better.
    """

    key: str
    title: str
    unit: str
    source: str
    higher: bool = False


@dataclass(frozen=True)
class PointResult:
    """One finished point.

    Attributes:
        name, seed, kind, family, structure, sparsity: as in its job; ``sparsity`` was asked for.
        folder: of the point, relative to the sweep's.
        values: column key -> value; what could not be had is missing.
        notes: why.
        sha256: of its files.
    """

    name: str
    seed: int
    kind: Kind
    family: str
    structure: str
    sparsity: float
    folder: str
    values: Mapping[str, float]
    notes: tuple[str, ...]
    sha256: Mapping[str, str]

    @property
    def label(self) -> str:
        """Name, and seed where it was trained."""
        return f"{self.name}.s{self.seed}" if self.kind is Kind.TRAINED else self.name


@dataclass(frozen=True)
class Group:
    """The points of one name: one configuration over its seeds."""

    points: tuple[PointResult, ...]

    @property
    def first(self) -> PointResult:
        """Whose name, kind and family all share."""
        return self.points[0]

    def values(self, key: str) -> list[float]:
        """One a seed; only what is there."""
        return [point.values[key] for point in self.points if key in point.values]

    def mean(self, key: str) -> float | None:
        """Over the seeds; None where no point has it."""
        found = self.values(key)
        return math.fsum(found) / len(found) if found else None

    def lowest(self, key: str) -> float | None:
        """Of the seeds; None where no point has it."""
        return min(self.values(key), default=None)

    def highest(self, key: str) -> float | None:
        """Of the seeds; None where no point has it."""
        return max(self.values(key), default=None)

    def deviation(self, key: str) -> float | None:
        """Sample standard deviation over the seeds; None for fewer than two."""
        found = self.values(key)
        if len(found) < 2:
            return None
        middle = math.fsum(found) / len(found)
        return math.sqrt(math.fsum((value - middle) ** 2 for value in found) / (len(found) - 1))


@dataclass(frozen=True)
class SweepResult:
    """A whole sweep.

    Attributes:
        name, target: of the sweep.
        settings: how points were scored, the corpus, the sweep file's hash.
        columns: in order.
        reference: the dense float model: "sdr", "val_sdr", "bytes", and the noisy input's "noisy_sdr".
        points: dense, then trained, then offline.
        failed: label -> why.
        versions: package -> version.
    """

    name: str
    target: str
    settings: Mapping[str, Any]
    columns: tuple[Column, ...]
    reference: Mapping[str, float]
    points: tuple[PointResult, ...]
    failed: Mapping[str, str]
    versions: Mapping[str, str]

    def column(self, key: str) -> Column | None:
        """A column by its key."""
        return next((each for each in self.columns if each.key == key), None)

    def groups(self) -> list[Group]:
        """Points by name, in order."""
        found: dict[str, list[PointResult]] = {}
        for point in self.points:
            found.setdefault(point.name, []).append(point)
        return [Group(tuple(points)) for points in found.values()]

    def to_json(self) -> dict[str, Any]:
        """JSON values; the same sweep gives the same bytes."""
        groups = {group.first.name: {
            "seeds": [point.seed for point in group.points],
            "mean": {c.key: group.mean(c.key) for c in self.columns if group.values(c.key)},
            **{name: {c.key: spread(c.key) for c in self.columns if len(group.values(c.key)) > 1}
               for name, spread in (("lowest", group.lowest), ("highest", group.highest),
                                    ("deviation", group.deviation))},
        } for group in self.groups()}
        return {"schema": SCHEMA, "kind": "sweep", **asdict(self), "groups": groups}


def front(groups: Sequence[Group], cost: str, score: str = "sdr") -> list[Group]:
    """The groups that no other beats at both a lower (or the same) cost and a higher (or the same) score, by cost."""
    known = [(c, s, group) for group in groups
             if (c := group.mean(cost)) is not None and (s := group.mean(score)) is not None]
    best, found = -math.inf, []
    for _, value, group in sorted(known, key=lambda each: (each[0], -each[1])):
        if value > best:
            best = value
            found.append(group)
    return found


def read_result(folder: Path | str) -> SweepResult:
    """Read a sweep's ``sweep.json``.

    Raises:
        TinyseError: there is none, it is damaged, or another version's.
    """
    path = Path(folder) / FILE if Path(folder).is_dir() else Path(folder)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TinyseError(f"{path}: no sweep there", "tinyse sweep SWEEP.yaml --out DIR") from error
    except ValueError as error:
        raise TinyseError(f"{path}: is no JSON: {error}", "run the same sweep again") from error
    if not isinstance(values, dict) or values.get("kind") != "sweep" or values.get("schema") != SCHEMA:
        raise TinyseError(f"{path}: is no sweep of schema {SCHEMA}", "run the same sweep again")
    try:
        points = tuple(PointResult(**{**each, "kind": Kind(each["kind"]), "notes": tuple(each["notes"]),
                                      "values": dict(each["values"])})
                       for each in values["points"])
        columns = tuple(Column(**each) for each in values["columns"])
        return SweepResult(values["name"], values["target"], values["settings"], columns, values["reference"], points,
                           values["failed"], values["versions"])
    except (KeyError, TypeError, ValueError) as error:
        raise TinyseError(f"{path}: is no sweep: {error}", "run the same sweep again") from error
