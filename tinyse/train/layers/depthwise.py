"""Twin of the depthwise convolution: every channel with itself, forward and backward as sums of shifted products.

TensorFlow's and XLA's own kernels for it are slow on processors, most of all for the kernel's gradient. Here a result
is a sum of products a tap, which XLA fuses into one pass; the input's gradient is the same with the taps reversed; and
the kernel's is one small matrix a channel, of all inputs by all results, whose diagonals are the taps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyse.train.keras import tf
from tinyse.train.layers.product import ConvTwin, windows

WASTE = 8
"""Products by inputs that no tap sees are no loss up to so many times those that one does."""


class DepthwiseTwin(ConvTwin):
    """A convolution of every channel with itself."""

    def products(self, x: Any, kernel: Any) -> Any:
        """x [n, rows, width, channels] by kernel [kt * kf, channels] -> [n, rows', width', channels]."""

        @tf.custom_gradient
        def run(x: Any, kernel: Any) -> Any:
            made = weighted(self.taps(x), kernel)
            return made, lambda d: (self._to_input(d, kernel, x.shape), self._to_kernel(x, d))

        return run(x, kernel)

    def _to_input(self, d: Any, kernel: Any, shape: Any) -> Any:
        """The gradient of x: d, with zeros where the stride left results out, by the kernel from its end."""
        layer = self.layer
        pads = [(0, 0)]
        for axis, before in ((1, 0), (2, layer.pad(shape[2])[0])):
            stride, reach = layer.stride[axis - 1], (layer.kernel[axis - 1] - 1) * layer.dilation[axis - 1]
            size = (d.shape[axis] - 1) * stride + 1
            if stride > 1:
                sizes = [length * (stride if at == axis else 1) for at, length in enumerate(d.shape)]
                d = tf.pad(tf.expand_dims(d, axis + 1), [(0, (stride - 1) * (at == axis + 1)) for at in range(5)])
                d = tf.reshape(d, sizes)
                d = d[:, :size] if axis == 1 else d[:, :, :size]
            pads.append((reach - before, shape[axis] + before - size))
        return weighted(windows(tf.pad(d, (*pads, (0, 0))), layer.kernel, (1, 1), layer.dilation, (0, 0)), kernel[::-1])

    def _to_kernel(self, x: Any, d: Any) -> Any:
        """The gradient of the kernel."""
        seen = self._seen(*x.shape[1:3])
        if seen.shape[1] > WASTE * len(seen):
            flat = [tf.reduce_sum(tf.reshape(tap * d, (d.shape[0], -1)), 0) for tap in self.taps(x)]
            return tf.reduce_sum(tf.reshape(tf.stack(flat), (len(flat), -1, d.shape[-1])), 1)
        ins, outs = (tf.reshape(part, (part.shape[0], -1, part.shape[-1])) for part in (x, d))
        pairs = tf.matmul(tf.transpose(ins, (2, 1, 0)), tf.transpose(outs, (2, 0, 1)))  # [channels, in, out]
        return tf.matmul(tf.constant(seen.reshape(len(seen), -1), d.dtype), tf.reshape(pairs, (pairs.shape[0], -1)),
                         transpose_b=True)

    def _seen(self, rows: int, width: int) -> Any:
        """[taps, positions in, positions out]: whether a tap takes one to the other."""
        layer, number = self.layer, np.arange(rows * width).reshape(1, rows, width, 1)
        padded = np.pad(number, ((0, 0), (0, 0), layer.pad(width), (0, 0)), constant_values=-1)
        taps = windows(padded, layer.kernel, layer.stride, layer.dilation, (0, 0))
        return np.stack([number.reshape(-1, 1) == tap.reshape(-1) for tap in taps])


def weighted(taps: list[Any], kernel: Any) -> Any:
    """The sum of taps by their rows of the kernel, added one after the other: XLA makes one loop of it."""
    total = taps[0] * kernel[0]
    for number, tap in enumerate(taps[1:], 1):
        total += tap * kernel[number]
    return total
