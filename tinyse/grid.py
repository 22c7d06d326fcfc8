"""Integer grids: the scales and zero points that training imitates and the exported file carries.

Rules are TFLite's: activations int8 asymmetric with a nudged range that holds zero exactly; weights
symmetric with scale max|w| / 127; the LSTM's cell int16 on a power of two. NumPy only, so that training,
export and reports share one definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GATES = 4
GATE_ONE = 4096.0
"""Pre-activations are Q3.12: one unit is 1 / 4096."""
UNIT_ONE = 32768.0
"""Gate activations are Q0.15."""
INT16 = 32767.0
MASK_SCALE = 1.0 / 256.0
MASK_ZERO_POINT = -128


def nearest(values: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """round(values / scale) in float32, halves away from zero: how every engine and the firmware quantize features."""
    ratio = np.asarray(values, np.float32) / np.float32(scale)
    # Just below a half: adding a half itself would carry 0.49999997 over to 1.
    return np.trunc(ratio + np.copysign(np.nextafter(np.float32(0.5), np.float32(0)), ratio))


@dataclass(frozen=True)
class Grid:
    """An int8 activation grid: real = scale * (q - zero_point), q in [-128, 127]."""

    scale: float
    zero_point: int

    @staticmethod
    def of_range(low: float, high: float) -> Grid:
        """The nudged grid of a learned range (Jacob et al. 2018, section 3; TFLite's rule)."""
        low, high = min(float(np.float32(low)), 0.0), max(float(np.float32(high)), 0.0)
        if high - low < 1e-6:
            high = low + 1e-6
        # float32 throughout, as TFLite's quantizer: in double, 3 % of the scales are one ulp off.
        scale = float((np.float32(high) - np.float32(low)) / np.float32(255.0))
        exact = -128.0 - low / scale
        zero_point = math.copysign(math.floor(abs(exact) + 0.5), exact)  # ties away from zero, as in TFLite
        return Grid(scale, int(min(127, max(-128, zero_point))))

    @property
    def low(self) -> float:
        """Smallest real value on the grid."""
        return self.scale * (-128 - self.zero_point)

    @property
    def high(self) -> float:
        """Largest real value on the grid."""
        return self.scale * (127 - self.zero_point)


def cell_power(low: float, high: float) -> int:
    """The k of an int16 cell state on scale 2^-k that covers max(|low|, |high|)."""
    peak = max(abs(low), abs(high), 2.0**-15)
    return 15 - math.ceil(math.log2(peak))


def gate_scales(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales [4] of the gate matrices in a Keras LSTM kernel [in, 4u]: max|w| / 127 each."""
    units = matrix.shape[1] // GATES
    peaks = np.abs(matrix.reshape(matrix.shape[0], GATES, units)).max(axis=(0, 2))
    return np.maximum(peaks, 1e-8).astype(np.float32) / np.float32(127.0)


SIGMOID_ABOVE = (4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40, 41, 43,
                 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255)
"""Where TFLite's table is one above the correctly rounded sigmoid."""


def sigmoid_table() -> NDArray[np.float64]:
    """TFLite's 256-entry uint16 table of 65536 sigmoid(i / 24), which rounds up at ``SIGMOID_ABOVE``."""
    steps = np.arange(256) / 24.0
    table = np.floor(65536.0 / (1.0 + np.exp(-steps)) + 0.5)
    table[list(SIGMOID_ABOVE)] += 1.0
    return table
