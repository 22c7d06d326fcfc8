"""A trained model in tf_keras, one frame at a time: the Keras engine's inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.model import Model
from tinyse.train.keras import tf
from tinyse.train.layers import Seen
from tinyse.train.network import restore


class StreamingNetwork:
    """States that move on frame by frame.

    A quantized model runs in TFLM's exact arithmetic, so its results are the exported files'.
    """

    def __init__(self, model: Model) -> None:
        self.network = restore(model, exact=True)
        self._grid = self.network.input_grid
        held = self.network.held()

        def run(part: int, values: dict[str, Any], states: Any) -> Any:
            return self.network.run_part(part, values, states, held, Seen(None, None))

        self._run = tf.function(run)
        self.reset()

    def reset(self) -> None:
        """Back to zero states."""
        self._states = self.network.zero_states(1)
        self._keeper = {node.name: node.keeper for node in self.network.net.nodes if node.name in self._states}

    def step(self, feature: NDArray[np.float32]) -> NDArray[np.float32]:
        """feature [inputs] -> the last result [outputs]; the states of what it needs move on by one frame."""
        net = self.network.net
        values = {net.input.name: feature}
        for part in net.needs[-1]:
            values |= self.step_part(part, values)
        return values[net.results[-1].node].reshape(-1)

    def step_part(self, part: int, given: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Every value of a part's nodes, by node, from those [rows, width, channels] that it reads of others."""
        shapes, source = self.network.net.shapes, self.network.net.input.name
        values = {}
        for name, value in given.items():
            if self._grid is not None and name == source:
                # TensorFlow multiplies by 1 / scale, which takes a feature on a boundary across it
                value = self._grid.dequantize(self._grid.quantize(value))
            values[name] = tf.constant(np.reshape(value, (1, 1, *shapes[name])), tf.float32)
        made, after = self._run(part, values, {name: self._states[kept] for name, kept in self._keeper.items()})
        for name, kept in self._keeper.items():
            if self.network.net[name].part == part:
                self._states[kept] = after[name]
        return {name: value.numpy()[0, 0] for name, value in made.items() if name not in given}
