"""The exported int8 file under TensorFlow Lite Micro's interpreter: the host's reference for the device.

Features are quantized here by TFLite's reference rule, ``round(feature / scale) + zero_point`` in float32
with halves rounded away from zero, saturated to the integer type; firmware does the same with ``roundf``.

TFLM trusts its file: offsets are not verified and a damaged one can abort the process. So a file is first
loaded and run in a subprocess of its own, and only one that survives is loaded here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.engines.base import Masking, exported_ends
from tinyse.errors import ModelError
from tinyse.graph.grid import nearest
from tinyse.sound import DEFAULT, Ends, Real

Integers = NDArray[Any]
ARENA_FLOOR = 1 << 20
"""Least arena given to the interpreter in bytes; its own guess (ten times the file) starves tiny models."""
PROBE_SECONDS = 60


@dataclass(frozen=True)
class Affine:
    """An integer tensor's grid: real = scale * (q - zero_point).

    Attributes:
        scale: real units a step, > 0.
        zero_point: the integer that means 0.
        dtype: int8 or int16.
    """

    scale: float
    zero_point: int
    dtype: np.dtype[Any]

    def quantize(self, values: Real) -> Integers:
        """Nearest integers, halves away from zero, saturated."""
        limits = np.iinfo(self.dtype)
        return np.clip(nearest(values, self.scale) + self.zero_point, limits.min, limits.max).astype(self.dtype)

    def dequantize(self, integers: Integers) -> Real:
        """Real values, float32."""
        return (integers.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


class TflmEngine(Masking):
    """One int8 streaming model; LSTM states live in the interpreter and persist between frames.

    Attributes:
        name: "tflm".
        bands: width of feature and mask. outputs: bands, or one more in a Skip RNN, whose ``gate`` this has.
        ends: from the manifest beside the file, else TinyLSTMs'.
        input, output: the grids of feature and mask.
    """

    name = "tflm"

    def __init__(self, data: bytes, label: str = "model", ends: Ends = DEFAULT) -> None:
        """Load a .tflite file's bytes; ``label`` names it in errors.

        Raises:
            ModelError: not a TFLite file, damaged, an operator TFLM lacks, or not integer in and out.
        """
        _probe(data, label)
        self._interpreter = _interpreter(data)
        self.ends = ends
        self.input, shape = _tensor(self._interpreter.get_input_details(0), f"{label}: input")
        self.output, out_shape = _tensor(self._interpreter.get_output_details(0), f"{label}: output")
        self._shape = shape
        self.bands = shape[-1]
        if int(np.prod(shape)) != self.bands or int(np.prod(out_shape)) != out_shape[-1]:
            raise ModelError(f"{label}: {list(shape)} to {list(out_shape)} is not one frame to one mask",
                             "export a streaming model, one frame an invocation")
        self.set_outputs(out_shape[-1], label)

    @staticmethod
    def load(path: Path | str) -> TflmEngine:
        """Read a .tflite file, checked against the manifest beside it where there is one.

        Raises:
            ModelError: as the constructor, or the file is not the one that the manifest hashed.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}", "give an export's model_int8.tflite") from error
        return TflmEngine(data, str(path), exported_ends(path, data))

    def reset(self) -> None:
        """Restore h to its zero point and c to 0."""
        self._interpreter.reset()
        if self.gate is not None:
            self.gate.reset()

    def step(self, quantized: Integers) -> Integers:
        """Run one frame on the integer grids: [bands] of ``input`` to [outputs] of ``output``."""
        self._interpreter.set_input(np.ascontiguousarray(quantized).reshape(self._shape), 0)
        self._interpreter.invoke()
        result: Integers = np.array(self._interpreter.get_output(0)).reshape(self.outputs)
        return result

    def infer(self, feature: Real) -> Real:
        """Run one frame: float32 [bands] to float32 [outputs], 0..1."""
        return self.output.dequantize(self.step(self.input.quantize(feature)))


def _interpreter(data: bytes) -> Any:
    from tflite_micro import runtime

    return runtime.Interpreter.from_bytes(data, arena_size=max(10 * len(data), ARENA_FLOOR))


def _tensor(details: Mapping[str, Any], label: str) -> tuple[Affine, tuple[int, ...]]:
    dtype = np.dtype(details["dtype"])
    parameters = details["quantization_parameters"]
    scales, zeros = parameters["scales"], parameters["zero_points"]
    if dtype not in (np.int8, np.int16) or len(scales) != 1:
        raise ModelError(f"{label} is {dtype}, not quantized to int8", "give an export's model_int8.tflite")
    return Affine(float(scales[0]), int(zeros[0]), dtype), tuple(int(size) for size in details["shape"])


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
details = interpreter.get_input_details(0)
interpreter.set_input(np.zeros(details["shape"], details["dtype"]), 0)
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


def _probe(data: bytes, label: str) -> None:
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ModelError(f"{label}: not a TFLite file", "give an export's model_int8.tflite")
    if b"ethos-u\0" in data:
        raise ModelError(f"{label}: compiled by Vela; the tflm engine cannot run it", "use model_int8.tflite")
    trouble = _survives(data)
    if trouble:
        raise ModelError(f"{label}: TFLM cannot run this file: {trouble}", "export the model again")
