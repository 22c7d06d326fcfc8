"""The simulator and TFLM side by side: how often their bytes agree, and where they first part.

Both run the same frames. TFLM shows its outputs only, so for what lies between them the integer reference
(``tinyse.graph.reference``) stands in, after its output was checked against TFLM's in the same frame. Each of its taps
(tensors, and an LSTM's gates and cell) is matched to the operation of the command stream whose output has the same
size and type and agrees best, and to no operation that another tap agrees with better; taps that the NPU never writes
down, as a gate's sums, which end in the sigmoid of the same operation, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ModelError
from tinyse.engines.integer import IntegerEngine
from tinyse.engines.npu import NpuEngine
from tinyse.engines.tflm import TflmEngine
from tinyse.graph.runner import Carried, run_all
from tinyse.npu.fault import NpuError
from tinyse.npu.operations import Operation

Ints = NDArray[Any]
Place = tuple[int, int]
"""A part and an operation of its stream."""
Tap = tuple[int, str]
"""A part and a value of its reference."""
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


class _Traced:
    """Compiled parts whose operations show what they write: ``maps`` of the last frame, by part and operation."""

    def __init__(self, engine: NpuEngine) -> None:
        self._machines, self.maps = engine.machines, dict[Place, tuple[Operation, Ints]]()
        self._plan, self._carried = engine.plan, Carried(engine.plan, self._invoke)

    def reset(self) -> None:
        self._carried.reset()
        self._machines.reset()

    def step(self, frame: Ints) -> Ints:
        source = self._plan.inputs[0]
        return run_all(self._plan, self._carried.run, {source.name: frame.reshape(source.shape)}).ravel()

    def _invoke(self, part: int, values: Sequence[Ints]) -> list[Ints]:
        for op, made in self._machines.machines[part].trace(*values):
            self.maps[part, op.index] = op, made.ravel()
        return self._machines.outputs(part)


def compare(compiled: Path | str, integer: Path | str, frames: Iterable[Ints]) -> Comparison:
    """Run frames through both executions, every part of both.

    Args:
        compiled: the ``*_vela.tflite``.
        integer: the int8 ``.tflite`` that it was compiled from.
        frames: quantized input frames, any shape of the right size.

    Raises:
        ModelError: either file cannot run, or they are not the same network.
    """
    engine, tflm = NpuEngine.load(compiled, False), TflmEngine.load(integer, False)
    if (tflm.bands, tflm.outputs) != (engine.bands, engine.outputs):
        raise NpuError(f"{compiled} takes {engine.bands} values and gives {engine.outputs}, "
                       f"{integer} takes {tflm.bands} and gives {tflm.outputs}", hint="give two forms of one network")
    if (tflm.input.zero_point, tflm.output.zero_point) != (engine.input.zero_point, engine.output.zero_point):
        raise NpuError(f"{compiled} and {integer} have other grids", hint="give two forms of one network")
    traced, inside, kept = _Traced(engine), _inside(integer), [np.asarray(frame) for frame in frames]
    if not kept:
        raise NpuError("no frames to compare", hint="give at least one")
    matches = _align(traced, inside, kept[:ALIGN_FRAMES]) if inside else {}
    tallies = {tap: _Tally(traced.maps[place][0]) for tap, place in matches.items()}
    traced.reset()
    if inside:
        inside.reset()
    equal: list[int] = []
    worst, part = 0, None
    for number, frame in enumerate(kept):
        truth, result = tflm.step(frame).ravel(), traced.step(frame)
        if inside and not np.array_equal(inside.step(frame.ravel()), truth):
            inside, tallies, part = None, {}, None  # not TFLM's arithmetic: say nothing of the inside
        taps = _taps(inside) if inside else {}
        for tap, tally in tallies.items():
            ours, theirs = traced.maps[matches[tap]][1], taps[tap].ravel()
            tally.add(ours, theirs)
            if part is None and not np.array_equal(ours, theirs):
                part = _part(number, tally.op, tap[1], ours, theirs)
        if part is None and not np.array_equal(result, truth):
            last = [op for op in engine.machines.machines[-1].operations if isinstance(op, Operation)][-1]
            part = _part(number, last, "output", result, truth)
        difference = np.abs(result.astype(np.int64) - truth)
        equal.append(int(np.count_nonzero(difference == 0)))
        worst = max(worst, int(difference.max()))
    width, quarter = engine.outputs, max(len(kept) // 4, 1)
    return Comparison(len(kept), width * len(kept), sum(equal), worst, sum(equal[:quarter]) / (width * quarter),
                      sum(equal[-quarter:]) / (width * quarter),
                      tuple(TapAgreement(tap, t.op.index, t.op.offset, t.op.mode, t.values, t.equal, t.worst)
                            for (_, tap), t in tallies.items()), part)


def _part(frame: int, op: Operation, tap: str, ours: Ints, theirs: Ints) -> Part:
    element = int(np.flatnonzero(ours != theirs)[0])
    return Part(frame, op.index, op.offset, op.mode, tap, element, int(ours[element]), int(theirs[element]))


def _inside(integer: Path | str) -> IntegerEngine | None:
    """The integer reference, or None for a network that no Graph can hold."""
    try:
        return IntegerEngine.load(integer, fitting=False)
    except ModelError:
        return None


def _taps(inside: IntegerEngine) -> dict[Tap, Ints]:
    """What the parts computed in the last frame, but what went in."""
    given = {tensor.name for part in inside.plan.parts
             for tensor in (*part.inputs, *(state.past for state in part.states))}
    return {(part, name): values for part, reference in enumerate(inside.references)
            for name, values in reference.taps.items() if name not in given}


def _align(traced: _Traced, inside: IntegerEngine, frames: list[Ints]) -> dict[Tap, Place]:
    """Match taps to operations of the same part by agreement over the first frames; sorted by place in the stream."""
    traced.reset()
    inside.reset()
    scores: dict[tuple[Tap, Place], int] = {}
    sizes: dict[Tap, int] = {}
    for frame in frames:
        traced.step(frame)
        inside.step(frame.ravel())
        for tap, theirs in _taps(inside).items():
            if FUSED in tap[1]:
                continue
            sizes[tap] = sizes.get(tap, 0) + theirs.size
            for place, (_, ours) in traced.maps.items():
                if place[0] == tap[0] and (ours.size, ours.dtype.itemsize) == (theirs.size, theirs.dtype.itemsize):
                    same = int(np.count_nonzero(ours == theirs.ravel()))
                    scores[tap, place] = scores.get((tap, place), 0) + same
    found: dict[Tap, Place] = {}
    for (tap, place), score in sorted(scores.items(), key=lambda item: (-item[1] / sizes[item[0][0]], item[0][1])):
        if score > ALIKE * sizes[tap] and tap not in found and place not in found.values():
            found[tap] = place
    return dict(sorted(found.items(), key=lambda item: item[1]))
