"""Twin: a layer of a Net in tf_keras, over sequences.

A tensor of a sequence is [T, B, rows, width, channels], real values throughout; on grids they lie on them. ::

    held = twin.held()                                   # the weights as they enter, rounded once
    y, state = twin.run((x,), state, held, Seen({}))     # any T; the state goes on

``quantize`` puts a twin on the integer grids that its layer lowers to, in training's fast arithmetic or ``exact``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tinyse.graph.grid import Grid
from tinyse.graph.layers import Array, Shape
from tinyse.graph.net import Node
from tinyse.train.keras import tf, tf_keras

Range = Callable[[str], Grid]


@dataclass(frozen=True)
class Seen:
    """What a forward pass tells beside its results.

    Attributes:
        ranges: receives every activation whose range is learnt, by its range's name; None: nobody asks.
        statistics: receives (mean, variance) of the batch by a norm's name; None: norms use their running ones.
        opened: [T, B] of 0 and 1: whether a GRU's state moves on in a frame; None: in all. What it gives is what it
            would, had it.
    """

    ranges: dict[str, Any] | None = None
    statistics: dict[str, tuple[Any, Any]] | None = None
    opened: Any = None


class Twin(tf_keras.layers.Layer):
    """Base of all twins.

    Attributes:
        node: the layer in its place. ins: shapes of what it reads. shared: whether another node owns its arrays.
        grids: of what it reads; empty in float. out: of what it gives. exact: TFLM's arithmetic to the last bit.
        tops: largest integers of its arrays of fewer than 8 bits, a number or one a gate's column.
    """

    def __init__(self, node: Node, ins: Iterable[Shape], owner: Twin | None = None) -> None:
        """Make the arrays, in the layer's order, or use ``owner``'s."""
        super().__init__(name=node.name)
        self.node, self.shared = node, owner is not None
        object.__setattr__(self, "ins", tuple(ins))  # tf_keras would wrap it
        object.__setattr__(self, "_owner", owner or self)
        object.__setattr__(self, "grids", ())
        object.__setattr__(self, "tops", {})
        self.out: Grid | None = None
        self.exact = False
        if owner is None:
            for array in node.layer.arrays(*self.ins):
                setattr(self, array.name, self.add_weight(
                    array.name, array.shape, initializer=initializer(array), trainable=array.trainable))
        self.built = True

    @property
    def layer(self) -> Any:
        """The settings."""
        return self.node.layer

    @property
    def units(self) -> int:
        """Output channels."""
        return int(self.layer.shape(*self.ins)[2])

    def array(self, name: str) -> Any:
        """A variable, of the owner."""
        return getattr(self._owner, name)

    def get_prunable_weights(self) -> list[Any]:
        """The matrices, which may be pruned."""
        return [self.array(array.name) for array in self.layer.arrays(*self.ins) if array.matrix]

    def zero_state(self, batch: int) -> tuple[Any, ...]:
        """Zeros for every state, [batch, rows, width, channels]."""
        return tuple(tf.zeros((batch, *shape), self.dtype) for shape in self.layer.state_shapes(*self.ins).values())

    def held(self) -> Any:
        """The weights as they enter: a structure of tensors."""
        return ()

    def run(self, xs: tuple[Any, ...], state: tuple[Any, ...], held: Any, seen: Seen) -> tuple[Any, tuple[Any, ...]]:
        """Sequences [T, B, rows, width, channels] and a state -> the result and the state after the last frame."""
        raise NotImplementedError

    def quantize(self, grids: tuple[Grid, ...], ranges: Range, exact: bool) -> Grid:
        """Run on grids from now on: ``grids`` of what it reads, its own by suffix; the grid of what it gives."""
        object.__setattr__(self, "grids", grids)
        self.exact = exact
        self.out = self.out_grid(grids, ranges)
        return self.out

    def out_grid(self, grids: tuple[Grid, ...], ranges: Range) -> Grid:
        """The grid of the result: by default the first input's."""
        return grids[0]

    def note(self, seen: Seen, suffix: str, value: Any) -> None:
        """Show an activation whose range is learnt."""
        if seen.ranges is not None:
            seen.ranges[f"{self.name}.{suffix}"] = value


def initializer(array: Array) -> Any:
    """Keras' initializer of an array."""
    make = tf_keras.initializers
    if array.init == "glorot":
        limit = math.sqrt(3.0 / max(1.0, sum(array.fan) / 2.0))
        return make.RandomUniform(-limit, limit)
    if array.init == "forget":  # an LSTM's bias: the second of four gates at one
        units = array.dims[-1]
        return make.Constant([0.0] * units + [1.0] * units + [0.0] * 2 * units)
    if isinstance(array.init, str):
        return {"orthogonal": make.Orthogonal, "zeros": make.Zeros, "ones": make.Ones}[array.init]()
    return make.Constant(array.init)
