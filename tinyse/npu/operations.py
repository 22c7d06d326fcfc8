"""What an operation is, read from the registers: feature maps, kernel, scaling, activation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from tinyse.npu.fault import NpuError
from tinyse.npu.registers import Snapshot

MAX_DIM = 1 << 16
SHRAM = 0x100  # the flag of an internal address in a DMA region


class Rounding(IntEnum):
    """How a scaled value becomes an integer (OFM_PRECISION bits 14-15)."""

    TFL = 0
    TRUNCATE = 1
    NATURAL = 2


class Pool(IntEnum):
    """Parameter of ``NPU_OP_POOL``."""

    MAX = 0
    AVERAGE = 1
    REDUCE_SUM = 2


class Elementwise(IntEnum):
    """Parameter of ``NPU_OP_ELEMENTWISE``."""

    MUL = 0
    ADD = 1
    SUB = 2
    MIN = 3
    MAX = 4
    LRELU = 5
    ABS = 6
    CLZ = 7
    SHR = 8
    SHL = 9


class Upscale(IntEnum):
    """IFM_UPSCALE: how the input is doubled in height and width before the kernel sees it."""

    NONE = 0
    NEAREST = 1
    TRANSPOSE = 2


UNARY = {Elementwise.LRELU, Elementwise.ABS, Elementwise.CLZ}
SCALED = {Elementwise.MUL, Elementwise.ADD, Elementwise.SUB, Elementwise.LRELU, Elementwise.ABS}
NAMES = {"CONV": "CONV", "DEPTHWISE": "DEPTHWISE", "DMA_START": "DMA"}


@dataclass(frozen=True)
class FeatureMap:
    """A map in memory: shape (height, width, depth), four tiles, byte strides (y, x, c), zero point.

    ``brick`` maps are NHCWB16: ``c`` strides from one block of 16 channels to the next, and columns
    within a block are 16 elements apart.
    """

    region: int
    bases: tuple[int, int, int, int]
    shape: tuple[int, int, int]
    strides: tuple[int, int, int]
    tiles: tuple[int, int, int]
    zero_point: int
    dtype: np.dtype
    brick: bool

    @property
    def elements(self) -> int:
        """Number of values in the map."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def bytes(self) -> int:
        """Bytes the map holds (without what lies between its rows)."""
        return self.elements * self.dtype.itemsize


@dataclass(frozen=True)
class Kernel:
    """Kernel (undilated) height and width, strides, dilations, padding (top, left, bottom, right)."""

    height: int = 1
    width: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    part_kernel: bool = False

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width of the dilated kernel."""
        return (self.height - 1) * self.dilation[0] + 1, (self.width - 1) * self.dilation[1] + 1


@dataclass(frozen=True)
class Activation:
    """``function`` 0 none, 3 tanh, 4 sigmoid, 16+n table n; then a clamp to [low, high]."""

    function: int
    low: int
    high: int
    clip: int


@dataclass(frozen=True)
class Stream:
    """A range of bytes that the weight or scale decoder reads."""

    region: int
    address: int
    length: int


@dataclass(frozen=True)
class Dma:
    """A copy of ``length`` bytes; regions with the 0x100 flag are the NPU's own memory."""

    index: int
    offset: int
    source: tuple[int, int]
    target: tuple[int, int]
    length: int

    mode = "DMA"


@dataclass(frozen=True)
class Operation:
    """A block operation; ``mode`` names it: CONV, DEPTHWISE, or the pooling or elementwise mode.

    ``scale`` and ``shift`` are the OFM's where ``global_scale`` says so, else each channel has its own
    in ``scales``. ``opa`` and ``opb`` are operand scalings of ADD and SUB, and ``operand_to_scale`` 0
    (both, 16 bit), 1 (A, 32 bit) or 2 (B, 32 bit).
    """

    index: int
    offset: int
    kind: str
    mode: str
    ifm: FeatureMap
    ifm2: FeatureMap | None
    ofm: FeatureMap
    kernel: Kernel
    upscale: Upscale
    scalar: int | None
    reverse: bool
    rounding: Rounding
    global_scale: bool
    scale: tuple[int, int]
    opa: tuple[int, int]
    opb: tuple[int, int]
    operand_to_scale: int
    activation: Activation
    accumulator_bits: int
    block: tuple[int, int, int]
    weights: tuple[Stream, ...]
    scales: tuple[Stream, ...]
    cores: int


def operation(snap: Snapshot) -> Operation | Dma:
    """Read one operation from the registers.

    Raises:
        NpuError: an unknown mode or precision, or a shape the hardware cannot hold.
    """
    return _dma(snap) if snap.operation == "DMA_START" else _block_operation(snap)


def _dma(snap: Snapshot) -> Dma:
    if snap.param & 0xF or any(snap.value(f"DMA0_{end}_REGION") & 0x600 for end in ("SRC", "DST")):
        raise NpuError(f"operation {snap.index}: DMA mode {snap.param:#x} is not supported", snap.offset)
    ends = [(snap.value(f"DMA0_{end}_REGION") & 0x107, snap.value(f"DMA0_{end}")) for end in ("SRC", "DST")]
    return Dma(snap.index, snap.offset, ends[0], ends[1], snap.value("DMA0_LEN"))


def _block_operation(snap: Snapshot) -> Operation:
    kind = snap.operation
    modes: type[IntEnum] | None = {"POOL": Pool, "ELEMENTWISE": Elementwise}.get(kind)
    try:
        mode = modes(snap.param).name if modes else NAMES[kind]
        rounding = Rounding(snap.value("OFM_PRECISION") >> 14 & 3)
        upscale = Upscale(snap.value("IFM_UPSCALE", 0))
    except ValueError as error:
        raise NpuError(f"operation {snap.index} ({kind}): unknown mode: {error}", snap.offset) from error
    elementwise = kind == "ELEMENTWISE"
    ofm = _map(snap, "OFM", tuple(snap.value(f"OFM_{n}_M1") + 1 for n in ("HEIGHT", "WIDTH", "DEPTH")))
    kernel = Kernel() if elementwise else _kernel(snap)
    broadcast = snap.value("IFM2_BROADCAST", 0) if elementwise else 0
    depth = snap.value("IFM_DEPTH_M1") + 1
    ifm = _map(snap, "IFM", _input_shape(ofm.shape, kernel, upscale, depth, elementwise))
    binary = elementwise and mode not in {m.name for m in UNARY}
    scalar, ifm2 = None, None
    if binary and broadcast & 0x80:
        scalar = snap.value("IFM2_SCALAR") - snap.value("IFM2_ZERO_POINT")
    elif binary:
        ifm2 = _map(snap, "IFM2", tuple(1 if broadcast >> i & 1 else n for i, n in enumerate(ofm.shape)))
    cores = snap.value("PARALLEL_MODE", 0) + 1
    operand = snap.value("IFM_PRECISION") >> 8 & 3
    if operand == 3 or cores > 1:
        what = "two cores (ethos-u65-512) are" if cores > 1 else "operand scaling 3 is"
        raise NpuError(f"operation {snap.index} ({kind}): {what} not supported", snap.offset)
    has_weights = kind in ("CONV", "DEPTHWISE")
    global_scale = bool(snap.value("OFM_PRECISION") >> 8 & 1)
    act = snap.value("ACTIVATION")
    block = tuple(snap.value(f"OFM_BLK_{n}_M1", 0) + 1 for n in ("HEIGHT", "WIDTH", "DEPTH"))
    return Operation(
        snap.index, snap.offset, kind, mode, ifm, ifm2, ofm, kernel, upscale, scalar, bool(broadcast & 0x40),
        rounding, global_scale, snap.pair("OFM_SCALE"), snap.pair("OPA_SCALE"), snap.pair("OPB_SCALE"), operand,
        Activation(act & 0xFFF, snap.value("ACTIVATION_MIN"), snap.value("ACTIVATION_MAX"), act >> 12 & 7),
        (32, 40, 16, 16)[snap.value("ACC_FORMAT", 0) & 3], block,  # type: ignore[arg-type]
        _streams(snap, "WEIGHT", cores) if has_weights else (),
        _streams(snap, "SCALE", cores) if has_weights and not global_scale else (), cores)


def _streams(snap: Snapshot, name: str, cores: int) -> tuple[Stream, ...]:
    region = snap.value(f"{name}_REGION") & 7
    parts = (name, f"{name}1")[:cores]
    return tuple(Stream(region, snap.value(f"{p}_BASE"), snap.value(f"{p}_LENGTH")) for p in parts)


def _kernel(snap: Snapshot) -> Kernel:
    bits = snap.value("KERNEL_STRIDE")
    stride = ((bits >> 1 & 1 | bits >> 9 << 1) + 1, (bits & 1 | (bits >> 6 & 7) << 1) + 1)
    dilation = ((bits >> 4 & 1) + 1, (bits >> 3 & 1) + 1)
    sizes = []
    for name, step in zip(("HEIGHT", "WIDTH"), dilation, strict=True):
        extent = snap.value(f"KERNEL_{name}_M1")
        if extent % step or extent > 1 << 12:
            raise NpuError(f"operation {snap.index}: a kernel extent of {extent + 1} with dilation {step}", snap.offset)
        sizes.append(extent // step + 1)
    padding = tuple(snap.value(f"IFM_PAD_{side}", 0) for side in ("TOP", "LEFT", "BOTTOM", "RIGHT"))
    return Kernel(sizes[0], sizes[1], stride, dilation, padding, bool(bits >> 2 & 1))  # type: ignore[arg-type]


def _input_shape(ofm: tuple[int, int, int], kernel: Kernel, upscale: Upscale, depth: int,
                 elementwise: bool) -> tuple[int, ...]:
    """The input is as large as the output, kernel and padding need; no register holds it."""
    if elementwise:
        return ofm
    top, left, bottom, right = kernel.padding
    need = [(n - 1) * s + k - p for n, s, k, p in zip(
        ofm[:2], kernel.stride, kernel.extent, (top + bottom, left + right), strict=True)]
    if upscale is not Upscale.NONE:
        need = [(n + 1) // 2 for n in need]
    return max(need[0], 1), max(need[1], 1), depth


def _map(snap: Snapshot, name: str, shape: tuple[int, ...]) -> FeatureMap:
    precision = snap.value(f"{name}_PRECISION")
    width = precision >> (1 if name == "OFM" else 2) & 3
    if width == 3 or any(n > MAX_DIM for n in shape):
        raise NpuError(f"operation {snap.index}: {name} of shape {shape}, precision {precision:#x}", snap.offset)
    dtype = np.dtype(("i" if precision & 1 or width == 2 else "u") + str(1 << width)).newbyteorder("<")
    return FeatureMap(
        snap.value(f"{name}_REGION") & 7, tuple(snap.value(f"{name}_BASE{i}") for i in range(4)),  # type: ignore
        shape, tuple(snap.value(f"{name}_STRIDE_{axis}") for axis in "YXC"),  # type: ignore[arg-type]
        tuple(snap.value(f"{name}_{n}_M1") + 1 for n in ("HEIGHT0", "HEIGHT1", "WIDTH0")),  # type: ignore
        snap.value(f"{name}_ZERO_POINT", 0), dtype, bool(precision >> 6 & 1))
