"""Another order of the hidden units: the same function to the last bit, fewer bytes after Vela.

::

    ordered = reorder(model)       # units with the most weights first

Vela codes zeros as runs, with a code whose parameter may change along the stream. Where the weights that remain stand
close together, runs are short there and long elsewhere, and both cost less than the mixture. Units may change places
freely: a gate's scale is that of its matrix, a dense output's goes with it, sums of integers do not depend on order.
Inputs and the mask's bands stay where they are. docs/sparsity.md has what it saves.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.grid import GATES
from tinyse.model import LayerWeights, TrainedModel

Order = NDArray[np.intp]


def densest_first(layer: LayerWeights, following: LayerWeights) -> Order:
    """A layer's units by falling number of weights that belong to them: incoming, recurrent, outgoing."""
    count = np.count_nonzero(following.arrays["kernel"], axis=1)
    for name in ("kernel", "recurrent_kernel"):
        if name in layer.arrays:
            count = count + np.count_nonzero(layer.arrays[name], axis=0).reshape(-1, layer.units).sum(axis=0)
    if layer.kind == "lstm":
        count = count + np.count_nonzero(layer.arrays["recurrent_kernel"], axis=1)
    return np.asarray(np.argsort(-count, kind="stable"))


def reorder(model: TrainedModel) -> TrainedModel:
    """The model with every hidden layer's units in the order of ``densest_first``."""
    orders = [densest_first(layer, following)
              for layer, following in zip(model.layers, model.layers[1:], strict=False)]
    orders.append(np.arange(model.layers[-1].units))
    before = np.arange(model.layers[0].inputs)
    layers = []
    for layer, order in zip(model.layers, orders, strict=True):
        gates = GATES if layer.kind == "lstm" else 1
        columns = np.concatenate([gate * layer.units + order for gate in range(gates)])
        arrays = {"kernel": layer.arrays["kernel"][before][:, columns], "bias": layer.arrays["bias"][columns]}
        if layer.kind == "lstm":
            arrays["recurrent_kernel"] = layer.arrays["recurrent_kernel"][order][:, columns]
        layers.append(replace(layer, arrays=arrays))
        before = order
    return replace(model, layers=tuple(layers))
