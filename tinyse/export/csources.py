"""The C of an export: model.h and model.c for an NPU or TFLM, packed.h and packed.c for tinyse's own kernels. ::

    made = write_c(plan, folder, int8, compiled, ends, target, trained)
    made.memory, made.packed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinyse.core.artifacts import write_text
from tinyse.export.cheader import header, source
from tinyse.export.cnetwork import CNetwork, c_network
from tinyse.export.memory import MemoryReport, cpu_memory, npu_memory
from tinyse.export.reader import read
from tinyse.export.targets import Target
from tinyse.graph.plan import Plan
from tinyse.sound import Ends

C_FILES = ("model.h", "model.c", "packed.h", "packed.c")


@dataclass(frozen=True)
class CSources:
    """What was written: the memory that model.h states, and the network of packed.h."""

    memory: MemoryReport
    packed: CNetwork


def write_c(plan: Plan, folder: Path, int8: Sequence[Path], compiled: Sequence[Path], ends: Ends, target: Target,
            trained: str) -> CSources:
    """Write the four files into ``folder``.

    Args:
        plan: what runs on a frame; of its parts the ends are enough, for the networks are read from the files.
        int8, compiled: a file a part; ``compiled`` where the target has an NPU, else none.
        ends: what a frame is. trained: SHA-256 of the trained model.

    Raises:
        ModelError: a file is damaged, or a kernel cannot do what it asks for.
        ExportError: the C library cannot do this plan or these ends; a state has no place in the arena.
    """
    data = [path.read_bytes() for path in int8]
    graphs = replace(plan, parts=tuple(read(each, str(path)) for each, path in zip(data, int8, strict=True)))
    memory = npu_memory(plan, compiled, int8, target) if compiled else cpu_memory(plan, int8, target)
    packed = c_network(graphs)
    flashed = [path.read_bytes() for path in compiled] or data
    for name, text in (("model.h", header(flashed, plan, ends, memory, target, trained)),
                       ("model.c", source(flashed, plan, ends, memory, target, trained)),
                       ("packed.h", packed.header(b"".join(data))), ("packed.c", packed.source(b"".join(data)))):
        write_text(folder / name, text)
    return CSources(memory, packed)
