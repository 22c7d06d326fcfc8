"""Matrix: weights and biases as integers, of 8 bits or fewer, and the sums that products with them are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyse.graph.grid import CLIPS, Grid
from tinyse.train.arithmetic import Rescale, limits, product_gradient, ste, whole
from tinyse.train.keras import tf

Tops = Any
"""The largest integers of weights of fewer than 8 bits, a number or one a column; None: 127."""
FLOAT32_EXACT = 2**24
"""Sums of integers below it are exact in float32: products of up to 518 int8 inputs and weights always are."""


def carrier(inputs: int, x: Grid, exact: bool, dtype: Any) -> Any:
    """The float type in which a product of ``inputs`` int8 weights and values on ``x`` is summed.

    Sums of 16-bit values are of 24 leading bits in training: a hundredth of a step of what they become.
    """
    peak = max(abs(limit) for limit in limits(x))
    sums = inputs * 127 * peak
    return tf.float64 if exact or (x.bits <= 8 and sums >= FLOAT32_EXACT) else dtype


def bias_steps(bias: Any, unit: Any) -> Any:
    """Biases in whole ``unit``s, in its type; exact ones with halves away from zero."""
    ratio = tf.cast(bias, unit.dtype) / unit
    return tf.sign(ratio) * tf.floor(tf.abs(ratio) + 0.5) if unit.dtype == tf.float64 else tf.round(ratio)


def few(matrix: Any, tops: Any, axes: Any) -> tuple[Any, Any]:
    """Scales and integers of weights of few bits: within +-``tops``, at the least squared error of ``CLIPS``.

    Args:
        matrix: real. tops: largest integers, as the scales. axes: those that share a scale.

    Returns:
        Scales without ``axes``, 0 where there is nothing; integers as ``matrix``. Neither passes a gradient.
    """
    given = tf.stop_gradient(matrix)
    peak = tf.reduce_max(tf.abs(given), axes, keepdims=True)
    tops = tf.reshape(tf.cast(tops, given.dtype) + tf.zeros_like(tf.squeeze(peak, axes)), tf.shape(peak))
    unit = tf.where(peak > 0.0, peak, tf.ones_like(peak)) / tops

    def steps(scale: Any) -> Any:
        return tf.clip_by_value(tf.round(given / scale), -tops, tops)

    best, least = unit, tf.fill(tf.shape(peak), tf.constant(np.inf, given.dtype))
    for share in CLIPS:
        error = tf.reduce_sum(tf.square(steps(share * unit) * (share * unit) - given), axes, keepdims=True)
        better = (error < least) & ((share == 1.0) | (tops < 127.0))
        best, least = tf.where(better, share * unit, best), tf.where(better, error, least)
    return tf.squeeze(tf.where(peak > 0.0, best, tf.zeros_like(best)), axes), steps(best)


@dataclass(frozen=True)
class Matrix:
    """A kernel with an int8 scale a column, and its bias, as they enter products on grids.

    Attributes:
        kernel: [in, out], on its grid, straight through. bias: [out], as trained. scale: [out].
        values, steps: integers of both, in the type of the sums. unit: [out], what a sum counts in.
    """

    kernel: Any
    bias: Any
    scale: Any
    values: Any
    steps: Any
    unit: Any

    @staticmethod
    def of(kernel: Any, bias: Any, x: Grid, exact: bool, tops: Tops = None) -> Matrix:
        """Round kernel [in, out] and bias [out] for an input on ``x``; ``tops`` where it has fewer than 8 bits."""
        size = tf.stop_gradient(tf.abs(bias))
        alone = size / (x.scale * 2.0**30)  # as lowering has it
        if tops is None:
            least, given = tf.stop_gradient(tf.reduce_max(tf.abs(kernel), axis=0)) / 127.0, kernel
        else:
            least, steps = few(kernel, tops, 0)
            given = steps * least
        scale = tf.where(least > 0.0, tf.maximum(least, alone), tf.where(size > 0.0, alone, tf.ones_like(size)))
        rounded = ste(tf.round(given / scale) * scale, kernel)
        dtype = carrier(int(kernel.shape[0]), x, exact, kernel.dtype)
        unit = tf.cast(scale, dtype) * x.scale
        return Matrix(rounded, bias, scale, tf.cast(tf.round(rounded / scale), dtype), bias_steps(bias, unit), unit)

    def counts(self, rows: Any, x: Grid) -> Any:
        """Sums of real ``rows`` [n, in] that lie on ``x``: [n, out]."""
        return tf.matmul(whole(rows, x, self.values.dtype), self.values) + self.steps

    def real(self, counts: Any, rows: Any) -> Any:
        """What the sums are worth, with the gradient of the real product."""
        return product_gradient(tf.cast(counts * self.unit, rows.dtype), rows, self.kernel, self.bias)

    def rescale(self, out: Any, x: Grid) -> Rescale:
        """From sums to integers of scale ``out``, a number or one a column."""
        return Rescale.of(self.unit / tf.constant(out, self.unit.dtype), x.bits > 8)
