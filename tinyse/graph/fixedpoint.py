"""TFLM's fixed-point arithmetic on NumPy arrays, bit for bit (reference kernels, double rounding).

Integers are carried in int64; results are what TFLM's int32 code gives wherever that does not overflow.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.grid import sigmoid_table

Ints = NDArray[np.int64]
ONE = 2**31 - 1
_TABLE = sigmoid_table().astype(np.int64)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """A positive real multiplier as (Q0.31 mantissa, left shift): real = mantissa * 2^(shift - 31)."""
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    mantissa = math.floor(fraction * 2.0**31 + 0.5)
    if mantissa == 2**31:
        mantissa, shift = mantissa // 2, shift + 1
    return (0, 0) if shift < -31 else (mantissa, shift)


def high_mul(a: Ints, b: Ints | int) -> Ints:
    """Saturating rounding doubling high multiply: round(a * b / 2^31), ties away from zero."""
    product = np.asarray(a, np.int64) * b
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    # Truncates towards zero, as C++ division does; >> would floor.
    rounded = np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31))
    return np.minimum(rounded, ONE)


def divide_by_power(value: Ints, exponent: Ints | int) -> Ints:
    """value / 2^exponent, rounded to nearest, ties away from zero."""
    value = np.asarray(value, np.int64)
    mask = (np.int64(1) << np.asarray(exponent, np.int64)) - 1
    above = (value & mask) > (mask >> 1) + (value < 0)
    return (value >> exponent) + above


def rescale(value: Ints, mantissa: Ints | int, shift: Ints | int) -> Ints:
    """MultiplyByQuantizedMultiplier with double rounding; arrays broadcast (per channel)."""
    left, right = np.maximum(shift, 0), np.maximum(-np.asarray(shift), 0)
    return divide_by_power(high_mul(np.asarray(value, np.int64) << left, mantissa), right)


def saturate16(value: Ints) -> Ints:
    """Clamp to int16."""
    return np.clip(value, -32768, 32767)


def sigmoid16(value: Ints) -> Ints:
    """int16 sigmoid: Q3.12 in, Q0.15 out, by TFLite's interpolated table (step 1/24, 9 fraction bits)."""
    scaled = 3 * np.asarray(value, np.int64)
    size = np.abs(scaled)
    index = np.minimum(size >> 9, 254)
    low, high = _TABLE[index], _TABLE[index + 1]
    result = np.where((size >> 9) >= 255, 0x7FFF << 10, (low << 9) + (size & 0x1FF) * (high - low))
    return np.where(scaled >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10


def tanh16(value: Ints, power: int = 12) -> Ints:
    """int16 tanh: scale 2^-power in, Q0.15 out; tanh(x) = 2 sigmoid(2x) - 1 on the same table."""
    value = np.asarray(value, np.int64)
    scaled = 3 * value << (12 - power) if power <= 12 else (3 * value + (1 << (power - 13))) >> (power - 12)
    size = np.abs(scaled)
    index = np.minimum(size >> 8, 254)
    low, high = _TABLE[index], _TABLE[index + 1]
    result = np.where((size >> 8) >= 255, 0xFFFF << 8, (low << 8) + (size & 0xFF) * (high - low))
    half = 1 << 23
    return np.where(scaled >= 0, result - half + (1 << 7), half - result + (1 << 7) - 1) >> 8


def sigmoid8_table(scale: float, zero_point: int) -> NDArray[np.int8]:
    """int8 sigmoid of every int8 input, index = input + 128; output scale 1/256, zero point -128."""
    fraction, shift = math.frexp(float(scale) * 2.0**27)
    mantissa = math.floor(fraction * 2.0**31 + 0.5)
    radius = math.floor(15.0 * 2.0**27 / 2.0**shift)
    centred = np.arange(-128, 128, dtype=np.int64) - zero_point
    inside = np.abs(centred) < radius
    q4 = rescale(np.where(inside, centred, 0), mantissa, shift)
    rounded = np.clip(divide_by_power(_logistic_q4(q4), 23) - 128, -128, 127)
    return np.where(inside, rounded, np.where(centred > 0, 127, -128)).astype(np.int8)


def _logistic_q4(value: Ints) -> Ints:
    """gemmlowp's logistic: Q4.27 in, Q0.31 out."""
    exponential = _exp_of_negative(-np.abs(value))
    positive = _one_over_one_plus(exponential)
    result = np.where(value > 0, positive, ONE - positive)
    return np.where(value == 0, 1 << 30, result)


def _shift_up(value: Ints, bits: int) -> Ints:
    return np.clip(np.asarray(value, np.int64) << bits, -(2**31), ONE)


def _exp_of_negative(value: Ints) -> Ints:
    """exp of Q4.27 values <= 0 as Q0.31: a polynomial on the last quarter, a product for the rest."""
    quarter = 1 << 25
    last = (value & (quarter - 1)) - quarter
    result = _exp_of_quarter(_shift_up(last, 4))
    rest = last - value
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401)
    for bit, factor in enumerate(factors, start=25):
        result = np.where(rest & (1 << bit), high_mul(result, factor), result)
    return np.where(value == 0, ONE, result)


def _exp_of_quarter(value: Ints) -> Ints:
    """exp of Q0.31 values in [-1/4, 0): the Taylor polynomial around -1/8."""
    x = value + (1 << 28)
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    higher = divide_by_power(high_mul(divide_by_power(x4, 2) + x3, 715827883) + x2, 1)
    return np.minimum(1895147668 + high_mul(x + higher, 1895147668), ONE)


def _one_over_one_plus(value: Ints) -> Ints:
    """1 / (1 + x) of Q0.31 values in [0, 1]: three Newton steps."""
    half = (value + ONE + 1) >> 1
    x = 1515870810 + high_mul(half, -1010580540)
    for _ in range(3):
        x = x + _shift_up(high_mul(x, (1 << 29) - high_mul(half, x)), 2)
    return _shift_up(x, 1)
