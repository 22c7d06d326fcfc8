"""What one would write for quantization-aware training of an LSTM in tf_keras, where TF-MOT refuses the layer.

Weights are fake-quantized once a batch, hidden and cell state every frame, as TF-MOT does with other layers: 8 bits
for weights, activations and hidden state, 16 for the cell. TFLM's integer gates are not imitated.
"""

from __future__ import annotations

from typing import Any

from tinyse.train.keras import tf, tf_keras

ACTIVATION = 6.0
"""Range of a dense layer's output, both signs."""
CELL = 8.0
"""Range of the cell state, both signs."""


def _weights(kernel: Any) -> Any:
    peak = tf.stop_gradient(tf.reduce_max(tf.abs(kernel)))
    return tf.quantization.fake_quant_with_min_max_vars(kernel, -peak, peak, 8, narrow_range=True)


def _values(tensor: Any, low: float, high: float, bits: int = 8) -> Any:
    return tf.quantization.fake_quant_with_min_max_args(tensor, low, high, bits)


class FakeQuantLstm(tf_keras.layers.Layer):
    """An LSTM over whole sequences, [batch, frames, in] to [batch, frames, units]."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units

    def build(self, shape: Any) -> None:
        """Make the weights that tf_keras' LSTM has, initialised as there."""
        self.kernel = self.add_weight("kernel", (shape[-1], 4 * self.units), initializer="glorot_uniform")
        self.recurrent = self.add_weight("recurrent", (self.units, 4 * self.units), initializer="orthogonal")
        self.bias = self.add_weight("bias", (4 * self.units,), initializer="zeros")
        self.built = True

    def call(self, x: Any) -> Any:
        """Run from zero states."""
        kernel, recurrent = _weights(self.kernel), _weights(self.recurrent)

        def step(row: Any, states: Any) -> Any:
            h, c = states
            gates = tf.matmul(row, kernel) + tf.matmul(h, recurrent) + self.bias
            i, f, g, o = tf.split(gates, 4, axis=1)
            c = _values(tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g), -CELL, CELL, 16)
            h = _values(tf.sigmoid(o) * tf.tanh(c), -1.0, 1.0)
            return h, [h, c]

        zero = tf.zeros((tf.shape(x)[0], self.units))
        _, outputs, _ = tf_keras.backend.rnn(step, _values(x, 0.0, ACTIVATION), [zero, zero])
        return outputs


class FakeQuantDense(tf_keras.layers.Layer):
    """A dense layer, [..., in] to [..., units]."""

    def __init__(self, units: int, activation: str) -> None:
        super().__init__()
        self.units, self.activation = units, activation

    def build(self, shape: Any) -> None:
        """Make kernel and bias."""
        self.kernel = self.add_weight("kernel", (shape[-1], self.units), initializer="glorot_uniform")
        self.bias = self.add_weight("bias", (self.units,), initializer="zeros")
        self.built = True

    def call(self, x: Any) -> Any:
        """Multiply, add, quantize, activate."""
        rows = _values(tf.tensordot(x, _weights(self.kernel), 1) + self.bias, -ACTIVATION, ACTIVATION)
        return tf.nn.relu(rows) if self.activation == "relu" else tf.sigmoid(rows)
