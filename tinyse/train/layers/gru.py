"""Twin of the GRU: all positions and frames at once, one recurrence over [B * width, units], trained fast.

As in the LSTM's twin the backward pass is written out, one loop over the gates that were kept. Few rows a frame: the
input products of all frames are one product before the loop, and each weight's gradient is one after it. Many, such
as 32 sub-bands of 16 sequences: the loop does both frame by frame, since what a frame needs stays in the processor's
cache and nothing but h, gates and the input's gradient goes through memory. On grids the gradient is the float GRU's,
taken at the rounded values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tinyse.graph.grid import Grid
from tinyse.train.keras import tf
from tinyse.train.layers.base import Range, Seen, Twin
from tinyse.train.layers.gru_steps import Columns, Places, Steps, recurrence
from tinyse.train.layers.requantization import requantized
from tinyse.train.matrix import Matrix

OUT = Grid(2.0**-7)
"""What leaves the layer."""
MANY = 128
"""Rows a frame from which its products are as fast as those of all frames at once."""


def sequence(x: Any, weights: tuple[Any, ...], h0: Any, step: Steps, opened: Any = None) -> tuple[Any, Any, Any]:
    """Differentiable GRU over real x [T, n, in]; h0 and the last state carry no gradient.

    Args:
        weights: real kernel, bias, recurrent kernel and, with reset "after", its bias; on grids they lie on them.
        opened: [T, n, 1] of 0 and 1, by which the state moves on to h or stays; None: it moves on.

    Returns:
        h [T, n, units], real, gates [T, n, gates * units] in units of ``step.gate_unit``, and the last state.
    """
    frames, n, inputs = x.shape
    many, gated = n >= MANY, opened is not None

    @tf.custom_gradient
    def run(x: Any, *given: Any) -> Any:
        weights, moves = (given[:-1], given[-1]) if gated else (given, None)
        if many:
            found = recurrence(lambda t: step.enter(x[t]), frames, h0, step, moves)
        else:
            xz = tf.reshape(step.enter(tf.reshape(x, (frames * n, inputs))), (frames, n, -1))
            found = recurrence(lambda t: xz[t], frames, h0, step, moves)

        def grad(dh: Any, *_: Any) -> Any:
            return backward(dh, x, found, weights, h0, step, many, moves)

        return (*found[:2], found[-1][-1] if gated else found[0][-1]), grad

    made: tuple[Any, Any, Any] = run(x, *weights, opened) if gated else run(x, *weights)
    return made


def backward(dh_all: Any, x: Any, found: list[Any], weights: tuple[Any, ...], h0: Any, step: Steps,
             many: bool, opened: Any = None) -> list[Any]:
    """Gradients of x, the weights and ``opened`` from dh [T, n, units] and what ``recurrence`` found; all real."""
    (frames, n, units), dtype = dh_all.shape, dh_all.dtype
    h, gates, reset, kernel, recurrent = found[0], found[1], step.layer.reset, weights[0], weights[2]
    gate_unit = tf.constant(step.gate_unit, dtype)
    kept = h if opened is None else found[-1]

    def split(gates: Any) -> list[Any]:
        """Gates z, r, n, real; z in place of r where there is none."""
        real = gates * gate_unit
        return [real[..., :units], real[..., -2 * units : -units], real[..., -units:]]

    def through(t: Any, dh: Any, before: Any) -> tuple[Any, Any]:
        """Gradients of a frame's pre-activations and of the h before."""
        z, r, new = split(gates[t])
        dz, dn = dh * (new - before) * z * (1.0 - z), dh * z * (1.0 - new * new)
        passed = dh * (1.0 - z)
        if reset == "none":
            pre = tf.concat([dz, dn], 1)
            return pre, passed + tf.matmul(pre, recurrent, transpose_b=True)
        slope = r * (1.0 - r)
        if reset == "after":
            pre = tf.concat([dz, dn * found[2][t] * tf.constant(step.part_unit, dtype) * slope, dn], 1)
            inner = tf.concat([pre[:, :-units], dn * r], 1)
            return pre, passed + tf.matmul(inner, recurrent, transpose_b=True)
        late = tf.matmul(dn, recurrent[:, -units:], transpose_b=True)
        pre = tf.concat([dz, late * before * slope, dn], 1)
        return pre, passed + late * r + tf.matmul(pre[:, :-units], recurrent[:, :-units], transpose_b=True)

    def weighed(x: Any, before: Any, gates: Any, pre: Any) -> list[Any]:
        """Gradients of the weights, from rows."""
        made = [tf.matmul(x, pre, transpose_a=True), tf.reduce_sum(pre, 0)]
        if reset == "none":
            return [*made, tf.matmul(before, pre, transpose_a=True)]
        r, early, late = split(gates)[1], pre[:, :-units], pre[:, -units:]
        if reset == "after":
            inner = late * r
            return [*made, tf.matmul(before, tf.concat([early, inner], 1), transpose_a=True), tf.reduce_sum(inner, 0)]
        return [*made, tf.concat([tf.matmul(before, early, transpose_a=True),
                                  tf.matmul(r * before, late, transpose_a=True)], 1)]

    def body(t: Any, dh: Any, out: Any, *rest: Any) -> Any:
        before = tf.where(t > 0, kept[tf.maximum(t - 1, 0)], h0)
        totals: tuple[Any, ...] = rest
        moved: tuple[Any, ...] = ()
        if opened is None:
            pre, passed = through(t, dh + dh_all[t], before)
        else:  # dh is of the state, which h became or did not
            totals, moved = rest[1:], (rest[0].write(t, tf.reduce_sum(dh * (h[t] - before), 1, keepdims=True)),)
            pre, passed = through(t, opened[t] * dh + dh_all[t], before)
            passed += (1.0 - opened[t]) * dh
        if not many:
            return (t - 1, passed, out.write(t, pre), *moved)
        more = weighed(x[t], before, gates[t], pre)
        return (t - 1, passed, out.write(t, tf.matmul(pre, kernel, transpose_b=True)), *moved,
                *(total + part for total, part in zip(totals, more, strict=True)))

    widths = (x.shape[2] if many else gates.shape[2], *(() if opened is None else (1,)))
    arrays = [tf.TensorArray(dtype, frames, element_shape=(n, width)) for width in widths]
    start = (frames - 1, tf.zeros_like(h0), *arrays, *((tf.zeros_like(weight) for weight in weights) if many else ()))
    final = tf.while_loop(lambda t, *_: t >= 0, body, start, maximum_iterations=frames)
    of_opened = [] if opened is None else [final[3].stack()]
    if many:
        return [final[2].stack(), *final[2 + len(arrays) :], *of_opened]
    before, pre = tf.concat([h0[tf.newaxis], kept[:-1]], 0), final[2].stack()
    rows = [tf.reshape(part, (frames * n, -1)) for part in (x, before, gates, pre)]
    return [tf.reshape(tf.matmul(rows[3], kernel, transpose_b=True), x.shape), *weighed(*rows), *of_opened]


class GruTwin(Twin):
    """A GRU on every position of the width; its state is h [B, 1, width, units], real.

    Attributes:
        places: where it rounds; None in float.
    """

    places: Places | None = None

    @property
    def few(self) -> bool:
        """Whether its state has fewer bits than it could."""
        return self.places is not None and self.places.h.scale > 2.0 ** (1 - self.layer.bits)

    def held(self) -> Any:
        """The real weights that ``sequence`` takes, on grids rounded, and Steps."""
        layer, width, places, scale = self.layer, self.ins[0][2], self.places, None
        kernel, bias = tf.convert_to_tensor(self.array("kernel")), tf.convert_to_tensor(self.array("bias"))
        recurrent = kernel[width:] if layer.joint else tf.convert_to_tensor(self.array("recurrent_kernel"))
        after = tf.convert_to_tensor(self.array("recurrent_bias")) if layer.reset == "after" else None
        of_x: Any = (kernel[:width], bias)
        if places is not None:
            of_x = Matrix.of(kernel, bias, places.x, self.exact, self.tops.get("kernel"))
            of_h = of_x if layer.joint else Matrix.of(recurrent, tf.zeros_like(recurrent[0]), places.h, self.exact,
                                                      self.tops.get("recurrent_kernel"))
            recurrent, scale = of_h.kernel[-self.units :], of_h.scale
            if layer.joint:
                of_x = replace(of_x, kernel=of_x.kernel[:width], values=of_x.values[:width])
        real = (of_x.kernel, of_x.bias) if places is not None else of_x
        weights = (*real, recurrent, *(() if after is None else (after,)))
        return weights, Steps(layer, of_x, recurrent, after, places, scale)

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """x [T, B, 1, width, in] and h -> [T, B, 1, width, units], h after the last frame."""
        x, places = xs[0], self.places
        frames, batch, _, width, inputs = x.shape
        n, shape = batch * width, (batch, 1, width, self.units)
        if places is not None:
            x = requantized(x, self.grids[0], places.x, self.exact, self.few)
        x, h0 = tf.reshape(x, (frames, n, inputs)), tf.reshape(state[0], (n, self.units))
        weights, step = held
        opened = None if seen.opened is None else tf.repeat(seen.opened, width, 1)[..., tf.newaxis]
        h, gates, last = sequence(x, weights, h0, step, opened)
        if seen.ranges is not None and self.layer.bits == 8:
            self._note(seen, x, h, gates, h0, held)
        y = h if places is None or self.out is None else requantized(h, places.h, self.out, self.exact, self.few)
        return tf.reshape(y, (frames, *shape)), (tf.reshape(last, shape),)

    def _note(self, seen: Seen, x: Any, h: Any, gates: Any, h0: Any, held: Any) -> None:
        """The pre-activations, whose ranges are learnt in 8 bits, worked out again from what is known."""
        layer, units, ((_, _, recurrent, *after), step) = self.layer, self.units, held
        xz = tf.cast(step.enter(tf.reshape(x, (-1, x.shape[2]))) * step.x_unit, x.dtype)
        xz, gates = tf.reshape(xz, gates.shape), gates * tf.constant(step.gate_unit, x.dtype)
        before = tf.concat([h0[tf.newaxis], h[:-1]], 0)
        found = dict(zip(layer.gates, tf.split(gates, len(layer.gates), 2), strict=True))
        for at, gate in enumerate(layer.gates):
            columns = slice(at * units, (at + 1) * units)
            read = found["r"] * before if gate == "n" and layer.reset == "before" else before
            from_h = tf.tensordot(read, recurrent[:, columns], 1)
            if gate == "n" and layer.reset == "after":
                from_h += after[0]
            if not layer.joint:
                self.note(seen, f"{gate}x", xz[..., columns])
                self.note(seen, f"{gate}h", from_h)
            late = found["r"] * from_h if gate == "n" and layer.reset == "after" else from_h
            self.note(seen, gate, xz[..., columns] + late)

    def out_grid(self, grids: tuple[Grid, ...], ranges: Range) -> Grid:
        """2^-7, whatever goes in, or an 8-bit state's own."""
        layer, h = self.layer, ranges("h")

        def columns(side: str) -> Columns:
            return Columns({gate: ranges(layer.part(gate, side)) for gate in layer.gates}, self.units)

        total = columns("")
        parts = (total, total) if layer.joint else (columns("x"), columns("h"))
        self.places = Places(layer.x_grid(grids[0], h), h, *parts, total, self.exact)
        return OUT if layer.bits == 16 else h
