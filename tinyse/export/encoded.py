"""What Vela makes of a graph, in this process and in a tenth of a second: for searches, which ask a thousand times.

`tinyse.export.vela` runs the program itself, twice, and keeps its reports; both are one compiler.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinyse.core.errors import ExportError, ToolError
from tinyse.export.targets import Target
from tinyse.export.writer import write
from tinyse.graph.plan import Plan

OPTIONS = """
[compiler]
output_format=TFLite
cop_format=COP1
[scheduler]
optimize=Performance
arena_size_limit=4294967296
disable_feature=
cpu_tensor_alignment=16
tensor_allocator=HillClimb
[graph]
softmax_int16_neg_exp_range=10.0
"""
"""Vela's defaults."""


@dataclass(frozen=True)
class Encoded:
    """Of all parts of a plan: bytes of the weight streams, scales included, and Vela's estimate of a frame's cycles."""

    bytes: int
    cycles: int


def encoded(plan: Plan, target: Target) -> Encoded:
    """Compile every part for an NPU.

    Raises:
        ExportError: the target has none, or an operator is left to the CPU. ToolError: Vela is missing, or fails.
    """
    if target.npu is None:
        raise ExportError(f"{target.name} has no NPU to compile for")
    try:
        from ethosu import config_files, regor
    except ImportError as error:
        raise ToolError("ethos-u-vela is not installed", "pip install ethos-u-vela") from error
    name, family, macs = target.npu.accelerator.split("-", 2)
    file = target.npu.vela_config or Path(next(iter(config_files.__path__))) / "Arm" / "vela.ini"
    cores = 2 if (family, macs) == ("u65", "512") else 1
    config = (f"[architecture]\nmacs={int(macs) // cores}\ncores={cores}\n[vela]\n"
              f"system_config_name={target.npu.system_config}\nmemory_mode_name={target.npu.memory_mode}\n")
    total = cycles = 0
    for graph in plan.graphs:
        try:
            made = regor.compile(f"{name.title()}{family.upper()}", write(graph), "TFLITE",
                                 config + file.read_text(encoding="utf-8"), OPTIONS)
        except RuntimeError as error:
            raise ToolError(f"Vela: {error}", f"target {target.name}") from error
        if made.perf_report.cpuOps:
            raise ExportError(f"{graph.name}: Vela leaves {made.perf_report.cpuOps} operators to the CPU",
                              f"{target.name} must run every operator")
        total += int(made.perf_report.encodedWeights)
        cycles += int(made.perf_report.totalCycles)
    return Encoded(total, cycles)
