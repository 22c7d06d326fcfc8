"""Where every tensor of a network in C lies: one arena, planned here, its peak known before anything is compiled.

States come first and persist. What is needed at no common time may lie in one place. A Concat, Slice or Reshape whose
data can lie in place costs no copy: inputs are written where the output is, or the output is a part of the input. ::

    arena = plan_arena(plan, scratch)
    arena.bytes, arena.state_bytes              # the peak, and what of it persists
    arena.at(0, tensor)                         # offset of a tensor of part 0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tinyse.export.bitmap import BitConv
from tinyse.export.packing import GROUP, TILE, round_up
from tinyse.graph.graph import Graph
from tinyse.graph.grid import STEP
from tinyse.graph.ops import Concat, Conv, Depthwise, Lstm, MatMul, Op, Reshape, Slice
from tinyse.graph.plan import Plan
from tinyse.graph.tensor import State, Tensor

ALIGNED = 16
"""Every place starts at a multiple of this."""

HIDDEN, CELL, SCRATCH = "\0h", "\0c", "\0scratch"
"""What an operator has beside its output: states of an LSTM, memory while it runs."""

Key = tuple[int, str]
"""Part (-1 for what parts share) and name."""
RESULT: Key = (-1, "\0result")


@dataclass
class _Place:
    """Bytes of one tensor or scratch, and the operators (over all parts) from which and to which they are needed."""

    bytes: int
    first: float = math.inf
    last: float = -math.inf
    persists: bool = False
    parent: tuple[Key, int] | None = None
    offset: int = -1


@dataclass(frozen=True)
class Arena:
    """The plan of the memory.

    Attributes:
        bytes: all of it. state_bytes: of it what persists between frames, at its start.
        moves: per part the copies fresh -> past at its end: (to, from, bytes), in order.
    """

    bytes: int
    state_bytes: int
    moves: tuple[tuple[tuple[int, int, int], ...], ...]
    _offsets: Mapping[Key, int] = field(repr=False)
    _shared: tuple[frozenset[str], ...] = field(repr=False)

    def at(self, part: int, tensor: Tensor, role: str = "") -> int:
        """Offset in bytes of a tensor of a part; with a role (HIDDEN ...), of what its operator has beside it."""
        if role:
            return self._offsets[(part, tensor.name + role)]
        return self._offsets[(-1 if tensor.name in self._shared[part] else part, tensor.name)]

    @property
    def result(self) -> int:
        """Where the result is kept that the last of several parts gave."""
        return self._offsets[RESULT]


class Fused(Protocol):
    """Operators of one part that a kernel takes into one call, where the last of them stands."""

    def holds(self, op: Op) -> tuple[Tensor, ...]:
        """What must last until ``op``."""

    def scratch(self, op: Op) -> int | None:
        """Bytes that the call at ``op`` wants; None where it is no such call."""


def plan_arena(plan: Plan, scratch: Callable[[Op], int], fused: Sequence[Fused] = ()) -> Arena:
    """Plan the memory of every part; ``scratch`` says how many bytes an operator wants while it runs."""
    return _Planner(plan, scratch, fused).arena()


def contiguous(op: Op) -> int | None:
    """Offset in elements of a Slice's window in its input, where it is one piece; else None."""
    assert isinstance(op, Slice)
    before = True
    for taken, whole in zip(op.out.shape, op.x.shape, strict=True):
        if not before and taken != whole:
            return None
        before = before and taken == 1
    offset = 0
    for start, whole in zip(op.begin, op.x.shape, strict=True):
        offset = offset * whole + start
    return offset


def pieces(op: Concat) -> list[int] | None:
    """Offsets in bytes of a Concat's inputs in its output, where each is one piece there; else None."""
    if math.prod(op.out.shape[:op.axis]) != 1:
        return None
    return [sum(tensor.bytes for tensor in op.ins[:index]) for index in range(len(op.ins))]


class _Planner:
    def __init__(self, plan: Plan, scratch: Callable[[Op], int], fused: Sequence[Fused]) -> None:
        self.plan, self.scratch, self.fused = plan, scratch, fused
        self.ends = [0]  # of parts, in operators; each part has one tick more for its states
        for graph in plan.graphs:
            self.ends.append(self.ends[-1] + len(graph.ops) + 1)
        self.pasts = [state.past.name for graph in plan.graphs for state in graph.states]
        outputs = {tensor.name for graph in plan.graphs for tensor in graph.outputs}
        self.shared = tuple(frozenset(
            tensor.name for tensor in (*graph.inputs, *graph.outputs, *(state.past for state in graph.states)))
            for graph in plan.graphs)
        self.places: dict[Key, _Place] = {}
        for part, graph in enumerate(plan.graphs):
            self._lives(part, graph)
        for part, graph in enumerate(plan.graphs):
            self._views(part, graph, outputs)
        if len(plan.graphs) > 1:
            self.places[RESULT] = _Place(plan.result.bytes, persists=True)

    def _key(self, part: int, name: str) -> Key:
        return (-1 if name in self.shared[part] else part, name)

    def _use(self, part: int, tensor: Tensor, time: float, needs: int = 0) -> _Place:
        place = self.places.setdefault(self._key(part, tensor.name), _Place(tensor.bytes))
        place.bytes = max(place.bytes, needs)
        place.first, place.last = min(place.first, time), max(place.last, time)
        return place

    def _lives(self, part: int, graph: Graph) -> None:
        start, end = self.ends[part], self.ends[part + 1] - 1
        several = len(self.plan.graphs) > 1
        for tensor in graph.inputs:
            if tensor in self.plan.inputs:
                self._use(part, tensor, -1)
        for time, op in enumerate(graph.ops, start):
            for tensor in op.ins:
                self._use(part, tensor, time, tensor.bytes + _overread(op, tensor))
            wanted = self.fused[part].scratch(op) if self.fused else None
            for tensor in self.fused[part].holds(op) if self.fused else ():
                self._use(part, tensor, time, round_up(tensor.bytes, TILE))  # whose kernel reads sixteens
            units = round_up(op.out.channels, GROUP)
            self._use(part, op.out, time, units if isinstance(op, Lstm) else 0)
            if size := self.scratch(op) if wanted is None else wanted:
                self.places[(part, op.out.name + SCRATCH)] = _Place(size, time, time)
            if isinstance(op, Lstm):
                self.places[(part, op.out.name + HIDDEN)] = _Place(round_up(units, TILE), persists=True)
                self.places[(part, op.out.name + CELL)] = _Place(2 * units, persists=True)
        for state in graph.states:
            self._use(part, state.past, end).persists = True
            self._use(part, state.fresh, end)
        for tensor in graph.outputs:
            self._use(part, tensor, self.ends[-1]).persists |= several

    def _views(self, part: int, graph: Graph, outputs: set[str]) -> None:
        """What lies in another's place: where nothing that is written later can change it before it is read."""
        tied = outputs | {state.fresh.name for state in graph.states}
        given = {tensor.name for tensor in (*graph.inputs, *(state.past for state in graph.states))}
        loose = {op.out.name for op in graph.ops
                 if not (isinstance(op, Lstm) and op.units % GROUP)} - tied - given - set(self.pasts)
        for state in graph.states:
            self._shift_in_place(part, graph, state, outputs, loose)
        for op in graph.ops:
            if isinstance(op, Concat) and (at := pieces(op)) is not None:
                for tensor, offset in zip(op.ins, at, strict=True):
                    if tensor.name in loose and op.ins.count(tensor) == 1:
                        self._put(part, tensor, op.out, offset, loose)
            elif isinstance(op, Reshape):
                if op.x.name in loose:  # so the output may still become part of a Concat
                    self._put(part, op.x, op.out, 0, loose)
                elif op.out.name not in tied:
                    self._put(part, op.out, op.x, 0, loose)
            elif isinstance(op, Slice) and op.out.name not in tied and (first := contiguous(op)) is not None:
                self._put(part, op.out, op.x, first * op.x.grid.dtype.itemsize, loose)
        for op in graph.ops:  # those that read words are given a copy where the words do not lie as such
            key = self._key(part, op.x.name)
            if reads_words(op) and self._root(key)[1] % 4:
                self.places[key].parent = None

    def _put(self, part: int, child: Tensor, parent: Tensor, offset: int, loose: set[str]) -> None:
        key = self._key(part, child.name)
        if self.places[key].parent is None and self._root(self._key(part, parent.name))[0] != key:
            self.places[key].parent = (self._key(part, parent.name), offset)
            loose.discard(child.name)

    def _shift_in_place(self, part: int, graph: Graph, state: State, outputs: set[str], loose: set[str]) -> None:
        """Past, x -> Concat -> Slice: the past lives at the start of the concatenation, whose end moves there.

        One move instead of two copies; only where the past is the larger part, since the whole then persists.
        """
        past, fresh = state.past, state.fresh
        readers = [op for op in graph.ops if past in op.ins]
        made = next(op for op in graph.ops if op.out == fresh)
        if len(readers) != 1 or not isinstance(readers[0], Concat) or not isinstance(made, Slice):
            return
        whole, first = readers[0], contiguous(made)
        if (made.x != whole.out or first is None or pieces(whole) is None or whole.ins[0] != past
                or whole.ins.count(past) > 1 or 2 * past.bytes < whole.out.bytes or whole.out.name not in loose
                or fresh.name in outputs or self.pasts.count(past.name) > 1
                or any(fresh in op.ins for op in graph.ops)
                or sum(other.fresh == fresh for other in graph.states) > 1):
            return
        loose.discard(whole.out.name)  # it stays where it is
        self.places[self._key(part, past.name)].parent = (self._key(part, whole.out.name), 0)
        self.places[self._key(part, fresh.name)].parent = (
            self._key(part, whole.out.name), first * past.grid.dtype.itemsize)

    def _root(self, key: Key) -> tuple[Key, int]:
        offset = 0
        while (parent := self.places[key].parent) is not None:
            key, offset = parent[0], offset + parent[1]
        return key, offset

    def arena(self) -> Arena:
        for key, place in self.places.items():
            root, offset = self._root(key)
            if root != key:
                whole = self.places[root]
                whole.bytes = max(whole.bytes, offset + place.bytes)
                whole.first, whole.last = min(whole.first, place.first), max(whole.last, place.last)
                whole.persists |= place.persists
        roots = [place for place in self.places.values() if place.parent is None]
        top = 0
        for place in (place for place in roots if place.persists):
            place.offset, top = top, round_up(top + place.bytes, ALIGNED)
        states = top
        placed: list[_Place] = []
        for place in sorted((p for p in roots if not p.persists), key=lambda p: (-p.bytes, p.first)):
            place.offset = _lowest(states, place.bytes, [
                other for other in placed if other.first <= place.last and place.first <= other.last])
            placed.append(place)
            top = max(top, round_up(place.offset + place.bytes, ALIGNED))
        offsets = {}
        for key in self.places:
            root, inner = self._root(key)
            offsets[key] = self.places[root].offset + inner
        made = Arena(max(top, ALIGNED), states, (), offsets, self.shared)
        moves = tuple(tuple(self._moves(made, part, graph)) for part, graph in enumerate(self.plan.graphs))
        return Arena(made.bytes, states, moves, offsets, self.shared)

    @staticmethod
    def _moves(arena: Arena, part: int, graph: Graph) -> Iterator[tuple[int, int, int]]:
        for state in graph.states:
            yield arena.at(part, state.past), arena.at(part, state.fresh), state.past.bytes


def _lowest(start: int, size: int, taken: list[_Place]) -> int:
    at = start
    for other in sorted(taken, key=lambda place: place.offset):
        if other.offset >= at + size:
            break
        at = max(at, round_up(other.offset + other.bytes, ALIGNED))
    return at


def reads_words(op: Op) -> bool:
    """Whether its kernel wants its input aligned to 4 bytes."""
    if isinstance(op, BitConv):
        return not op.reads_bits
    return isinstance(op, Lstm) or isinstance(op, MatMul | Conv) and not isinstance(op, Depthwise)


def _overread(op: Op, tensor: Tensor) -> int:
    """Bytes that a kernel may read past the end of an operand: up to its last tile's or vector's."""
    if isinstance(op, BitConv):
        return op.bytewise.weights.values[0].size // 8 % 2 if op.reads_bits else _overread(op.plain, tensor)
    if isinstance(op, Depthwise):
        return -tensor.channels % (TILE if op.out.grid == STEP else GROUP) * tensor.grid.dtype.itemsize
    if isinstance(op, Lstm):
        values = tensor.channels
    elif isinstance(op, MatMul | Conv):
        values = op.weights.values[0].size
    else:
        return 0
    return -values % TILE * tensor.grid.dtype.itemsize
