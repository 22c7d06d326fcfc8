"""What a firmware image says of a run: the JSON that ``firmware/app/results.c`` writes, as typed values.

The same line arrives as a file by semihosting and on the UART between two marker lines. Nothing is taken on
trust: an unknown key, a missing one or a value of another type is a `ToolError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tinyse.core.errors import ToolError

T = TypeVar("T")
SCHEMA = 1
STAGES = ("transform", "features", "quantize", "network", "mask", "synthesis")
"""The stages of a frame, in order; the firmware's ``tinyse_stage``."""

BEGIN, END = "tinyse results begin", "tinyse results end"
"""Lines around the JSON on the UART."""

SPEAKER = "tinyse: "
"""Start of a line by which an image says why it stopped."""

HINT = "image and tinyse are of different versions: build the firmware again"


@dataclass(frozen=True)
class Counter:
    """What ticks are: ``name`` "dwt" counts the core's cycles, any other is a clock; ``hz``."""

    name: str
    hz: int


@dataclass(frozen=True)
class Ticks:
    """Ticks over all frames, and of the longest frame."""

    total: int
    max: int


@dataclass(frozen=True)
class NpuCounts:
    """The NPU's own counters over all frames; ``name`` is "ethos-u55", "simulator" or "core-driver"."""

    name: str
    runs: int
    cycles: int
    active: int
    axi0_read: int
    axi0_write: int
    axi1_read: int


@dataclass(frozen=True)
class Stack:
    """Bytes of stack, and the most that was used."""

    bytes: int
    used: int


@dataclass(frozen=True)
class Scores:
    """What a network that scores said, rounded to thousandths: how often, from the first whole window on; their mean,
    the least, the most, the newest; zeros where there is none."""

    count: int
    mean: float
    least: float
    most: float
    last: float


@dataclass(frozen=True)
class Results:
    """One run of an image.

    Attributes:
        board, core: "corstone300", "cortex-m55". backend: "cpu", "npu" or "tflm".
        kernels: "portable", "dsp" or "mve"; what the compiler was allowed to use.
        frames: hops processed. updates: of them those that ran the network; all, but for a Skip RNN.
        parts: how often each part of the network ran.
        counter: what all ticks count.
        stages: by the names of `STAGES`. frame: a whole frame, the measuring itself left out.
        npu: None where the CPU runs the network.
        timing_adapters: what they were set to, by name; None where there are none.
        arena_bytes, state_bytes: of the network, of the library.
        stack: of the image.
        scores: of a network that scores; else None.
    """

    board: str
    core: str
    backend: str
    kernels: str
    frames: int
    updates: int
    parts: tuple[int, ...]
    counter: Counter
    stages: Mapping[str, Ticks]
    frame: Ticks
    npu: NpuCounts | None
    timing_adapters: Mapping[str, Mapping[str, int]] | None
    arena_bytes: int
    state_bytes: int
    stack: Stack
    scores: Scores | None = None


def parse(text: str) -> Results:
    """Read the JSON.

    Raises:
        ToolError: it is cut off, of another schema, or holds anything unexpected.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ToolError(f"firmware results: no JSON: {error}", HINT) from error
    record = _Record("results", value)
    if record.integer("schema") != SCHEMA:
        raise ToolError(f"firmware results: schema {value.get('schema')}, not {SCHEMA}", HINT)
    if record.text("status") != "ok":
        raise ToolError(f"firmware results: status {value['status']!r}", HINT)
    stages = _Record("stages", record.take("stages"))
    ticks = {name: _plain(Ticks, name, stages.take(name)) for name in STAGES}
    stages.done()
    npu, adapters = record.take("npu"), record.take("timing_adapters")
    results = Results(
        record.text("board"), record.text("core"), record.text("backend"), record.text("kernels"),
        record.integer("frames"), record.integer("updates"), record.integers("parts"),
        _plain(Counter, "counter", record.take("counter")), ticks,
        _plain(Ticks, "frame", record.take("frame")), None if npu is None else _plain(NpuCounts, "npu", npu),
        None if adapters is None else _adapters(adapters), record.integer("arena_bytes"),
        record.integer("state_bytes"), _plain(Stack, "stack", record.take("stack")),
        _plain(Scores, "scores", record.take("scores")) if "scores" in value else None)
    record.done()
    return results


def from_uart(text: str) -> Results | None:
    """The first whole report on a UART; None where there is none (a report may start before its reader does).

    Raises:
        ToolError: as ``parse``.
    """
    lines = text.replace("\r", "").split("\n")
    for index, line in enumerate(lines[:-2]):
        if line.endswith(BEGIN) and lines[index + 2].startswith(END):
            return parse(lines[index + 1])
    return None


def complaint(text: str) -> str | None:
    """Why the image stopped, from its UART: the first line that starts with `SPEAKER`, without it."""
    for line in text.replace("\x04", "\n").splitlines():
        if line.startswith(SPEAKER):
            return line.removeprefix(SPEAKER).strip()
    return None


class _Record:
    """A JSON object whose keys are taken one by one."""

    def __init__(self, name: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise ToolError(f"firmware results: {name} is no object", HINT)
        self._name, self._left = name, dict(value)

    def take(self, key: str) -> Any:
        if key not in self._left:
            raise ToolError(f"firmware results: {self._name} has no {key}", HINT)
        return self._left.pop(key)

    def integer(self, key: str) -> int:
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ToolError(f"firmware results: {self._name}.{key} is {value!r}, not a count", HINT)
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        values = self.take(key)
        if not isinstance(values, list) or not values:
            raise ToolError(f"firmware results: {self._name}.{key} is {values!r}, not counts", HINT)
        return tuple(_Record(key, {"count": value}).integer("count") for value in values)

    def text(self, key: str) -> str:
        value = self.take(key)
        if not isinstance(value, str):
            raise ToolError(f"firmware results: {self._name}.{key} is {value!r}, not a text", HINT)
        return value

    def decimal(self, key: str) -> float:
        value = self.text(key)
        if not re.fullmatch(r"-?\d+\.\d{3}", value):
            raise ToolError(f"firmware results: {self._name}.{key} is {value!r}, not a number of three places", HINT)
        return float(value)

    def done(self) -> None:
        if self._left:
            raise ToolError(f"firmware results: {self._name} has an unknown key {min(self._left)!r}", HINT)


def _plain(kind: type[T], name: str, value: Any) -> T:
    record = _Record(name, value)
    take = {"str": record.text, "int": record.integer, "float": record.decimal}
    fields = {key: take[annotation](key) for key, annotation in kind.__annotations__.items()}
    record.done()
    return kind(**fields)


def _adapters(value: Any) -> dict[str, dict[str, int]]:
    if not isinstance(value, list):
        raise ToolError("firmware results: timing_adapters is no list", HINT)
    adapters = {}
    for item in value:
        record = _Record("timing_adapters", item)
        name = record.text("name")
        adapters[name] = {key: record.integer(key) for key in item if key != "name"}
    return adapters
