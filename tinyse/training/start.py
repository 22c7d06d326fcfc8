"""Start from a dense model: its float weights in place of the float phase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyse.artifacts import sha256
from tinyse.corpus.store import RATE
from tinyse.dense import dense_file, dense_model
from tinyse.errors import RecipeError
from tinyse.model import TrainedModel
from tinyse.network import EnhancerNetwork, NetworkSpec, open_gate, spec_of
from tinyse.sound import Ends, Result


@dataclass(frozen=True)
class Start:
    """A float model and the hash of its file."""

    model: TrainedModel
    sha256: str


def load_start(source: str, widths: NetworkSpec) -> Start:
    """Read ``train.start``: a float .npz, an int8 .tflite, or a folder with float.npz or model_int8.tflite.

    Raises:
        ModelError: there is none, it is damaged, or it is a run's quantized model.
        RecipeError: the recipe's network has other widths.
    """
    file = dense_file(source, "train.start")
    model = dense_model(file, "train.start")
    found = spec_of(model)
    for key, ours, theirs in (("lstm", widths.lstm, found.lstm), ("dense", widths.dense, found.dense)):
        if ours != theirs:
            raise RecipeError(f"network.{key}: {list(ours)}, but {file} has {list(theirs)}",
                              f"network.{key}={list(theirs)}")
    if widths.bands != found.bands:
        raise RecipeError(f"train.start: {file} has {found.bands} bands, not {widths.bands}", "train it again")
    return Start(model, sha256(file))


def take_weights(network: EnhancerNetwork, model: TrainedModel) -> None:
    """Assign the model's weights; they take raw features, so the network needs no normalizer.

    A gate that the model lacks starts open, one that the network lacks is left out.
    """
    for layer, weights in zip(network.stack, model.layers, strict=True):
        for variable in layer.weights:
            value = weights.arrays[variable.name.split("/")[-1].split(":")[0]]
            if layer is network.denses[-1] and model.skip != network.spec.skip:
                value = np.concatenate([value, np.zeros_like(value[..., :1])], -1)[..., : network.spec.outputs]
            variable.assign(value)
    if network.spec.skip and not model.skip:
        open_gate(network.denses[-1])
    network.shift, network.scale = 0.0, 1.0


def check_ends(ends: Ends) -> None:
    """See that today's trainer, its corpus and the C library can do a recipe's ends.

    Raises:
        RecipeError: they cannot; before anything is trained.
    """
    if ends.framing.rate != RATE:
        raise RecipeError(f"ends: framing: rate: {ends.framing.rate}: the corpus has {RATE} Hz", f"rate: {RATE}")
    if ends.result != Result() or ends.inputs != ends.outputs:
        raise RecipeError(f"ends: {ends.feature.kind} to {ends.result.kind}: LSTMs are trained on one number a "
                          "band, to gains of 0 to 1", "feature magnitude or log_power, result gains of limit 1")
    if ends.device_reason:
        raise RecipeError(f"ends: framing: {ends.device_reason}", "fft: 512")
