"""Temporary: C sources of one part."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinyse.core.artifacts import write_text
from tinyse.export.cheader import header, source
from tinyse.export.cnetwork import CNetwork, c_network
from tinyse.export.memory import MemoryReport
from tinyse.graph.plan import Plan
from tinyse.sound import Ends
from tinyse.export.targets import Target

C_FILES = ("model.h", "model.c", "packed.h", "packed.c")


def write_c(folder: Path, plan: Plan, int8: Sequence[bytes], flashed: Sequence[bytes], ends: Ends,
            memory: MemoryReport, target: Target, sha256: str) -> CNetwork:
    """Write."""
    write_text(folder / "model.h", header(flashed[0], ends, memory, target, sha256))
    write_text(folder / "model.c", source(flashed[0], ends, memory, target, sha256))
    packed = c_network(plan)
    write_text(folder / "packed.h", packed.header(int8[0]))
    write_text(folder / "packed.c", packed.source(int8[0]))
    return packed
