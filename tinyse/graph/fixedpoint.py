"""TFLM's fixed-point arithmetic on NumPy arrays, bit for bit (reference kernels, double rounding).

Integers are carried in int64; results are what TFLM's int32 code gives wherever that does not overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    """Saturating rounding doubling high multiply: a * b / 2^31 to nearest, ties up, as gemmlowp's code has it."""
    return np.minimum((np.asarray(a, np.int64) * b + (1 << 30)) >> 31, ONE)


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


def clip(value: Ints, low: int, high: int) -> Ints:
    """``np.clip``, which takes three times as long over a few hundred integers."""
    return np.minimum(np.maximum(value, low), high)


def saturate16(value: Ints) -> Ints:
    """Clamp to int16."""
    return clip(value, -32768, 32767)


def rescaler(reals: ArrayLike) -> Callable[[Ints], Ints]:
    """``rescale`` by real multipliers (one, or one a channel, last axis) constants worked out; int64."""
    mantissa, shift = _multipliers(reals)
    factor, right = mantissa << np.maximum(shift, 0), np.maximum(-shift, 0)
    half = (np.int64(1) << right) >> 1
    twice = bool(right.any())
    ties = -(half > 0).astype(np.int64)  # all bits where a negative tie must go away from zero

    def apply(value: Ints) -> Ints:
        value = value * factor
        value += 1 << 30
        value >>= 31
        if twice:
            value += (value >> 63) & ties
            value += half
            value >>= right
        return value
    return apply


def rescaler16(reals: ArrayLike) -> Callable[[Ints], Ints]:
    """As ``rescaler``, by TFLM's rule for 64-bit sums: the multiplier rounded to 16 bits, the product rounded once."""
    mantissa, shift = _multipliers(reals)
    reduced = np.where(mantissa < 0x7FFF0000, (mantissa + (1 << 15)) >> 16, 0x7FFF)
    total = 15 - shift
    half = np.int64(1) << (total - 1)
    return lambda value: (value * reduced + half) >> total


def _multipliers(reals: ArrayLike) -> tuple[Ints, Ints]:
    pairs = np.array([quantize_multiplier(real) for real in np.atleast_1d(np.asarray(reals, np.float64))], np.int64)
    return pairs[:, 0], pairs[:, 1]


def sigmoid16(value: Ints) -> Ints:
    """int16 sigmoid: Q3.12 in, Q0.15 out."""
    return sigmoid_curve(3 * np.asarray(value, np.int64))


def tanh16(value: Ints, power: int = 12) -> Ints:
    """int16 tanh: scale 2^-power in, Q0.15 out."""
    value = np.asarray(value, np.int64)
    return tanh_curve(3 * value << (12 - power) if power <= 12
                      else (3 * value + (1 << (power - 13))) >> (power - 12))


def sigmoid_curve(value: Ints) -> Ints:
    """Sigmoid of steps of 1/12288, Q0.15 out, by TFLite's interpolated table (step 1/24, 9 fraction bits)."""
    size = np.abs(value)
    index = np.minimum(size >> 9, 254)
    low, high = _TABLE[index], _TABLE[index + 1]
    result = np.where((size >> 9) >= 255, 0x7FFF << 10, (low << 9) + (size & 0x1FF) * (high - low))
    return np.where(value >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10


def tanh_curve(value: Ints) -> Ints:
    """Tanh of steps of 1/12288, Q0.15 out: tanh(x) = 2 sigmoid(2x) - 1 on the same table."""
    size = np.abs(value)
    index = np.minimum(size >> 8, 254)
    low, high = _TABLE[index], _TABLE[index + 1]
    result = np.where((size >> 8) >= 255, 0xFFFF << 8, (low << 8) + (size & 0xFF) * (high - low))
    half = 1 << 23
    return np.where(value >= 0, result - half + (1 << 7), half - result + (1 << 7) - 1) >> 8


def curve_argument(value: Ints, scale: float, shifts: tuple[int, ...]) -> Ints:
    """int16 values of ``scale`` in the steps of 1/12288 that the int16 operators LOGISTIC and TANH interpolate at.

    Args:
        shifts: where scale is 2^(shift - 12) with one of these, or within 0.07 % of it, only these bits are shifted.
    """
    power = np.log(np.float32(scale)) * (np.float32(1) / np.log(np.float32(2)))
    shift = 12 + int(np.rint(power))
    if shift in shifts and abs(power - np.rint(power)) < np.float32(1e-3):
        return 3 * value << shift
    multiplier, left = scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and left <= 30:
        multiplier, left = 2.0 * multiplier, left + 1
    return (value * int(multiplier) + ((1 << left) >> 1)) >> left


def sigmoid8_table(scale: float, zero_point: int) -> NDArray[np.int8]:
    """int8 sigmoid of every int8 input, index = input + 128; output scale 1/256, zero point -128."""
    inside, sign, q4 = _to_q4(scale, zero_point)
    rounded = np.clip(divide_by_power(_logistic_q4(q4), 23) - 128, -128, 127)
    return np.where(inside, rounded, np.where(sign > 0, 127, -128)).astype(np.int8)


def tanh8_table(scale: float, zero_point: int) -> NDArray[np.int8]:
    """int8 tanh of every int8 input, index = input + 128; output scale 1/128, zero point 0."""
    inside, sign, q4 = _to_q4(scale, zero_point)
    rounded = np.clip(divide_by_power(_tanh_q4(q4), 24), -128, 127)
    return np.where(inside, rounded, np.where(sign > 0, 127, -128)).astype(np.int8)


def _to_q4(scale: float, zero_point: int) -> tuple[NDArray[np.bool_], Ints, Ints]:
    """Every int8 input: whether it is within +-16 real units, centred, and as Q4.27."""
    mantissa, shift = quantize_multiplier(float(scale) * 2.0**27)
    radius = math.floor(15.0 * 2.0**27 / 2.0**shift)
    centred = np.arange(-128, 128, dtype=np.int64) - zero_point
    inside = np.abs(centred) < radius
    return inside, centred, rescale(np.where(inside, centred, 0), mantissa, shift)


def _logistic_q4(value: Ints) -> Ints:
    """gemmlowp's logistic: Q4.27 in, Q0.31 out."""
    positive = _one_over_one_plus(_exp_of_negative(-np.abs(value), 4))
    result = np.where(value > 0, positive, ONE - positive)
    return np.where(value == 0, 1 << 30, result)


def _tanh_q4(value: Ints) -> Ints:
    """gemmlowp's tanh: Q4.27 in, Q0.31 out; (1 - e) / (1 + e) with e = exp(-2|x|), read as Q5.26."""
    size = _one_less_over_one_plus(_exp_of_negative(-np.abs(value), 5))
    return np.where(value == 0, 0, np.sign(value) * size)


def _shift_up(value: Ints, bits: int) -> Ints:
    return np.clip(np.asarray(value, np.int64) << bits, -(2**31), ONE)


def _exp_of_negative(value: Ints, whole: int) -> Ints:
    """exp of values <= 0 of ``whole`` integer bits as Q0.31: last quarter a polynomial, rest a product."""
    quarter = 1 << (29 - whole)
    last = (value & (quarter - 1)) - quarter
    result = _exp_of_quarter(_shift_up(last, whole))
    rest = last - value
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for bit, factor in enumerate(factors[:whole + 2], start=29 - whole):
        result = np.where(rest & (1 << bit), high_mul(result, factor), result)
    return np.where(value == 0, ONE, result)


def _exp_of_quarter(value: Ints) -> Ints:
    """exp of Q0.31 values in [-1/4, 0): the Taylor polynomial around -1/8."""
    x = value + (1 << 28)
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    higher = divide_by_power(high_mul(divide_by_power(x4, 2) + x3, 715827883) + x2, 1)
    return np.minimum(1895147668 + high_mul(x + higher, 1895147668), ONE)


def _reciprocal(value: Ints) -> Ints:
    """2 / (1 + x) of Q0.31 values in [0, 1] as Q2.29: three Newton steps."""
    half = (value + ONE + 1) >> 1
    x = 1515870810 + high_mul(half, -1010580540)
    for _ in range(3):
        x = x + _shift_up(high_mul(x, (1 << 29) - high_mul(half, x)), 2)
    return x


def _one_over_one_plus(value: Ints) -> Ints:
    """1 / (1 + x) of Q0.31 values in [0, 1]."""
    return _shift_up(_reciprocal(value), 1)


def _one_less_over_one_plus(value: Ints) -> Ints:
    """(1 - x) / (1 + x) of Q0.31 values in [0, 1]."""
    return _shift_up(_reciprocal(value) - (1 << 29), 2)
