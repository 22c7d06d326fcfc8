"""The trained network itself, float or quantization-aware, one frame at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.engines.base import Masking
from tinyse.errors import ModelError
from tinyse.graph.model import Model
from tinyse.sound import Ends, Real


class KerasEngine(Masking):
    """Runs a ``Model`` with training's own arithmetic, so it shows what training saw.

    Attributes:
        name: "keras".
        bands: width of feature and mask. gate: of a Skip RNN.
        ends: those the model was trained with.
    """

    name = "keras"

    def __init__(self, model: Model) -> None:
        """Build the streaming network of ``model``."""
        from tinyse.train.network import StreamingNetwork

        self.ends: Ends = model.ends
        self.bands = model.ends.inputs
        net = model.net
        if math.prod(net.shapes[net.input.name]) != self.bands:
            raise ModelError(f"the network does not take {self.bands} bands", "train it again")
        self.set_outputs(math.prod(net.shapes[net.results[-1].node]), "model")
        self._network: Any = StreamingNetwork(model)
        self.reset()

    @staticmethod
    def load(path: Path | str) -> KerasEngine:
        """Read a .npz model; ModelError where it is missing or damaged."""
        return KerasEngine(Model.load(path))

    def reset(self) -> None:
        """Zero every state."""
        self._network.reset()
        if self.gate is not None:
            self.gate.reset()

    def infer(self, feature: Real) -> Real:
        """Run one frame: float32 [bands] to float32 [outputs], 0..1."""
        result: Real = np.asarray(self._network.step(np.asarray(feature, np.float32)), np.float32)
        return result.reshape(self.outputs)
