"""A plan in C: which parts a frame runs, in statements around the functions of its parts."""

from __future__ import annotations

from collections.abc import Iterator

from tinyse.export.arena import HIDDEN, Arena
from tinyse.graph.plan import Budget, Exit, Plan, Route
from tinyse.graph.tensor import Tensor


def needs(plan: Plan) -> str:
    """Bits of the parts that each exit needs, as a C initializer."""
    return "{" + ", ".join(f"{sum(1 << part for part in plan.needs[exit])}u" for exit in plan.exits) + "}"


def planned(plan: Plan) -> int:
    """Bits of the parts that every frame runs as the plan says, or may run."""
    if isinstance(plan.policy, Budget):
        return sum(1 << part for part in plan.needs[plan.exits[plan.policy.exit - 1]])
    return 1 if isinstance(plan.policy, Route) else 2 ** len(plan.parts) - 1


def widths(plan: Plan) -> bool:
    """Whether parts are one network at several widths, and have states in common."""
    states = [state.past.name for graph in plan.graphs for state in graph.states]
    return len(set(states)) < len(states)


def order(plan: Plan) -> range:
    """Parts as they are defined: of several widths the widest, the last, first."""
    return range(len(plan.parts))[:: -1 if widths(plan) else 1]


def reset(plan: Plan, arena: Arena) -> Iterator[str]:
    """Statements before the first frame: states and outputs to their zero points."""
    yield f"memset(arena, 0, {arena.bytes});"
    done = set()
    for part, graph in enumerate(plan.graphs):
        held = graph.outputs if len(plan.parts) > 1 else ()
        starts = [(arena.at(part, tensor), tensor) for tensor in (*(s.past for s in graph.states), *held)]
        starts += [(arena.at(part, op.out, HIDDEN), op.out) for op in graph.lstms]
        for offset, tensor in starts:
            if tensor.grid.zero_point and offset not in done:
                yield f"memset(arena + {offset}, {tensor.grid.zero_point}, {tensor.bytes});"
            done.add(offset)
    zero = plan.result.grid.zero_point
    if len(plan.parts) > 1 and zero:
        yield f"memset(arena + {arena.result}, {zero}, {plan.result.bytes});"


def run(plan: Plan, arena: Arena, prefix: str) -> Iterator[str]:
    """Statements of a frame: what the policy says, or what exit ``at`` needs; they return the bits of what ran."""
    policy, count = plan.policy, len(plan.parts)
    if count == 1:
        yield "(void)at;"
        yield from _go(plan, arena, prefix, 0)
        yield "return 1u;"
        return
    yield f"static const uint32_t needs[{len(plan.exits)}] = {needs(plan)};"
    constant = "" if isinstance(policy, Route) else "const "
    yield f"{constant}uint32_t due = at != 0u ? needs[at - 1u] : {planned(plan)}u;"
    for part in range(count):
        yield f"if ((due & {1 << part}u) != 0u) {{"
        yield from (f"  {line}" for line in _go(plan, arena, prefix, part))
        yield "}"
        if isinstance(policy, Route) and part == 0:
            yield from _route(plan, arena, policy)
        if isinstance(policy, Exit) and part < count - 1:
            score = _value(plan, arena, plan.tensor(policy.scores[part]))
            yield f"if (at == 0u && {score}[0] >= {policy.threshold}) {{"
            yield f"  return {2 ** (part + 1) - 1}u;"
            yield "}"
    yield "return due;"


def _go(plan: Plan, arena: Arena, prefix: str, part: int) -> Iterator[str]:
    """Run a part, and keep its result."""
    yield f"{prefix}_part_{part}(arena);"
    if len(plan.parts) > 1 and (name := plan.results[part]):
        tensor = plan.tensor(name)
        yield f"memcpy(arena + {arena.result}, arena + {arena.at(part, tensor)}, {tensor.bytes});"


def _route(plan: Plan, arena: Arena, policy: Route) -> Iterator[str]:
    choice = _value(plan, arena, plan.tensor(policy.choice))
    yield "if (at == 0u) {"
    yield "  uint32_t chosen = 0u; /* of equal values the first */"
    yield f"  for (uint32_t i = 1; i < {len(plan.choices)}u; ++i) {{"
    yield f"    if ({choice}[i] > {choice}[chosen]) {{"
    yield "      chosen = i;"
    yield "    }"
    yield "  }"
    yield f"  due |= needs[chosen + {len(plan.exits) - len(plan.choices)}u];"
    yield "}"


def _value(plan: Plan, arena: Arena, tensor: Tensor) -> str:
    part = next(index for index, graph in enumerate(plan.graphs) if tensor in graph.outputs)
    return f"I{8 * tensor.grid.dtype.itemsize}({arena.at(part, tensor)})"
