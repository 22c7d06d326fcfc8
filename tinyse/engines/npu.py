"""The compiled files on the Ethos-U simulator: what the device's NPU will output, frame after frame.

Features are quantized as in ``tinyse.engines.tflm``, so the two engines differ only where TFLM and the
command stream differ. See docs/npu.md for where that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinyse.engines.base import Array, Stateful
from tinyse.export.bundle import Bundle, open_bundle
from tinyse.npu.fault import NpuError
from tinyse.npu.machine import Machine
from tinyse.npu.payload import parse


class NpuEngine(Stateful):
    """A compiled streaming network; LSTM states live in each part's simulated arena and persist between frames.

    Attributes:
        machines: a loaded simulator a part. accelerator: what the files were compiled for, as "ethos-u55-128".
    """

    name = "npu"

    def __init__(self, bundle: Bundle) -> None:
        """Load the parts of a compiled bundle.

        Raises:
            ModelError: a corrupt stream, or a network that does not fit its ends.
        """
        super().__init__(bundle.plan, bundle.ends, bundle.label)
        self.machines = []
        for data, file in zip(bundle.data, bundle.files, strict=True):
            try:
                self.machines.append(Machine(parse(data)))
            except NpuError as error:
                raise NpuError(f"{file}: {error}", hint=error.hint) from error
        self.accelerator = self.machine.payload.accelerator.name
        self.reset()

    @staticmethod
    def load(path: Path | str) -> NpuEngine:
        """Read a ``*_vela.tflite`` file or an export's folder, checked against the manifest where there is one.

        Raises:
            ModelError: a damaged or unsupported file, or not the one that the manifest hashed.
        """
        return NpuEngine(open_bundle(path, compiled=True))

    @property
    def machine(self) -> Machine:
        """The first part's simulator."""
        return self.machines[0]

    def rewind(self) -> None:
        """Every state to its zero point, c to 0."""
        super().rewind()
        for machine in self.machines:
            machine.reset()

    def invoke(self, part: int, values: Sequence[Array]) -> list[Array]:
        """One invocation of a part's command stream."""
        machine, ports = self.machines[part], self.plan.parts[part]
        machine.run(*values)
        ends = (*ports.outputs, *(state.fresh for state in ports.states))
        return [view.copy().reshape(tensor.shape) for view, tensor in zip(machine.outputs, ends, strict=True)]
