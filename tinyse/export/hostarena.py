"""TFLM's arena on the host: what the recording allocator of the tflite-micro wheel prints.

The wheel offers no other way to the numbers than its standard error, and a file it dislikes can take
the process with it, so it runs in a process of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tinyse.core.errors import ModelError, ToolError
from tinyse.core.origin import Origin, Source
from tinyse.export.interpreted import reason as tflm_reason

SCRIPT = """import sys
from tflite_micro import runtime
runtime.Interpreter.from_file(sys.argv[1]).print_allocations()
"""
TOTAL = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
PART = re.compile(r"'([^']+)' used (\d+) bytes")
SECONDS = 120


@dataclass(frozen=True)
class HostArena:
    """TFLM's arena for the int8 model on the host, bytes; ``parts`` as its recording allocator names them."""

    origin: Origin
    total: int
    head: int
    tail: int
    parts: tuple[tuple[str, int], ...]


def host_arena(model: Path) -> HostArena:
    """Load the int8 ``model`` into TFLM on the host and read its arena, bytes.

    Raises:
        ModelError: TFLM refuses the file.
        ToolError: the tflite-micro wheel is missing, or printed nothing that is known.
    """
    try:
        version = metadata.version("tflite-micro")
    except metadata.PackageNotFoundError:
        raise ToolError("tflite-micro is not installed", "pip install --pre tflite-micro") from None
    try:
        run = subprocess.run([sys.executable, "-c", SCRIPT, str(model)], capture_output=True, text=True,
                             errors="replace", timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ToolError(f"{model}: TFLM did not load it in {SECONDS} s", "export again") from None
    if run.returncode != 0:
        reason = tflm_reason(run.stderr) if run.returncode > 0 else f"it died of signal {-run.returncode}"
        raise ModelError(f"{model}: TFLM refuses it: {reason}", "export again")
    return parse_allocations(run.stdout + run.stderr, Origin(Source.MEASURED, f"tflite-micro {version}", "host"))


def parse_allocations(text: str, origin: Origin) -> HostArena:
    """Read the recording allocator's lines.

    Raises:
        ToolError: total, head or tail is not among them.
    """
    totals = {name: int(count) for name, count in TOTAL.findall(text)}
    if set(totals) != {"total", "head", "tail"}:
        raise ToolError("tflite-micro printed no arena allocation", "install the version that tinyse pins")
    parts = tuple((name, int(count)) for name, count in PART.findall(text))
    return HostArena(origin, totals["total"], totals["head"], totals["tail"], parts)
