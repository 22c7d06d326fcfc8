"""The trained network itself, float or quantization-aware, one frame at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tinyse.engines.base import Masking
from tinyse.errors import ModelError
from tinyse.model import TrainedModel
from tinyse.sound import Ends, Real


class KerasEngine(Masking):
    """Runs a ``TrainedModel`` with training's own arithmetic, so it shows what training saw.

    Attributes:
        name: "keras".
        bands: width of feature and mask. gate: of a Skip RNN.
        ends: those the model was trained with.
    """

    name = "keras"

    def __init__(self, model: TrainedModel) -> None:
        """Build the streaming network of ``model``."""
        from tinyse.network import StreamingNetwork

        self.ends: Ends = model.ends
        self.bands = model.ends.inputs
        if not model.layers or model.layers[0].inputs != self.bands:
            raise ModelError(f"the network does not take {self.bands} bands", "train it again")
        self.set_outputs(model.layers[-1].units, "model")
        self._network: Any = StreamingNetwork(model)
        self.reset()

    @staticmethod
    def load(path: Path | str) -> KerasEngine:
        """Read a .npz model; ModelError where it is missing or damaged."""
        return KerasEngine(TrainedModel.load(path))

    def reset(self) -> None:
        """Zero every state."""
        self._network.reset()
        if self.gate is not None:
            self.gate.reset()

    def infer(self, feature: Real) -> Real:
        """Run one frame: float32 [bands] to float32 [outputs], 0..1."""
        result: Real = np.asarray(self._network.step(np.asarray(feature, np.float32)), np.float32)
        return result.reshape(self.outputs)
