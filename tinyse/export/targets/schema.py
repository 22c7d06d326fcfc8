"""The typed target: a processor, its memories, and how Vela is told about them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class MemoryKind(StrEnum):
    """What a memory is made of; ``flash`` also stands for a DDR that a timing adapter slows to flash."""

    SRAM = "sram"
    TCM = "tcm"
    FLASH = "flash"
    DRAM = "dram"


class Holds(StrEnum):
    """What is placed in a memory; each has exactly one home."""

    MODEL = "model"
    ARENA = "arena"
    CODE = "code"
    STACK = "stack"


@dataclass(frozen=True)
class Timing:
    """Behaviour of one NPU port's memory, in NPU clock cycles; also what a timing adapter is set to.

    Attributes:
        clock_scale: bandwidth as a fraction of the port's width times the NPU clock, in (0, 1].
        burst_length: bytes of one burst.
        read_latency, write_latency: cycles from request to first beat.
        max_reads, max_writes: outstanding transactions.
    """

    clock_scale: float
    burst_length: int
    read_latency: int
    write_latency: int
    max_reads: int
    max_writes: int


@dataclass(frozen=True)
class Memory:
    """One memory of a target.

    Attributes:
        name: as the board's manual and the linker script call it.
        kind: what it is made of.
        base: address of the first byte.
        size: bytes.
        holds: what is placed here.
        axi: NPU port that reaches it (0 or 1); None where the NPU does not.
        timing: the port's behaviour; None where ``axi`` is None.
    """

    name: str
    kind: MemoryKind
    base: int
    size: int
    holds: tuple[Holds, ...] = ()
    axi: int | None = None
    timing: Timing | None = None


@dataclass(frozen=True)
class Npu:
    """An Ethos-U and Vela's view of it.

    Attributes:
        accelerator: Vela's ``--accelerator-config``, such as ``ethos-u55-128``.
        system_config: section of the ini, after ``System_Config.``.
        memory_mode: section of the ini, after ``Memory_Mode.``.
        vela_config: the ini file; ``None`` for the one that Vela ships (``Arm/vela.ini``).
        macs_per_cycle: 8-bit multiply-accumulates per cycle at full array.
        port_bytes: width of one AXI port, bytes per cycle.
        weights_per_cycle: rate at which the weight decoder feeds the array on a net of vectors.
    """

    accelerator: str
    system_config: str
    memory_mode: str
    vela_config: Path | None
    macs_per_cycle: int
    port_bytes: int
    weights_per_cycle: float


@dataclass(frozen=True)
class Target:
    """Where a model runs.

    Attributes:
        name: the file's stem, such as ``ethos-u55-128``.
        description: one line.
        core: the processor beside the NPU, or the one that runs the network (``cortex-m55``).
        clock_mhz: clock of whatever runs the network (NPU, or CPU where there is none), MHz.
        board: the board that the firmware is built for.
        memories: every memory; each of `Holds` has one home.
        npu: None where the CPU runs the network.
        path: the file it was read from.
    """

    name: str
    description: str
    core: str
    clock_mhz: float
    board: str
    memories: tuple[Memory, ...]
    npu: Npu | None
    path: Path

    @property
    def has_npu(self) -> bool:
        """Whether exports for this target go through Vela."""
        return self.npu is not None

    def cycles_in(self, seconds: float) -> float:
        """Cycles of the target's clock in a time, such as between two frames."""
        return self.clock_mhz * 1e6 * seconds

    def memory(self, holds: Holds | str) -> Memory:
        """The memory that ``holds`` is placed in."""
        wanted = Holds(holds)
        return next(memory for memory in self.memories if wanted in memory.holds)

    def bytes_per_cycle(self, memory: Memory) -> float:
        """Peak bytes per NPU cycle between the NPU and ``memory``; 0 where the NPU cannot reach it."""
        if self.npu is None or memory.timing is None:
            return 0.0
        return self.npu.port_bytes * memory.timing.clock_scale

    def vela_arguments(self) -> list[str]:
        """Vela's command-line options for this target; empty where there is no NPU."""
        if self.npu is None:
            return []
        config = "Arm/vela.ini" if self.npu.vela_config is None else str(self.npu.vela_config)
        return ["--accelerator-config", self.npu.accelerator, "--config", config,
                "--system-config", self.npu.system_config, "--memory-mode", self.npu.memory_mode]
