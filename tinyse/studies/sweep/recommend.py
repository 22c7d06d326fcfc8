"""Which model of a sweep to take: the best on validation among those within every limit, or what is in the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinyse.core.artifacts import sha256
from tinyse.core.errors import TinyseError
from tinyse.export.bundle import INT8
from tinyse.measure.scores.metrics import LABELS
from tinyse.studies.sweep.columns import MEAN, RATE, SIZES, VAL, VAL_RATE, costs
from tinyse.studies.sweep.releases import BY
from tinyse.studies.sweep.results import Column, PointResult, SweepResult

SCORE = "val_sdr"
DELTA, LOSS = "val_delta", "loss"
"""Keys of what is lost on validation: a sweep's mean less the dense float model's; what a search's mixture loses."""


@dataclass(frozen=True)
class Limit:
    """A limit on one column; ``most`` in the column's unit. For ``val_delta`` it is the largest loss.

    A mean cost is judged with the update rate, or the rates of the parts, of the validation split.

    Attributes:
        option: what the user gave, for messages.
    """

    option: str
    column: Column
    most: float

    def value(self, point: PointResult) -> float | None:
        """The point's number that must not exceed ``most``; None where the sweep could not have it."""
        found = point.values.get(self.column.key)
        if found is None or not self.column.key.startswith(MEAN):
            return None if found is None else -found if self.column.key == DELTA else found
        own = point.values.get(VAL + self.column.key)  # a network of several parts has its own
        return found * point.values[VAL_RATE] / point.values[RATE] if own is None else own

    @property
    def loss(self) -> bool:
        """Whether it is on a loss."""
        return self.column.key in (DELTA, LOSS)

    def meets(self, point: PointResult) -> bool:
        """Whether the point has the number and it is within the limit."""
        value = self.value(point)
        return value is not None and value <= self.most

    def excess(self, point: PointResult) -> float:
        """By how much it is missed: a share of the limit, for losses their own unit (1 dB, 1 % is once the limit)."""
        value = self.value(point)
        if value is None:
            return float("inf")
        over = max(0.0, value - self.most)
        return over if self.loss else over / self.most


@dataclass(frozen=True)
class Recommendation:
    """The answer.

    Attributes:
        point: the one to take; None where nothing meets every limit.
        nearest: then the one that misses least in sum; None where no point has the numbers.
        limits: all of them. unmet: those that no point meets.
        fitting: how many points meet every limit.
    """

    point: PointResult | None
    nearest: PointResult | None
    limits: tuple[Limit, ...]
    unmet: tuple[Limit, ...]
    fitting: int


def limits(result: SweepResult, budget_kb: float | None = None, max_cycles: float | None = None,
           max_loss: float | None = None, size: str | None = None, cost: str = "cycles") -> tuple[Limit, ...]:
    """The user's limits on columns of the sweep.

    Args:
        result: the sweep.
        budget_kb: of 1,000 bytes. max_cycles: a frame, of column ``cost``.
        max_loss: on validation, in the unit of the score; of a search it is what a mixture loses, as the search has it.
        size: one of `SIZES`; None: Vela-encoded bytes, without an NPU bitmask + bytes.
        cost: key of a cost column.

    Raises:
        TinyseError: no limit at all, the sweep has not the column, or a loss of released models.
    """
    if size is not None and budget_kb is None:
        raise TinyseError(f"--size {size}: says what --budget-kb counts, and there is none", "--budget-kb")
    if cost != "cycles" and max_cycles is None:
        raise TinyseError(f"--cost {cost}: says what --max-cycles counts, and there is none", "--max-cycles")
    found = []
    if budget_kb is not None:
        key = size or ("encoded" if result.column("encoded") else "bitmask")
        found.append(Limit(f"--budget-kb {budget_kb:g}", _column(result, key, SIZES), 1000 * budget_kb))
    if max_cycles is not None:
        known = [c.key for c in result.columns if c in costs(result.columns) or c.key.startswith("frame_")]
        found.append(Limit(f"--max-cycles {max_cycles:g}", _column(result, cost, known), max_cycles))
    if max_loss is not None:
        if BY in result.settings:
            raise TinyseError("--max-loss: released models share no validation split to lose on",
                              "--budget-kb or --max-cycles, or the folder of a sweep or search")
        column = result.column(LOSS) or _column(result, DELTA, ())
        given = f"-db {max_loss:g}" if column.unit == "dB" else f" {max_loss:g} {column.unit}"
        found.append(Limit(f"--max-loss{given}", column, max_loss))
    if not found:
        raise TinyseError("no limit", "--budget-kb or --max-cycles" if BY in result.settings else
                          "--budget-kb, --max-cycles or --max-loss")
    return tuple(found)


def _column(result: SweepResult, key: str, known: tuple[str, ...] | list[str]) -> Column:
    column = result.column(key)
    if column is None or (known and key not in known):
        there = [name for name in known if result.column(name)]
        whose = "the released models" if BY in result.settings else "the sweep"
        have = "have" if BY in result.settings else "has"
        raise TinyseError(f"{whose} for {result.target} {have} no column {key!r}", f"one of: {', '.join(there)}")
    return column


def recommend(result: SweepResult, chosen: tuple[Limit, ...]) -> Recommendation:
    """Choose by validation alone: by SDR, of a search by the least loss, of releases by their card.

    Equal ones go to the point that comes first.

    Raises:
        TinyseError: the sweep has no finished point.
    """
    if not result.points:
        raise TinyseError("the sweep has no finished point", "let it finish one")
    key, sign = (LOSS, -1) if result.column(LOSS) else (result.settings.get(BY, SCORE), 1)
    fitting = [p for p in result.points if key in p.values and all(limit.meets(p) for limit in chosen)]
    unmet = tuple(limit for limit in chosen if not any(limit.meets(point) for point in result.points))
    if fitting:
        best = max(fitting, key=lambda point: sign * point.values[key])
        return Recommendation(best, None, chosen, unmet, len(fitting))
    reckoned = [(sum(limit.excess(point) for limit in chosen), index) for index, point in enumerate(result.points)]
    least, index = min(reckoned)
    return Recommendation(None, result.points[index] if least < float("inf") else None, chosen, unmet, 0)


def released(point: PointResult, models: Path) -> Path | None:
    """The folder of ``models`` that holds the point's int8 files, byte for byte, if any does."""
    wanted = {name.removeprefix("export/"): digest for name, digest in point.sha256.items() if name.endswith(INT8)}
    return next((folder for folder in sorted(models.glob("*/")) if wanted == {
        file.name: sha256(file) for file in folder.glob(f"*{INT8}")} != {}), None)


def lines(result: SweepResult, found: Recommendation) -> list[str]:
    """The answer as text: the model with all its numbers, or which limit is in the way and the nearest point."""
    asked = ", ".join(limit.option for limit in found.limits)
    by = result.settings.get(BY)
    each, best = ("point", "best on validation") if by is None else (
        "model", f"best {LABELS[by]} by its card (test mixtures)")
    if found.point is not None:
        said = [f"take {found.point.label}: {best} of the {found.fitting} {each}s that meet {asked}"
                if found.fitting > 1 else f"take {found.point.label}: the only {each} that meets {asked}"]
        said += _numbers(result, found.point)
        delta = found.point.values.get("delta")
        said += [f"  its loss on the test split, {-delta:.2f} {limit.column.unit}, is above {limit.option}"
                 for limit in found.limits
                 if limit.column.key == DELTA and delta is not None and -delta > limit.most]
        return said
    said = [f"no {each} meets {limit.option} ({limit.column.title}, {limit.column.source})" for limit in found.unmet]
    if not found.unmet:
        said = [f"each limit is met by some {each}, none meets all: {asked}"]
    if found.nearest is None:
        return [*said, f"no {each} has all the numbers"]
    said.append(f"nearest: {found.nearest.label}")
    for limit in found.limits:
        value = limit.value(found.nearest)
        assert value is not None
        state = "met" if limit.meets(found.nearest) else "missed"
        shown = f"{value:.2f}" if limit.loss else f"{value:,.0f}"
        lost = " lost on validation" if limit.column.key == DELTA else ""
        said.append(f"  {limit.option} {state}: {limit.column.title} {shown} {limit.column.unit}{lost}, "
                    f"{limit.column.source}")
    return [*said, *_numbers(result, found.nearest)]


def _numbers(result: SweepResult, point: PointResult) -> list[str]:
    from tinyse.studies.sweep.render import text

    rows = [(c.title, text(point.values[c.key], c), c.unit, c.source) for c in result.columns if c.key in point.values]
    wide, long = (max(len(row[at]) for row in rows) for at in (0, 1))
    said = [f"  {title:<{wide}}  {shown:>{long}} {unit:<12}  {source}" for title, shown, unit, source in rows]
    return [*said, f"  {point.folder}"]
