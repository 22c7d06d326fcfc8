"""Removes dead units from a pruned model: a smaller network that computes the same integers.

::

    small = shrink(model)          # every layer has its own width
    widths(small)                  # {"lstm_0": 97, "lstm_1": 120, "dense_0": 64, "dense_1": 128}

A unit is dead where nothing that lives reads it: its weights in every matrix that reads it are zero in every column of
a living unit. Then neither its weights nor its bias nor its state can reach a result. A weight that sets a scale over
several units (the largest of an LSTM's gate matrix, or of a PReLU's slopes) keeps its unit alive, so all scales, hence
all surviving int8 weights, int32 biases and multipliers, are the file's that the whole model would give, and the result
is equal to the last bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.model import Model
from tinyse.graph.units import Units, units_of

Flags = NDArray[np.bool_]


def widths(model: Model) -> dict[str, int]:
    """Units of every layer that has some of its own."""
    own = {name.rsplit("/", 1)[0] for name, array in model.net.arrays.items() if array.matrix}
    return {node.name: model.net.shapes[node.name][2] for node in model.net.nodes
            if node.owner in own and not node.layer.fixed_units}


def living(model: Model, units: Units) -> Flags:
    """Which labels reach a result or set a scale."""
    flows = []
    for name, read, sources, made, targets in units.flows():
        used = model.arrays[name].reshape(units.arrays[name].dims) != 0
        others = tuple(axis for axis in range(used.ndim) if axis not in (read, made))
        flows.append((sources, targets, used.any(axis=others)))
    live = units.fixed | _peaks(model, units)
    while True:  # a unit that feeds a living one lives too
        more = live.copy()
        for sources, targets, used in flows:
            np.logical_or.at(more, sources, used[:, live[targets]].any(axis=1))
        if np.array_equal(more, live):
            break
        live = more
    for _, labels in units.cohorts:
        if not live[labels].any():
            live[labels[0]] = True  # a layer keeps one unit, whatever it does
    return live


def shrink(model: Model) -> Model:
    """The model without its dead units; ranges, front end and meta as they were."""
    units = units_of(model.net)
    live = living(model, units)
    arrays = units.taken(model.arrays, lambda labels: np.flatnonzero(live[labels]))
    layers = {node.name: node.layer.resized(int(live[units.channels[node.name]].sum())) for node in model.net.nodes}
    return replace(model, net=model.net.with_layers(layers), arrays=arrays)


def _peaks(model: Model, units: Units) -> Flags:
    """Labels whose weights hold the largest magnitude under a scale that several units share."""
    flags = np.zeros(units.fixed.size, bool)
    for name, array in units.arrays.items():
        made = len(array.dims) - 1
        if array.scale is None or made in array.scaled:
            continue
        size = np.abs(model.arrays[name].reshape(array.dims))
        peaks = size.max(axis=tuple(n for n in range(made) if n not in array.scaled)).reshape(-1, array.dims[made])
        labels = units.axes[name][-1][1]
        for column in peaks:
            # One holder is enough to keep the scale.
            if column.max() > 0 and not np.any(flags[labels] & (column == column.max())):
                flags[labels[int(np.argmax(column))]] = True
    return flags
