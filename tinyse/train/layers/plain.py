"""Twins of the layers without weights, or nearly: past, join, activation, pool, reshape, norm."""

from __future__ import annotations

from typing import Any

from tinyse.graph.graph import SIGMOID8, TANH8
from tinyse.graph.grid import Grid
from tinyse.graph.layers.plain import EPSILON
from tinyse.train.arithmetic import Rescale, added, curved, limits, rescaled, ste, to_grid, whole
from tinyse.train.keras import tf
from tinyse.train.layers.base import Range, Seen, Twin
from tinyse.train.layers.product import windows

MOMENTUM = 0.99
"""Of a norm's running mean and variance, a step (Keras' default)."""


class PastTwin(Twin):
    """The last rows of the frame before in front of each frame's: over a sequence, the sequence shifted."""

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """The state is [B, rows kept, width, channels]."""
        x, kept = xs[0], self.layer.rows
        frames, rows = x.shape[0], x.shape[2]
        if kept <= rows:
            before = tf.concat([state[0][tf.newaxis], x[:-1, :, rows - kept :]], 0)
            return tf.concat([before, x], 2), (x[-1, :, rows - kept :],)
        flat = tf.reshape(tf.transpose(x, (0, 2, 1, 3, 4)), (frames * rows, x.shape[1], *x.shape[3:]))
        flat = tf.concat([tf.transpose(state[0], (1, 0, 2, 3)), flat], 0)
        each = [flat[at : at + (frames - 1) * rows + 1 : rows] for at in range(kept + rows)]
        return tf.stack(each, 2), (tf.transpose(flat[-kept:], (1, 0, 2, 3)),)


def onto(real: Any, steps: Any, grid: Grid) -> Any:
    """Integers ``steps`` as values of ``grid``, clamped, with the gradient of ``real``."""
    low, high = limits(grid)
    clamped = tf.cast(tf.clip_by_value(steps, low, high), real.dtype) * grid.scale
    return ste(clamped, tf.clip_by_value(real, low * grid.scale, high * grid.scale))


def requantized(x: Any, grid: Grid, out: Grid, exact: bool, twice: bool = False) -> Any:
    """Values of ``grid`` on ``out``; as they are where it is the same.

    Args:
        twice: rounded as the operator does, twice, in the fast arithmetic too. From 2^-9 to 2^-7 every other value
            depends on it, from 2^-15 one in 128, which training need not know.
    """
    if grid == out:
        return x
    if not (exact or twice):
        return onto(x, to_grid(x, out), out)
    dtype = tf.float64 if exact else x.dtype
    return onto(x, Rescale.of(tf.constant(grid.scale / out.scale, dtype))(whole(x, grid, dtype)), out)


class JoinTwin(Twin):
    """Two maps as one."""

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """Add, mul or concat."""
        how, out = self.layer.how, self.out
        if how == "concat":
            parts = xs if out is None else [requantized(x, grid, out, self.exact)
                                            for x, grid in zip(xs, self.grids, strict=True)]
            y = tf.concat(parts, -1)
        else:
            y = xs[0] + xs[1] if how == "add" else xs[0] * xs[1]
            if out is not None:
                y = onto(y, self._steps(xs, y, out), out)
        self.note(seen, "out", y)
        return y, ()

    def _steps(self, xs: tuple[Any, ...], real: Any, out: Grid) -> Any:
        if not self.exact:
            return tf.round(real / out.scale)
        a, b = (whole(x, grid, tf.float64) for x, grid in zip(xs, self.grids, strict=True))
        first, second = (grid.scale for grid in self.grids)
        if self.layer.how == "mul":
            return rescaled(a * b, first * second / out.scale)
        return added(a, b, (first, second), out.scale, out.bits)

    def out_grid(self, grids: tuple[Grid, ...], ranges: Range) -> Grid:
        """Of the range."""
        return ranges("out")


class ActivationTwin(Twin):
    """PReLU, sigmoid or tanh."""

    def held(self) -> Any:
        """Slopes, and on grids their integers and scale."""
        if self.layer.how != "prelu":
            return ()
        alpha = self.array("alpha")
        if not self.grids:
            return (alpha,)
        peak = tf.stop_gradient(tf.reduce_max(tf.abs(alpha)))
        scale = tf.where(peak > 0.0, peak / 127.0, tf.ones_like(peak))
        steps = tf.clip_by_value(tf.round(alpha / scale), -127.0, 127.0)
        return ste(steps * scale, alpha), steps, scale

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """The activation of every value."""
        x, how = xs[0], self.layer.how
        if how != "prelu":
            if self.grids:
                return curved(how, x, self.grids[0], self.exact), ()
            return (tf.sigmoid(x) if how == "sigmoid" else tf.tanh(x)), ()
        y = tf.maximum(x, 0.0) + held[0] * tf.minimum(x, 0.0)
        if self.out is not None:
            y = onto(y, self._bent(x, y, held, self.out), self.out)
        self.note(seen, "out", y)
        return y, ()

    def _bent(self, x: Any, real: Any, held: Any, out: Grid) -> Any:
        if not self.exact:
            return tf.round(real / out.scale)
        grid = self.grids[0]
        steps, scale = tf.cast(held[1], tf.float64), tf.cast(held[2], tf.float64)
        value = whole(x, grid, tf.float64)
        bent = Rescale.of(scale * grid.scale / out.scale)(value * steps)
        return tf.where(value >= 0.0, rescaled(value, grid.scale / out.scale), bent)

    def out_grid(self, grids: tuple[Grid, ...], ranges: Range) -> Grid:
        """Of the range, or the activation's own."""
        how = self.layer.how
        return ranges("out") if how == "prelu" else SIGMOID8 if how == "sigmoid" else TANH8


class PoolTwin(Twin):
    """The largest of each window; on any grid as it is."""

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """The maximum over what the taps of the window see."""
        x = xs[0]
        frames = tf.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))
        taps = windows(frames, self.layer.whole(self.ins[0]), self.layer.stride, (1, 1), (0, 0))
        return tf.reshape(tf.reduce_max(tf.stack(taps), 0), (*x.shape[:2], *self.layer.shape(*self.ins))), ()


class ReshapeTwin(Twin):
    """The same elements otherwise."""

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """Frame by frame."""
        return tf.reshape(xs[0], (*xs[0].shape[:2], *self.layer.shape(*self.ins))), ()


class NormTwin(Twin):
    """Batch normalisation, in float alone: ``Network.fold_norms`` comes before the grids."""

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """By the batch's mean and variance where ``seen.statistics`` takes them, else by the running ones."""
        x = xs[0]
        mean, variance = self.array("mean"), self.array("variance")
        if seen.statistics is not None:
            mean, variance = tf.nn.moments(x, (0, 1, 2, 3))
            seen.statistics[self.name] = mean, variance
        y = (x - mean) * (tf.math.rsqrt(variance + EPSILON) * self.array("gamma")) + self.array("beta")
        return (tf.nn.relu(y) if self.layer.activation == "relu" else y), ()

    def learn(self, mean: Any, variance: Any) -> None:
        """Move the running mean and variance towards a batch's."""
        for name, value in (("mean", mean), ("variance", variance)):
            variable = self.array(name)
            variable.assign(MOMENTUM * variable + (1.0 - MOMENTUM) * value)
