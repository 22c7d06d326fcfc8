"""Twin of the GRU: all positions and frames at once, one recurrence over [B * width, units], trained fast.

As in the LSTM's twin: the input projections of all frames are one product, the loop keeps what needs h, and the
backward pass gathers gate gradients so that each recurrent weight gradient is one product. On grids the gradient is the
float GRU's, taken at the rounded values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyse.graph.grid import Grid
from tinyse.train.arithmetic import Matrix, bias_steps, carrier, product_gradient
from tinyse.train.keras import tf
from tinyse.train.layers.base import Range, Seen, Twin
from tinyse.train.layers.gru_steps import Columns, Places, Steps, recurrence
from tinyse.train.layers.plain import requantized

OUT = Grid(2.0**-7)
"""What leaves the layer."""


def backward(dh_all: Any, gates: dict[str, Any], part: Any, before: Any, recurrent: Any, reset: str) -> Any:
    """Gradients [T, n, gates * units] of the pre-activations, z (r) n, from dh [T, n, units]; all real."""
    frames, n, units = dh_all.shape
    z, new = gates["z"], gates["n"]
    kept, to_z, to_n = 1.0 - z, (new - before) * z * (1.0 - z), z * (1.0 - new * new)
    r: Any = gates.get("r")
    to_r: Any = None if r is None else (part if reset == "after" else before) * r * (1.0 - r)
    early, late = (tf.transpose(half) for half in (recurrent[:, :-units], recurrent[:, -units:]))
    every = tf.transpose(recurrent)
    array = tf.TensorArray(dh_all.dtype, frames, element_shape=(n, recurrent.shape[1]))

    def body(t: Any, dh: Any, out: Any) -> Any:
        dh = dh + dh_all[t]
        dz, dn = dh * to_z[t], dh * to_n[t]
        passed = dh * kept[t]
        if reset == "after":
            dr = dn * to_r[t]
            passed += tf.matmul(tf.concat([dz, dr, dn * r[t]], 1), every)
        elif reset == "before":
            held = tf.matmul(dn, late)
            dr = held * to_r[t]
            passed += held * r[t] + tf.matmul(tf.concat([dz, dr], 1), early)
        else:
            passed += tf.matmul(tf.concat([dz, dn], 1), every)
        whole = [dz, dn] if reset == "none" else [dz, dr, dn]
        return t - 1, passed, out.write(t, tf.concat(whole, 1))

    start = (frames - 1, tf.zeros((n, units), dh_all.dtype), array)
    return tf.while_loop(lambda t, *_: t >= 0, body, start, maximum_iterations=frames)[2].stack()


def sequence(layer: Any, xz: Any, recurrent: Any, bias: Any, h0: Any, places: Places | None,
             scale: Any = None, unit: Any = None) -> tuple[Any, Any]:
    """Differentiable GRU over xz [T, n, gates * units], in real units; h0 carries no gradient.

    Args:
        recurrent: [units, gates * units], on grids of ``scale`` a column. bias: [units] of n's part of h, or None.
        places: None in float. unit: what ``xz`` counts in, a column, where it is a joint GRU's.

    Returns:
        h [T, n, units], gates [T, n, gates * units].
    """
    units = int(recurrent.shape[0])
    split = np.cumsum([units] * len(layer.gates))[:-1]

    def widened(bias: Any) -> Any:
        return None if bias is None else tf.pad(bias, ((xz.shape[2] - units, 0),))

    @tf.custom_gradient
    def run(xz: Any, recurrent: Any, *biases: Any) -> Any:
        bias = widened(biases[0] if biases else None)
        if places is None:
            h, gates, part = recurrence(xz, h0, Steps(layer, recurrent, bias))
        else:
            h, gates, part = _on_grids(layer, xz, recurrent, bias, h0, places, scale, unit)

        def grad(dh: Any, _: Any) -> Any:
            before = tf.concat([h0[tf.newaxis], h[:-1]], 0)
            named = dict(zip(layer.gates, tf.split(gates, len(layer.gates), 2), strict=True))
            dz = backward(dh, named, part, before, recurrent, layer.reset)
            flat = tf.reshape(before, (-1, units))
            pre = tf.reshape(dz, (-1, dz.shape[2]))
            if layer.reset == "none":
                return dz, tf.matmul(flat, pre, transpose_a=True)
            early, late = pre[:, : split[-1]], pre[:, split[-1] :]
            r = tf.reshape(named["r"], (-1, units))
            if layer.reset == "before":
                return dz, tf.concat([tf.matmul(flat, early, transpose_a=True),
                                      tf.matmul(r * flat, late, transpose_a=True)], 1)
            inner = late * r
            whole = tf.matmul(flat, tf.concat([early, inner], 1), transpose_a=True)
            return (dz, whole, tf.reduce_sum(inner, 0))[: 2 + len(biases)]

        return (h, gates), grad

    return run(xz, recurrent, *(() if bias is None else (bias,)))


def _on_grids(layer: Any, xz: Any, recurrent: Any, bias: Any, h0: Any, places: Places, scale: Any,
              unit: Any) -> tuple[Any, Any, Any]:
    """``recurrence`` on integers, real at both ends."""
    units = int(recurrent.shape[0])
    dtype = carrier(units, places.h, places.exact, xz.dtype)
    sums = tf.cast(scale, dtype) * places.h.scale
    step = Steps(layer, tf.cast(tf.round(recurrent / scale), dtype),
                 None if bias is None else bias_steps(bias, sums), places, scale)
    counted = places.from_x.scale if unit is None else unit
    steps = tf.round(tf.cast(xz, dtype) / tf.cast(counted, dtype))
    start = tf.round(tf.cast(h0, dtype) / places.h.scale)
    h, gates, part = (tf.cast(value, xz.dtype) for value in recurrence(steps, start, step))
    narrow = places.h.bits <= 8
    sigmoid, tanh = (2.0**-8, 2.0**-7) if narrow else (2.0**-15, 2.0**-15)
    scales = np.repeat([sigmoid] * (len(layer.gates) - 1) + [tanh], units)
    part *= tf.constant(places.from_h.scale[-units:], xz.dtype)  # means nothing, and serves nobody, in a joint GRU
    return h * places.h.scale, gates * tf.constant(scales, xz.dtype), part


class GruTwin(Twin):
    """A GRU on every position of the width; its state is h [B, 1, width, units], real.

    Attributes:
        places: where it rounds; None in float.
    """

    places: Places | None = None

    def held(self) -> Any:
        """Kernel and bias of x, recurrent kernel and bias of h; on grids as a Matrix each."""
        layer, width = self.layer, self.ins[0][2]
        kernel, bias = self.array("kernel"), self.array("bias")
        after = self.array("recurrent_bias") if layer.reset == "after" else None
        if self.places is None:
            if layer.joint:
                return kernel[:width], bias, kernel[width:], None
            return kernel, bias, self.array("recurrent_kernel"), after
        if layer.joint:
            return (Matrix.of(kernel, bias, self.places.x, self.exact),)
        recurrent = self.array("recurrent_kernel")
        return (Matrix.of(kernel, bias, self.places.x, self.exact),
                Matrix.of(recurrent, tf.zeros_like(recurrent[0]), self.places.h, self.exact), after)

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """x [T, B, 1, width, in] and h -> [T, B, 1, width, units], h after the last frame."""
        x, layer, units, places = xs[0], self.layer, self.units, self.places
        frames, batch, _, width, inputs = x.shape
        n = batch * width
        shape, h0 = (frames, n, len(layer.gates) * units), tf.reshape(state[0], (n, units))
        if places is None:
            rows = tf.reshape(x, (frames * n, inputs))
            kernel, bias, recurrent, after = held
            xz = tf.reshape(tf.matmul(rows, kernel) + bias, shape)
            h, gates = sequence(layer, xz, recurrent, after, h0, None)
        else:
            rows = tf.reshape(requantized(x, self.grids[0], places.x, self.exact), (frames * n, inputs))
            xz, recurrent, scale, unit, after = self._entering(rows, held, places)
            xz = tf.reshape(xz, shape)
            h, gates = (tf.cast(part, x.dtype) for part in sequence(
                layer, xz, recurrent, after, h0, places, scale, unit))
        if seen.ranges is not None and layer.bits == 8:
            self._note(seen, xz, h, gates, h0, recurrent, after)
        last = tf.reshape(h[-1], (batch, 1, width, units))
        y = h if places is None else requantized(h, places.h, OUT, self.exact)
        return tf.reshape(y, (frames, batch, 1, width, units)), (last,)

    def _entering(self, rows: Any, held: Any, places: Places) -> tuple[Any, ...]:
        """What x adds, real with its gradient; the recurrent kernel, its scale, the unit of joint sums, its bias."""
        if self.layer.joint:
            both, inputs = held[0], self.ins[0][2]
            part = Matrix(both.kernel[:inputs], both.bias, both.scale, both.values[:inputs], both.steps, both.unit)
            xz = part.counts(rows, places.x) * both.unit
            if not self.exact:
                xz = product_gradient(tf.cast(xz, rows.dtype), rows, part.kernel, part.bias)
            return xz, both.kernel[inputs:], both.scale, both.unit, None
        of_x, of_h, after = held
        steps = places.from_x.clip(of_x.rescale(places.from_x.scale, places.x)(of_x.counts(rows, places.x)))
        xz = steps * tf.constant(places.from_x.scale, steps.dtype)
        if not self.exact:
            xz = product_gradient(tf.cast(xz, rows.dtype), rows, of_x.kernel, of_x.bias)
        return xz, of_h.kernel, of_h.scale, None, after

    def _note(self, seen: Seen, xz: Any, h: Any, gates: Any, h0: Any, recurrent: Any, after: Any) -> None:
        """The pre-activations, whose ranges are learnt in 8 bits, worked out again from what is known."""
        layer, units = self.layer, self.units
        before = tf.concat([h0[tf.newaxis], h[:-1]], 0)
        found = dict(zip(layer.gates, tf.split(gates, len(layer.gates), 2), strict=True))
        for at, gate in enumerate(layer.gates):
            columns = slice(at * units, (at + 1) * units)
            read = found["r"] * before if gate == "n" and layer.reset == "before" else before
            from_h = tf.tensordot(read, recurrent[:, columns], 1)
            if gate == "n" and layer.reset == "after":
                from_h += after
            if not layer.joint:
                self.note(seen, f"{gate}x", xz[..., columns])
                self.note(seen, f"{gate}h", from_h)
            late = found["r"] * from_h if gate == "n" and layer.reset == "after" else from_h
            self.note(seen, gate, xz[..., columns] + late)

    def out_grid(self, grids: tuple[Grid, ...], ranges: Range) -> Grid:
        """2^-7, whatever goes in."""
        layer, given = self.layer, grids[0]

        def columns(side: str) -> Columns:
            return Columns({gate: Grid(2.0**-12, 0, 16) if layer.bits == 16 else Grid.of_range(*ranges(gate + side))
                            for gate in layer.gates}, self.units)

        total = columns("")
        parts = (total, total) if layer.joint else (columns("x"), columns("h"))
        self.places = Places(layer.x_grid(given), layer.h, *parts, total, self.exact)
        return OUT
