"""The exported network in NumPy, with TFLM's integer arithmetic: the reference for training, NPU and C.

Bit-identical with the tflite-micro interpreter, frame after frame, and open to inspection::

    network = IntegerNetwork(Path("model_int8.tflite").read_bytes())
    mask = network.step(frame)                # int8 [bands] in, int8 [bands] out; states persist
    network.taps["lstm_0.c"]                  # int16 cell state of that frame
    network.reset()

Taps of the last frame (integers): ``<lstm>.pre_<gate>`` Q3.12, ``<lstm>.gate_<gate>`` Q0.15, ``<lstm>.c``,
``<lstm>.h``, ``<dense>``, ``mask``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ModelError
from tinyse.export.network import DenseLayer, LogisticLayer, LstmLayer, parse
from tinyse.graph.fixedpoint import (
    Ints,
    quantize_multiplier,
    rescale,
    saturate16,
    sigmoid8_table,
    sigmoid16,
    tanh16,
)

Int8 = NDArray[np.int8]


def _product(weights: NDArray[np.float64], centred: NDArray) -> Ints:
    """Exact integer matrix-vector product on the float unit: |sums| stay far below 2^53."""
    return (weights @ centred.astype(np.float64)).astype(np.int64)


class IntegerLstm:
    """One UNIDIRECTIONAL_SEQUENCE_LSTM: all four gates in one product, rescaled per gate."""

    def __init__(self, layer: LstmLayer) -> None:
        """Stack the gates i, f, g, o and prepare TFLM's multipliers."""
        self.layer, self.name, self.units = layer, layer.name, layer.units
        self.kernel = np.concatenate([gate.kernel for gate in layer.gates]).astype(np.float64)
        self.recurrent = np.concatenate([gate.recurrent for gate in layer.gates]).astype(np.float64)
        self.bias = np.concatenate([gate.bias for gate in layer.gates]).astype(np.int64)
        one = 2.0**-12
        self.input_scale = self._multipliers([(layer.x.scale, gate.kernel_scale) for gate in layer.gates], one)
        self.hidden_scale = self._multipliers([(layer.h.scale, gate.recurrent_scale) for gate in layer.gates], one)
        self.power = -round(math.log2(layer.cell_scale))
        q15 = 2.0**-15
        self.forget = quantize_multiplier(q15 * layer.cell_scale / layer.cell_scale)
        self.update = quantize_multiplier(q15 * q15 / layer.cell_scale)
        self.output = quantize_multiplier(q15 * q15 / layer.h.scale)
        self.clip = int(min(layer.cell_clip / layer.cell_scale, 32767.0)) if layer.cell_clip > 0 else 0
        self.reset()

    def _multipliers(self, scales: list[tuple[float, float]], one: float) -> tuple[Ints, Ints]:
        # All in double, as TFLM: a float32 product moves a cell by one in a thousand frames.
        pairs = [quantize_multiplier(float(a) * float(b) / one) for a, b in scales]
        mantissas, shifts = (np.repeat(np.array(part, np.int64), self.units)
                             for part in zip(*pairs, strict=True))
        return mantissas, shifts

    def reset(self) -> None:
        """h to its zero point, c to 0."""
        self.h: Ints = np.full(self.units, self.layer.h.zero_point, np.int64)
        self.c: Ints = np.zeros(self.units, np.int64)

    def step(self, x: Int8, taps: dict[str, NDArray]) -> Int8:
        """One frame: int8 [in] to int8 [units]."""
        layer = self.layer
        from_input = _product(self.kernel, x.astype(np.int64) - layer.x.zero_point) + self.bias
        from_hidden = _product(self.recurrent, self.h - layer.h.zero_point)
        pre = saturate16(saturate16(rescale(from_input, *self.input_scale))
                         + saturate16(rescale(from_hidden, *self.hidden_scale)))
        i, f, g, o = np.split(pre, 4)
        gates = {"i": sigmoid16(i), "f": sigmoid16(f), "g": tanh16(g), "o": sigmoid16(o)}
        kept = saturate16(rescale(gates["f"] * self.c, *self.forget))
        added = saturate16(rescale(gates["i"] * gates["g"], *self.update))
        self.c = saturate16(kept + added)
        if self.clip:
            self.c = np.clip(self.c, -self.clip, self.clip)
        out = rescale(gates["o"] * tanh16(self.c, self.power), *self.output) + layer.h.zero_point
        self.h = np.clip(out, -128, 127)
        taps.update({f"{self.name}.pre_{gate}": part.astype(np.int16)
                     for gate, part in zip("ifgo", (i, f, g, o), strict=True)})
        taps.update({f"{self.name}.gate_{gate}": value.astype(np.int16) for gate, value in gates.items()})
        taps[f"{self.name}.c"] = self.c.astype(np.int16)
        taps[f"{self.name}.h"] = hidden = self.h.astype(np.int8)
        return hidden


class IntegerDense:
    """One FULLY_CONNECTED with a scale per output row."""

    def __init__(self, layer: DenseLayer) -> None:
        """Prepare one multiplier a row."""
        self.layer, self.name = layer, layer.name
        self.weights, self.bias = layer.weights.astype(np.float64), layer.bias.astype(np.int64)
        pairs = [quantize_multiplier(layer.x.scale * float(scale) / layer.y.scale) for scale in layer.scales]
        self.mantissa, self.shift = (np.array(part, np.int64) for part in zip(*pairs, strict=True))
        self.low = max(-128, layer.y.zero_point) if layer.relu else -128

    def reset(self) -> None:
        """Nothing persists here."""

    def step(self, x: Int8, taps: dict[str, NDArray]) -> Int8:
        """One frame: int8 [in] to int8 [out]."""
        sums = _product(self.weights, x.astype(np.int64) - self.layer.x.zero_point) + self.bias
        out = rescale(sums, self.mantissa, self.shift) + self.layer.y.zero_point
        taps[self.name] = result = np.clip(out, self.low, 127).astype(np.int8)
        return result


class IntegerLogistic:
    """LOGISTIC: a table of the 256 possible inputs."""

    def __init__(self, layer: LogisticLayer) -> None:
        """Tabulate."""
        self.name, self.table = layer.name, sigmoid8_table(layer.x.scale, layer.x.zero_point)

    def reset(self) -> None:
        """Nothing persists here."""

    def step(self, x: Int8, taps: dict[str, NDArray]) -> Int8:
        """One frame: int8 [n] to int8 [n]."""
        taps[self.name] = result = self.table[x.astype(np.int64) + 128]
        return result


class IntegerNetwork:
    """A streaming int8 network; one ``step`` a frame, states persist until ``reset``.

    Raises:
        ModelError: ``data`` is not a streaming int8 network, or a frame has another width or type.
    """

    def __init__(self, data: bytes, name: str = "model") -> None:
        """Parse the flatbuffer and set the states to their start."""
        self.network = parse(data, name)
        self.bands = self.network.input.shape[-1]
        self.layers = [_KINDS[type(layer)](layer) for layer in self.network.layers]
        self.taps: dict[str, NDArray] = {}

    def reset(self) -> None:
        """Return every state to where it was before the first frame."""
        for layer in self.layers:
            layer.reset()
        self.taps = {}

    def step(self, frame: Int8) -> Int8:
        """One frame: int8 [bands] features to int8 [bands] mask."""
        if frame.shape != (self.bands,) or frame.dtype != np.int8:
            raise ModelError(f"a frame of {frame.dtype} {frame.shape} is not int8 ({self.bands},)")
        for layer in self.layers:
            frame = layer.step(frame, self.taps)
        return frame

    def run(self, frames: Int8) -> Int8:
        """``step`` over int8 [count, bands], from the present state."""
        return np.stack([self.step(frame) for frame in frames]) if len(frames) else frames.copy()


_KINDS = {LstmLayer: IntegerLstm, DenseLayer: IntegerDense, LogisticLayer: IntegerLogistic}
