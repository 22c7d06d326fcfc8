"""From one grid to another, in twins."""

from __future__ import annotations

from typing import Any

from tinyse.graph.grid import Grid
from tinyse.train.arithmetic import Rescale, limits, ste, to_grid, whole
from tinyse.train.keras import tf


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
