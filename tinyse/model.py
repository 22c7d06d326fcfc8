"""TrainedModel: what training hands to export, engines and reports, independent of any framework.

On its way out: ``tinyse.graph.model.Model`` takes its place, and the two meet here alone.

One ``.npz`` file holds the weights, the learned quantization ranges and the front end's numbers; it is
written with fixed time stamps so that the same model gives the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.artifacts import atomic_path
from tinyse.core.errors import ModelError
from tinyse.graph.model import Model, tinylstm
from tinyse.sound import Ends

Array = NDArray[np.float32]
ARRAYS = {"lstm": ("kernel", "recurrent_kernel", "bias"), "dense": ("kernel", "bias")}


@dataclass(frozen=True)
class LayerWeights:
    """One layer's float32 weights.

    Attributes:
        kind: "lstm" or "dense".
        name: "lstm_0", "dense_1", ...
        arrays: lstm: kernel [in, 4u], recurrent_kernel [u, 4u], bias [4u], gates i, f, g, o;
            dense: kernel [in, out], bias [out].
        activation: dense only: "relu", "sigmoid" or "linear".
    """

    kind: str
    name: str
    arrays: Mapping[str, Array]
    activation: str = "linear"

    @property
    def inputs(self) -> int:
        """Width of the layer's input."""
        return int(self.arrays["kernel"].shape[0])

    @property
    def units(self) -> int:
        """Width of the layer's output."""
        return int(self.arrays["kernel"].shape[1]) // (4 if self.kind == "lstm" else 1)

    @property
    def parameters(self) -> int:
        """Count of weights and biases."""
        return sum(int(array.size) for array in self.arrays.values())


@dataclass(frozen=True)
class TrainedModel:
    """Weights, quantization ranges (None for a float model) and the ends they were trained with.

    ``ranges`` maps a tensor name ("features", "lstm_0.h", "lstm_0.c", "dense_0.out", ...) to its
    (minimum, maximum) in real units.
    """

    layers: tuple[LayerWeights, ...]
    ends: Ends
    ranges: Mapping[str, tuple[float, float]] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Count of weights and biases over all layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def skip(self) -> bool:
        """Whether the last output is a Skip RNN's p~ and not a band (``tinyse.graph.skip``)."""
        return bool(self.layers) and self.model.net.skip is not None

    @property
    def model(self) -> Model:
        """The same as what replaces this type."""
        lstm, dense = ([layer for layer in self.layers if layer.kind == kind] for kind in ("lstm", "dense"))
        net = tinylstm(self.layers[0].inputs, tuple(layer.units for layer in lstm),
                       tuple(layer.units for layer in dense[:-1]), dense[-1].units)
        arrays = {f"{layer.name}/{name}": array for layer in self.layers for name, array in layer.arrays.items()}
        return Model(net, arrays, self.ends, self.ranges, self.meta)

    @staticmethod
    def of(model: Model) -> TrainedModel:
        """What ``model`` was made of.

        Raises:
            ModelError: it is no TinyLSTM.
        """
        layers = []
        for node in model.net.nodes[1:]:
            if node.layer.kind not in ARRAYS:
                raise ModelError(f"{node.name}: a {node.layer.kind} is in no TinyLSTM")
            arrays = {name: model.arrays[f"{node.name}/{name}"] for name in ARRAYS[node.layer.kind]}
            layers.append(LayerWeights(node.layer.kind, node.name, arrays,
                                       getattr(node.layer, "activation", "linear")))
        return TrainedModel(tuple(layers), model.ends, model.ranges, model.meta)

    @property
    def macs_per_frame(self) -> int:
        """Multiply-accumulates of a frame that runs the network: every weight once, biases not."""
        return sum(a.size for layer in self.layers for name, a in layer.arrays.items() if name != "bias")

    def save(self, path: Path | str) -> None:
        """Write one .npz, whole or not at all, byte-identical for equal models."""
        header = {
            "format": "tinyse-model-1",
            "layers": [{"kind": lay.kind, "name": lay.name, "activation": lay.activation} for lay in self.layers],
            "ranges": {k: list(v) for k, v in sorted(self.ranges.items())} if self.ranges is not None else None,
            "ends": self.ends.as_dict(),
            "meta": dict(self.meta),
        }
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo("header.json"), json.dumps(header, sort_keys=True))
            for layer in self.layers:
                for name in ARRAYS[layer.kind]:
                    buffer = io.BytesIO()
                    np.save(buffer, np.ascontiguousarray(layer.arrays[name], np.float32), allow_pickle=False)
                    archive.writestr(zipfile.ZipInfo(f"{layer.name}/{name}.npy"), buffer.getvalue())

    @staticmethod
    def load(path: Path | str) -> TrainedModel:
        """Read what ``save`` or ``Model.save`` wrote.

        Raises:
            ModelError: the file is missing, not a tinyse model, damaged, or holds weights that are not finite.
        """
        return TrainedModel.of(Model.load(path))
