"""The exported int8 files under TensorFlow Lite Micro's interpreter: the host's reference for the device.

Features are quantized by TFLite's reference rule, ``round(feature / scale) + zero_point`` in float32 with halves
rounded away from zero, saturated to the integer type; firmware does the same with ``roundf``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tinyse.core.errors import ModelError
from tinyse.engines.base import Array, Engine
from tinyse.export.bundle import Bundle, lone, open_bundle
from tinyse.export.interpreted import Interpreters
from tinyse.graph.runner import Carried
from tinyse.sound import DEFAULT, Ends


class TflmEngine(Engine):
    """An int8 streaming network; LSTM states live in each part's interpreter and persist between frames."""

    name = "tflm"

    def __init__(self, bundle: Bundle, fitting: bool = True) -> None:
        """Load the parts of a bundle; ``fitting``: hold it to its ends.

        Raises:
            ModelError: an operator that TFLM lacks, or a network that does not fit its ends.
        """
        super().__init__(bundle.plan, bundle.ends, bundle.label, fitting)
        self._interpreters = Interpreters(bundle.plan, bundle.data, [str(file) for file in bundle.files])
        self._carried = Carried(bundle.plan, self._interpreters.invoke)
        self.reset()

    @staticmethod
    def load(path: Path | str, fitting: bool = True) -> TflmEngine:
        """Read a .tflite file or an export's folder, checked against the manifest where there is one.

        Raises:
            ModelError: not a TFLite file, damaged, or not the one that the manifest hashed.
        """
        return TflmEngine(open_bundle(path), fitting)

    @staticmethod
    def of_bytes(data: bytes, label: str = "model", ends: Ends = DEFAULT) -> TflmEngine:
        """Load a file's bytes; ``label`` names it in errors."""
        if b"ethos-u\0" in data:
            raise ModelError(f"{label}: compiled by Vela; the tflm engine cannot run it", "use model_int8.tflite")
        return TflmEngine(lone(data, label, ends))

    def rewind(self) -> None:
        """Every state to its zero point, c to 0."""
        self._carried.reset()
        self._interpreters.reset()

    def run(self, part: int, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One invocation of a part's interpreter."""
        return self._carried.run(part, inputs)
