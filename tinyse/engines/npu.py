"""The compiled files on the Ethos-U simulator: what the device's NPU will output, frame after frame.

Features are quantized as in ``tinyse.engines.tflm``, so the two engines differ only where TFLM and the
command stream differ. See docs/npu.md for where that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tinyse.engines.base import Array, Engine
from tinyse.export.bundle import Bundle, open_bundle
from tinyse.export.simulated import Machines
from tinyse.graph.runner import Carried
from tinyse.npu.machine import Machine


class NpuEngine(Engine):
    """A compiled streaming network; LSTM states live in each part's simulated arena and persist between frames.

    Attributes:
        accelerator: what the files were compiled for, as "ethos-u55-128". machines: the simulators of the parts.
    """

    name = "npu"

    def __init__(self, bundle: Bundle, fitting: bool = True) -> None:
        """Load the parts of a compiled bundle; ``fitting``: hold it to its ends.

        Raises:
            ModelError: a corrupt stream, or a network that does not fit its ends.
        """
        super().__init__(bundle.plan, bundle.ends, bundle.label, fitting)
        self.machines = Machines(bundle.plan, bundle.data, [str(file) for file in bundle.files])
        self._carried = Carried(bundle.plan, self.machines.invoke)
        self.accelerator = self.machine.payload.accelerator.name
        self.reset()

    @staticmethod
    def load(path: Path | str, fitting: bool = True) -> NpuEngine:
        """Read a ``*_vela.tflite`` file or an export's folder, checked against the manifest where there is one.

        Raises:
            ModelError: a damaged or unsupported file, or not the one that the manifest hashed.
        """
        return NpuEngine(open_bundle(path, compiled=True), fitting)

    @property
    def machine(self) -> Machine:
        """The first part's simulator."""
        return self.machines.machines[0]

    def rewind(self) -> None:
        """Every state to its zero point, c to 0."""
        self._carried.reset()
        self.machines.reset()

    def run(self, part: int, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One invocation of a part's command stream."""
        return self._carried.run(part, inputs)
