"""Elementwise operations: two maps, or a map and a scalar, or one map, to int64 accumulators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinyse.npu.operations import FeatureMap, Operation, Rounding
from tinyse.npu.scaling import divide_by_power, rescale, rescale_wide
from tinyse.npu.tensors import Reader

HEADROOM = {1: 20, 2: 15, 4: 0}
Accumulate = Callable[[], np.ndarray]


def _peak(fm: FeatureMap) -> int:
    info = np.iinfo(fm.dtype)
    return max(abs(int(info.min) - fm.zero_point), abs(int(info.max) - fm.zero_point))


def _operand(fm: FeatureMap, read: Reader) -> Callable[[], np.ndarray]:
    zero = fm.zero_point
    if zero and fm.dtype.itemsize < 4:
        return lambda: read().astype(np.int64) - zero
    return lambda: read().astype(np.int64)


def prepare(op: Operation, read: Reader, read2: Reader | None) -> tuple[Accumulate, int]:
    """The function that combines the operands, and the largest magnitude it can give.

    ``ifm2`` is broadcast where the operation says so; ``reverse`` swaps the operands.
    """
    first, peak = _operand(op.ifm, read), _peak(op.ifm)
    if op.mode in ("ABS", "LRELU", "CLZ"):
        return _unary(op, first, peak)
    if op.ifm2 is not None and read2 is not None:
        second, peak2 = _operand(op.ifm2, read2), _peak(op.ifm2)
    else:
        fixed = np.array(op.scalar or 0, np.int64)
        second, peak2 = (lambda: fixed), abs(op.scalar or 0)
    if op.reverse:
        first, second, peak, peak2 = second, first, peak2, peak
    if op.mode == "MUL":
        return (lambda: first() * second()), peak * peak2
    if op.mode in ("ADD", "SUB"):
        return _sum(op, first, second, peak, peak2)
    if op.mode == "MIN":
        return (lambda: np.minimum(first(), second())), max(peak, peak2)
    if op.mode == "MAX":
        return (lambda: np.maximum(first(), second())), max(peak, peak2)
    if op.mode == "SHL":
        return (lambda: _wrap(first() << np.minimum(np.maximum(second(), 0), 31))), 1 << 31
    return (lambda: _shift_right(first(), np.minimum(np.maximum(second(), 0), 31), op.rounding)), peak


def _wrap(value: np.ndarray) -> np.ndarray:
    return value.astype(np.int32).astype(np.int64)


def _shift_right(value: np.ndarray, shift: np.ndarray, rounding: Rounding) -> np.ndarray:
    if rounding is Rounding.TFL:
        return divide_by_power(value, shift)
    return rescale(value, 1, shift, rounding)


def _unary(op: Operation, read: Callable[[], np.ndarray], peak: int) -> tuple[Accumulate, int]:
    if op.mode == "ABS":
        return (lambda: np.abs(read())), peak
    if op.mode == "LRELU":
        return read, peak

    def leading_zeros() -> np.ndarray:
        value = read() & 0xFFFFFFFF
        return 32 - np.ceil(np.log2(value + 1.0)).astype(np.int64)
    return leading_zeros, 32


def _sum(op: Operation, first: Callable[[], np.ndarray], second: Callable[[], np.ndarray],
         peak: int, peak2: int) -> tuple[Accumulate, int]:
    """Addition: both operands scaled by 16 bit, or one by 32 bit and the other shifted to meet it."""
    sign = -1 if op.mode == "SUB" else 1
    if op.operand_to_scale == 0:
        a, b = op.opa[0] & 0xFFFF, sign * (op.opb[0] & 0xFFFF)
        bound = peak * a + peak2 * abs(b)
        if a == 1 and abs(b) == 1:
            return (lambda: first() + second() if sign > 0 else first() - second()), bound
        if a == b:
            return (lambda: (first() + second()) * a), bound
        return (lambda: first() * a + second() * b), bound
    room = HEADROOM[op.ifm.dtype.itemsize]
    scale, shift = op.opa
    tall = max(peak, peak2) * scale >= 1 << 62
    step = rescale_wide if tall else rescale

    def scaled(value: np.ndarray) -> np.ndarray:
        if op.rounding is not Rounding.TFL or shift <= 31 - room or room == 0:
            return step(value, scale, shift, op.rounding)
        return divide_by_power(step(value, scale, 31 - room, Rounding.NATURAL), shift - 31 + room)

    other = max(room - 1, 0)
    bound = (max(peak, peak2) << (other + 1)) + (max(peak, peak2) * scale >> shift)
    if op.operand_to_scale == 1:
        return (lambda: scaled(first()) + sign * (second() << other)), bound
    return (lambda: (first() << other) + sign * scaled(second())), bound
