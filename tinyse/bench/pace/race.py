"""Ways of doing the same work, timed in turns: each in a process of its own, warmed up before its first round."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from tinyse.core.errors import ToolError
from tinyse.core.progress import Progress, Step, silent
from tinyse.core.workers import ONE_THREAD as SINGLE_THREAD
from tinyse.core.workers import Workers

ONE_THREAD = "1 thread"
DEFAULT_THREADS = "its libraries' own number of threads"


@dataclass(frozen=True)
class Lap:
    """A piece of work that was done.

    Attributes:
        units: how much: frames, or 1 for an export.
        seconds: wall time.
        output: what came out, for the comparison of two ways; picklable.
    """

    units: float
    seconds: float
    output: Any = None


Run = Callable[[], Lap]


@dataclass(frozen=True)
class Way:
    """One way to do it.

    Attributes:
        name: what runs, in a few words.
        prepare: loads what it needs and returns what is timed; picklable, called once in the way's own process.
        threads: how many it has; ``ONE_THREAD`` is imposed, others are left as they are.
    """

    name: str
    prepare: Callable[[], Run]
    threads: str = DEFAULT_THREADS


@dataclass(frozen=True)
class Contest:
    """Two ways side by side.

    Attributes:
        name: short, for ``--only``. title: for the page.
        ours, plain: the two ways.
        agree: compares their outputs, ours first, and says in a few words in what they agree; raises ToolError where
            the two did not do the same work.
        real_time: frames of a second of sound; 0 where frames are not streamed, or nothing is counted in frames.
        unit: "frames" or "exports".
    """

    name: str
    title: str
    ours: Way
    plain: Way
    agree: Callable[[Any, Any], str]
    real_time: float = 0.0
    unit: str = "frames"


@dataclass(frozen=True)
class Timed:
    """A way's speed, in units a second, round by round."""

    name: str
    threads: str
    speeds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all rounds."""
        return statistics.median(self.speeds)


@dataclass(frozen=True)
class Result:
    """A contest that was held.

    Attributes:
        name, title, real_time, unit: as of ``Contest``.
        ours, plain: speeds; round by round, the two belong together.
        agreement: what ``Contest.agree`` said.
    """

    name: str
    title: str
    ours: Timed
    plain: Timed
    agreement: str
    real_time: float = 0.0
    unit: str = "frames"

    @property
    def ratios(self) -> tuple[float, ...]:
        """Our speed over the plain way's, round by round; above 1 ours is faster."""
        return tuple(a / b for a, b in zip(self.ours.speeds, self.plain.speeds, strict=True))

    @property
    def ratio(self) -> float:
        """Median of the rounds' ratios."""
        return statistics.median(self.ratios)

    def real_time_factor(self, timed: Timed) -> float | None:
        """Seconds of work a second of sound; None where no sound is streamed."""
        return self.real_time / timed.median if self.real_time else None


def compete(contests: Sequence[Contest], rounds: int, progress: Progress = silent, task: str = "speed") -> list[Result]:
    """Hold all ``contests`` at once: every way they name runs once a round, in turns, the order reversed every other.

    A way that several contests name runs once for all of them. The first run of each is not timed; its output is what
    ``agree`` sees.

    Raises:
        TinyseError: a way cannot be prepared, its process died, or two outputs do not agree.
    """
    ways = {way.name: way for contest in contests for way in (contest.ours, contest.plain)}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    total, done = len(ways) * (rounds + 1), 0
    with contextlib.ExitStack() as stack:
        pools: dict[str, Workers] = {}
        outputs: dict[str, Any] = {}
        for name, way in ways.items():
            progress(Step(task, done, total, f"{name}: warming up"))
            variables = SINGLE_THREAD if way.threads == ONE_THREAD else None
            pools[name] = stack.enter_context(Workers(1, variables=variables))
            outputs[name] = _result(pools[name], name, _prepare, way.prepare).output
            done += 1
        agreements = [contest.agree(outputs[contest.ours.name], outputs[contest.plain.name]) for contest in contests]
        for number in range(rounds):
            for name in list(ways)[:: -1 if number % 2 else 1]:
                progress(Step(task, done, total, name))
                lap = _result(pools[name], name, _lap)
                speeds[name].append(lap.units / lap.seconds)
                done += 1
    progress(Step(task, total, total))

    def timed(way: Way) -> Timed:
        return Timed(way.name, way.threads, tuple(speeds[way.name]))

    return [Result(contest.name, contest.title, timed(contest.ours), timed(contest.plain), agreement,
                   contest.real_time, contest.unit)
            for contest, agreement in zip(contests, agreements, strict=True)]


def _result(pool: Workers, name: str, call: Callable[..., Lap], *arguments: Any) -> Lap:
    try:
        return pool.submit(call, *arguments).result()
    except BrokenProcessPool as error:
        raise ToolError(f"{name}: its process died", "free some memory") from error


_RUN: list[Run] = []


def _prepare(prepare: Callable[[], Run]) -> Lap:
    _RUN[:] = [prepare()]
    return _RUN[0]()


def _lap() -> Lap:
    lap = _RUN[0]()
    return Lap(lap.units, lap.seconds)
