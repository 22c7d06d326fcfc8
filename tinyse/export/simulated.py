"""The compiled parts of a plan on the Ethos-U simulator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from tinyse.graph.plan import Plan
from tinyse.npu.fault import NpuError
from tinyse.npu.machine import Machine

Array = NDArray[Any]


class Machines:
    """A simulator a part.

    Attributes:
        machines: loaded.
    """

    def __init__(self, plan: Plan, files: Sequence[bytes], labels: Sequence[str]) -> None:
        """Load compiled files; ``labels`` name them.

        Raises:
            NpuError: a corrupt or unsupported stream.
        """
        self.plan, self.machines = plan, []
        for data, label in zip(files, labels, strict=True):
            try:
                self.machines.append(Machine.parse(data))
            except NpuError as error:
                raise NpuError(f"{label}: {error}", hint=error.hint) from error

    def reset(self) -> None:
        """States inside the parts to their zero points."""
        for machine in self.machines:
            machine.reset()

    def invoke(self, part: int, values: Sequence[Array]) -> list[Array]:
        """One invocation: inputs then pasts to outputs then fresh states."""
        self.machines[part].run(*values)
        return self.outputs(part)

    def outputs(self, part: int) -> list[Array]:
        """What a part's last invocation gave: outputs then fresh states."""
        ports = self.plan.parts[part]
        ends = (*ports.outputs, *(state.fresh for state in ports.states))
        return [view.copy().reshape(tensor.shape)
                for view, tensor in zip(self.machines[part].outputs, ends, strict=True)]
