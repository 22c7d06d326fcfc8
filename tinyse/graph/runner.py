"""Runner: obeys a plan, frame after frame, over any engine. ::

    runner = Runner(plan)
    result = runner.step(engine.run, {"features": frame})      # engine.run(part, {name: ints}) -> {name: ints}
    runner.rates                                               # share of the frames that ran each part
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.plan import Budget, Exit, Plan, Route, Skip
from tinyse.graph.skip import SkipGate

Ints = NDArray[np.integer]
Run = Callable[[int, Mapping[str, Ints]], Mapping[str, Ints]]


class Runner:
    """Obeys a plan, frame after frame, over any engine.

    Attributes:
        plan: what to obey. gate: a Skip's, else None. frames: since ``reset``. runs, stops: how often each part
            ran, and gave the result.
        ran: parts that the last frame ran, in order.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.gate = SkipGate() if isinstance(plan.policy, Skip) else None
        self.reset()

    def reset(self) -> None:
        """Before the first frame: outputs hold their zero points."""
        if self.gate is not None:
            self.gate.reset()
        self.frames = 0
        self.runs, self.stops = [0] * len(self.plan.parts), [0] * len(self.plan.parts)
        self.ran: tuple[int, ...] = ()
        self._held: dict[str, Ints] = {
            tensor.name: np.full(tensor.shape, tensor.grid.zero_point, tensor.grid.dtype)
            for part in self.plan.parts for tensor in part.outputs}
        self._result = self._held[self.plan.result.name]

    @property
    def rates(self) -> tuple[float, ...]:
        """Share of the frames that ran each part; 0 before the first."""
        return tuple(runs / self.frames if self.frames else 0.0 for runs in self.runs)

    def step(self, run: Run, inputs: Mapping[str, Ints]) -> Ints:
        """Decide and run one frame; the result, of the plan's ``result`` tensor's shape."""
        self.ran = ()
        policy, count = self.plan.policy, len(self.plan.parts)
        if self.gate is not None and not self.gate.due():
            self.gate.skipped()
        elif isinstance(policy, Exit):
            self._until_sure(policy, run, inputs)
        elif isinstance(policy, Route):
            self._part(0, run, inputs)
            chosen = self.plan.choices[int(np.argmax(self._held[policy.choice]))]
            for part in self.plan.needs[chosen]:
                if part:
                    self._part(part, run, inputs)
        else:
            due: Iterable[int] = range(count)
            if isinstance(policy, Budget):
                due = self.plan.needs[self.plan.exits[policy.exit - 1]]
            for number in due:
                self._part(number, run, inputs)
        if self.gate is not None and self.ran and isinstance(policy, Skip):
            self.gate.ran(self._steps(policy.tensor, policy.at) - self.plan.tensor(policy.tensor).grid.zero_point)
        self._note_stop()
        self.frames += 1
        return self._result

    def _note_stop(self) -> None:
        for part in reversed(self.ran):
            if self.plan.results[part]:
                self.stops[part] += 1
                return

    def _until_sure(self, policy: Exit, run: Run, inputs: Mapping[str, Ints]) -> None:
        last = len(self.plan.parts) - 1
        for part in range(last + 1):
            self._part(part, run, inputs)
            if part < last and self._steps(policy.scores[part], 0) >= policy.threshold:
                return

    def _steps(self, name: str, at: int) -> int:
        """One value of an output as an integer; an engine in float gives real ones."""
        values = self._held[name]
        return int((values if values.dtype.kind == "i" else self.plan.tensor(name).grid.quantize(values)).flat[at])

    def _part(self, part: int, run: Run, inputs: Mapping[str, Ints]) -> None:
        given = {t.name: inputs[t.name] if t.name in inputs else self._held[t.name]
                 for t in self.plan.parts[part].inputs}
        self._held.update(run(part, given))
        self.runs[part] += 1
        self.ran = (*self.ran, part)
        if self.plan.results[part]:
            self._result = self._held[self.plan.results[part]]


def run_all(plan: Plan, run: Run, inputs: Mapping[str, Ints]) -> Ints:
    """Run every part on one frame, whatever the policy says; the last result."""
    held = dict(inputs)
    for part, ports in enumerate(plan.parts):
        held |= run(part, {tensor.name: held[tensor.name] for tensor in ports.inputs})
    return held[next(name for name in reversed(plan.results) if name)]


class Carried:
    """Keeps the states of parts that take them as inputs and give them back, by name, for all parts.

    Attributes:
        plan: whose states.
    """

    def __init__(self, plan: Plan, invoke: Callable[[int, Sequence[Ints]], Sequence[Ints]]) -> None:
        """``invoke(part, values)``: inputs then pasts to outputs then fresh states, each of its tensor's shape."""
        self.plan, self._invoke = plan, invoke
        self.reset()

    def reset(self) -> None:
        """Every state to its zero point."""
        self._states: dict[str, Ints] = {
            state.past.name: np.full(state.past.shape, state.past.grid.zero_point, state.past.grid.dtype)
            for part in self.plan.parts for state in part.states}

    def run(self, part: int, inputs: Mapping[str, Ints]) -> dict[str, Ints]:
        """One invocation of a part: its inputs by name to its outputs; its states move on."""
        ports = self.plan.parts[part]
        given = [inputs[tensor.name] for tensor in ports.inputs]
        made = self._invoke(part, [*given, *(self._states[state.past.name] for state in ports.states)])
        count = len(ports.outputs)
        self._states |= {state.past.name: value for state, value in zip(ports.states, made[count:], strict=True)}
        return {tensor.name: value for tensor, value in zip(ports.outputs, made[:count], strict=True)}
