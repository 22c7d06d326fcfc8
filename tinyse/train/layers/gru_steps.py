"""A GRU frame after frame, in float or on the integer grids that its layer lowers to.

Real values in float; on grids (``Places``) centred integers, rounded where the layer's operators round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyse.graph.grid import Grid
from tinyse.train.arithmetic import Rescale, added, curve, limits, rescaled
from tinyse.train.keras import tf
from tinyse.train.matrix import bias_steps, carrier


class Columns:
    """The grids of pre-activations side by side, one a gate; ``scale``, ``low`` and ``high`` are [gates * units]."""

    def __init__(self, grids: dict[str, Grid], units: int) -> None:
        self.grids = grids
        bounds = [limits(grid) for grid in grids.values()]
        self.scale = np.repeat([grid.scale for grid in grids.values()], units)
        self.low, self.high = (np.repeat([bound[side] for bound in bounds], units) for side in (0, 1))

    def clip(self, steps: Any, columns: slice = slice(None)) -> Any:
        """Integers within the grids' limits."""
        return tf.clip_by_value(steps, tf.constant(self.low[columns], steps.dtype),
                                tf.constant(self.high[columns], steps.dtype))


@dataclass(frozen=True)
class Places:
    """Where an integer GRU rounds: its input, its state, and the parts from x, from h and their sum a gate.

    A joint GRU has the sum alone.
    """

    x: Grid
    h: Grid
    from_x: Columns
    from_h: Columns
    total: Columns
    exact: bool


class Steps:
    """One frame of a GRU, in float or on integers: h [n, units] to the next one.

    Attributes:
        x_unit, h_unit, gate_unit, part_unit: what ``enter``'s results, states, gates and n's part of h count in, a
            number or one a column; 1 in float.
    """

    x_unit: Any = 1.0
    h_unit: Any = 1.0
    gate_unit: Any = 1.0
    part_unit: Any = 1.0

    def __init__(self, layer: Any, of_x: Any, recurrent: Any, after: Any, places: Places | None = None,
                 scale: Any = None) -> None:
        """Prepare what all frames share.

        Args:
            of_x: kernel [in, gates * units] and bias; on grids a Matrix. recurrent: [units, gates * units], on grids of
                ``scale`` a column. after: [units], bias of n's product with h, or None.
        """
        self.layer, self.places, self.of_x, self.recurrent, self.bias = layer, places, of_x, recurrent, None
        self.units = units = int(recurrent.shape[0])
        self.sigmoids, self.last = slice(0, recurrent.shape[1] - units), slice(recurrent.shape[1] - units, None)
        self.gate_scale = 1.0
        if places is not None:
            dtype = carrier(units, places.h, places.exact, recurrent.dtype)
            sums = tf.cast(scale, dtype) * places.h.scale
            self.recurrent = tf.cast(tf.round(recurrent / scale), dtype)
            after = None if after is None else bias_steps(after, sums[self.last])
            onto = places.total if layer.joint else places.from_h
            self.rescale = Rescale.of(sums / tf.constant(onto.scale, dtype), places.h.bits > 8)
            self.rescale_x = None if layer.joint else of_x.rescale(places.from_x.scale, places.x)
            self.x_unit = of_x.unit if layer.joint else places.from_x.scale
            self.gate_scale = 2.0 ** (-15 if places.h.bits > 8 else -8)
            self.new_scale = 2.0 ** (1 - places.h.bits)
            self.h_unit, self.part_unit = places.h.scale, places.from_h.scale[-units:]
            self.gate_unit = np.repeat([self.gate_scale] * (len(layer.gates) - 1) + [self.new_scale], units)
        if after is not None:
            self.bias = tf.pad(after, ((recurrent.shape[1] - units, 0),))

    def enter(self, rows: Any) -> Any:
        """Real x [n, in], on grids on x's, to what a step takes of it, [n, gates * units]."""
        if self.places is None:
            return tf.matmul(rows, self.of_x[0]) + self.of_x[1]
        counts = self.of_x.counts(rows, self.places.x)
        if self.rescale_x is not None:
            counts = self.places.from_x.clip(self.rescale_x(counts))
        return tf.cast(counts, self.recurrent.dtype)

    def _scaled(self, sums: Any, onto: Columns, columns: slice) -> Any:
        whole = self.rescale
        part = Rescale(whole.first[columns], None if whole.second is None else whole.second[columns], whole.once)
        return onto.clip(part(sums), columns)

    def _from_h(self, h: Any, columns: slice) -> Any:
        """The part of h: real, on from_h's grids, or bare sums in a joint GRU."""
        sums = tf.matmul(h, self.recurrent[:, columns])
        if self.bias is not None:
            sums += self.bias[columns]
        if self.places is None or self.layer.joint:
            return sums
        return self._scaled(sums, self.places.from_h, columns)

    def _gates(self, from_x: Any, from_h: Any, columns: slice) -> Any:
        """The activations of a sum: sigmoids, or n's tanh."""
        places, name = self.places, "tanh" if columns == self.last else "sigmoid"
        function = tf.tanh if name == "tanh" else tf.sigmoid
        if places is None:
            return function(from_x + from_h)
        total = places.total
        if self.layer.joint:
            pre = self._scaled(from_x + from_h, total, columns)
        else:
            scales = places.from_x.scale[columns], places.from_h.scale[columns]
            pre = total.clip(added(from_x, from_h, scales, total.scale[columns], places.h.bits), columns)
        if places.h.bits > 8 or places.exact:
            grids = [grid for gate, grid in total.grids.items() if (gate == "n") == (name == "tanh")]
            if places.h.bits > 8 and len(set(grids)) == 1:
                return curve(name, pre, grids[0])
            return tf.concat([curve(name, part, grid)
                              for part, grid in zip(tf.split(pre, len(grids), 1), grids, strict=True)], 1)
        # A table look-up a frame is slow.
        value, one = function(pre * tf.constant(total.scale[columns], pre.dtype)), 128.0 if name == "tanh" else 256.0
        return tf.clip_by_value(tf.round(value * one), -128.0, one - 1.0)

    def _times(self, gate: Any, value: Any, finer: float = 1.0) -> Any:
        """MUL by a sigmoid, onto the value's own grid, or one that many times finer."""
        return gate * value if self.places is None else rescaled(gate * value, finer * self.gate_scale)

    def __call__(self, xz: Any, h: Any) -> tuple[Any, Any, Any]:
        """xz [n, gates * units] and h -> h, gates z (r) n [n, gates * units], n's part of h [n, units]."""
        reset, places, units = self.layer.reset, self.places, self.units
        late = reset == "before"
        from_h = self._from_h(h, self.sigmoids if late else slice(None))
        gates = self._gates(xz[:, self.sigmoids], from_h[:, self.sigmoids], self.sigmoids)
        z, r = gates[:, :units], gates[:, units:]
        part = self._from_h(self._kept(self._times(r, h)), self.last) if late else from_h[:, self.last]
        used = part
        if reset == "after":
            used = self._times(r, part)
            used = used if places is None else places.from_h.clip(used, self.last)
        n = self._gates(xz[:, self.last], used, self.last)
        gates = tf.concat([gates, n], 1)
        if places is None:
            return h + z * (n - h), gates, part
        grid = places.h
        far = added(n, h, (self.new_scale, grid.scale), 2.0 * grid.scale, grid.bits, -1)
        far = tf.clip_by_value(far, *limits(Grid(2.0 * grid.scale, 0, grid.bits)))
        return self._kept(h + self._kept(self._times(z, far, 2.0))), gates, part

    def _kept(self, h: Any) -> Any:
        """Within the state's integers."""
        return h if self.places is None else tf.clip_by_value(h, *limits(self.places.h))


def recurrence(entering: Callable[[Any], Any], frames: int, h0: Any, step: Steps, opened: Any = None) -> list[Any]:
    """``entering(t)``, what ``enter`` made of frame t, and real h0 [n, units] -> real h, gates, n's part of h, states.

    Each [T, n, ...]; the part is there with reset "after" alone, the states with ``opened`` [T, n, 1], by which they
    become h or stay.
    """
    (n, units), dtype = h0.shape, h0.dtype
    after, gated = step.layer.reset == "after", opened is not None
    widths = (units, step.recurrent.shape[1], *(units,) * (after + gated))
    arrays = tuple(tf.TensorArray(dtype, frames, element_shape=(n, width)) for width in widths)

    def body(t: Any, h: Any, *out: Any) -> Any:
        fresh, gates, part = step(entering(t), h)
        h = tf.where(opened[t] > 0.5, fresh, h) if gated else fresh
        values = (fresh * step.h_unit, gates, *((part,) if after else ()), *((h * step.h_unit,) if gated else ()))
        return (t + 1, h, *(array.write(t, tf.cast(value, dtype)) for array, value in zip(out, values, strict=True)))

    start = tf.cast(h0, step.recurrent.dtype)
    start = start if step.places is None else tf.round(start / step.h_unit)
    if frames == 1:
        final = body(0, start, *arrays)
    else:
        final = tf.while_loop(lambda t, *_: t < frames, body, (0, start, *arrays), maximum_iterations=frames)
    return [array.stack() for array in final[2:]]
