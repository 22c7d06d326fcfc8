"""From a wide accumulator to the output grid: multiply by a 32-bit scale, shift right, round.

The three rounding rules of OFM_PRECISION, each exact on int64:

* TFL: TFLite's ``MultiplyByQuantizedMultiplier``, rounded twice. First the product is rounded to its
  upper 32 bits (half up), then the rest of the shift is rounded half away from zero.
* NATURAL: rounded once, half up.
* TRUNCATE: toward zero.

A shift of 31 or less leaves TFL with one rounding, and then TFL and NATURAL are the same.
"""

from __future__ import annotations

import numpy as np

from tinyse.npu.operations import Rounding


def divide_by_power(value: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """``value / 2**exponent`` rounded to nearest, half away from zero (int64; exponent >= 0)."""
    exponent = np.asarray(exponent, np.int64)
    half = (np.int64(1) << exponent) >> 1
    return (value + half - ((value < 0) & (half > 0))) >> exponent


def rescale(value: np.ndarray, scale: np.ndarray | int, shift: np.ndarray | int, rounding: Rounding) -> np.ndarray:
    """``value * scale / 2**shift`` as an integer.

    Args:
        value: int64, any shape; ``|value * scale|`` below 2**62.
        scale: unsigned 32 bit, scalar or broadcastable.
        shift: 0..63, scalar or broadcastable.
        rounding: the rule.

    Returns:
        int64 of the broadcast shape.
    """
    product = value * np.asarray(scale, np.int64)
    shift = np.asarray(shift, np.int64)
    if rounding is Rounding.TRUNCATE:
        return np.sign(product) * (np.abs(product) >> shift)
    first = np.minimum(shift, 31) if rounding is Rounding.TFL else shift
    rounded = (product + ((np.int64(1) << first) >> 1)) >> first
    if rounding is Rounding.TFL and np.any(shift > 31):
        return divide_by_power(rounded, shift - first)
    return rounded


def rescale_wide(value: np.ndarray, scale: np.ndarray | int, shift: np.ndarray | int,
                 rounding: Rounding) -> np.ndarray:
    """As ``rescale`` for products beyond 62 bits, in Python integers: exact and slow."""
    flat = [np.broadcast_to(np.asarray(a), np.broadcast_shapes(*map(np.shape, (value, scale, shift)))).ravel()
            for a in (value, scale, shift)]
    out = [_one(int(v), int(m), int(s), rounding) for v, m, s in zip(*flat, strict=True)]
    shape = np.broadcast_shapes(*map(np.shape, (value, scale, shift)))
    return np.array([max(min(v, 2**62), -(2**62)) for v in out], np.int64).reshape(shape)


def _one(value: int, scale: int, shift: int, rounding: Rounding) -> int:
    product = value * scale
    if rounding is Rounding.TRUNCATE:
        return -(-product >> shift) if product < 0 else product >> shift
    first = min(shift, 31) if rounding is Rounding.TFL else shift
    rounded = (product + ((1 << first) >> 1)) >> first
    rest = shift - first
    half = (1 << rest) >> 1
    return (rounded + half - (1 if rounded < 0 and half else 0)) >> rest
