"""A GRU frame after frame, in float or on the integer grids that its layer lowers to.

Real values in float; on grids (``Places``) centred integers, rounded where the layer's operators round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyse.graph.grid import Grid
from tinyse.train.arithmetic import Rescale, added, curve, limits, rescaled
from tinyse.train.keras import tf


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
    """One frame of a GRU, in float or on integers: h [n, units] to the next one."""

    def __init__(self, layer: Any, recurrent: Any, bias: Any, places: Places | None = None, scale: Any = None) -> None:
        """Prepare what all frames share.

        Args:
            recurrent: [units, gates * units], real or integers. bias: [gates * units] of its product, or None.
            scale: of a column of ``recurrent``, where it is integers.
        """
        self.layer, self.places, self.recurrent, self.bias = layer, places, recurrent, bias
        self.units = units = int(recurrent.shape[0])
        self.sigmoids, self.last = slice(0, recurrent.shape[1] - units), slice(recurrent.shape[1] - units, None)
        self.gate_scale = 1.0
        if places is not None:
            onto = places.total if layer.joint else places.from_h
            unit = tf.cast(scale, recurrent.dtype) * places.h.scale / tf.constant(onto.scale, recurrent.dtype)
            self.rescale = Rescale.of(unit, places.h.bits > 8)
            self.gate_scale = 2.0 ** (-15 if places.h.bits > 8 else -8)

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
        if places.h.bits > 8:
            return curve(name, pre, total.grids["n"])
        if places.exact:
            grids = [grid for gate, grid in total.grids.items() if (gate == "n") == (name == "tanh")]
            return tf.concat([curve(name, part, grid)
                              for part, grid in zip(tf.split(pre, len(grids), 1), grids, strict=True)], 1)
        # A table look-up a frame is slow.
        value, one = function(pre * tf.constant(total.scale[columns], pre.dtype)), 128.0 if name == "tanh" else 256.0
        return tf.clip_by_value(tf.round(value * one), -128.0, one - 1.0)

    def _times(self, gate: Any, value: Any) -> Any:
        """MUL by a sigmoid, onto the value's own grid."""
        return gate * value if self.places is None else rescaled(gate * value, self.gate_scale)

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
        far = self._kept(added(n, h, (1.0, 1.0), 2.0, places.h.bits, -1))
        return self._kept(h + 2.0 * self._kept(self._times(z, far))), gates, part

    def _kept(self, h: Any) -> Any:
        """Within the state's integers."""
        return h if self.places is None else tf.clip_by_value(h, *limits(self.places.h))


def recurrence(xz: Any, h0: Any, step: Steps) -> tuple[Any, Any, Any]:
    """xz [T, n, gates * units] and h0 [n, units] -> h, gates and n's part of h for all frames."""
    frames, n, units = xz.shape[0], xz.shape[1], h0.shape[1]
    shapes = ((n, units), (n, xz.shape[2]), (n, units))
    arrays = tuple(tf.TensorArray(xz.dtype, frames, element_shape=shape) for shape in shapes)

    def body(t: Any, h: Any, *out: Any) -> Any:
        values = step(xz[t], h)
        return (t + 1, values[0], *(array.write(t, value) for array, value in zip(out, values, strict=True)))

    if frames == 1:
        final = body(0, h0, *arrays)
    else:
        final = tf.while_loop(lambda t, *_: t < frames, body, (0, h0, *arrays), maximum_iterations=frames)
    h, gates, part = (array.stack() for array in final[2:])
    return h, gates, part
