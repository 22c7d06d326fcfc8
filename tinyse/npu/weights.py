"""Weights and scales of an operation, back in the order that people read.

The stream holds the weights in the order in which the MAC array eats them: OFM blocks, IFM blocks,
sub-kernels of at most 8x8 (less where dilated), OFM micro-blocks, kernel elements, IFM micro-blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyse.npu import codec
from tinyse.npu.fault import NpuError
from tinyse.npu.operations import Operation
from tinyse.npu.payload import Accelerator

MAX_TRAVERSAL = 1 << 25
MAX_BLOCKS = 1 << 15
SUB_KERNEL = 8


@dataclass(frozen=True)
class ScaleTable:
    """Per channel: bias (40 bit), scale (32 bit unsigned), shift (6 bit); int64 [channels]."""

    bias: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


def order(shape: tuple[int, int, int, int], block_depth: int, depthwise: bool, part_kernel: bool, bits: int,
          micro_ofm: int, micro_ifm: int, sub: tuple[int, int]) -> np.ndarray:
    """Where each weight of a stream belongs: flat index into OHWI ``shape``, -1 for padding (int32).

    Args:
        shape: (output channels, height, width, input channels); input channels 1 where ``depthwise``.
        block_depth: OFM block depth of the operation.
        part_kernel: part-kernel-first traversal.
        bits: width of the input map, 8 or 16.
        micro_ofm: OFM micro-block depth of the accelerator; ``micro_ifm`` likewise.
        sub: largest sub-kernel height and width.
    """
    out, height, width, deep = shape
    ifm_block = 16 if part_kernel or bits == 16 else 32
    parts = []
    for ofm_at in range(0, out, block_depth):
        ofm_size = min(block_depth, out - ofm_at)
        for ifm_at in range(0, 1 if depthwise else deep, ifm_block):
            ifm_size = min(ifm_block, deep - ifm_at) if part_kernel else ifm_block
            for y_at in range(0, height, sub[0]):
                for x_at in range(0, width, sub[1]):
                    high, wide = min(height - y_at, sub[0]), min(width - x_at, sub[1])
                    count = high * wide
                    if part_kernel:
                        count += -count % (2 if bits == 16 else 4)
                    elif depthwise:
                        count += -count % 4
                    outer = np.arange(0, ifm_size if part_kernel else 1, micro_ifm)
                    inner = np.arange(0, micro_ifm if depthwise or part_kernel else ifm_size, micro_ifm)
                    element = np.arange(count)
                    ky, kx = element // wide, element % wide
                    z_in = (outer.reshape(-1, 1, 1, 1, 1, 1) + inner.reshape(-1, 1, 1)
                            + np.arange(1 if depthwise else micro_ifm) + ifm_at)
                    z_out = (np.arange(0, ofm_size, micro_ofm).reshape(-1, 1, 1, 1, 1)
                             + np.arange(micro_ofm).reshape(-1, 1) + ofm_at)
                    row = (z_out * height + (y_at + ky).reshape(-1, 1, 1, 1)) * width
                    index = (row + (x_at + kx).reshape(-1, 1, 1, 1)) * deep + z_in
                    fine = (z_in < deep) & (z_out < out) & (ky < high).reshape(-1, 1, 1, 1)
                    parts.append(np.where(fine, index, -1).ravel().astype(np.int32))
    return np.concatenate(parts)


def read(op: Operation, accelerator: Accelerator, streams: list[bytes]) -> np.ndarray:
    """Decode an operation's weights to int16 OHWI.

    Args:
        streams: the encoded bytes, one a core.

    Raises:
        NpuError: absurd shape, or a stream that does not hold exactly the weights of the operation.
    """
    depthwise = op.kind == "DEPTHWISE"
    deep = 1 if depthwise else op.ifm.shape[2]
    shape = (op.ofm.shape[2], op.kernel.height, op.kernel.width, deep)
    _check_traversal(op, shape, depthwise)
    volume = np.zeros(shape, np.int16)
    micro_ofm = 4 if accelerator.macs == 32 else 8
    for core, data in enumerate(streams):
        if core >= shape[0]:
            break
        mine = np.zeros((len(range(core, shape[0], op.cores)), *shape[1:]), np.int16)
        depth = max((op.block[2] + op.cores - 1 - core) // op.cores, 1)
        place = order(mine.shape, min(depth, mine.shape[0]), depthwise, op.kernel.part_kernel,
                      8 * op.ifm.dtype.itemsize, micro_ofm, 8,
                      (SUB_KERNEL // op.kernel.dilation[0], SUB_KERNEL // op.kernel.dilation[1]))
        try:
            values = codec.decode(data, place.size)
        except NpuError as error:
            raise NpuError(f"operation {op.index} ({op.mode}): {error}", op.offset, error.hint) from error
        if values.size != place.size:
            raise NpuError(f"operation {op.index} ({op.mode}): the weight stream holds {values.size} values "
                           f"where the traversal needs {place.size}", op.offset)
        inside = place >= 0
        mine.reshape(-1)[place[inside]] = values[inside]
        volume[core :: op.cores] = mine
    return volume


def _check_traversal(op: Operation, shape: tuple[int, int, int, int], depthwise: bool) -> None:
    """Refuse a volume whose padded traversal would take unreasonable memory or time to lay out."""
    out, height, width, deep = shape
    padded = (out + 8) * (height * width + 4) * (1 if depthwise else deep + 32)
    blocks = (out // op.block[2] + 1) * (1 if depthwise else deep // 16 + 1)
    blocks *= (height * op.kernel.dilation[0] // SUB_KERNEL + 1) * (width * op.kernel.dilation[1] // SUB_KERNEL + 1)
    if padded > MAX_TRAVERSAL or blocks > MAX_BLOCKS or op.ifm.dtype.itemsize > 2:
        raise NpuError(f"operation {op.index} ({op.mode}) has weights of the absurd shape {shape}, "
                       f"block depth {op.block[2]}", op.offset)


def read_scales(op: Operation, streams: list[bytes]) -> ScaleTable:
    """Unpack an operation's 10-byte scale records; raises NpuError where they are too few."""
    channels = op.ofm.shape[2]
    table = np.zeros((channels, 10), np.int64)
    for core, data in enumerate(streams):
        count = len(range(core, channels, op.cores))
        if len(data) < 10 * count:
            raise NpuError(f"operation {op.index} ({op.mode}): {len(data)} bytes of scales for {count} channels",
                           op.offset)
        table[core :: op.cores] = np.frombuffer(data, np.uint8, 10 * count).reshape(count, 10)
    bias = (table[:, :5] << np.arange(0, 40, 8)).sum(axis=1)
    bias -= (bias >> 39) << 40
    return ScaleTable(bias, (table[:, 5:9] << np.arange(0, 32, 8)).sum(axis=1), table[:, 9] & 0x3F)
