"""Integer operators on float tensors, for training: what TFLM rounds is rounded, the gradient goes straight through.

Integers are carried centred (q - zero point) in floats. float32 is fast and rounds as TFLM but for the odd tie; float64
is **exact**: whatever is given in it is computed to TFLM's last bit, by 64-bit integers where a product needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyse.graph.fixedpoint import sigmoid8_table, tanh8_table
from tinyse.graph.graph import SIGMOID8, TANH8
from tinyse.graph.grid import GATE_ONE, INT16, UNIT_ONE, Grid, sigmoid_table
from tinyse.train.keras import tf


def ste(rounded: Any, real: Any) -> Any:
    """``rounded`` forward, the gradient of ``real`` backward; a graph does not compute what only ``real`` needs."""

    @tf.custom_gradient
    def run(real: Any) -> Any:
        return tf.identity(rounded), lambda d: d

    return run(real)


def product_gradient(rounded: Any, rows: Any, kernel: Any, bias: Any) -> Any:
    """``rounded`` [n, out] forward, the gradient of ``rows @ kernel + bias`` backward, without that product."""

    @tf.custom_gradient
    def run(rows: Any, kernel: Any, bias: Any) -> Any:
        def grad(d: Any) -> Any:
            return tf.matmul(d, kernel, transpose_b=True), tf.matmul(rows, d, transpose_a=True), tf.reduce_sum(d, 0)

        return tf.identity(rounded), grad

    return run(rows, kernel, bias)


def away(dtype: Any) -> float:
    """A factor a hair above 1 that turns rounding half to even into rounding half away from zero."""
    return 1.0 + (2.0**-45 if dtype == tf.float64 else 2.0**-22)


def shifted(value: Any, shift: int, exact: bool) -> Any:
    """value * 2^-shift as TFLM rescales by a power of two: half of it rounded up, the rest away from zero."""
    if not exact:
        return tf.round(value * 2.0**-shift)
    return tf.round(tf.floor(value * 0.5 + 0.5) * (2.0 ** (1 - shift) * away(value.dtype)))


def limits(grid: Grid, relu: bool = False) -> tuple[float, float]:
    """Least and largest centred integer of a grid; after a ReLU none is negative."""
    low = float(grid.least - grid.zero_point)
    return (max(low, 0.0) if relu else low), float(grid.most - grid.zero_point)


def to_grid(value: Any, grid: Grid) -> Any:
    """Centred integers of real values, as floats."""
    return tf.clip_by_value(tf.round(value / grid.scale), *limits(grid))


def whole(value: Any, grid: Grid, dtype: Any) -> Any:
    """Centred integers, in ``dtype``, of real values that lie on ``grid``."""
    return tf.cast(tf.round(value / grid.scale), dtype)


@dataclass(frozen=True)
class Rescale:
    """TFLM's MultiplyByQuantizedMultiplier on float tensors that hold integers.

    A multiplier is a mantissa in [1/2, 1) and a power of two: the product with the mantissa is rounded, and then the
    shift by that power rounds again, ties away from zero. The second rounding is coarse: with a shift of two bits it
    moves one result in eight by one, so training must know it. Sums of 16-bit products are rounded once, by a mantissa
    of 16 bits.

    Attributes:
        first: mantissa, as a factor on accumulators; exact: Q0.31 with the left shift in it, int64.
        second: 2^-shift, a hair larger so that rounding to even becomes rounding away from zero; exact: the shift.
        once: whether the operator rounds once.
    """

    first: Any
    second: Any
    once: bool = False

    @staticmethod
    def of(multiplier: Any, once: bool = False) -> Rescale:
        """From real multipliers, a tensor; those of float64 make it exact."""
        if multiplier.dtype == tf.float64:
            return Rescale._exact(multiplier, once)
        if once:
            power = tf.pow(tf.constant(2.0, multiplier.dtype), tf.floor(tf.math.log(multiplier) / np.log(2.0)) - 14.0)
            return Rescale(tf.floor(multiplier / power + 0.5) * power, None, True)
        exponent = tf.minimum(tf.floor(tf.math.log(multiplier) * (1.0 / np.log(2.0)) + 1e-6) + 1.0, 0.0)
        power = tf.pow(tf.constant(2.0, multiplier.dtype), exponent)
        return Rescale(multiplier / power, power * away(multiplier.dtype))

    @staticmethod
    def _exact(multiplier: Any, once: bool) -> Rescale:
        bits = tf.bitcast(multiplier, tf.int64)
        shift = tf.bitwise.right_shift(bits, _int64(52)) - 1022
        fraction = tf.bitwise.bitwise_or(tf.bitwise.bitwise_and(bits, _int64(2**52 - 1)), _int64(2**52))
        mantissa = tf.bitwise.right_shift(fraction + 2**21, _int64(22))
        mantissa = tf.where(shift < -31, _int64(0), mantissa)
        shift = tf.where(mantissa == 0, _int64(0), shift)
        if once:
            reduced = tf.minimum(tf.bitwise.right_shift(mantissa + 2**15, _int64(16)), 0x7FFF)
            return Rescale(reduced, 15 - shift, True)
        return Rescale(tf.bitwise.left_shift(mantissa, tf.maximum(shift, 0)), tf.maximum(-shift, 0))

    def __call__(self, counts: Any) -> Any:
        """Integers to integers, as floats; not clipped. The first rounding takes ties up, the second away from zero."""
        if counts.dtype != tf.float64:
            return tf.round(counts * self.first) if self.once else tf.round(
                tf.floor(counts * self.first + 0.5) * self.second)
        value, shift = tf.cast(counts, tf.int64) * self.first, self.second
        if self.once:
            half = tf.bitwise.left_shift(tf.ones_like(shift), shift - 1)
            return tf.cast(tf.bitwise.right_shift(value + half, shift + tf.zeros_like(value)), tf.float64)
        value = tf.bitwise.right_shift(value + 2**30, _int64(31))
        half = tf.bitwise.right_shift(tf.bitwise.left_shift(tf.ones_like(shift), shift), _int64(1))
        negative = tf.cast((value < 0) & (shift > 0), tf.int64)
        value = tf.bitwise.right_shift(value + half - negative, shift + tf.zeros_like(value))
        return tf.cast(value, tf.float64)


def _int64(value: int) -> Any:
    return tf.constant(value, tf.int64)


def rescaled(counts: Any, multiplier: Any) -> Any:
    """``counts`` by a constant multiplier, a number or one a channel; fast ones are rounded once, ties away."""
    if counts.dtype == tf.float64:
        return Rescale.of(tf.constant(multiplier, tf.float64))(counts)
    return tf.round(counts * tf.constant(np.asarray(multiplier) * away(counts.dtype), counts.dtype))


def added(a: Any, b: Any, scales: tuple[Any, Any], out: Any, bits: int, sign: int = 1) -> Any:
    """ADD, or SUB by ``sign`` -1: centred integers of two scales onto a third; not clipped."""
    first, second = (np.asarray(scale, np.float64) for scale in scales)
    if a.dtype != tf.float64:
        return rescaled(a * tf.constant(first / out, a.dtype) + sign * b * tf.constant(second / out, a.dtype), 1.0)
    twice, head = 2.0 * np.maximum(first, second), 2.0 ** (20 if bits <= 8 else 15)
    total = rescaled(a * head, first / twice) + sign * rescaled(b * head, second / twice)
    return rescaled(total, twice / (head * out))


def curve(name: str, value: Any, grid: Grid) -> Any:
    """LOGISTIC ("sigmoid") or TANH of centred integers on ``grid``, onto that operator's own grid, centred.

    Sums of few bits take TFLM's table in the fast arithmetic too: they meet the same few entries again and again, and
    a recurrence on coarse grids makes whole steps of the last bit that an entry is off.
    """
    exact, sigmoid = value.dtype == tf.float64, name == "sigmoid"
    if grid.bits > 8:
        finest = grid.scale * GATE_ONE
        if exact or finest > 1.0:
            wide = tf.cast(value, tf.float64) * finest
            return tf.cast(table_sigmoid(wide) if sigmoid else table_tanh(wide, 12), value.dtype)
        function = tf.sigmoid if sigmoid else tf.tanh
        return tf.minimum(tf.round(function(value * grid.scale) * UNIT_ONE), INT16)
    table = sigmoid8_table(grid.scale, grid.zero_point) + 128.0 if sigmoid else tanh8_table(
        grid.scale, grid.zero_point) + 0.0
    index = tf.clip_by_value(tf.cast(value, tf.int32) + (grid.zero_point + 128), 0, 255)
    return tf.gather(tf.constant(table, value.dtype), index)


def curved(name: str, value: Any, grid: Grid, exact: bool) -> Any:
    """Sigmoid or tanh of real values on an int8 ``grid``, on its own grid, straight through."""
    function, out = (tf.sigmoid, SIGMOID8) if name == "sigmoid" else (tf.tanh, TANH8)
    steps = curve(name, whole(value, grid, tf.float64 if exact else value.dtype), grid)
    return ste(tf.cast(steps, value.dtype) * out.scale, function(value))


def step_slope(value: Any) -> Any:
    """What stands for the slope of a step at 1/2: 1 / (|value - 1/2| + 1)^2."""
    return 1.0 / tf.square(tf.abs(value - 0.5) + 1.0)


def heaviside(value: Any, rounded: Any = None) -> Any:
    """1 where ``value`` >= 1/2, else 0, or ``rounded`` where given; its gradient is ``step_slope``."""

    @tf.custom_gradient
    def run(value: Any) -> Any:
        def grad(d: Any) -> Any:
            return d * step_slope(value)

        return (tf.cast(value >= 0.5, value.dtype) if rounded is None else tf.identity(rounded)), grad

    return run(value)


def table_sigmoid(z: Any) -> Any:
    """TFLite's interpolated int16 sigmoid: Q3.12 in, Q0.15 out, both as float64 integers."""
    table = tf.constant(sigmoid_table(), z.dtype)
    scaled = tf.abs(z) * 3.0
    index = tf.floor(scaled / 512.0)
    fraction = scaled - 512.0 * index
    at = tf.cast(tf.minimum(index, 254.0), tf.int32)
    left, right = tf.gather(table, at), tf.gather(table, at + 1)
    result = left * 512.0 + fraction * (right - left)
    result = tf.where(index >= 255.0, tf.constant(float(0x7FFF << 10), z.dtype), result)
    result = tf.where(z >= 0.0, result + 512.0, float(1 << 25) - result + 511.0)
    return tf.floor(result / 1024.0)


def table_tanh(c: Any, power: int) -> Any:
    """TFLite's interpolated int16 tanh of a cell on scale 2^-power: Q0.15 out, as float64 integers."""
    table = tf.constant(sigmoid_table(), c.dtype)
    # The table is entered at 3 / 2^8 of a Q3.12 input; tanh(x) = 2 sigmoid(2x) - 1.
    shift = 12 - power
    scaled = tf.abs(c) * (3.0 * 2.0**shift) if shift >= 0 else tf.floor(c * 3.0 * 2.0**shift + 0.5)
    positive = c >= 0.0 if shift >= 0 else scaled >= 0.0
    scaled = tf.abs(scaled)
    index = tf.floor(scaled / 256.0)
    fraction = scaled - 256.0 * index
    at = tf.cast(tf.minimum(index, 254.0), tf.int32)
    left, right = tf.gather(table, at), tf.gather(table, at + 1)
    result = left * 256.0 + fraction * (right - left)
    result = tf.where(index >= 255.0, tf.constant(float(0xFFFF << 8), c.dtype), result)
    offset = float(1 << (14 + 9))
    half = float(1 << 7)
    result = tf.where(positive, result - offset + half, -result + offset + half - 1.0)
    return tf.floor(result / 256.0)
