"""Twin of the LSTM: trains fast, in float and on the integer grid of TFLM's LSTM, with one recurrence.

Keras' own LSTM multiplies for every weight gradient at every frame. Here the input projection of all
frames is one product, the recurrence keeps only ``h @ U``, and the backward pass gathers the gate gradients
so that the recurrent weight gradient is again one product. In float the result equals ``tf_keras.layers.LSTM`` to
rounding. On grids every tensor is rounded where TFLM rounds: int8 input and hidden state, per-gate int8
weights, Q3.12 pre-activations added with saturation, Q0.15 gates, int16 cell on a power of two. The gradient
is the float LSTM's, taken at the rounded values (straight-through; Jacob et al. 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tinyse.graph.grid import GATE_ONE, GATES, INT16, UNIT_ONE, Grid
from tinyse.graph.layers.recurrent import CELL_LIMIT
from tinyse.train.arithmetic import Rescale, product_gradient, shifted, ste, table_sigmoid, table_tanh
from tinyse.train.keras import tf
from tinyse.train.layers.base import Range, Seen, Twin
from tinyse.train.matrix import Tops, bias_steps, carrier, few

CELL_CLIP = 10.0
"""TFLite's converter writes this cell clip into every LSTM, and TFLM obeys it."""


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
        i, f = table_sigmoid(z[:, :units]), table_sigmoid(z[:, units : 2 * units])
        g, o = table_tanh(zg, 12), table_sigmoid(z[:, 3 * units :])
    else:
        sig = tf.minimum(tf.round(tf.sigmoid(z * (1.0 / GATE_ONE)) * UNIT_ONE), INT16)
        i, f, o = sig[:, :units], sig[:, units : 2 * units], sig[:, 3 * units :]
        g = tf.minimum(tf.round(tf.tanh(zg * (1.0 / GATE_ONE)) * UNIT_ONE), INT16)
    c = shifted(f * c, 15, grids.exact) + shifted(i * g, 30 - k, grids.exact)
    limit = min(float(int(CELL_CLIP * 2.0**k)), INT16)
    c = tf.clip_by_value(c, -limit, limit)
    tc = table_tanh(c, k) if grids.exact else tf.minimum(tf.round(tf.tanh(c * 2.0**-k) * UNIT_ONE), INT16)
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

    if frames == 1:  # streaming: no loop
        final = body(0, h0, c0, *arrays)
    else:
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
            dtype = carrier(int(recurrent.shape[0]), grids.h, grids.exact, xz.dtype)
            unit, factor = grids.h.scale, 2.0**-grids.cell_power

            def wide(value: Any) -> Any:
                return tf.cast(value, dtype)

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


def on_gate_grid(matrix: Any, tops: Tops = None) -> tuple[Any, Any]:
    """Round an LSTM matrix [in, 4u] to its per-gate int8 grids (straight-through); also the scale per column."""
    units = matrix.shape[1] // GATES
    if tops is not None:
        gates = tf.reshape(matrix, (matrix.shape[0], GATES, units))
        scale, steps = few(gates, tops[::units], (0, 2))
        scale = tf.repeat(tf.where(scale > 0.0, scale, tf.ones_like(scale)), units)
        return ste(tf.reshape(steps, matrix.shape) * scale, matrix), scale
    peaks = tf.reduce_max(tf.abs(tf.reshape(matrix, (matrix.shape[0], GATES, units))), axis=(0, 2))
    peaks = tf.stop_gradient(peaks)
    scale = tf.repeat(tf.where(peaks > 0.0, peaks / 127.0, tf.ones_like(peaks)), units)
    return ste(tf.round(matrix / scale) * scale, matrix), scale


class LstmTwin(Twin):
    """An LSTM over sequences of one position, gates i, f, g, o as in Keras; its state is (h, c), real.

    Attributes:
        places: where it rounds; None in float.
    """

    places: LstmGrids | None = None

    def held(self) -> Any:
        """Kernel and recurrent kernel, on grids with the scale a column."""
        kernel, recurrent = self.array("kernel"), self.array("recurrent_kernel")
        return (kernel, recurrent) if self.places is None else (
            *on_gate_grid(kernel, self.tops.get("kernel")), *on_gate_grid(recurrent, self.tops.get("recurrent_kernel")))

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """x [T, B, 1, 1, in] and (h, c) [B, 1, 1, units] -> h [T, B, 1, 1, units], the state after the last frame."""
        x, units, places = xs[0], self.units, self.places
        frames, batch, width = x.shape[0], x.shape[1], x.shape[-1]
        rows, bias = tf.reshape(x, (frames * batch, width)), self.array("bias")
        shape = (frames, batch, GATES * units)
        h0, c0 = (tf.reshape(part, (batch, units)) for part in state)
        if places is None:
            kernel, recurrent = held
            xz = tf.reshape(tf.matmul(rows, kernel) + bias, shape)
            h, h_last, c_last, peak = sequence(xz, recurrent, h0, c0, None, None)
        else:
            kernel, scale, recurrent, recurrent_scale = held
            sums = carrier(width, places.x, places.exact, rows.dtype)
            counts = tf.matmul(tf.cast(tf.round(rows / places.x.scale), sums), tf.cast(tf.round(kernel / scale), sums))
            unit = tf.cast(scale, sums) * places.x.scale
            counts = counts + bias_steps(bias, unit)
            counts = tf.clip_by_value(Rescale.of(unit * GATE_ONE)(counts), -INT16 - 1.0, INT16)
            rounded = tf.cast(counts, rows.dtype) * (1.0 / GATE_ONE)
            xz = tf.reshape(product_gradient(rounded, rows, kernel, bias), shape)
            h, h_last, c_last, peak = sequence(xz, recurrent, h0, c0, places, recurrent_scale)
        self.note(seen, "c", peak)
        self.note(seen, "h", h)
        after = tuple(tf.reshape(part, (batch, 1, 1, units)) for part in (h_last, c_last))
        return tf.reshape(h, (frames, batch, 1, 1, units)), after

    def out_grid(self, grids: tuple[Grid, ...], ranges: Range) -> Grid:
        """Of h's range."""
        h = ranges("h")
        self.places = LstmGrids(grids[0], h, -round(math.log2(ranges("c").scale)), self.exact)
        return h
