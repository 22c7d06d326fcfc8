"""A network of convolutions over whole clips: a sequence is one tall map, and what it holds of the past is padding.

Twins go frame by frame, each with the rows that it keeps of the frame before: of a clip of 31 steps the same rows lie
there many times. Without recurrence a clip is one map [clips, rows, width, channels], a past is zeros above it, and the
stride over rows is what a step takes in over what it gives. The results are the same (tests/test_quality.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinyse.core.errors import RecipeError
from tinyse.graph.layers import ConvLayer, DenseLayer, PastLayer, PoolLayer
from tinyse.graph.net import Net, Node
from tinyse.train.arithmetic import heaviside
from tinyse.train.keras import tf

ACTIVATIONS = {"linear": tf.identity, "relu": tf.nn.relu, "sigmoid": tf.sigmoid, "tanh": tf.tanh, "step": heaviside}
LAYERS = ("past", "conv", "pool", "dense")


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

    def run(self, features: Any, keep: Any = None) -> Any:
        """Answers of every step, [clips, steps, outputs], of features [clips, frames, row] from zero states.

        ``keep``: gives a pooled map of training with some of it dropped.
        """
        rows, width, channels = self.net.shapes[self.net.input.name]
        x = tf.reshape(features, (-1, features.shape[1], width, channels))
        values, waiting = {self.net.input.name: x}, {}
        for node in self.net.nodes[1:]:
            x = self._layer(node, values[node.ins[0]])
            how = getattr(node.layer, "activation", "linear")
            how = waiting.pop(node.ins[0], how)
            readers = self.net.readers(node.name)
            if how in ("step", "relu") and len(readers) == 1 and isinstance(readers[0].layer, PoolLayer):
                waiting[node.name] = how  # the largest of steps is the step of the largest, of a quarter of the map
            else:
                x = ACTIVATIONS[how](x)
                if keep is not None and isinstance(node.layer, PoolLayer):
                    x = keep(x)
            values[node.name] = x
        result = values[self.net.results[-1].node]
        return tf.reshape(result, (-1, features.shape[1] // rows, result.shape[1] * result.shape[2] * result.shape[3]
                                   // (features.shape[1] // rows)))

    def _layer(self, node: Node, x: Any) -> Any:
        layer, shape = node.layer, self.net.shapes_in(node)[0]
        if isinstance(layer, PastLayer):
            return tf.pad(x, ((0, 0), (layer.rows, 0), (0, 0), (0, 0)))
        if isinstance(layer, DenseLayer):
            return tf.tensordot(x, self._array(node, "kernel"), 1) + self._array(node, "bias")
        stride = (self._taken[node.ins[0]] // self._taken[node.name], layer.stride[1])
        if isinstance(layer, PoolLayer):
            return tf.nn.max_pool2d(x, layer.whole(shape), stride, "VALID")
        if layer.pad(shape[1]) != (0, 0):
            x = tf.pad(x, ((0, 0), (0, 0), layer.pad(shape[1]), (0, 0)))
        made = tf.nn.conv2d(x, self._array(node, "kernel"), stride, "VALID", dilations=layer.dilation)
        return made + self._array(node, "bias")

    def _array(self, node: Node, name: str) -> Any:
        return self.variables[f"{node.owner}/{name}"]
