"""Start from a dense model: its float weights in place of the float phase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyse.artifacts import sha256
from tinyse.dense import dense_file, dense_model
from tinyse.errors import RecipeError
from tinyse.graph.model import Model
from tinyse.model import TrainedModel
from tinyse.network import EnhancerNetwork, NetworkSpec, open_gate, spec_of
from tinyse.prune import short_name


@dataclass(frozen=True)
class Start:
    """A float model and the hash of its file."""

    model: Model
    sha256: str


def load_start(source: str, widths: NetworkSpec) -> Start:
    """Read ``train.start``: a float .npz, an int8 .tflite, or a folder with float.npz or model_int8.tflite.

    Raises:
        ModelError: there is none, it is damaged, or it is a run's quantized model.
        RecipeError: the recipe's network has other widths.
    """
    file = dense_file(source, "train.start")
    model = dense_model(file, "train.start")
    found = spec_of(TrainedModel.of(model))
    for key, ours, theirs in (("lstm", widths.lstm, found.lstm), ("dense", widths.dense, found.dense)):
        if ours != theirs:
            raise RecipeError(f"network.{key}: {list(ours)}, but {file} has {list(theirs)}",
                              f"network.{key}={list(theirs)}")
    if widths.bands != found.bands:
        raise RecipeError(f"train.start: {file} has {found.bands} bands, not {widths.bands}", "train it again")
    return Start(model, sha256(file))


def take_weights(network: EnhancerNetwork, model: Model) -> None:
    """Assign the model's weights; they take raw features, so the network needs no normalizer.

    A gate that the model lacks starts open, one that the network lacks is left out.
    """
    skips = model.net.skip is not None
    for layer in network.stack:
        for variable in layer.weights:
            value = model.arrays[f"{layer.name}/{short_name(variable)}"]
            if layer is network.denses[-1] and skips != network.spec.skip:
                value = np.concatenate([value, np.zeros_like(value[..., :1])], -1)[..., : network.spec.outputs]
            variable.assign(value)
    if network.spec.skip and not skips:
        open_gate(network.denses[-1])
    network.shift, network.scale = 0.0, 1.0
