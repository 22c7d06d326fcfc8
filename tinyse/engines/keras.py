"""The trained network itself, float or quantization-aware, one frame at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.engines.base import Array, Engine
from tinyse.graph.fold import fold
from tinyse.graph.lowering import Lowering
from tinyse.graph.model import Model


class KerasEngine(Engine):
    """Runs a ``Model`` with training's own arithmetic, so it shows what training saw.

    A model with ranges runs in TFLM's arithmetic to the last bit and takes and gives integers; a float model takes and
    gives real numbers.
    """

    name = "keras"

    def __init__(self, model: Model, label: str = "model") -> None:
        """Build the streaming network of ``model``.

        Raises:
            ModelError: it does not fit its ends.
        """
        from tinyse.train.streaming import StreamingNetwork

        model, self._float = fold(model), model.ranges is None
        # In float the grids mean nothing, but for a Skip RNN's p~, whose grid is given.
        ranges = {name: (-1.0, 1.0) for name in model.net.ranges} if model.ranges is None else model.ranges
        lowering = Lowering(model.net, model.arrays, ranges)
        super().__init__(lowering.plan(), model.ends, label)
        self._network: Any = StreamingNetwork(model)
        self._ports = {tensor.name: tensor for part in self.plan.parts for tensor in (*part.inputs, *part.outputs)}
        self._nodes = {name: lowering.node_of(name) for name in self._ports}
        self.reset()

    @staticmethod
    def load(path: Path | str) -> KerasEngine:
        """Read a .npz model; ModelError where it is missing or damaged."""
        return KerasEngine(Model.load(path), str(path))

    @property
    def real(self) -> bool:
        """Whether the model is in float."""
        return self._float

    def rewind(self) -> None:
        """Zero every state."""
        self._network.reset()

    def run(self, part: int, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One invocation of a part, on integers where the model has grids."""
        real = {self._nodes[name]: values if self._float else self._ports[name].grid.dequantize(values)
                for name, values in inputs.items()}
        made = self._network.step_part(part, real)
        outputs = {}
        for tensor in self.plan.parts[part].outputs:
            values = np.asarray(made[self._nodes[tensor.name]], np.float32).reshape(tensor.shape)
            outputs[tensor.name] = values if self._float else tensor.grid.quantize(values)
        return outputs
