"""The simulator and TFLM side by side: how often their bytes agree, and where they first part.

Both run the same frames. TFLM shows its outputs only, so for what lies inside an LSTM the integer reference
of ``tinyse.export.integer`` stands in, after its output was checked against TFLM's in the same frame. Each
of its taps (gates, cell and hidden states, layers) is matched to the operation of the command stream whose
output has the same size and type and agrees best, and to no operation that another tap agrees with better; taps
that the NPU never writes down, as a gate's sums, which end in the sigmoid of the same operation, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.engines.npu import NpuEngine
from tinyse.engines.tflm import TflmEngine
from tinyse.npu.fault import NpuError
from tinyse.npu.machine import Machine
from tinyse.npu.operations import Operation

Ints = NDArray[Any]
ALIGN_FRAMES = 16
ALIKE = 0.5
FUSED = ".pre_"


@dataclass(frozen=True)
class Part:
    """Where the two executions part: one value of one operation in one frame."""

    frame: int
    index: int
    offset: int
    operation: str
    tap: str
    element: int
    npu: int
    tflm: int


@dataclass(frozen=True)
class TapAgreement:
    """One tap over all frames: the operation it was matched to, equal values, largest difference."""

    tap: str
    index: int
    offset: int
    operation: str
    values: int
    equal: int
    worst: int


@dataclass(frozen=True)
class Comparison:
    """Both executions compared.

    Attributes:
        frames: how many ran.
        values, equal: output values, and how many are the same.
        worst: largest difference of an output value, in LSB.
        early, late: share of equal output values in the first and in the last quarter of the frames.
        taps: per tap, in execution order; empty where TFLM's inside cannot be seen.
        part: the first operation, in order of time and then of the stream, whose values differ.
    """

    frames: int
    values: int
    equal: int
    worst: int
    early: float
    late: float
    taps: tuple[TapAgreement, ...]
    part: Part | None

    @property
    def share(self) -> float:
        """Share of output values that are equal, 0..1."""
        return self.equal / max(self.values, 1)


class _Tally:
    """Counts of one tap."""

    def __init__(self, op: Operation) -> None:
        self.op, self.values, self.equal, self.worst = op, 0, 0, 0

    def add(self, left: Ints, right: Ints) -> None:
        difference = np.abs(left.astype(np.int64) - right)
        self.values += difference.size
        self.equal += int(np.count_nonzero(difference == 0))
        self.worst = max(self.worst, int(difference.max(initial=0)))


def compare(compiled: Path | str, integer: Path | str, frames: Iterable[Ints]) -> Comparison:
    """Run frames through both executions.

    Args:
        compiled: the ``*_vela.tflite``.
        integer: the int8 ``.tflite`` that it was compiled from.
        frames: quantized input frames, any shape of the right size.

    Raises:
        ModelError: either file cannot run, or they are not the same network.
    """
    engine, tflm = NpuEngine.load(compiled), TflmEngine.load(integer)
    machine, data = engine.machine, Path(integer).read_bytes()
    if (tflm.bands, tflm.outputs) != (engine.bands, engine.outputs):
        raise NpuError(f"{compiled} has {engine.bands} bands, {integer} has {tflm.bands}",
                       hint="give two forms of one network")
    if (tflm.input.zero_point, tflm.output.zero_point) != (engine.input.zero_point, engine.output.zero_point):
        raise NpuError(f"{compiled} and {integer} have other grids", hint="give two forms of one network")
    inside, kept = _inside(data), [np.asarray(frame) for frame in frames]
    if not kept:
        raise NpuError("no frames to compare", hint="give at least one")
    matches = _align(machine, inside, kept[:ALIGN_FRAMES]) if inside else {}
    tallies = {tap: _Tally(op) for tap, op in matches.items()}
    machine.reset()
    if inside:
        inside.reset()
    equal: list[int] = []
    worst, part = 0, None
    for number, frame in enumerate(kept):
        truth = tflm.step(frame).ravel()
        maps = {op.index: values.ravel() for op, values in machine.trace(frame)}
        result = machine.outputs[0].ravel()
        if inside and not np.array_equal(inside.step(frame.ravel()), truth):
            inside, tallies, part = None, {}, None  # not TFLM's arithmetic: say nothing of the inside
        for tap, tally in tallies.items():
            ours, theirs = maps[tally.op.index], inside.taps[tap].ravel()  # type: ignore[union-attr]
            tally.add(ours, theirs)
            if part is None and not np.array_equal(ours, theirs):
                part = _part(number, tally.op, tap, ours, theirs)
        if part is None and not np.array_equal(result, truth):
            last = [op for op in machine.operations if isinstance(op, Operation)][-1]
            part = _part(number, last, "output", result, truth)
        difference = np.abs(result.astype(np.int64) - truth)
        equal.append(int(np.count_nonzero(difference == 0)))
        worst = max(worst, int(difference.max()))
    width, quarter = machine.outputs[0].size, max(len(kept) // 4, 1)
    return Comparison(len(kept), width * len(kept), sum(equal), worst, sum(equal[:quarter]) / (width * quarter),
                      sum(equal[-quarter:]) / (width * quarter),
                      tuple(TapAgreement(tap, t.op.index, t.op.offset, t.op.mode, t.values, t.equal, t.worst)
                            for tap, t in tallies.items()), part)


def _part(frame: int, op: Operation, tap: str, ours: Ints, theirs: Ints) -> Part:
    element = int(np.flatnonzero(ours != theirs)[0])
    return Part(frame, op.index, op.offset, op.mode, tap, element, int(ours[element]), int(theirs[element]))


def _inside(data: bytes) -> Any:
    """The integer reference, or None for a network it does not know."""
    from tinyse.core.errors import TinyseError
    from tinyse.export.integer import IntegerNetwork

    try:
        return IntegerNetwork(data)
    except (TinyseError, ValueError, KeyError, IndexError):
        return None


def _align(machine: Machine, inside: Any, frames: list[Ints]) -> dict[str, Operation]:
    """Match taps to operations by agreement over the first frames; sorted by place in the stream."""
    machine.reset()
    inside.reset()
    scores: dict[tuple[str, int], int] = {}
    sizes: dict[str, int] = {}
    ops: dict[int, Operation] = {}
    for frame in frames:
        maps = [(op, values) for op, values in machine.trace(frame)]
        inside.step(frame.ravel())
        for tap, theirs in inside.taps.items():
            if FUSED in tap:
                continue
            sizes[tap] = sizes.get(tap, 0) + theirs.size
            for op, ours in maps:
                if ours.size == theirs.size and ours.dtype.itemsize == theirs.dtype.itemsize:
                    ops[op.index] = op
                    same = int(np.count_nonzero(ours.ravel() == theirs.ravel()))
                    scores[tap, op.index] = scores.get((tap, op.index), 0) + same
    found: dict[str, Operation] = {}
    for (tap, index), score in sorted(scores.items(), key=lambda item: (-item[1] / sizes[item[0][0]], item[0][1])):
        if score > ALIKE * sizes[tap] and tap not in found and ops[index] not in found.values():
            found[tap] = ops[index]
    return dict(sorted(found.items(), key=lambda item: item[1].index))
