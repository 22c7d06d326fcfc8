"""The exported int8 file under TensorFlow Lite Micro's interpreter: the host's reference for the device.

Features are quantized here by TFLite's reference rule, ``round(feature / scale) + zero_point`` in float32
with halves rounded away from zero, saturated to the integer type; firmware does the same with ``roundf``.

TFLM trusts its file: offsets are not verified and a damaged one can abort the process. So a file is first
loaded and run in a subprocess of its own, and only one that survives is loaded here.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.engines.base import Masking, check_ports, exported_frontend
from tinyse.core.errors import ModelError
from tinyse.export.checks import tflm_reason
from tinyse.export.network import TensorInfo, tensor_infos, unpack
from tinyse.export.structure import check_values
from tinyse.frontend import DEFAULT, FrontEndSpec, Real
from tinyse.grid import nearest
from tinyse.npu.flatbuffer import brief

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

    @property
    def reach(self) -> tuple[float, float]:
        """Least and largest value."""
        limits = np.iinfo(self.dtype)
        return self.scale * (limits.min - self.zero_point), self.scale * (limits.max - self.zero_point)


def grid(name: str, kind: str, shape: Sequence[int], scales: Sequence[float], zero_point: int, label: str) -> Affine:
    """The grid of an input or output that carries one frame.

    Args:
        name, kind, shape, scales, zero_point: the tensor's; ``kind`` is the name of its type.
        label: names the model.

    Raises:
        ModelError: it is not int8 or int16, one vector, with one scale above 0.
    """
    name = brief(name)
    if kind not in ("int8", "int16"):
        raise ModelError(f"{label}: {name} is {kind}, not quantized to int8", "give an export's model_int8.tflite")
    if len(scales) != 1 or not 0 < scales[0] < math.inf:
        raise ModelError(f"{label}: {name} has the scales {[float(scale) for scale in scales]}, not one above 0",
                         "give an export's model_int8.tflite")
    if not shape or math.prod(shape) != shape[-1] or shape[-1] < 1:
        raise ModelError(f"{label}: {name} is {list(shape)}, not one frame",
                         "export a streaming model, one frame an invocation")
    return Affine(float(scales[0]), zero_point, np.dtype(kind))


class TflmEngine(Masking):
    """One int8 streaming model; LSTM states live in the interpreter and persist between frames.

    Attributes:
        name: "tflm".
        bands: width of feature and mask. outputs: bands, or one more in a Skip RNN, whose ``gate`` this has.
        frontend: from the manifest beside the file, else TinyLSTMs'.
        input, output: the grids of feature and mask.
    """

    name = "tflm"

    def __init__(self, data: bytes, label: str = "model", frontend: FrontEndSpec = DEFAULT) -> None:
        """Load a .tflite file's bytes; ``label`` names it in errors.

        Raises:
            ModelError: not a TFLite file, damaged, an operator TFLM lacks, or not integer in and out.
        """
        first, last = _read(data, label)
        self.input, self.output = (grid(info.name, info.type, info.shape, info.scales, info.zero_point, label)
                                   for info in (first, last))
        trouble = _survives(data)
        if trouble:
            raise ModelError(f"{label}: TFLM cannot run this file: {trouble}", "export the model again")
        self._interpreter = _interpreter(data)
        self.frontend = frontend
        self._shape, self.bands = first.shape, first.shape[-1]
        self.set_outputs(last.shape[-1], label)

    @property
    def reach(self) -> tuple[float, float]:
        """Least and largest value of the output's grid."""
        return self.output.reach

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
        return TflmEngine(data, str(path), exported_frontend(path, data))

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


PROBE = """
import sys
import numpy as np
from tflite_micro import runtime
data = sys.stdin.buffer.read()
interpreter = runtime.Interpreter.from_bytes(data, arena_size=int(sys.argv[1]))
details = interpreter.get_input_details(0)
interpreter.set_input(np.zeros(details["shape"], details["dtype"]), 0)
interpreter.invoke()
interpreter.get_output(0)
"""


@lru_cache(maxsize=16)
def _survives(data: bytes) -> str:
    """Empty where TFLM loads and runs ``data``; else what it said."""
    arena = str(max(10 * len(data), ARENA_FLOOR))
    try:
        done = subprocess.run([sys.executable, "-c", PROBE, arena], input=data, capture_output=True,
                              timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_SECONDS} s"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"the interpreter died of signal {-done.returncode}"
    return tflm_reason(done.stderr.decode(errors="replace"))


def _read(data: bytes, label: str) -> tuple[TensorInfo, TensorInfo]:
    """The one input and the one output of a file that hangs together.

    Raises:
        ModelError: it does not, or has other ports.
    """
    if b"ethos-u\0" in data:
        raise ModelError(f"{label}: compiled by Vela; the tflm engine cannot run it", "use model_int8.tflite")
    model = unpack(data, label)
    check_values(model, label)
    infos, graph = tensor_infos(model), model.subgraphs[0]
    check_ports([infos[index].name for index in graph.inputs], [infos[index].name for index in graph.outputs], label)
    return infos[graph.inputs[0]], infos[graph.outputs[0]]
