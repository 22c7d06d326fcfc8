"""The output unit: accumulator to output map. Scale, round, activate, add the zero point, clamp."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from tinyse.npu import activation
from tinyse.npu.fault import NpuError
from tinyse.npu.operations import Operation, Rounding
from tinyse.npu.scaling import rescale, rescale_wide
from tinyse.npu.tensors import Memory

TABLE_BYTES = 2048
CLIP = {2: (0, 255), 3: (-128, 127), 5: (-32768, 32767)}
Finish = Callable[[np.ndarray], np.ndarray]
WIDEST = 1 << 62


def limits(op: Operation) -> tuple[int, int]:
    """The clamp that the operation ends with: activation range inside the type's."""
    if op.activation.clip in CLIP:
        low, high = CLIP[op.activation.clip]
    elif op.ofm.dtype.itemsize == 4:
        return -(1 << 31), (1 << 31) - 1
    else:
        info = np.iinfo(op.ofm.dtype)
        low, high = int(info.min), int(info.max)
    mask = op.ofm.dtype.kind == "u" and op.ofm.dtype.itemsize == 2
    ends = (op.activation.low & 0xFFFF, op.activation.high & 0xFFFF) if mask else (
        op.activation.low, op.activation.high)
    return max(low, ends[0]), min(high, ends[1])


def scaler(op: Operation, scale: np.ndarray | int, shift: np.ndarray | int, bound: int) -> Finish:
    """The scaling step alone, as a function of int64 accumulators.

    Args:
        bound: the largest magnitude that an accumulator can have, known beforehand.
    """
    top = int(np.max(scale, initial=0))
    if np.all(np.asarray(scale) == 1) and not np.any(shift):
        return lambda acc: acc
    if bound * max(top, 1) >= WIDEST:
        return lambda acc: rescale_wide(acc, scale, shift, op.rounding)
    if op.rounding is Rounding.TRUNCATE:
        return lambda acc: rescale(acc, scale, shift, op.rounding)
    return _fast_scaler(np.asarray(scale, np.int64), np.asarray(shift, np.int64), op.rounding)


def _fast_scaler(scale: np.ndarray, shift: np.ndarray, rounding: Rounding) -> Finish:
    """``rescale`` with its constants worked out once."""
    one = np.int64(1)
    first = np.minimum(shift, 31) if rounding is Rounding.TFL else shift
    nudge = (one << first) >> one
    rest = shift - first
    if not np.any(rest):
        return lambda acc: (acc * scale + nudge) >> first
    half = (one << rest) >> one
    signed = np.where(half > 0, one, 0)
    if np.all(signed == 1):
        def both(acc: np.ndarray) -> np.ndarray:
            value = (acc * scale + nudge) >> first
            value += value >> 63  # minus one where negative: ties go away from zero
            value += half
            value >>= rest
            return value
        return both

    def some(acc: np.ndarray) -> np.ndarray:
        value = (acc * scale + nudge) >> first
        return (value + half - ((value < 0) & (signed > 0))) >> rest
    return some


def finisher(op: Operation, scale_step: Finish, memory: Memory) -> Finish:
    """The whole way from int64 accumulators to values of the output map.

    Raises:
        NpuError: an activation that the simulator does not know for the output's type.
    """
    function = op.activation.function
    zero = op.ofm.zero_point if op.ofm.dtype.itemsize < 4 else 0  # 32-bit results have no zero point
    low, high = limits(op)
    if low > high:
        raise NpuError(f"operation {op.index} ({op.mode}) clamps to an empty range", op.offset)
    if function == 0:
        def plain(acc: np.ndarray) -> np.ndarray:
            value = scale_step(acc)
            if zero:
                value = value + zero
            return np.minimum(np.maximum(value, low), high)
        return plain
    if function in (activation.TANH, activation.SIGMOID):
        if op.ofm.dtype != np.int16:
            raise NpuError(f"operation {op.index} ({op.mode}): tanh and sigmoid give int16 only", op.offset)
        curve = _curve(function)

        def curved(acc: np.ndarray) -> np.ndarray:
            return np.minimum(np.maximum(curve(scale_step(acc)) + zero, low), high)
        return curved
    if activation.TABLE <= function < activation.TABLE + 8:
        return _table_step(op, scale_step, memory, low, high)
    raise NpuError(f"operation {op.index} ({op.mode}): activation {function} is not supported", op.offset)


REACH = 1 << 18


@cache
def _curve(function: int) -> Finish:
    """Tanh or sigmoid as one table over every argument that is not saturated."""
    line = np.arange(-REACH, REACH + 1, dtype=np.int64)
    table = (activation.tanh if function == activation.TANH else activation.sigmoid)(line)

    def look_up(value: np.ndarray) -> np.ndarray:
        return table[np.minimum(np.maximum(value, -REACH), REACH) + REACH]
    return look_up


def _table_step(op: Operation, scale_step: Finish, memory: Memory, low: int, high: int) -> Finish:
    slot, size, zero = op.activation.function - activation.TABLE, op.ofm.dtype.itemsize, op.ofm.zero_point
    shram = next(data for region, data in memory.regions.items() if region >= 0x100)
    tables = shram[shram.size - TABLE_BYTES :]
    length = {1: 256, 2: 2048, 4: 1024}[size]
    if (slot + 1) * length > TABLE_BYTES:
        raise NpuError(f"operation {op.index} ({op.mode}): table {slot} is outside the table memory", op.offset)
    mine = tables[slot * length : (slot + 1) * length]
    if size == 2:
        entries = mine.view("<u4")
        return lambda acc: activation.lookup16(
            np.minimum(np.maximum(scale_step(acc) + zero, low), high), entries)
    values = mine.view(op.ofm.dtype)
    bias = 128 if low < 0 or (size == 4 and op.activation.clip != 2) else 0
    low, high = (max(low, -128), min(high, 127)) if bias else (max(low, 0), min(high, 255))
    return lambda acc: values[np.minimum(np.maximum(scale_step(acc) + zero, low), high) + bias]
