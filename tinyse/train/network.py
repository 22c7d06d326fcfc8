"""Network: a Net in tf_keras, over sequences and frame by frame, in float and on its integer grids. ::

    network = Network(net)
    masks, states = network.run(features, network.zero_states(batch))   # flat: [T, B, inputs] -> [T, B, outputs]
    network.quantize(ranges)

One class serves training (time-major, any batch), whole clips and streaming (T = 1, explicit states).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ModelError
from tinyse.graph.fold import fold
from tinyse.graph.gates import gate_nodes
from tinyse.graph.grid import Grid
from tinyse.graph.lowering import Lowering
from tinyse.graph.model import Model, Ranges
from tinyse.graph.net import Net
from tinyse.graph.normalizer import normalizable, unnormalized
from tinyse.train.arithmetic import to_grid
from tinyse.train.keras import tf, tf_keras
from tinyse.train.layers import TWINS, NormTwin, Seen, Twin
from tinyse.train.widths import width_masks

States = dict[str, tuple[Any, ...]]
GATE_BIAS = 1.0
"""Where the bias of p~ starts (Skip RNN, section 4): p~ is 0.73, and above 1/2 every frame is an update."""


class Network(tf_keras.Model):
    """Features in, a result a part out.

    Called on batch-major features [B, T, inputs] it gives the last result, [B, T, outputs]. Of a Skip RNN here every
    frame is an update: ``tinyse.train.gated`` says which are.

    Attributes:
        net: what it is. twins: a layer each but the input, in order. shift, scale: features enter as
            (feature - shift) / scale until ``fold_normalizer``.
    """

    def __init__(self, net: Net, shift: float = 0.0, scale: float = 1.0) -> None:
        """Make the layers.

        Raises:
            ModelError: a norm that could not be folded.
        """
        super().__init__(name="network")
        how = normalizable(net)
        self.shift, self.scale = (shift if how == "both" else 0.0), (scale if how else 1.0)
        self.input_grid: Grid | None = None
        self._build(net)
        if self.has_norms:
            fold(self.export(None, None, {}))  # refuses what could not be folded, before it is trained
        if net.skip is not None:
            open_gate(self)
        for twin in self.channel_gates:
            open_channels(twin)
        if net.route is not None:
            open_route(self)
        self.built = True

    def _build(self, net: Net) -> None:
        object.__setattr__(self, "net", net)
        made: dict[str, Twin] = {}
        for node in sorted(net.nodes[1:], key=lambda node: node.slim):  # whose weights come last
            made[node.name] = twin = TWINS[node.layer.kind](node, net.shapes_in(node), made.get(node.weights))
            for array in node.layer.arrays(*net.shapes_in(node)):
                if array.matrix and min(tops := net.tops(f"{node.owner}/{array.name}")) < 127:
                    columns = np.repeat(np.array(tops, np.float32), array.dims[-1])
                    twin.tops[array.name] = columns if "gate" in array.axes else columns[0]
        self.twins = [made[node.name] for node in net.nodes[1:]]

    def twin(self, name: str) -> Twin:
        """The twin of a node."""
        found: Twin = next(twin for twin in self.twins if twin.name == name)
        return found

    @property
    def stack(self) -> list[Twin]:
        """Twins that have arrays of their own."""
        return [twin for twin in self.twins if twin.weights and not twin.shared]

    @property
    def gate(self) -> tuple[Twin, int]:
        """Of a Skip RNN: the twin that gives p~, and at which output."""
        assert self.net.skip is not None
        node = next(result.node for result in self.net.results if result.tensor == self.net.skip.tensor)
        return self.twin(node), self.net.skip.at

    @property
    def channel_gates(self) -> list[Twin]:
        """The twins that open channels."""
        return [self.twin(node.name) for node in gate_nodes(self.net)]

    @property
    def choice(self) -> Twin:
        """Of a router: the twin that gives its choice."""
        return self.twin(self.net.choice)

    @property
    def has_norms(self) -> bool:
        """Whether ``fold_norms`` has anything to do."""
        return any(isinstance(twin, NormTwin) for twin in self.twins)

    def bands(self, results: Sequence[Any]) -> Any:
        """The last result [T, B, outputs] without a Skip RNN's p~."""
        last = results[-1]
        return last if self.net.skip is None else last[..., : self.net.skip.at]

    def zero_states(self, batch: int) -> States:
        """States of zeros, by node."""
        return {twin.name: twin.zero_state(batch) for twin in self.twins if twin.layer.state_shapes(*twin.ins)}

    def held(self) -> dict[str, Any]:
        """The weights as they enter, rounded once: for whoever runs the network often between two changes of them."""
        return {twin.name: twin.held() for twin in self.twins}

    def run(self, features: Any, states: States, observe: dict[str, Any] | None = None,
            statistics: dict[str, Any] | None = None, held: dict[str, Any] | None = None,
            route: Callable[[Any], Any] | None = None) -> tuple[list[Any], States]:
        """One pass over a sequence, all parts.

        Args:
            features: [T, B, inputs], raw. states: from ``zero_states`` or the pass before.
            observe: receives every activation whose range is learnt, by its range's name, by tensor name what a
                policy reads, and of every step "node.open", 0 or 1, and "node.slope".
            statistics: receives each norm's batch mean and variance, which it then uses.
            held: from ``held``.
            route: of a router's network, from its choice [T, B, exits] to 1 for the exit of each frame, else 0. GRUs of
                a part that the exit does not need keep their states; without it every part moves on. Of a network of
                several widths the widest part alone runs, its channels 0 where the frame's width has none; without a
                router it is given None.

        Returns:
            A result a part [T, B, outputs], None where a part gives none; the states after the last frame.
        """
        frames, batch, _ = features.shape
        grid, source = self.input_grid, self.net.input
        x = (features - self.shift) / self.scale if grid is None else to_grid(features, grid) * grid.scale
        if observe is not None:
            observe[source.name] = features
        values = {source.name: tf.reshape(x, (frames, batch, *self.net.shapes[source.name]))}
        after, chosen, opened, widths = dict(states), None, None, self.net.widths if route is not None else {}
        masks: dict[str, Any] = {}
        for part in range(len(self.net.results)):
            if widths and part >= (self.net.route is not None):
                if part < len(self.net.results) - 1:
                    continue
                if route is not None and self.net.route is None:
                    chosen = route(None)
                masks = width_masks(widths, chosen)
            elif chosen is not None:
                needed_by = [float(part in self.net.needs[at]) for at in self.net.exits]
                opened = tf.tensordot(chosen, tf.constant(needed_by, chosen.dtype), 1)
            values, after = self.run_part(part, values, after, held, Seen(observe, statistics, opened, masks))
            if route is not None and part == 0:
                chosen = route(tf.reshape(values[self.choice.name], (frames, batch, -1)))
        flat = {name: tf.reshape(value, (frames, batch, -1)) for name, value in values.items()
                if any(name == result.node for result in (*self.net.results, *self.net.extra))}
        if observe is not None:
            observe.update({result.tensor: flat[result.node] for result in self.net.extra})
        return [flat.get(result.node) for result in self.net.results], after

    def run_part(self, part: int, values: dict[str, Any], states: States, held: dict[str, Any] | None,
                 seen: Seen) -> tuple[dict[str, Any], States]:
        """The nodes of one part on the values [T, B, rows, width, channels] of what they read, by node; both grown."""
        values, states = dict(values), dict(states)
        for twin in self.twins:
            if twin.node.part == part:
                kept = twin.held() if held is None else held[twin.name]
                ins = tuple(values[name] for name in twin.node.ins)
                made, state = twin.run(ins, states.get(twin.name, ()), kept, seen)
                values[twin.name] = made * seen.masks[twin.name] if twin.name in seen.masks else made
                if twin.name in states:
                    states[twin.name] = state
        return values, states

    def call(self, features: Any) -> Any:
        """features [B, T, inputs] -> the last result [B, T, outputs], from zero states."""
        results, _ = self.run(tf.transpose(features, (1, 0, 2)), self.zero_states(features.shape[0]))
        return tf.transpose(results[-1], (1, 0, 2))

    def learn(self, statistics: Mapping[str, tuple[Any, Any]]) -> None:
        """Move the norms' running means towards a batch's."""
        for twin in self.twins:
            if isinstance(twin, NormTwin) and twin.name in statistics:
                twin.learn(*statistics[twin.name])

    def fold_normalizer(self) -> None:
        """Move (feature - shift) / scale into whatever reads the input, which then takes raw features."""
        if (self.shift, self.scale) != (0.0, 1.0):
            self.take(unnormalized(self.net, self.arrays(), self.shift, self.scale))
            self.shift, self.scale = 0.0, 1.0

    def fold_norms(self) -> None:
        """Fold norms into the products before them; the network then has other layers and fewer variables."""
        if self.has_norms:
            folded = fold(self.export(None, None, {}))
            self._build(folded.net)
            self.take(folded.arrays)

    def quantize(self, ranges: Ranges, exact: bool = False) -> None:
        """Put every tensor on the integer grid that ``lower`` gives it.

        Args:
            ranges: (low, high) by ``net.ranges``.
            exact: TFLM's arithmetic to the last bit, for parity and streaming rather than training.

        Raises:
            ModelError: a range is missing, or normalizer or norms were not folded.
        """
        if (self.shift, self.scale) != (0.0, 1.0):
            raise ModelError("the feature normalizer is not folded", "call fold_normalizer() first")
        if self.has_norms:
            raise ModelError("the norms are not folded", "call fold_norms() first")
        for name in self.net.ranges:
            if name not in ranges:
                raise ModelError(f"no quantization range for {name!r}", "train or calibrate it")
        made = Lowering(self.net, {}, ranges)
        self.input_grid = made.grid(self.net.input.name)
        grids = {self.net.input.name: self.input_grid}
        for twin in self.twins:
            given = tuple(grids[name] for name in twin.node.ins)
            grids[twin.name] = twin.quantize(given, made.of_node(twin.name), exact)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Every array by "node/array", as a Model has them."""
        return {name: self._variable(name).numpy().astype(np.float32) for name in self.net.arrays}

    def take(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Assign arrays by "node/array".

        Raises:
            ModelError: one has another shape.
        """
        for name in self.net.arrays:
            variable = self._variable(name)
            if tuple(variable.shape) != arrays[name].shape:
                raise ModelError(f"{name}: shape {arrays[name].shape}, expected {tuple(variable.shape)}")
            variable.assign(arrays[name])

    def _variable(self, name: str) -> Any:
        node, array = name.split("/")
        return self.twin(node).array(array)

    def export(self, ends: Any, ranges: Ranges | None, meta: Mapping[str, Any], family: str = "tinylstm") -> Model:
        """The weights as a framework-free model that takes raw features."""
        arrays = self.arrays()
        if (self.shift, self.scale) != (0.0, 1.0):
            arrays = unnormalized(self.net, arrays, self.shift, self.scale)
        return Model(self.net, arrays, ends, ranges, meta, family)


def open_gate(network: Network) -> None:
    """Let p~ be one that makes every frame an update, whatever the input."""
    twin, at = network.gate
    kernel, bias = twin.array("kernel"), twin.array("bias")
    weights, biases = kernel.numpy(), bias.numpy()
    weights[..., at], biases[at] = 0.0, GATE_BIAS
    kernel.assign(weights)
    bias.assign(biases)


def open_channels(twin: Twin) -> None:
    """Let a channel gate open nearly every channel at first; one by itself opens for what is large."""
    kernel, bias = twin.array("kernel"), twin.array("bias")
    kernel.assign(tf.ones_like(kernel) if twin.layer.fixed_units else 0.1 * kernel)
    bias.assign(tf.ones_like(bias))


def open_route(network: Network) -> None:
    """Let the router choose the last exit, whatever the input."""
    kernel, bias = network.choice.array("kernel"), network.choice.array("bias")
    kernel.assign(np.zeros(kernel.shape, np.float32))
    bias.assign(np.eye(bias.shape[0], dtype=np.float32)[-1])


def restore(model: Model, exact: bool = False) -> Network:
    """The tf_keras network of a trained model, on its grids where it has ranges."""
    network = Network(model.net)
    network.take(model.arrays)
    if model.ranges is not None:
        network.quantize(model.ranges, exact)
    return network
