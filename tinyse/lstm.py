"""The LSTM that trains fast, in float and on the integer grid of TFLM's LSTM, with one recurrence.

Keras' own LSTM multiplies for every weight gradient at every frame. Here the input projection of all
frames is one product, the recurrence keeps only ``h @ U``, and the backward pass gathers the gate gradients
so that the recurrent weight gradient is again one product. The result equals ``tf_keras.layers.LSTM`` to
float rounding::

    layer = SequenceLSTM(256)               # float: tf_keras.layers.LSTM(256, return_sequences=True)
    layer.grids = LstmGrids(...)            # from now on the forward pass is TFLM's integer LSTM

With ``grids`` set every tensor is rounded where TFLM rounds: int8 input and hidden state, per-gate int8
weights, Q3.12 pre-activations added with saturation, Q0.15 gates, int16 cell on a power of two. The gradient
is the float LSTM's, taken at the rounded values (straight-through; Jacob et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyse.graph.grid import GATE_ONE, GATES, INT16, UNIT_ONE, Grid, sigmoid_table
from tinyse.keras import tf, tf_keras

CELL_CLIP = 10.0
"""TFLite's converter writes this cell clip into every LSTM, and TFLM obeys it."""
CELL_LIMIT = 8.0
"""Cells stop here in float too (ours): the int16 cell then has 12 fraction bits and never meets the clip above.
tanh(8) is 1 to seven digits; without the limit some units count up past 100, and the grid that holds them is coarse."""


@dataclass(frozen=True)
class LstmGrids:
    """Where an integer LSTM rounds.

    Attributes:
        x: grid of the layer's input.
        h: grid of the hidden state, which is the layer's output.
        cell_power: k of the cell state's scale 2^-k.
        exact: look sigmoid and tanh up as TFLM does, in float64; slow, for parity and streaming.
    """

    x: Grid
    h: Grid
    cell_power: int
    exact: bool = False


def ste(rounded: Any, real: Any) -> Any:
    """``rounded`` forward, the gradient of ``real`` backward."""
    return real + tf.stop_gradient(rounded - real)


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


def to_grid(value: Any, grid: Grid) -> Any:
    """Centred integers q - zero_point of ``value``, as floats."""
    low, high = -128.0 - grid.zero_point, 127.0 - grid.zero_point
    return tf.clip_by_value(tf.round(value / grid.scale), low, high)


@dataclass(frozen=True)
class Rescale:
    """TFLM's MultiplyByQuantizedMultiplier on float tensors that hold integers.

    A multiplier is a mantissa in [1/2, 1) and a power of two: the product with the mantissa is rounded, and then the
    shift by that power rounds again, ties away from zero. The second rounding is coarse: with a shift of two bits it
    moves one result in eight by one, so training must know it.

    Attributes:
        first: mantissa, as a factor on accumulators.
        second: 2^-shift, a hair larger so that rounding to even becomes rounding away from zero.
    """

    first: Any
    second: Any

    @staticmethod
    def of(multiplier: Any) -> Rescale:
        """From real multipliers, a tensor."""
        exponent = tf.minimum(tf.floor(tf.math.log(multiplier) * (1.0 / np.log(2.0)) + 1e-6) + 1.0, 0.0)
        power = tf.pow(tf.constant(2.0, multiplier.dtype), exponent)
        return Rescale(multiplier / power, power * away(multiplier.dtype))

    def __call__(self, counts: Any) -> Any:
        """Integers to integers, as floats; not clipped. The first rounding takes ties up, the second away from zero."""
        return tf.round(tf.floor(counts * self.first + 0.5) * self.second)


def _table_sigmoid(z: Any) -> Any:
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


def _table_tanh(c: Any, power: int) -> Any:
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


def _float_gates(z: Any, c: Any, units: int) -> tuple[Any, Any, Any, Any]:
    i, f = tf.sigmoid(z[:, :units]), tf.sigmoid(z[:, units : 2 * units])
    g, o = tf.tanh(z[:, 2 * units : 3 * units]), tf.sigmoid(z[:, 3 * units :])
    c = tf.clip_by_value(f * c + i * g, -CELL_LIMIT, CELL_LIMIT)
    tc = tf.tanh(c)
    return tf.concat([i, f, g, o], 1), c, tc, o * tc


def _integer_gates(z: Any, c: Any, units: int, grids: LstmGrids) -> tuple[Any, Any, Any, Any]:
    """One step on integers: z Q3.12 [B, 4u], c int16 [B, u] -> gates Q0.15, c, tanh c, centred h."""
    k = grids.cell_power
    zg = z[:, 2 * units : 3 * units]
    if grids.exact:
        i, f = _table_sigmoid(z[:, :units]), _table_sigmoid(z[:, units : 2 * units])
        g, o = _table_tanh(zg, 12), _table_sigmoid(z[:, 3 * units :])
    else:
        sig = tf.minimum(tf.round(tf.sigmoid(z * (1.0 / GATE_ONE)) * UNIT_ONE), INT16)
        i, f, o = sig[:, :units], sig[:, units : 2 * units], sig[:, 3 * units :]
        g = tf.minimum(tf.round(tf.tanh(zg * (1.0 / GATE_ONE)) * UNIT_ONE), INT16)
    c = shifted(f * c, 15, grids.exact) + shifted(i * g, 30 - k, grids.exact)
    limit = min(float(int(CELL_CLIP * 2.0**k)), INT16)
    c = tf.clip_by_value(c, -limit, limit)
    tc = _table_tanh(c, k) if grids.exact else tf.minimum(tf.round(tf.tanh(c * 2.0**-k) * UNIT_ONE), INT16)
    to_h = 2.0**-30 / grids.h.scale
    h = Rescale.of(tf.constant(to_h, tc.dtype))(o * tc) if grids.exact else tf.round(o * tc * to_h)
    h = tf.clip_by_value(h, -128.0 - grids.h.zero_point, 127.0 - grids.h.zero_point)
    return tf.concat([i, f, g, o], 1), c, tc, h


def recurrence(xz: Any, recurrent: Any, h0: Any, c0: Any, grids: LstmGrids | None,
               rescale: Rescale | None) -> Any:
    """Run the recurrence over all frames.

    Args:
        xz: [T, B, 4u] input projections with bias; real, or Q3.12 integers where ``grids`` is set.
        recurrent: [u, 4u]; real, or int8 integers.
        h0, c0: [B, u] initial states; real, or centred integers.
        grids: None for float.
        rescale: from recurrent accumulators to Q3.12; None in float.

    Returns:
        h, gates, c, tanh(c): [T, B, u], [T, B, 4u], [T, B, u], [T, B, u], in the same units.
    """
    frames, batch, units = xz.shape[0], xz.shape[1], recurrent.shape[0]
    shapes = ((batch, units), (batch, GATES * units), (batch, units), (batch, units))
    arrays = tuple(tf.TensorArray(xz.dtype, frames, element_shape=shape) for shape in shapes)

    def body(t: Any, h: Any, c: Any, *out: Any) -> Any:
        r = tf.matmul(h, recurrent)
        if grids is None or rescale is None:
            gates, c, tc, h = _float_gates(xz[t] + r, c, units)
        else:
            r = tf.clip_by_value(rescale(r), -INT16 - 1.0, INT16)
            z = tf.clip_by_value(xz[t] + r, -INT16 - 1.0, INT16)
            gates, c, tc, h = _integer_gates(z, c, units, grids)
        values = (h, gates, c, tc)
        return (t + 1, h, c, *(array.write(t, value) for array, value in zip(out, values, strict=True)))

    final = tf.while_loop(lambda t, *_: t < frames, body, (0, h0, c0, *arrays), maximum_iterations=frames)
    return tuple(array.stack() for array in final[3:])



def _backward(dh_all: Any, gates: Any, c_before: Any, c: Any, tc: Any, recurrent: Any) -> Any:
    """Gate gradients dz [T, B, 4u] of an LSTM from real gates, cells, tanh(c) and dh [T, B, u]."""
    frames, batch, units = dh_all.shape[0], dh_all.shape[1], recurrent.shape[0]
    transposed = tf.transpose(recurrent)
    array = tf.TensorArray(dh_all.dtype, frames, element_shape=(batch, GATES * units))
    # What does not depend on the recurrence is prepared for all frames at once.
    i, f, g, o = tf.split(gates, 4, axis=2)
    inside = tf.cast(tf.abs(c) < CELL_LIMIT * (1.0 - 2.0**-14), c.dtype)  # a cell at its limit passes nothing on
    to_cell = o * (1.0 - tc * tc) * inside
    slope = tf.concat([g * i * (1.0 - i), c_before * f * (1.0 - f), i * (1.0 - g * g)], axis=2)
    slope_o = tc * o * (1.0 - o)

    def body(t: Any, dh: Any, dc: Any, out: Any) -> Any:
        dh = dh + dh_all[t]
        dc = dc * inside[t] + dh * to_cell[t]
        dz = tf.concat([tf.tile(dc, (1, 3)) * slope[t], dh * slope_o[t]], 1)
        return t - 1, tf.matmul(dz, transposed), dc * f[t], out.write(t, dz)

    zero = tf.zeros((batch, units), dh_all.dtype)
    final = tf.while_loop(
        lambda t, *_: t >= 0, body, (frames - 1, zero, zero, array), maximum_iterations=frames
    )
    return final[3].stack()


def sequence(xz: Any, recurrent: Any, h0: Any, c0: Any, grids: LstmGrids | None, scale: Any) -> Any:
    """Differentiable LSTM over [T, B, 4u] in real units; gradients for ``xz`` and ``recurrent``.

    ``h0`` and ``c0`` are real and carry no gradient. With ``grids``, ``xz`` holds values on the Q3.12 grid,
    ``recurrent`` lies on the int8 grids whose scale per column is ``scale`` [4u].

    Returns:
        h [T, B, u], the final states h, c [B, u], and the peak |c| (scalar); real units.
    """

    @tf.custom_gradient
    def run(xz: Any, recurrent: Any) -> Any:
        if grids is None:
            h, gates, c, tc = recurrence(xz, recurrent, h0, c0, None, None)
        else:
            wide: Callable[[Any], Any] = (lambda v: tf.cast(v, tf.float64)) if grids.exact else (lambda v: v)
            unit, factor = grids.h.scale, 2.0**-grids.cell_power
            h, gates, c, tc = recurrence(
                wide(tf.round(xz * GATE_ONE)), wide(tf.round(recurrent / scale)), wide(tf.round(h0 / unit)),
                wide(tf.round(c0 / factor)), grids, Rescale.of(wide(scale) * (unit * GATE_ONE)))
            h, c = tf.cast(h, xz.dtype) * unit, tf.cast(c, xz.dtype) * factor
            gates, tc = tf.cast(gates, xz.dtype) * (1.0 / UNIT_ONE), tf.cast(tc, xz.dtype) * (1.0 / UNIT_ONE)

        def grad(dh: Any, *_: Any) -> Any:
            c_before = tf.concat([c0[tf.newaxis], c[:-1]], 0)
            h_before = tf.concat([h0[tf.newaxis], h[:-1]], 0)
            dz = _backward(dh, gates, c_before, c, tc, recurrent)
            units = recurrent.shape[0]
            flat = tf.reshape(dz, (-1, GATES * units))
            return dz, tf.matmul(tf.reshape(h_before, (-1, units)), flat, transpose_a=True)

        return (h, h[-1], c[-1], tf.reduce_max(tf.abs(c))), grad

    return run(xz, recurrent)


def on_gate_grid(matrix: Any) -> tuple[Any, Any]:
    """Round an LSTM matrix [in, 4u] to its per-gate int8 grids (straight-through); also the scale per column."""
    units = matrix.shape[1] // GATES
    peaks = tf.reduce_max(tf.abs(tf.reshape(matrix, (matrix.shape[0], GATES, units))), axis=(0, 2))
    scale = tf.repeat(tf.stop_gradient(tf.maximum(peaks, 1e-8)) / 127.0, units)
    return ste(tf.round(matrix / scale) * scale, matrix), scale


class SequenceLSTM(tf_keras.layers.Layer):
    """An LSTM over time-major sequences [T, B, in] -> [T, B, units], gates i, f, g, o as in Keras.

    Attributes:
        grids: None to run in float; an ``LstmGrids`` to run on TFLM's integer grids.
    """

    def __init__(self, units: int, grids: LstmGrids | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.grids = grids

    def build(self, input_shape: Any) -> None:
        """Make kernel [in, 4u], recurrent_kernel [u, 4u] and bias [4u] (forget gate at one)."""
        width = GATES * self.units
        unit_forget = np.concatenate([np.zeros(self.units), np.ones(self.units), np.zeros(2 * self.units)])
        self.kernel = self.add_weight("kernel", (input_shape[-1], width), initializer="glorot_uniform")
        self.recurrent_kernel = self.add_weight("recurrent_kernel", (self.units, width), initializer="orthogonal")
        self.bias = self.add_weight("bias", (width,), initializer=tf_keras.initializers.Constant(unit_forget))
        self.built = True

    def get_prunable_weights(self) -> list[Any]:
        """The matrices that TF-MOT may prune."""
        return [self.kernel, self.recurrent_kernel]

    def zero_state(self, batch: int) -> tuple[Any, Any]:
        """States h, c of zeros, [batch, units]."""
        return tf.zeros((batch, self.units)), tf.zeros((batch, self.units))

    def run(self, x: Any, state: tuple[Any, Any]) -> tuple[Any, tuple[Any, Any], Any]:
        """x [T, B, in] and (h, c) [B, units] -> h [T, B, units], the state after the last frame, peak |c|."""
        frames, batch, width = x.shape
        rows = tf.reshape(x, (frames * batch, width))
        shape = (frames, batch, GATES * self.units)
        if self.grids is None:
            xz = tf.reshape(tf.matmul(rows, self.kernel) + self.bias, shape)
            h, h_last, c_last, peak = sequence(xz, self.recurrent_kernel, *state, None, None)
            return h, (h_last, c_last), peak
        kernel, scale = on_gate_grid(self.kernel)
        recurrent, recurrent_scale = on_gate_grid(self.recurrent_kernel)
        # Integers below 2^24 multiply exactly in float32, so this accumulator is the int32 one.
        counts = tf.matmul(tf.round(rows / self.grids.x.scale), tf.round(kernel / scale))
        wide = tf.float64 if self.grids.exact else tf.float32
        unit = tf.cast(scale, wide) * self.grids.x.scale
        counts = tf.cast(counts, wide) + tf.round(tf.cast(self.bias, wide) / unit)
        counts = tf.clip_by_value(Rescale.of(unit * GATE_ONE)(counts), -INT16 - 1.0, INT16)
        rounded = tf.cast(counts, tf.float32) * (1.0 / GATE_ONE)
        xz = tf.reshape(product_gradient(rounded, rows, kernel, self.bias), shape)
        h, h_last, c_last, peak = sequence(xz, recurrent, *state, self.grids, recurrent_scale)
        return h, (h_last, c_last), peak

    def call(self, x: Any) -> Any:
        """x [T, B, in] -> h [T, B, units], from a zero state."""
        return self.run(x, self.zero_state(x.shape[1]))[0]

    def get_config(self) -> dict[str, Any]:
        """What ``from_config`` needs."""
        return {**super().get_config(), "units": self.units}
