"""The int8 parts of a plan under TensorFlow Lite Micro's interpreter, from the tflite-micro wheel.

TFLM trusts its file: offsets are not verified and a damaged one can abort the process. So a file is first
loaded and run in a subprocess of its own, and only one that survives is loaded here.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.capture import quiet_stderr
from tinyse.core.errors import ModelError, ToolError
from tinyse.export.flatfile import unpack
from tinyse.export.structure import check_values
from tinyse.graph.plan import Plan

ARENA_FLOOR = 1 << 20
"""Least arena given to the interpreter in bytes; its own guess (ten times the file) starves tiny models."""
PROBE_SECONDS, PROBE_WAIT = 60, 3600
"""Of a processor, which a busy machine gives slowly, and of the clock."""
Array = NDArray[Any]


class Interpreters:
    """An interpreter a part."""

    def __init__(self, plan: Plan, files: Sequence[bytes], labels: Sequence[str], trusted: bool = False) -> None:
        """Load int8 files; ``labels`` name them; ``trusted``: they are our own, made in this process.

        Raises:
            ModelError: a file that TFLM cannot run. ToolError: tflite-micro is not installed.
        """
        self.plan = plan
        for data, label in zip(files, labels, strict=True) if not trusted else ():
            check_values(unpack(data, label), label)
            if trouble := _survives(data):
                raise ModelError(f"{label}: TFLM cannot run this file: {trouble}", "export the model again")
        try:
            self._interpreters = [interpreter(data) for data in files]
        except RuntimeError as error:
            raise ModelError(f"{labels[0]}: TFLM refuses the file: {error}", "see the lines above") from error

    def reset(self) -> None:
        """States inside the parts to their zero points."""
        for each in self._interpreters:
            each.reset()

    def invoke(self, part: int, values: Sequence[Array]) -> list[Array]:
        """One invocation: inputs then pasts to outputs then fresh states."""
        each, ports = self._interpreters[part], self.plan.parts[part]
        for index, value in enumerate(values):
            each.set_input(np.ascontiguousarray(value), index)
        each.invoke()
        return [np.array(each.get_output(index)) for index in range(len(ports.outputs) + len(ports.states))]


def interpreter(data: bytes) -> Any:
    """TFLM's interpreter on the host for a .tflite file's bytes.

    Raises:
        ToolError: tflite-micro is not installed. RuntimeError: TFLM refuses the file.
    """
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise ToolError("tflite-micro is not installed", "pip install --pre tflite-micro") from error
    with quiet_stderr():
        return runtime.Interpreter.from_bytes(data, arena_size=max(10 * len(data), ARENA_FLOOR))


LIMIT = """
import resource
import sys
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]), int(sys.argv[2]) + 5))
"""
PROBE = """
import numpy as np
from tflite_micro import runtime
data = sys.stdin.buffer.read()
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
        done = subprocess.run([sys.executable, "-c", LIMIT + PROBE, arena, str(PROBE_SECONDS)], input=data,
                              capture_output=True, timeout=PROBE_WAIT, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_WAIT} s"
    if done.returncode == 0:
        return ""
    if done.returncode == -signal.SIGXCPU:
        return f"no answer in {PROBE_SECONDS} s of a processor"
    if done.returncode < 0:
        return f"the interpreter died of signal {-done.returncode}"
    return reason(done.stderr.decode(errors="replace"))


def reason(said: str) -> str:
    """The line of TFLM's messages that names the operator at fault, else the last one."""
    lines = [line for line in map(str.strip, said.splitlines()) if line and not line.startswith(
        ("Traceback", "File", "^", "~"))]
    named = [line for line in lines if line.startswith(("Node ", "Didn't find op", "Failed to get"))]
    return (named or lines or ["no message"])[0 if named else -1]
