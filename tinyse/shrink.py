"""Removes dead units from a pruned model: a smaller network that computes the same integers.

::

    small = shrink(model)          # every layer has its own width
    widths(small)                  # {"lstm_0": 97, "lstm_1": 120, "dense_0": 64, "dense_1": 128}

A unit is dead where nothing that lives reads it: its row of the recurrent matrix and of the next layer's kernel is zero
in every column of a living unit. Then neither its weights nor its bias nor its h can reach the mask. A weight that sets
a scale (the largest of its gate matrix, max|w| / 127) keeps its unit alive, so all scales, hence all surviving int8
weights, int32 biases and multipliers, are the file's that the whole model would give, and the mask is equal to the last
bit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.grid import GATES
from tinyse.model import LayerWeights, TrainedModel

Flags = NDArray[np.bool_]


def widths(model: TrainedModel) -> dict[str, int]:
    """Units of every layer."""
    return {layer.name: layer.units for layer in model.layers}


def live_units(model: TrainedModel) -> tuple[Flags, ...]:
    """Which units of each layer reach the mask or set a scale, layer by layer; the last layer's all do."""
    after = np.ones(model.layers[-1].units, bool)
    found = [after]
    for layer, following in zip(model.layers[-2::-1], model.layers[:0:-1], strict=True):
        read = np.any(_columns(following, "kernel", after) != 0, axis=1) | _peaks(layer)
        if layer.kind == "lstm":
            while True:  # a unit that feeds a living unit of its own layer lives too
                more = read | np.any(_columns(layer, "recurrent_kernel", read) != 0, axis=1)
                if np.array_equal(more, read):
                    break
                read = more
        if not read.any():
            read[0] = True  # a layer keeps one unit, whatever it does
        found.append(read)
        after = read
    return tuple(reversed(found))


def shrink(model: TrainedModel) -> TrainedModel:
    """The model without its dead units; ranges, front end and meta as they were."""
    live = live_units(model)
    before = np.ones(model.layers[0].inputs, bool)
    layers = []
    for layer, keep in zip(model.layers, live, strict=True):
        arrays: dict[str, Any] = {"kernel": _columns(layer, "kernel", keep)[before],
                                  "bias": layer.arrays["bias"][_entries(layer, keep)]}
        if layer.kind == "lstm":
            arrays["recurrent_kernel"] = _columns(layer, "recurrent_kernel", keep)[keep]
        layers.append(replace(layer, arrays=arrays))
        before = keep
    return replace(model, layers=tuple(layers))


def _entries(layer: LayerWeights, keep: Flags) -> Flags:
    """Columns of a layer's matrices that belong to the units of ``keep``."""
    return np.tile(keep, GATES) if layer.kind == "lstm" else keep


def _columns(layer: LayerWeights, array: str, keep: Flags) -> NDArray[np.float32]:
    return layer.arrays[array][:, _entries(layer, keep)]


def _peaks(layer: LayerWeights) -> Flags:
    """Units whose weights hold the largest magnitude of a gate matrix; dense scales are per output, so none there."""
    flags = np.zeros(layer.units, bool)
    if layer.kind == "lstm":
        for array in ("kernel", "recurrent_kernel"):
            for gate in np.split(np.abs(layer.arrays[array]), GATES, axis=1):
                column = gate.max(axis=0)
                # One holder is enough to keep the scale.
                if column.max() > 0 and not np.any(flags & (column == column.max())):
                    flags[int(np.argmax(column))] = True
    return flags
