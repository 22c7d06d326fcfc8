"""Another order of the hidden units: the same function to the last bit, fewer bytes after Vela.

::

    ordered = reorder(model)       # units with the most weights first

Vela codes zeros as runs, with a code whose parameter may change along the stream. Where the weights that remain stand
close together, runs are short there and long elsewhere, and both cost less than the mixture. Units that pass through
the same nodes may change places freely: a scale over several units is that of their matrix, one of a unit goes with it,
sums of integers do not depend on order. Inputs and results stay where they are. docs/sparsity.md has what it saves.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.groups import Structure, is_matrix, structure_groups
from tinyse.graph.model import Model
from tinyse.graph.units import Labels, units_of

Order = NDArray[np.intp]


def densest_first(model: Model) -> dict[str, Order]:
    """Hidden units by falling number of weights that belong to them (incoming, recurrent, outgoing), layer by layer."""
    found = {}
    for part in structure_groups(units_of(model.net), Structure.UNIT):
        count = np.zeros(part.count)
        for member, (name, _) in enumerate(part.members):
            if is_matrix(name):
                count += part.gather(member, (model.arrays[name] != 0).astype(np.float64))
        found[part.name] = np.asarray(np.argsort(-count, kind="stable"))
    return found


def reorder(model: Model) -> Model:
    """The model with every hidden layer's units in the order of ``densest_first``."""
    units = units_of(model.net)
    comes = np.arange(units.fixed.size)
    for (_, labels), order in zip(units.cohorts, densest_first(model).values(), strict=True):
        comes[labels] = labels[order]

    def pick(labels: Labels) -> Labels:
        """Where a label stands several times, its places go to the other's in order."""
        places: dict[int, list[int]] = {}
        for place, label in enumerate(labels.tolist()):
            places.setdefault(label, []).append(place)
        taken = np.empty(labels.size, np.intp)
        for label, into in places.items():
            taken[into] = places[int(comes[label])]
        return taken

    return replace(model, arrays=units.taken(model.arrays, pick))
