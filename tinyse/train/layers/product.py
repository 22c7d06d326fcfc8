"""Twins of the layers that are matrix products: dense, convolution, upsampling.

A convolution gathers its windows into rows, or sums windows of products; all is one matrix product, in float or of
integers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyse.graph.graph import SIGMOID8, TANH8
from tinyse.graph.grid import STEP, Grid
from tinyse.graph.layers import ConvLayer
from tinyse.graph.layers.products import entered
from tinyse.train.arithmetic import Rescale, curved, heaviside, limits, ste, step_slope, whole
from tinyse.train.keras import tf
from tinyse.train.layers.base import Range, Seen, Twin
from tinyse.train.layers.requantization import requantized
from tinyse.train.matrix import Matrix

Pair = tuple[int, int]


def windows(x: Any, kernel: Pair, stride: Pair, dilation: Pair, pad: Pair) -> list[Any]:
    """What each tap of a kernel sees of x [n, rows, width, channels]: [n, rows', width', channels] each."""
    if pad != (0, 0):
        x = tf.pad(x, ((0, 0), (0, 0), pad, (0, 0)))
    sizes = [(size - (k - 1) * d - 1) // s + 1
             for size, k, s, d in zip(x.shape[1:3], kernel, stride, dilation, strict=True)]
    taps = []
    for t, f in np.ndindex(*kernel):
        row, column = t * dilation[0], f * dilation[1]
        taps.append(x[:, row : row + (sizes[0] - 1) * stride[0] + 1 : stride[0],
                      column : column + (sizes[1] - 1) * stride[1] + 1 : stride[1]])
    return taps


class ProductTwin(Twin):
    """A matrix product of rows, and its activation.

    Attributes:
        pre: grid of the sums, before a sigmoid or tanh; the result's otherwise.
    """

    pre: Grid | None = None

    def matrix(self) -> tuple[Any, Any]:
        """Kernel [in, out] and bias [out]."""
        return self.array("kernel"), self.array("bias")

    def rows(self, x: Any) -> Any:
        """x [n, rows, width, channels] -> [positions, in]."""
        return tf.reshape(x, (-1, x.shape[-1]))

    def held(self) -> Any:
        """Kernel and bias, on the grids a Matrix."""
        if self.node.slim:
            return self._cut(self._owner.held())
        kernel, bias = self.matrix()
        if not self.grids:
            return kernel, bias
        return Matrix.of(kernel, bias, self.grids[0], self.exact, self.tops.get("kernel"))

    def _cut(self, held: Any) -> Any:
        """The first inputs and outputs of the weights of the whole."""
        inputs, columns = self.ins[0][2], self.units * getattr(self.layer, "steps", 1)

        def first(kernel: Any) -> Any:
            taps = tf.reshape(kernel, (-1, self._owner.ins[0][2], kernel.shape[1]))
            return tf.reshape(taps[:, :inputs, :columns], (-1, columns))

        if not isinstance(held, Matrix):
            return first(held[0]), held[1][:columns]
        return Matrix(first(held.kernel), held.bias[:columns], held.scale[:columns], first(held.values),
                      held.steps[:columns], held.unit[:columns])

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """The product at every position, then the activation."""
        x = xs[0]
        frames = tf.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))
        y = self.activated(*self.sums(frames, held), seen)
        return tf.reshape(y, (*x.shape[:2], *self.layer.shape(*self.ins))), ()

    def sums(self, x: Any, held: Any) -> tuple[Any, Any]:
        """Of x [n, rows, width, channels]: real products and, on grids, the integers that they become."""
        if not self.grids:
            return self.products(x, held[0]) + held[1], None
        counts = self.products(whole(x, self.grids[0], held.values.dtype), held.values) + held.steps
        real = ste(tf.cast(counts * held.unit, x.dtype), self.products(x, held.kernel) + held.bias)
        return real, self.scaled(held)(counts)

    def products(self, x: Any, kernel: Any) -> Any:
        """Rows of x by the kernel, in float or of integers."""
        return tf.matmul(self.rows(x), kernel)

    def scaled(self, held: Matrix) -> Rescale:
        """From sums to integers."""
        return held.rescale(self.pre.scale if self.pre is not None else 1.0, self.grids[0])

    def activated(self, real: Any, steps: Any, seen: Seen) -> Any:
        """The activation of products, and their clamp."""
        how = self.layer.activation
        if how == "step":
            y = heaviside(real, None if steps is None else tf.cast(tf.clip_by_value(steps, 0.0, 1.0), real.dtype))
            self.note(seen, "open", y)
            self.note(seen, "slope", step_slope(real))
            return y
        if steps is None or self.pre is None:
            y = tf.nn.relu(real) if how == "relu" else real
        else:
            low, high = limits(self.pre, how == "relu")
            steps = tf.cast(tf.clip_by_value(steps, low, high), real.dtype)
            scale = self.pre.scale
            y = ste(steps * scale, tf.clip_by_value(real, low * scale, high * scale))
        self.note(seen, "out", y)
        if how in ("sigmoid", "tanh"):
            if self.pre is not None and steps is not None:
                return curved(how, y, self.pre, self.exact)
            return tf.sigmoid(y) if how == "sigmoid" else tf.tanh(y)
        return y

    def out_grid(self, grids: tuple[Grid, ...], ranges: Range) -> Grid:
        """Of the range, or the activation's own."""
        how = self.layer.activation
        if how == "step":
            return STEP
        self.pre = ranges("out")
        return {"sigmoid": SIGMOID8, "tanh": TANH8}.get(how, self.pre)


class DenseTwin(ProductTwin):
    """A matrix over channels."""

    def scaled(self, held: Matrix) -> Rescale:
        """TFLM multiplies the scales of a FULLY_CONNECTED with one output in float32."""
        if self.exact and self.layer.matmul and self.layer.units == 1 and self.pre is not None:
            unit = tf.cast(held.scale * tf.constant(self.grids[0].scale, held.scale.dtype), tf.float64)
            return Rescale.of(unit / tf.constant(self.pre.scale, tf.float64))
        return super().scaled(held)


class ConvTwin(ProductTwin):
    """A convolution: its windows as rows.

    Attributes:
        given: grid of what it reads, which a wide one puts on another first.
    """

    given: Grid | None = None

    def quantize(self, grids: tuple[Grid, ...], ranges: Range, exact: bool) -> Grid:
        """A wide one's product reads and gives 16 bits."""
        self.given = grids[0]
        return super().quantize((entered(grids[0], self.layer.wide),), ranges, exact)

    def out_grid(self, grids: tuple[Grid, ...], ranges: Range) -> Grid:
        """The product's, or 8 bits."""
        out = super().out_grid(grids, ranges)
        if self.layer.wide:
            self.pre = ranges("out").widened
        return self.pre if self.layer.wide == "out" and self.pre is not None else out

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """The product between what a wide one is put on."""
        if not self.layer.wide or self.given is None or self.pre is None or self.out is None:
            return super().run(xs, state, held, seen)
        y, state = super().run((requantized(xs[0], self.given, self.grids[0], self.exact),), state, held, seen)
        return requantized(y, self.pre, self.out, self.exact), state

    def matrix(self) -> tuple[Any, Any]:
        """Kernel [kt * kf * in, unit] and bias."""
        return tf.reshape(self.array("kernel"), (-1, self.units)), self.array("bias")

    def taps(self, x: Any) -> list[Any]:
        """What each tap sees."""
        layer: ConvLayer = self.layer
        return windows(x, layer.kernel, layer.stride, layer.dilation, layer.pad(x.shape[2]))

    def rows(self, x: Any) -> Any:
        """x [n, rows, width, channels] -> [positions, kt * kf * channels]."""
        seen = tf.concat(self.taps(x), -1)
        return tf.reshape(seen, (-1, seen.shape[-1]))

    def products(self, x: Any, kernel: Any) -> Any:
        """By windows of x, or windows of every position's products by all taps, whichever are narrower."""
        positions, out = self.layer.shape(*self.ins), int(kernel.shape[1])
        inputs, taps = x.shape[-1], int(kernel.shape[0]) // x.shape[-1]
        if 2 * out * x.shape[1] * x.shape[2] > inputs * math.prod(positions) // out:
            return super().products(x, kernel)
        every = tf.reshape(tf.transpose(tf.reshape(kernel, (taps, inputs, out)), (1, 0, 2)), (inputs, taps * out))
        seen = self.taps(tf.reshape(super().rows(x) @ every, (*x.shape[:3], taps * out)))
        return tf.add_n([tap[..., at * out : (at + 1) * out] for at, tap in enumerate(seen)])


class UpsampleTwin(ConvTwin):
    """A convolution to so many times the channels, whose groups become positions."""

    def matrix(self) -> tuple[Any, Any]:
        """Kernel [kt * kf * in, step * unit] and a bias for every step."""
        steps = self.layer.steps
        return tf.reshape(self.array("kernel"), (-1, steps * self.layer.units)), tf.tile(self.array("bias"), (steps,))

    def taps(self, x: Any) -> list[Any]:
        """What each tap sees of the coarse map."""
        layer = self.layer
        coarse = ConvLayer(layer.units * layer.steps, layer.kernel)
        return windows(x, layer.kernel, (1, 1), (1, 1), coarse.pad(x.shape[2]))


