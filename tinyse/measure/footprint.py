"""Memory at inference, counted: parameters, and the most bytes of values that are alive at once.

Layer by layer: while a layer runs, what it reads, what it writes and whatever is read later are there. ReLUs and steps
work in place, a past is the rows that it keeps, and nothing is fused or tiled. Maps of a step take a bit a value,
others 4 bytes in float and 1 in int8. In int8 a weight takes a byte, a bias 4, and a channel that is rescaled 8 more;
a step's sums are not: they are held against a bound, which is the bias.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyse.graph.layers import PastLayer
from tinyse.graph.net import Net

FLOAT, INT8 = "float", "int8"
SCALE_BYTES = 8
"""A mantissa and a shift."""


@dataclass(frozen=True)
class Footprint:
    """Bytes, exact.

    Attributes:
        parameters: weights, biases, scales. values: the most that is alive at once, states included.
    """

    parameters: int
    values: int

    @property
    def total(self) -> int:
        """Both."""
        return self.parameters + self.values


def footprint(net: Net, kind: str, steps: int = 0) -> Footprint:
    """Count a network of one part without recurrence.

    Args:
        kind: "float" or "int8".
        steps: over so many steps at once, from which the last result is wanted, as a network of the whole window does;
            0: a stream, step by step, with states.
    """
    shapes = net.shapes
    binary = {node.name for node in net.nodes if getattr(node.layer, "activation", "") == "step"}
    sizes: dict[str, int] = {}
    states, once = 0, _once(net)
    for node in net.nodes:
        rows, width, channels = shapes[node.name]
        if node.ins and node.ins[0] in binary and node.layer.fixed_units:
            binary.add(node.name)
        bits = 1 if node.name in binary and kind == INT8 else 8 if kind == INT8 else 32
        if isinstance(node.layer, PastLayer):
            kept = node.layer.rows * width * channels * bits // 8
            states += 0 if steps else kept
            sizes[node.name] = sizes[node.ins[0]] + (0 if steps else kept)
            continue
        count = steps if steps and node.name not in once else 1
        sizes[node.name] = -(-rows * count * width * channels * bits // 8)
    return Footprint(_parameters(net, kind, binary), _peak(net, sizes, states, bool(steps)))


def _once(net: Net) -> set[str]:
    """Nodes from the largest over the window on: of a whole window there is one of each."""
    found: set[str] = set()
    for node in net.nodes[1:]:
        pooled = isinstance(net[node.ins[0]].layer, PastLayer) and not node.layer.arrays(*net.shapes_in(node))
        if pooled or node.ins[0] in found:
            found.add(node.name)
    return found


def _parameters(net: Net, kind: str, binary: set[str]) -> int:
    if kind == FLOAT:
        return 4 * net.parameters
    total = 0
    for name, array in net.arrays.items():
        rescaled = name.split("/")[0] not in binary
        total += array.size if array.matrix else array.size * (4 + SCALE_BYTES * rescaled)
    return total


def _peak(net: Net, sizes: dict[str, int], states: int, whole: bool) -> int:
    """The most over all layers; a past is a view of what it reads, and its states are always there."""
    owner: dict[str, str] = {}
    for node in net.nodes:
        past = isinstance(node.layer, PastLayer)
        owner[node.name] = owner[node.ins[0]] if past else node.name
    last = {owner[name]: at for at, node in enumerate(net.nodes) for name in node.ins}
    peak = 0
    for at, node in enumerate(net.nodes):
        if node.ins and not isinstance(node.layer, PastLayer):
            alive = {made for made in map(owner.get, (other.name for other in net.nodes[: at + 1]))
                     if made is not None and (made == node.name or last.get(made, -1) >= at)}
            peak = max(peak, sum(sizes[name] for name in alive))
    return peak + (0 if whole else states)
