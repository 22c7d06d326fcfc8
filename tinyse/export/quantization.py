"""The rules by which the exported file gets its numbers; quantization-aware training must imitate exactly these.

Each rule was found by writing ranges into a calibrated flatbuffer, running TFLite's quantizer and reading the
file back; ``tinyse.export.verify`` checks every file against them, so a converter that changes its mind fails
the export instead of the model. ``tinyse.graph.grid`` holds the rules that training shares.

=====================  =============================================================================
tensor                 rule
=====================  =============================================================================
features, h, dense     int8 asymmetric, ``Grid.of_range``: zero is put inside the range, scale
                       (max - min) / 255 in float32 arithmetic, zero point round(-128 - min / scale), ties away from
                       zero, with that scale, clamped
cell state c           int16 symmetric on the power of two 2^(ceil(log2 max|c|) - 15)
gate weights           int8 symmetric per matrix (8 matrices an LSTM), scale max|w| / 127, -127..127
dense weights          int8 symmetric per output row, scale max|w| / 127, -127..127
biases                 int32, scale (input scale) * (weight scale); an LSTM's bias joins the input's
                       accumulator, the recurrent accumulator has none
mask                   int8, scale 1/256, zero point -128, whatever was calibrated
=====================  =============================================================================

The fifth LSTM intermediate ("effective hidden scale"), the hidden state and the layer's output share one grid.
The converter sets a cell clip of 10.0 and TFLM obeys it: where the cell's range reaches beyond (scale 2^-11 or
coarser), c is clamped to +-10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ExportError
from tinyse.graph.grid import Grid, cell_power

CELL_CLIP = 10.0
"""Clamp of the cell state, in real units, that every converted LSTM carries."""


@dataclass(frozen=True)
class Affine:
    """real = scale * (integer - zero_point); ``scale`` is a float32 value."""

    scale: float
    zero_point: int = 0

    def quantize(self, values: NDArray) -> NDArray[np.int8]:
        """Real values of any shape to int8: round half to even, saturate."""
        scaled = np.rint(np.asarray(values, np.float32) / np.float32(self.scale)) + self.zero_point
        return np.clip(scaled, -128, 127).astype(np.int8)

    def dequantize(self, integers: NDArray) -> NDArray[np.float32]:
        """Integers of any shape to float32 real values."""
        return (np.asarray(integers, np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


def _finite(low: float, high: float, name: str) -> tuple[float, float]:
    if not (np.isfinite(low) and np.isfinite(high) and low <= high and max(high, 0.0) > min(low, 0.0)):
        raise ExportError(f"{name}: range {low}..{high} cannot be quantized", "train or calibrate again")
    return low, high


def asymmetric(low: float, high: float, name: str = "tensor") -> Affine:
    """int8 grid of an activation whose real values lie in [low, high].

    Raises:
        ExportError: the range is empty, reversed or not finite.
    """
    grid = Grid.of_range(*_finite(low, high, name))
    return Affine(grid.scale, grid.zero_point)


def cell_scale(low: float, high: float, name: str = "cell") -> float:
    """Power-of-two int16 scale of a cell state whose real values lie in [low, high].

    Raises:
        ExportError: the range is empty, reversed or not finite.
    """
    return float(2.0 ** -cell_power(*_finite(low, high, name)))


def weight_scale(weights: NDArray, axis: int | None = None) -> NDArray[np.float32]:
    """float32 scale max|w| / 127 over all of ``weights``, or per index along the other axis.

    Where every weight is zero the scale is 1: nothing is lost.
    """
    bound = np.max(np.abs(np.asarray(weights, np.float32)), axis=axis).astype(np.float64)
    return np.where(bound > 0, bound / 127.0, 1.0).astype(np.float32)


def quantize_weights(weights: NDArray, scale: NDArray | float) -> NDArray[np.int8]:
    """round half to even of w / scale, -127..127, int8; ``scale`` broadcasts against ``weights``."""
    ratio = np.asarray(weights, np.float64) / np.asarray(scale, np.float64)
    return np.clip(np.rint(ratio), -127, 127).astype(np.int8)


def on_grid(weights: NDArray, scale: NDArray | float) -> NDArray[np.float32]:
    """The float32 weights that the integers stand for; those at +-127 keep every bit.

    The converter derives its scale from the largest weight, so that one must not move.
    """
    integers = quantize_weights(weights, scale)
    grid = integers * np.asarray(scale, np.float64)
    return np.where(np.abs(integers) == 127, weights, grid).astype(np.float32)
