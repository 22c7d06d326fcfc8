"""Typed results of running the firmware: stages, memory and the frame budget; each group of one kind only."""

from __future__ import annotations

from dataclasses import dataclass

from tinyse.core.origin import Origin
from tinyse.firmware.results import NpuCounts

STAGE_NAMES = {"transform": "window, FFT", "features": "magnitude, mel, power", "quantize": "quantize",
               "network": "network", "mask": "mask", "synthesis": "inverse FFT, overlap-add"}
"""What the firmware's stages (`tinyse.firmware.results.STAGES`) do, in order."""


SKIPPED = ("features", "quantize", "network")
"""Stages of a frame that runs the network; a Skip RNN's other frames do without."""


@dataclass(frozen=True)
class StageCost:
    """What one stage of a frame takes, in the unit of its run.

    Attributes:
        stage: one of `STAGE_NAMES`, or ``frame`` for all of them.
        total: over all frames.
        mean: of a frame.
        most: of the longest frame.
    """

    stage: str
    total: float
    mean: float
    most: float


@dataclass(frozen=True)
class FirmwareRun:
    """One run of the firmware on a board, a model of it, or as a host program.

    Attributes:
        origin: emulated (QEMU), measured (FVP), measured (board) or measured (host).
        board, core, backend, kernels: what the image was built for, as it says itself.
        unit: of every stage: ``instructions``, ``cycles`` or ``ns``.
        frames: hops that were enhanced. updates: of them those that ran the network.
        parts: how often each part of the network ran.
        signal: what was enhanced: a file's name and hash, or the name of the generated signal.
        stages: the six stages in order.
        frame: a whole frame.
        transfer: the network stage is the way to the NPU simulator on the host and back, not the network.
        npu: the NPU's counters over all runs; None where the CPU ran the network.
        npu_origin: what counted them; None without ``npu``.
        timing_adapters: what they were set to, by name; None where nothing was set.
        arena_bytes, state_bytes: of the network and of the library.
        stack_bytes, stack_used: reserved, and the high-water mark.
    """

    origin: Origin
    board: str
    core: str
    backend: str
    kernels: str
    unit: str
    frames: int
    updates: int
    parts: tuple[int, ...]
    signal: str
    stages: tuple[StageCost, ...]
    frame: StageCost
    transfer: bool
    npu: NpuCounts | None
    npu_origin: Origin | None
    timing_adapters: dict[str, dict[str, int]] | None
    arena_bytes: int
    state_bytes: int
    stack_bytes: int
    stack_used: int

    def stage(self, name: str) -> StageCost:
        """A stage by its name."""
        return next(each for each in self.stages if each.stage == name)

    def updating(self, name: str) -> float:
        """A stage, or the whole ``frame``, in a frame that runs the network."""
        if name == "frame":
            return self.frame.mean + sum(self.updating(stage) - self.stage(stage).mean for stage in SKIPPED)
        each = self.stage(name)
        return each.total / max(1, self.updates) if name in SKIPPED else each.mean

    @property
    def ends(self) -> float:
        """Front and back end of a mean frame: all but the network."""
        return sum(each.mean for each in self.stages if each.stage != "network")


@dataclass(frozen=True)
class Placement:
    """Where the linker put a buffer.

    Attributes:
        name: ``arena``, ``model``, ``code``, ``stack``, ``state``.
        address, size: where it is, bytes.
        memory: the target's memory that holds all of it; empty where none does.
        wanted: the memory that the target file gives it; empty: any RAM.
        right: whether it is there.
    """

    name: str
    address: int
    size: int
    memory: str
    wanted: str
    right: bool


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes of one of the target's memories that the image takes."""

    memory: str
    kind: str
    used: int
    size: int

    @property
    def left(self) -> int:
        """Margin, bytes; negative where it does not fit."""
        return self.size - self.used


@dataclass(frozen=True)
class FirmwareMemory:
    """What the linked image takes of the target's memories.

    Attributes:
        origin: exact, read from the ELF file.
        board, backend: of the image.
        text, rodata, data, bss: bytes by kind; flash is text, rodata and data, RAM is data and bss.
        placements: the named buffers.
        budgets: the target's memories that something is in.
        problems: a line for each buffer in the wrong place and each section outside every memory.
    """

    origin: Origin
    board: str
    backend: str
    text: int
    rodata: int
    data: int
    bss: int
    placements: tuple[Placement, ...]
    budgets: tuple[MemoryBudget, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Share:
    """A stage's least and most cycles in a frame; equal where cycles were measured."""

    stage: str
    low: float
    high: float


@dataclass(frozen=True)
class FrameBudget:
    """The hop and what the stages take of it.

    Attributes:
        origin: measured, or emulated x assumed CPI.
        clock_mhz: that the cycles are reckoned at.
        hop_cycles: cycles between two frames at this clock.
        cpi_low, cpi_high: cycles per instruction that were assumed; both 1 where cycles were measured.
        basis: why these.
        shares: the stages in order; without the network where another processor runs it.
        low, high: all of them, cycles of a mean frame; most_low, most_high: of the longest frame.
        updating: of a Skip RNN, the stages in a frame that runs the network; else empty.
    """

    origin: Origin
    clock_mhz: float
    hop_cycles: float
    cpi_low: float
    cpi_high: float
    basis: str
    shares: tuple[Share, ...]
    low: float
    high: float
    most_low: float
    most_high: float
    updating: tuple[Share, ...] = ()

    def milliseconds(self, cycles: float) -> float:
        """Time of ``cycles`` at the clock."""
        return cycles / self.clock_mhz / 1e3

    def percent(self, cycles: float) -> float:
        """Share of the hop."""
        return 100 * cycles / self.hop_cycles


@dataclass(frozen=True)
class RunnerRun:
    """Arm's prebuilt runner with the same model, one inference.

    Attributes:
        origin: says that the runner was patched where it was.
        model_sha256: of the .tflite that ran.
        time_steps: of the inference.
        operators: the model's, in order.
        arena: bytes of TFLM's arena in use on the target.
        instructions: inside ``Invoke()``; None where the NPU's counters were read instead.
        npu: the counters; None without an NPU.
        output: the output tensor's bytes, hexadecimal; empty where they were not fetched.
    """

    origin: Origin
    model_sha256: str
    time_steps: int
    operators: tuple[str, ...]
    arena: int
    instructions: float | None
    npu: NpuCounts | None
    output: str
