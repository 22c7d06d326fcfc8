"""The trained network itself, float or quantization-aware, one frame at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tinyse.errors import ModelError
from tinyse.frontend import FrontEndSpec, Real
from tinyse.model import TrainedModel


class KerasEngine:
    """Runs a ``TrainedModel`` with training's own arithmetic, so it shows what training saw.

    Attributes:
        name: "keras".
        bands: width of feature and mask.
        frontend: the front end the model was trained with.
    """

    name = "keras"

    def __init__(self, model: TrainedModel) -> None:
        """Build the streaming network of ``model``."""
        from tinyse.network import StreamingNetwork

        self.frontend: FrontEndSpec = model.frontend
        self.bands = model.frontend.bands
        if not model.layers or model.layers[0].inputs != self.bands or model.layers[-1].units != self.bands:
            raise ModelError(f"the network does not map {self.bands} bands to {self.bands}", "train it again")
        self._network: Any = StreamingNetwork(model)
        self.reset()

    @staticmethod
    def load(path: Path | str) -> KerasEngine:
        """Read a .npz model; ModelError where it is missing or damaged."""
        return KerasEngine(TrainedModel.load(path))

    def reset(self) -> None:
        """Zero every state."""
        self._network.reset()

    def mask(self, feature: Real) -> Real:
        """Advance one frame: float32 [bands] to float32 [bands], 0..1."""
        result: Real = np.asarray(self._network.step(np.asarray(feature, np.float32)), np.float32)
        return result.reshape(self.bands)
