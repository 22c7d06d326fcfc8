"""A network of convolutions over whole clips: a sequence is one tall map, and what it holds of the past is padding.

Twins go frame by frame, each with the rows that it keeps of the frame before: of a clip of 31 steps the same rows lie
there many times. Without recurrence a clip is one map [clips, rows, width, channels], a past is zeros above it, and the
stride over rows is what a step takes in over what it gives. The results are the same (tests/test_quality.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinyse.core.errors import RecipeError
from tinyse.graph.layers import ConvLayer, DenseLayer, PastLayer, PoolLayer
from tinyse.graph.net import Net, Node
from tinyse.train.arithmetic import heaviside
from tinyse.train.keras import tf

ACTIVATIONS = {"linear": tf.identity, "relu": tf.nn.relu, "sigmoid": tf.sigmoid, "tanh": tf.tanh, "step": heaviside}
LAYERS = ("past", "conv", "pool", "dense")


def _activation(node: Node) -> str:
    return str(getattr(node.layer, "activation", "linear"))


class Maps:
    """A Net of convolutions, ready to run over clips.

    Attributes:
        net: what it is. variables: its arrays, by "node/array".
    """

    def __init__(self, net: Net, arrays: Mapping[str, Any]) -> None:
        """Take arrays as variables.

        Raises:
            RecipeError: a layer that is none of ``LAYERS``, or more parts than one.
        """
        for node in net.nodes[1:]:
            if type(node.layer) not in (PastLayer, ConvLayer, PoolLayer, DenseLayer) or len(net.results) > 1:
                raise RecipeError(f"{node.name}: a score is learnt of {', '.join(LAYERS)} in one part",
                                  "the family quality, or one of such layers")
        self.net, self.variables = net, {name: tf.Variable(arrays[name]) for name in net.arrays}
        self._taken = {net.input.name: net.shapes[net.input.name][0]}
        for node in net.nodes[1:]:  # rows that a step gives, those of the past apart
            past = isinstance(node.layer, PastLayer)
            self._taken[node.name] = self._taken[node.ins[0]] if past else net.shapes[node.name][0]

    def run(self, features: Any, keep: Any = None, settle: Any = None, brief: bool = False) -> Any:
        """Answers of every step, [clips, steps, outputs], of features [clips, frames, row] from zero states.

        A step or a ReLU waits until a product reads it: the largest of steps is the step of the largest, of a quarter
        of the map, and zeros above a map stay zeros. So a slope is that at the largest.

        Args:
            keep: gives a map as training should have it, with some of it dropped.
            brief: convolve in bfloat16, for training: maps of steps are exact in it, and a processor that has it takes
                half the time.
            settle: is shown every map before its step or ReLU, with the node that made it; gives what takes its place.
        """
        width, channels = self.net.shapes[self.net.input.name][1:]
        values = {self.net.input.name: tf.reshape(features, (-1, features.shape[1], width, channels))}
        waiting: dict[str, Node] = {}
        for node in self.net.nodes[1:]:
            x, made = values[node.ins[0]], waiting.get(node.ins[0])
            if made is not None and isinstance(node.layer, PastLayer | PoolLayer):
                waiting[node.name] = made
            elif made is not None:
                x = tf.cast(x, tf.float32) if settle is None else settle(made, x)
                x = ACTIVATIONS[_activation(made)](x)
                x = x if keep is None else keep(x)
            x = self._layer(node, tf.cast(x, tf.bfloat16) if brief and isinstance(node.layer, ConvLayer) else x)
            how = _activation(node)
            if isinstance(node.layer, ConvLayer) and how in ("step", "relu") and self._pooled(node):
                waiting[node.name] = node
            else:
                x = ACTIVATIONS[how](tf.cast(x, tf.float32))
            values[node.name] = x
        result = values[self.net.results[-1].node]
        return tf.reshape(result, (-1, result.shape[1], result.shape[2] * result.shape[3]))

    def _pooled(self, node: Node) -> bool:
        readers = self.net.readers(node.name)
        return len(readers) == 1 and isinstance(readers[0].layer, PoolLayer)

    def settle(self, features: Any) -> None:
        """Let every step be 1 in half of the places that a product sees, its sums as wide as the slope is.

        With sums around 0, three quarters of four and all of the last map would be 1 in their largest.
        """
        def settled(node: Node, x: Any) -> Any:
            if _activation(node) != "step":
                return x
            seen = x[:, x.shape[1] // 2 :].numpy().reshape(-1, x.shape[-1])
            middle, spread = np.median(seen, axis=0), np.maximum(seen.std(axis=0), 1e-3)
            kernel, bias = self._array(node, "kernel"), self._array(node, "bias")
            kernel.assign(kernel / spread)
            bias.assign((bias - middle) / spread + 0.5)
            return (x - middle) / spread + 0.5

        self.run(features, settle=settled)

    def _layer(self, node: Node, x: Any) -> Any:
        layer: Any = node.layer
        shape = self.net.shapes_in(node)[0]
        if isinstance(layer, PastLayer):
            return tf.pad(x, ((0, 0), (layer.rows, 0), (0, 0), (0, 0)))
        if isinstance(layer, DenseLayer):
            return tf.tensordot(x, self._array(node, "kernel"), 1) + self._array(node, "bias")
        stride = (self._taken[node.ins[0]] // self._taken[node.name], layer.stride[1])
        if isinstance(layer, PoolLayer):
            return tf.nn.max_pool2d(x, layer.whole(shape), stride, "VALID")
        if layer.pad(shape[1]) != (0, 0):
            x = tf.pad(x, ((0, 0), (0, 0), layer.pad(shape[1]), (0, 0)))
        kernel, bias = (tf.cast(self._array(node, name), x.dtype) for name in ("kernel", "bias"))
        return tf.nn.conv2d(x, kernel, stride, "VALID", dilations=layer.dilation) + bias

    def _array(self, node: Node, name: str) -> Any:
        return self.variables[f"{node.owner}/{name}"]
