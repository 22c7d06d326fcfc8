"""Integer grids: the scales and zero points that training imitates and the exported file carries.

One ``Grid`` for every tensor of the house. Rules are TFLite's: activations int8 asymmetric with a nudged range
that holds zero exactly; weights symmetric with scale max|w| / 127; the LSTM's cell int16 on a power of two.
NumPy only, so that training, export and reports share one definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ExportError

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


DROPPED = 13
"""Mantissa bits of a float32 beyond the leading 11."""


def snap_scale(scale: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """Positive float32 scales rounded up to 11 significant bits: products of two are exact in float32."""
    bits = np.asarray(scale, np.float32).view(np.uint32)
    mask = np.uint32((1 << DROPPED) - 1)
    return np.asarray((bits + mask) & ~mask, np.uint32).view(np.float32)


@dataclass(frozen=True)
class Grid:
    """Integers that stand for real values: real = scale * (q - zero_point).

    Attributes:
        scale: real units a step, > 0, a float32 value.
        zero_point: the integer that means 0; 0 where there are more than 8 bits, as TFLite demands.
        bits: 2 to 16. Up to 8 the integers are stored as int8, above as int16; fewer bits are fewer levels.
    """

    scale: float
    zero_point: int = 0
    bits: int = 8

    @staticmethod
    def of_range(low: float, high: float, bits: int = 8) -> Grid:
        """The nudged int8 grid of a learned range (Jacob et al. 2018, section 3; TFLite's rule).

        Of fewer bits it has 2^bits steps over the range, and they end at 127: what is stored stays int8, clamped above
        by the type and below, after a ReLU, by the zero point.
        """
        low, high = min(float(np.float32(low)), 0.0), max(float(np.float32(high)), 0.0)
        if high - low < 1e-6:
            high = low + 1e-6
        # float32 throughout, as TFLite's quantizer: in double, 3 % of the scales are one ulp off.
        steps = (1 << bits) - 1
        scale = float((np.float32(high) - np.float32(low)) / np.float32(steps))
        exact = 127.0 - steps - low / scale
        zero_point = math.copysign(math.floor(abs(exact) + 0.5), exact)  # ties away from zero, as in TFLite
        return Grid(scale, int(min(127, max(127 - steps, zero_point))))

    @staticmethod
    def of_power(low: float, high: float, bits: int = 16) -> Grid:
        """The symmetric grid on a power of two that covers max(|low|, |high|) with 2^bits steps."""
        return Grid(2.0 ** (16 - bits - cell_power(low, high)), 0, 8 if bits <= 8 else 16)

    @staticmethod
    def of_unit(bits: int) -> Grid:
        """-1..1 in steps of 2^(1 - bits), as a state has it; stored as int8 up to 8 bits, which clamp below 1."""
        scale = 2.0 ** (1 - bits)
        return Grid(scale, 128 - (1 << (bits - 1))) if bits <= 8 else Grid(scale, 0, 16)

    def span(self, bits: int) -> tuple[float, float]:
        """The range of which ``of_range`` made an int8 grid."""
        return self.scale * (128 - (1 << bits) - self.zero_point), self.high

    @property
    def least(self) -> int:
        """Smallest integer."""
        return -(1 << (self.bits - 1))

    @property
    def most(self) -> int:
        """Largest integer."""
        return (1 << (self.bits - 1)) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """int8 or int16."""
        return np.dtype(np.int8 if self.bits <= 8 else np.int16)

    @property
    def low(self) -> float:
        """Smallest real value on the grid."""
        return self.scale * (self.least - self.zero_point)

    @property
    def high(self) -> float:
        """Largest real value on the grid."""
        return self.scale * (self.most - self.zero_point)

    @property
    def range(self) -> tuple[float, float]:
        """The range that ``of_range`` makes this grid of: its ends, or the float32 beside one."""
        low, high = ([end, *(float(np.nextafter(np.float32(end), np.float32(way))) for way in (np.inf, -np.inf))]
                     for end in (self.low, self.high))
        near = ((one, other) for one in low for other in high)
        return next((pair for pair in near if Grid.of_range(*pair) == self), (self.low, self.high))

    def quantize(self, values: NDArray[Any]) -> NDArray[Any]:
        """The nearest integers, halves away from zero, saturated; any shape, of ``dtype``."""
        steps = nearest(np.asarray(values, np.float32), self.scale) + self.zero_point
        return np.clip(steps, self.least, self.most).astype(self.dtype)

    def dequantize(self, integers: NDArray[Any]) -> NDArray[np.float32]:
        """Real values, float32, of integers of any shape."""
        return (np.asarray(integers).astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


def cell_power(low: float, high: float) -> int:
    """The k of an int16 cell state on scale 2^-k that covers max(|low|, |high|)."""
    peak = max(abs(low), abs(high), 2.0**-15)
    return 15 - math.ceil(math.log2(peak))


SIGMOID_ABOVE = (4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40, 41, 43,
                 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255)
"""Where TFLite's table is one above the correctly rounded sigmoid."""


def sigmoid_table() -> NDArray[np.float64]:
    """TFLite's 256-entry uint16 table of 65536 sigmoid(i / 24), which rounds up at ``SIGMOID_ABOVE``."""
    steps = np.arange(256) / 24.0
    table = np.floor(65536.0 / (1.0 + np.exp(-steps)) + 0.5)
    table[list(SIGMOID_ABOVE)] += 1.0
    return table


def top(bits: int) -> int:
    """The largest integer of a weight: they are symmetric."""
    return (1 << (bits - 1)) - 1


def weight_scale(weights: NDArray[Any], axis: int | None = None, bits: int = 8) -> NDArray[np.float32]:
    """float32 scale max|w| / 127 (of fewer bits ``top``) over all of ``weights``, or per index along the other axis.

    Where every weight is zero the scale is 1: nothing is lost.
    """
    bound = np.max(np.abs(np.asarray(weights, np.float32)), axis=axis).astype(np.float64)
    return np.where(bound > 0, bound / top(bits), 1.0).astype(np.float32)


def peak(scale: NDArray[Any], most: NDArray[Any] | int = 127) -> NDArray[np.float32]:
    """Magnitudes of ``most`` steps, or a float32 beside, of which ``weight_scale`` makes ``scale`` again."""
    scale = np.asarray(scale, np.float32)
    found = near = np.asarray(most, np.float32) * scale
    for other in (np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(0)), near):
        found = np.where((other.astype(np.float64) / most).astype(np.float32) == scale, other, found)
    return np.asarray(found, np.float32)


def quantize_weights(weights: NDArray[Any], scale: NDArray[Any] | float, bits: int = 8) -> NDArray[np.int8]:
    """round half to even of w / scale within +-``top``, int8; ``scale`` broadcasts against ``weights``."""
    ratio = np.asarray(weights, np.float64) / np.asarray(scale, np.float64)
    return np.clip(np.rint(ratio), -top(bits), top(bits)).astype(np.int8)


def bits_of(weights: NDArray[np.int8]) -> int:
    """The fewest bits, 2 to 8, that hold every integer of a matrix."""
    return max(2, 1 + int(np.abs(weights.astype(np.int16)).max(initial=0)).bit_length())


CLIPS = tuple(1.0 - 0.05 * n for n in range(15))
"""Shares of the largest weight at which fewer than 8 bits may end (ours): the one of least squared error is taken."""


def bias_steps(bias: NDArray[Any], x_scale: float, scale: NDArray[Any], bits: int, name: str) -> NDArray[np.int64]:
    """Biases in steps of (input scale * weight scale), halves away from zero, as TensorFlow's converter has them.

    Raises:
        ExportError: one leaves ``bits`` bits.
    """
    ratio = np.asarray(bias, np.float64) / (float(x_scale) * np.asarray(scale, np.float64))
    steps = np.copysign(np.floor(np.abs(ratio) + 0.5), ratio)
    if not np.isfinite(steps).all() or np.any(np.abs(steps) >= 2.0**bits):
        raise ExportError(f"{name}: a bias leaves {bits + 1} bits", "its weights are tiny beside it; train it again")
    return np.asarray(steps, np.int64)


STEP = Grid(1.0, 126)
"""0 and 1 in int8: a fused ReLU leaves 126 and 127."""
