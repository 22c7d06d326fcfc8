"""Where the tensors of a plan's compiled parts lie: an arena that they share, and behind it a block that persists.

Vela plans each part's arena for itself and reuses what it can, input over output too. So what must outlive a part's
run lies in the block: the network's input, states, tensors that cross parts, the result. It is copied into the arena
before a part runs, and back after it. A lone part keeps the arena to itself: its LSTMs, input and output stay there,
and only states that are pairs are copied. ::

    layout = npu_layout(plan, payloads)
    layout.arena_bytes, layout.block_bytes, layout.fast_bytes
    layout.parts[0].before, layout.parts[0].after       # copies
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tinyse.core.errors import ExportError
from tinyse.graph.plan import Exit, Part, Plan, Route
from tinyse.graph.tensor import Tensor
from tinyse.npu.payload import Payload, TensorInfo

ALIGNMENT = 16
"""Bytes; of the arena, of every entry of the block, and of all that an NPU reads."""

Key = tuple[int, str]
"""Part and name of what an LSTM keeps; part -1 for what parts share."""
RESULT: Key = (-1, "\0result")


@dataclass(frozen=True)
class Move:
    """A copy between arena and block; all in bytes, both places from the start of the arena."""

    arena: int
    block: int
    bytes: int


@dataclass(frozen=True)
class NpuPart:
    """One compiled part.

    Attributes:
        arena_bytes, fast_bytes: of regions 1 and 2; without fast bytes region 2 is the arena again.
        before, after: the copies into the arena before it runs, and back.
    """

    arena_bytes: int
    fast_bytes: int
    before: tuple[Move, ...]
    after: tuple[Move, ...]


@dataclass(frozen=True)
class NpuLayout:
    """The memory of a plan, in the order arena, block, fast scratch.

    Attributes:
        arena_bytes, fast_bytes: the largest part's. block_bytes: of what persists.
        parts: in order. input, result: where whoever runs a frame writes and reads.
        held: outputs that are kept where their part does not run; the result is apart.
    """

    arena_bytes: int
    block_bytes: int
    fast_bytes: int
    parts: tuple[NpuPart, ...]
    input: int
    result: int
    held: tuple[Tensor, ...]
    _offsets: Mapping[Key, int] = field(repr=False)

    def at(self, name: str, part: int = -1) -> int:
        """Offset of a state's past or a held tensor; with a part, of what its LSTM keeps by that name."""
        return self._offsets[(part, name)]


def held(plan: Plan) -> tuple[Tensor, ...]:
    """Outputs that somebody reads after their part: parts, the policy. The result is kept apart."""
    given = {tensor.name for tensor in plan.inputs}
    names = [tensor.name for part in plan.parts for tensor in part.inputs if tensor.name not in given]
    names += [name for name in policy_reads(plan) if name]
    return tuple(plan.tensor(name) for name in dict.fromkeys(names))


def policy_reads(plan: Plan) -> tuple[str, ...]:
    """The scores of an Exit, one a part and "" for the last; the choice of a Route."""
    if isinstance(plan.policy, Exit):
        return (*plan.policy.scores[:-1], "")
    return (plan.policy.choice,) if isinstance(plan.policy, Route) else ()


def npu_layout(plan: Plan, payloads: Sequence[Payload]) -> NpuLayout:
    """Lay out the compiled parts of a plan.

    Raises:
        ExportError: a compiled file has other inputs and outputs than its part.
    """
    several = len(plan.parts) > 1
    top = arena = aligned(max(payload.arena_bytes for payload in payloads))
    offsets: dict[Key, int] = {}

    def put(key: Key, size: int) -> None:
        nonlocal top
        if key not in offsets:
            offsets[key], top = top, aligned(top + size)

    kept = held(plan) if several else ()
    if several:
        for tensor in plan.inputs:
            put((-1, tensor.name), tensor.bytes)
    for index, (part, payload) in enumerate(zip(plan.parts, payloads, strict=True)):
        for state in part.states:
            put((-1, state.past.name), state.past.bytes)
        for info in payload.states:
            if several:
                put((index, info.name), info.size)
            else:
                offsets[(index, info.name)] = info.address
    for tensor in kept:
        put((-1, tensor.name), tensor.bytes)
    if several:
        put(RESULT, plan.result.bytes)
    parts = tuple(_part(plan, index, payload, offsets) for index, payload in enumerate(payloads))
    first = payloads[0]
    outputs = [tensor.name for tensor in plan.parts[0].outputs]
    return NpuLayout(
        arena, top - arena, max(payload.fast_bytes for payload in payloads), parts,
        offsets[(-1, plan.inputs[0].name)] if several else first.inputs[0].address,
        offsets[RESULT] if several else first.outputs[outputs.index(plan.results[0])].address, kept, offsets)


def _part(plan: Plan, index: int, payload: Payload, offsets: Mapping[Key, int]) -> NpuPart:
    part, several = plan.parts[index], len(plan.parts) > 1
    pasts, fresh = ([getattr(state, end) for state in part.states] for end in ("past", "fresh"))
    ins = _places(part, (*part.inputs, *pasts), payload.inputs, "inputs")
    outs = _places(part, (*part.outputs, *fresh), payload.outputs, "outputs")
    kept = {info.name: info for info in payload.states}  # Vela lists a state of an LSTM more than once
    inner = [Move(info.address, offsets[(index, name)], info.size) for name, info in kept.items()] if several else []
    before = [Move(place, offsets[(-1, tensor.name)], tensor.bytes)
              for tensor, place in zip((*part.inputs, *pasts), ins, strict=True) if (-1, tensor.name) in offsets]
    after = []
    for tensor, place in zip(part.outputs, outs, strict=False):
        keys = [(-1, tensor.name), *([RESULT] if tensor.name == plan.results[index] else [])]
        after += [Move(place, offsets[key], tensor.bytes) for key in keys if key in offsets]
    after += [Move(place, offsets[(-1, past.name)], past.bytes)
              for past, place in zip(pasts, outs[len(part.outputs):], strict=True)]
    return NpuPart(aligned(payload.arena_bytes), payload.fast_bytes, (*before, *inner), (*after, *inner))


def _places(part: Part, tensors: Sequence[Tensor], infos: Sequence[TensorInfo], what: str) -> list[int]:
    if [tensor.bytes for tensor in tensors] != [info.size for info in infos]:
        raise ExportError(f"{part.name}: the compiled file has {len(infos)} {what} where the network has "
                          f"{len(tensors)}, or of other sizes", "export again with ethos-u-vela 5.x")
    return [info.address for info in infos]


def aligned(value: int) -> int:
    """The least place for the NPU that is not below a value."""
    return -(-value // ALIGNMENT) * ALIGNMENT
