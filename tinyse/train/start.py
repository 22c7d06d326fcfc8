"""Start from a dense model: its float weights in place of the float phase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyse.core.artifacts import sha256
from tinyse.train.dense import dense_file, dense_model
from tinyse.core.errors import RecipeError
from tinyse.graph.model import Model
from tinyse.graph.net import Net
from tinyse.train.network import Network, open_gate


@dataclass(frozen=True)
class Start:
    """A float model and the hash of its file."""

    model: Model
    sha256: str


def load_start(source: str, net: Net) -> Start:
    """Read ``train.start``: a float .npz, an int8 .tflite, or a folder with float.npz or model_int8.tflite.

    Args:
        net: what is trained, a Skip RNN's p~ apart.

    Raises:
        ModelError: there is none, it is damaged, or it is a run's quantized model.
        RecipeError: it is of another network.
    """
    file = dense_file(source, "train.start")
    model = dense_model(file, "train.start")
    for name, array in net.arrays.items():
        kind, found = net[name.split("/")[0]].layer.kind, model.net.arrays.get(name)
        if kind == "norm" and found is None:
            continue  # folded before it was exported
        shape = None if found is None else found.shape
        if shape != array.shape and not _gate_apart(model.net, name, array.shape):
            theirs = "none" if shape is None else list(shape)
            raise RecipeError(f"train.start: {name}: {list(array.shape)}, but {file} has {theirs}",
                              "the family and family_options that it was trained with")
    return Start(model, sha256(file))


def _gate_apart(net: Net, name: str, shape: tuple[int, ...]) -> bool:
    """Whether an array of ``net`` has this shape but for a Skip RNN's p~."""
    if net.skip is None or name.split("/")[0] != net.results[-1].node:
        return False
    return net.arrays[name].shape == (*shape[:-1], shape[-1] + 1)


def take_weights(network: Network, model: Model) -> None:
    """Assign the model's weights; they take raw features, so the network needs no normalizer.

    A gate that the model lacks starts open, one that the network lacks is left out; norms that it lacks are folded.
    """
    if any(name not in model.net.arrays for name in network.net.arrays):
        network.fold_norms()
    arrays, gated = dict(model.arrays), model.net.skip is not None
    last = network.net.results[-1].node
    if gated != (network.net.skip is not None):
        for name, array in network.net.arrays.items():
            if name.split("/")[0] == last:
                value = arrays[name]
                arrays[name] = np.concatenate([value, np.zeros_like(value[..., :1])], -1)[..., : array.shape[-1]]
    network.take(arrays)
    if network.net.skip is not None and not gated:
        open_gate(network)
    network.shift, network.scale = 0.0, 1.0
