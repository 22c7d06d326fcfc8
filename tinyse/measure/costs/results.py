"""Typed results of a profile; frozen, so that later sources (FVP, QEMU, a board) only add to them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tinyse.core.origin import Origin
from tinyse.export.hostarena import HostArena
from tinyse.sound.ends import DEFAULT

if TYPE_CHECKING:
    from tinyse.measure.costs.channels import ChannelCost
    from tinyse.measure.costs.firmware import FirmwareMemory, FirmwareRun, FrameBudget, RunnerRun
    from tinyse.measure.costs.parts import PartCosts
    from tinyse.measure.costs.skipping import SkipCost


class Bound(StrEnum):
    """What an operator waits for longest."""

    FLASH = "flash"
    SRAM = "SRAM"
    DECODE = "weight decoding"
    MACS = "MACs"
    OUTPUT = "elementwise"


@dataclass(frozen=True)
class Bounds:
    """Least cycles that each resource needs for one operator, were it alone; all in NPU cycles.

    Attributes:
        flash: traffic on NPU port 1 over its peak bandwidth: weights, scales and tables in flash; on an
            Ethos-U65 all that lies in DRAM.
        sram: traffic on port 0 over its peak bandwidth: the arena, or the NPU's cache of it.
        decode: weights, padded to the decoder's blocks, over the decoder's rate.
        macs: multiply-accumulates over the full array.
        output: Vela's estimate of the rest: elementwise and pooling arithmetic, the output unit.
    """

    flash: float
    sram: float
    decode: float
    macs: float
    output: float

    @property
    def limit(self) -> Bound:
        """The resource that takes longest; the first named of equals."""
        cycles = {Bound.FLASH: self.flash, Bound.DECODE: self.decode, Bound.MACS: self.macs,
                  Bound.SRAM: self.sram, Bound.OUTPUT: self.output}
        return max(cycles, key=lambda bound: cycles[bound])


@dataclass(frozen=True)
class OperatorCost:
    """One NPU operator in the order of the command stream.

    Attributes:
        id: Vela's scheduled id, which its debug database uses throughout.
        offset: byte offset in the command stream; -1 for an operator that was fused into another.
        layer: name of the network layer it comes from.
        kind, name: Vela's operator and the name of its output tensor.
        cycles: Vela's estimate with all waiting; npu_cycles: with memory for free.
        macs: multiply-accumulates.
        weights: int8 weights, unpadded; encoded_bytes, scale_bytes: their stored form.
        flash_bytes, sram_bytes: traffic on NPU port 1 (flash, or a DRAM) and on port 0 (SRAM).
        bounds: least cycles per resource.
    """

    id: int
    offset: int
    layer: str
    kind: str
    name: str
    cycles: int
    npu_cycles: int
    macs: int
    weights: int
    encoded_bytes: int
    scale_bytes: int
    flash_bytes: int
    sram_bytes: int
    bounds: Bounds

    @property
    def bound(self) -> Bound:
        """What bounds this operator."""
        return self.bounds.limit


@dataclass(frozen=True)
class LayerCost:
    """All NPU operators of one network layer.

    Attributes:
        name: ``lstm_0``, ``dense_1``, ... in the order of the network.
        operators: how many NPU operators it became.
        cycles, npu_cycles, flash_cycles, sram_cycles: sums over them, NPU cycles.
        flash_bytes, macs, weights, encoded_bytes, scale_bytes: sums over them.
        utilisation: MACs per cycle over the full array, 0 to 1.
        bound: the resource that its cycles are mostly spent on; None for a layer that was fused away.
        bound_cycles: cycles of the operators that each resource bounds.
    """

    name: str
    operators: int
    cycles: int
    npu_cycles: int
    flash_cycles: int
    flash_bytes: int
    sram_cycles: int
    macs: int
    weights: int
    encoded_bytes: int
    scale_bytes: int
    utilisation: float
    bound: Bound | None
    bound_cycles: dict[str, int]


@dataclass(frozen=True)
class Traffic:
    """Bytes per frame between the NPU and one memory; ``cycles`` at its peak bandwidth."""

    memory: str
    feature_read: int
    feature_write: int
    weight_read: int
    weight_write: int
    total: int
    cycles: int


@dataclass(frozen=True)
class MemoryUse:
    """Bytes used of one of the target's memories; ``size`` 0 where the target is not known."""

    memory: str
    holds: str
    used: int
    size: int


@dataclass(frozen=True)
class Region:
    """A buffer in Vela's ``memory``: bytes [start, start + size), live from step ``first`` to ``last``."""

    memory: str
    start: int
    size: int
    first: int
    last: int
    name: str


@dataclass(frozen=True)
class NpuEstimate:
    """Vela's view of one inference, that is one frame.

    Attributes:
        cycles: whole inference; the other cycle counts are each resource's own, overlapping.
        clock_mhz: the clock Vela reckoned with.
        cycles_per_second: of audio.
        hop_share: part of the hop that the inference takes.
        frames_per_second: of sound; a hop is the time of one.
    """

    origin: Origin
    accelerator: str
    system_config: str
    memory_mode: str
    clock_mhz: float
    cycles: int
    npu_cycles: int
    macs: int
    milliseconds: float
    hop_share: float
    cycles_per_second: float
    layers: tuple[LayerCost, ...]
    operators: tuple[OperatorCost, ...]
    traffic: tuple[Traffic, ...]
    memories: tuple[MemoryUse, ...]
    regions: tuple[Region, ...]
    frames_per_second: float = DEFAULT.frames_per_second


@dataclass(frozen=True)
class Sizes:
    """Model size under every convention in use; bytes.

    Attributes:
        weights, nonzero: int8 weights of the network and those that are not zero; None without an int8 file.
        surviving: one byte per non-zero weight, its place for free (the papers' convention).
        bitmask: one bit per weight, one byte per non-zero weight, every matrix padded to whole bytes.
        encoded: what Vela stores, scales and tables not counted; None without its report.
        constants: all read-only data beside the command stream: encoded weights, scales, tables.
        int8_file, vela_file: whole files.
        narrow: every matrix in as many bits as it needs, scales not counted.
    """

    origin: Origin
    weights: int | None
    nonzero: int | None
    surviving: int | None
    bitmask: int | None
    encoded: int | None
    constants: int | None
    int8_file: int | None
    vela_file: int | None
    narrow: int | None = None


@dataclass(frozen=True)
class SimulatedCost:
    """The NPU simulator's account of the operators of one layer, read off the command stream.

    Attributes:
        layer: the network's layer, from Vela's debug database; ``all`` where there is none.
        operators: operations of the stream, DMA included.
        macs: multiply-accumulates that produce the output; macs_on_zeros: those whose weight is zero.
        flash_bytes, sram_bytes: bytes on the port of the model and on that of the arena, both ways.
    """

    layer: str
    operators: int
    macs: int
    macs_on_zeros: int
    flash_bytes: int
    sram_bytes: int


@dataclass(frozen=True)
class Simulation:
    """The NPU simulator's account of one inference, per layer and in sum."""

    origin: Origin
    layers: tuple[SimulatedCost, ...]
    total: SimulatedCost


@dataclass(frozen=True)
class Profile:
    """Everything known of one export.

    Attributes:
        name: the run or file.
        target: the target's name, empty where none is known.
        sha256: hash of each file that was read, by its name.
        npu, arena, sizes, simulation: one group per source; None where skipped.
        skipped: one line for each group that could not be had, with what would give it.
        firmware, memory, budget: the firmware built and run with this model; None where it was not.
        runner: Arm's runner with the same model, where it was asked for.
        frames_per_second: of sound, by the model's ends.
        parts: the costs of each part, and at the rates at which they ran. ``npu`` and ``simulation`` are of a frame
            that runs all of them.
        channels: what channel gates open and save on the signal; None where there are none.
        skip: what a Skip RNN costs on average; None for a network that runs on every frame. ``npu`` and ``simulation``
            are then of a frame that runs it.
    """

    name: str
    target: str
    sha256: dict[str, str]
    npu: NpuEstimate | None
    arena: HostArena | None
    sizes: Sizes
    simulation: Simulation | None
    skipped: tuple[str, ...]
    firmware: FirmwareRun | None = None
    memory: FirmwareMemory | None = None
    budget: FrameBudget | None = None
    runner: RunnerRun | None = None
    skip: SkipCost | None = None
    parts: PartCosts | None = None
    channels: ChannelCost | None = None
    frames_per_second: float = DEFAULT.frames_per_second
