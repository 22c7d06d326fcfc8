"""Plan: which parts of a network run on this frame.

A part is one Graph: one invocation, one command stream, one C function. Parts share tensors by name: an input of a part
is an input of the network or an output of a part before it, and a state of one name is one state. One rule holds:
**a part that does not run leaves everything that it writes, outputs and states, as it was.** ::

    plan = Plan((early, late), ("exit_0", "mask"), Exit(("score_0", ""), 0))
    runner = Runner(plan)                                      # tinyse.graph.runner, which obeys it

======================  ========================================================================================
policy                  a frame runs
======================  ========================================================================================
``Always()``            every part, in order
``Skip(tensor, at)``    every part, when the gate (graph/skip.py) of element ``at`` of ``tensor`` is due, else none
``Exit(score, t)``      parts in a row, until ``score`` (one value a part) reaches ``t`` steps; else to the last
``Budget(n)``           what exit ``n`` needs
``Route(choice)``       part 0, then what the exit needs that the largest value of ``choice`` names; ties take the first
======================  ========================================================================================

An exit is a part that gives a result; exits count from 1. It needs itself and every part that writes what it or they
read. The result of a frame is the ``results`` tensor of the last part that ran; of a skipped frame, what it was before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from tinyse.core.errors import ModelError
from tinyse.graph.graph import Graph
from tinyse.graph.tensor import State, Tensor


class Part(Protocol):
    """What a plan asks of a part; a Graph is one."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What goes in, states apart."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What comes out, states apart."""

    @property
    def states(self) -> tuple[State, ...]:
        """What whoever runs it keeps between frames."""


@dataclass(frozen=True)
class Ports:
    """A part of which nothing is known but its ends: a compiled or a foreign file."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    states: tuple[State, ...] = ()


@dataclass(frozen=True)
class Always:
    """Every part on every frame."""


@dataclass(frozen=True)
class Skip:
    """A Skip RNN: element ``at`` of output ``tensor``, on the mask's grid, is p~."""

    tensor: str
    at: int


@dataclass(frozen=True)
class Exit:
    """Stop after a part whose one-element output ``scores[part]`` is at least ``threshold`` (integer steps)."""

    scores: tuple[str, ...]
    threshold: int


@dataclass(frozen=True)
class Budget:
    """What exit ``exit`` needs, and nothing else."""

    exit: int


@dataclass(frozen=True)
class Route:
    """Part 0 writes ``choice``, one value for each exit after it."""

    choice: str


Policy = Always | Skip | Exit | Budget | Route
POLICIES: dict[str, type[Any]] = {policy.__name__.lower(): policy for policy in (Always, Skip, Exit, Budget, Route)}


def policy_json(policy: Policy) -> dict[str, Any]:
    """Plain values: its kind and its settings."""
    return {"kind": type(policy).__name__.lower(), **asdict(policy)}


def policy_of(values: Mapping[str, Any]) -> Policy:
    """What ``policy_json`` gave.

    Raises:
        KeyError, TypeError: it is none of ours.
    """
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    made: Policy = POLICIES[str(settings.pop("kind"))](**settings)
    return made


def window(parts: Iterable[Part]) -> int:
    """Runs that an answer is of, where a run adds one row to the longest past: one more than it has rows."""
    return 1 + max((state.past.shape[1] for part in parts for state in part.states), default=0)


def needed(read: Sequence[Iterable[int]]) -> tuple[tuple[int, ...], ...]:
    """For each part, itself and the parts that it needs, in order, from those before it that each reads."""
    found: list[set[int]] = []
    for number, others in enumerate(read):
        found.append({number}.union(*(found[other] for other in others)))
    return tuple(tuple(sorted(each)) for each in found)


@dataclass(frozen=True)
class Plan:
    """Parts and a policy.

    Attributes:
        parts: graphs in the order in which they may run.
        results: for each part the output that is the frame's result if it ran last; "" for a part that gives none.
        policy: what runs when.

    Raises:
        ModelError: a part reads what no part before it writes, one name means two tensors, a policy names what is not
            there.
    """

    parts: tuple[Part, ...]
    results: tuple[str, ...]
    policy: Policy = Always()

    def __post_init__(self) -> None:
        if not self.parts or len(self.parts) != len(self.results):
            raise ModelError(f"a plan of {len(self.parts)} parts with {len(self.results)} results")
        known: dict[str, tuple[object, ...]] = {}
        for part, result in zip(self.parts, self.results, strict=True):
            shared = (*part.inputs, *part.outputs, *(state.past for state in part.states))
            for tensor in shared:
                if known.setdefault(tensor.name, (tensor.shape, tensor.grid)) != (tensor.shape, tensor.grid):
                    raise ModelError(f"{part.name}: {tensor.name} is another tensor than in the part before")
            if result and result not in {tensor.name for tensor in part.outputs}:
                raise ModelError(f"{part.name}: its result {result} is none of its outputs")
        if not any(self.results):
            raise ModelError("no part of the plan gives a result")
        self._check_policy()

    def _check_policy(self) -> None:
        policy, count = self.policy, len(self.parts)
        if isinstance(policy, Skip):
            tensor = self.tensor(policy.tensor)
            if not 0 <= policy.at < tensor.size:
                raise ModelError(f"Skip: {policy.tensor} has no element {policy.at}")
        elif isinstance(policy, Exit):
            if len(policy.scores) != count:
                raise ModelError(f"Exit: {len(policy.scores)} scores for {count} parts")
            for name in policy.scores[:-1]:
                if self.tensor(name).size != 1:
                    raise ModelError(f"Exit: the score {name} is more than one value")
        elif isinstance(policy, Budget):
            if not 1 <= policy.exit <= len(self.exits):
                raise ModelError(f"exit {policy.exit}: the network has {len(self.exits)}", f"1 to {len(self.exits)}")
        elif isinstance(policy, Route):
            choices = self.tensor(policy.choice).size
            if choices != len(self.choices):
                raise ModelError(f"Route: {choices} choices for {len(self.choices)} exits",
                                 "a router that was trained for these exits")

    @cached_property
    def exits(self) -> tuple[int, ...]:
        """Parts that give a result."""
        return tuple(part for part, result in enumerate(self.results) if result)

    @property
    def choices(self) -> tuple[int, ...]:
        """The exits that a Route chooses from: those after part 0."""
        return tuple(part for part in self.exits if part)

    @cached_property
    def needs(self) -> tuple[tuple[int, ...], ...]:
        """For each part, itself and the parts that write what it or they read, in order."""
        read: list[set[int]] = []
        writers: dict[str, int] = {}
        for number, part in enumerate(self.parts):
            read.append({writers[tensor.name] for tensor in part.inputs if tensor.name in writers})
            writers |= {tensor.name: number for tensor in part.outputs}
        return needed(read)

    def tensor(self, name: str) -> Tensor:
        """An output of any part by name.

        Raises:
            ModelError: no part writes it.
        """
        for part in self.parts:
            for tensor in part.outputs:
                if tensor.name == name:
                    return tensor
        raise ModelError(f"no part writes {name}")

    @cached_property
    def graphs(self) -> tuple[Graph, ...]:
        """The parts, where all of them are graphs.

        Raises:
            ModelError: of one no more is known than its ends.
        """
        found = tuple(part for part in self.parts if isinstance(part, Graph))
        if len(found) != len(self.parts):
            raise ModelError("of a compiled file no more is known than its ends", "give the int8 file")
        return found

    def under(self, policy: Policy) -> Plan:
        """The same parts by another policy."""
        return replace(self, policy=policy)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the network is given a frame: inputs of parts that no part before them writes."""
        found: dict[str, Tensor] = {}
        written: set[str] = set()
        for part in self.parts:
            found |= {tensor.name: tensor for tensor in part.inputs if tensor.name not in written}
            written |= {tensor.name for tensor in part.outputs}
        return tuple(found.values())

    @property
    def result(self) -> Tensor:
        """What it gives: the result of the first part that has one; all have its shape and grid."""
        return self.tensor(next(name for name in self.results if name))
