"""The exported int8 files under TensorFlow Lite Micro's interpreter: the host's reference for the device.

Features are quantized here by TFLite's reference rule, ``round(feature / scale) + zero_point`` in float32
with halves rounded away from zero, saturated to the integer type; firmware does the same with ``roundf``.

TFLM trusts its file: offsets are not verified and a damaged one can abort the process. So a file is first
loaded and run in a subprocess of its own, and only one that survives is loaded here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.engines.base import Array, Stateful
from tinyse.errors import ModelError
from tinyse.export.bundle import Bundle, lone, open_bundle
from tinyse.sound import DEFAULT, Ends

ARENA_FLOOR = 1 << 20
"""Least arena given to the interpreter in bytes; its own guess (ten times the file) starves tiny models."""
PROBE_SECONDS = 60


class TflmEngine(Stateful):
    """An int8 streaming network; LSTM states live in each part's interpreter and persist between frames."""

    name = "tflm"

    def __init__(self, bundle: Bundle) -> None:
        """Load the parts of a bundle.

        Raises:
            ModelError: an operator that TFLM lacks, or a network that does not fit its ends.
        """
        super().__init__(bundle.plan, bundle.ends, bundle.label)
        for data, file in zip(bundle.data, bundle.files, strict=True):
            if trouble := _survives(data):
                raise ModelError(f"{file}: TFLM cannot run this file: {trouble}", "export the model again")
        self._interpreters = [_interpreter(data) for data in bundle.data]
        self.reset()

    @staticmethod
    def load(path: Path | str) -> TflmEngine:
        """Read a .tflite file or an export's folder, checked against the manifest where there is one.

        Raises:
            ModelError: not a TFLite file, damaged, or not the one that the manifest hashed.
        """
        return TflmEngine(open_bundle(path))

    @staticmethod
    def of_bytes(data: bytes, label: str = "model", ends: Ends = DEFAULT) -> TflmEngine:
        """Load a file's bytes; ``label`` names it in errors."""
        return TflmEngine(lone(data, label, ends))

    def rewind(self) -> None:
        """Every state to its zero point, c to 0."""
        super().rewind()
        for interpreter in self._interpreters:
            interpreter.reset()

    def invoke(self, part: int, values: Sequence[Array]) -> list[Array]:
        """One invocation of a part's interpreter."""
        interpreter, ports = self._interpreters[part], self.plan.parts[part]
        for index, value in enumerate(values):
            interpreter.set_input(np.ascontiguousarray(value), index)
        interpreter.invoke()
        return [np.array(interpreter.get_output(index)) for index in range(len(ports.outputs) + len(ports.states))]


def _interpreter(data: bytes) -> Any:
    from tflite_micro import runtime

    return runtime.Interpreter.from_bytes(data, arena_size=max(10 * len(data), ARENA_FLOOR))


PROBE = """
import sys
import numpy as np
from tinyse.sound import DEFAULT, Ends, Real
from tflite_micro import runtime
data = sys.stdin.buffer.read()
try:
    model = runtime.convert_bytearray_to_object(data)
    for graph in model.subgraphs:
        for operator in graph.operators:
            assert max([*operator.inputs, *operator.outputs]) < len(graph.tensors)
            assert operator.opcodeIndex < len(model.operatorCodes)
        assert all(tensor.buffer < len(model.buffers) for tensor in graph.tensors)
except Exception:
    sys.exit("the file is damaged or cut short")
interpreter = runtime.Interpreter.from_bytes(data, arena_size=int(sys.argv[1]))
for index in range(len(runtime.convert_bytearray_to_object(data).subgraphs[0].inputs)):
    details = interpreter.get_input_details(index)
    interpreter.set_input(np.zeros(details["shape"], details["dtype"]), index)
interpreter.invoke()
interpreter.get_output(0)
"""


@lru_cache(maxsize=16)
def _survives(data: bytes) -> str:
    """Empty where TFLM loads and runs ``data``; else the last line it said."""
    arena = str(max(10 * len(data), ARENA_FLOOR))
    try:
        done = subprocess.run([sys.executable, "-c", PROBE, arena], input=data, capture_output=True,
                              timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_SECONDS} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    if done.returncode < 0:
        return f"the interpreter died of signal {-done.returncode}"
    said = [line for line in lines if not line.startswith(("Traceback", "File", "^", "~"))]
    plain = [line for line in said if "op for builtin" in line or "Failed" in line]
    return (plain or said or ["no message"])[0 if plain else -1]
