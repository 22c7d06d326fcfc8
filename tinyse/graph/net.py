"""Net: a network as it is trained, described once.

Nodes are layers with names, each reading nodes before it; the first is the input. Parts follow one another: what a
later part reads of an earlier one is an output of that one. NumPy and JSON only; Keras twins, lowering, pruning, the C
library and reports all read this. ``Build`` writes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from tinyse.core.errors import ModelError
from tinyse.graph.grid import top
from tinyse.graph.layers import LAYERS, Array, InputLayer, Layer, Shape
from tinyse.graph.plan import Always, Policy, Route, Skip, needed, policy_json, policy_of

WEIGHT_BITS = 2, 8
"""Fewest and most of a weight."""


@dataclass(frozen=True)
class Node:
    """A layer in its place.

    Attributes:
        name: unique. layer: what it is. ins: names of the nodes it reads. part: which part it belongs to.
        weights: the node whose arrays it uses; "" for its own.
    """

    name: str
    layer: Layer
    ins: tuple[str, ...] = ()
    part: int = 0
    weights: str = ""

    @property
    def owner(self) -> str:
        """The node whose arrays it uses."""
        return self.weights or self.name


@dataclass(frozen=True)
class Result:
    """What a part gives: a node's output under a tensor name; "" and "" where it gives none."""

    node: str = ""
    tensor: str = ""


@dataclass(frozen=True)
class Net:
    """Nodes in the order in which they run.

    Attributes:
        nodes: the first is the input. results: one a part. policy: which parts run on a frame (``tinyse.graph.plan``).
        extra: outputs beside the results that the policy reads, node by tensor name.
        bits: (place, bits) where a place has fewer than it could (``places``), in their order.

    Raises:
        ModelError: a node reads what is not before it, shapes do not fit, a name comes twice; the message names it.
    """

    nodes: tuple[Node, ...]
    results: tuple[Result, ...]
    policy: Policy = Always()
    extra: tuple[Result, ...] = ()
    bits: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        part = 0
        for node in self.nodes:
            if node.name in seen:
                raise ModelError(f"two nodes are called {node.name}")
            if missing := [name for name in node.ins if name not in seen]:
                raise ModelError(f"{node.name} reads {missing[0]}, which is not before it")
            if isinstance(node.layer, InputLayer) != (not node.ins):
                raise ModelError(f"{node.name}: an input reads nothing, everything else something")
            if not part <= node.part < len(self.results):
                raise ModelError(f"{node.name}: part {node.part} is out of order")
            seen.add(node.name)
            part = node.part
        for result in (*self.results, *self.extra):
            if result.node and result.node not in seen:
                raise ModelError(f"the result {result.tensor} is {result.node}, which is not there")
        self.shapes  # noqa: B018  # raises where they do not fit
        for place, bits in self.bits:
            self._check_bits(place, bits)

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Output shape of every node."""
        found: dict[str, Shape] = {}
        for node in self.nodes:
            try:
                found[node.name] = node.layer.shape(*(found[name] for name in node.ins))
            except ModelError as error:
                raise ModelError(f"{node.name}: {error}", error.hint) from error
        return found

    def shapes_in(self, node: Node) -> tuple[Shape, ...]:
        """Shapes of what a node reads."""
        return tuple(self.shapes[name] for name in node.ins)

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """Every array that is trained, by "node/array"."""
        return {f"{node.name}/{array.name}": array for node in self.nodes if not node.weights
                for array in node.layer.arrays(*self.shapes_in(node))}

    @cached_property
    def ranges(self) -> tuple[str, ...]:
        """Names of the ranges that are learnt or calibrated: the input's name, then "node.suffix"."""
        return tuple(f"{node.name}.{suffix}" if suffix else node.name
                     for node in self.nodes for suffix in node.layer.ranges())

    @cached_property
    def places(self) -> dict[str, tuple[int, int]]:
        """Where an operator may have bits of its own: fewest, and most, which is what it has unless told.

        Matrices by "node/array", of gates "node/array.gate"; activations, states and gate values by "node.suffix".
        """
        found: dict[str, tuple[int, int]] = {}
        for name, array in self.arrays.items():
            if array.matrix:
                gates = self[name.split("/")[0]].layer.gates if "gate" in array.axes else ()
                found |= dict.fromkeys([f"{name}.{gate}" for gate in gates] or [name], WEIGHT_BITS)
        for node in self.nodes:
            found |= {f"{node.name}.{suffix}" if suffix else node.name: limits
                      for suffix, limits in node.layer.places().items()}
        return found

    @cached_property
    def _bits(self) -> dict[str, int]:
        return dict(self.bits)

    def bits_of(self, place: str) -> int:
        """Bits of one of ``places``; of what is none, 8."""
        return self._bits.get(place) or self.places.get(place, WEIGHT_BITS)[1]

    def tops(self, name: str) -> tuple[int, ...]:
        """The largest integer of an array's weights, gate by gate where it has gates."""
        array = self.arrays[name]
        gates = self[name.split("/")[0]].layer.gates if "gate" in array.axes else ()
        return tuple(top(self.bits_of(place)) for place in [f"{name}.{gate}" for gate in gates] or [name])

    def with_bits(self, wanted: Mapping[str, int]) -> Net:
        """The same network with bits by place; "*" stands for anything, an array for its gates, and later ones win.

        Raises:
            ModelError: no place is called so, or it cannot have so many.
        """
        found = {}
        for key, bits in wanted.items():
            places = [place for place in self.places if fnmatchcase(place, key) or place.startswith(f"{key}.")
                      and "/" in key]
            for place in places or [key]:
                self._check_bits(place, bits)
                found[place] = bits
        order = [(place, found[place]) for place, (_, most) in self.places.items() if found.get(place, most) != most]
        return replace(self, bits=tuple(order))

    def _check_bits(self, place: str, bits: int) -> None:
        limits = self.places.get(place)
        if limits is None:
            near = get_close_matches(place, self.places, 3, 0.0)
            raise ModelError(f"bits of {place}: the network has no such place", f"such as {', '.join(near)}")
        if isinstance(bits, bool) or not isinstance(bits, int) or not limits[0] <= bits <= limits[1]:
            raise ModelError(f"bits of {place}: {bits!r}", f"a whole number from {limits[0]} to {limits[1]}")

    @property
    def input(self) -> Node:
        """The first node."""
        return self.nodes[0]

    @property
    def skip(self) -> Skip | None:
        """The policy where it is a Skip RNN's."""
        return self.policy if isinstance(self.policy, Skip) else None

    @property
    def route(self) -> Route | None:
        """The policy where it is a router's."""
        return self.policy if isinstance(self.policy, Route) else None

    @property
    def choice(self) -> str:
        """The node that chooses the exit; "" where there is no router, or it gives no choice."""
        return next((each.node for each in self.extra if self.route and each.tensor == self.route.choice), "")

    @property
    def exits(self) -> tuple[int, ...]:
        """Parts that give a result."""
        return tuple(part for part, result in enumerate(self.results) if result.node)

    @cached_property
    def needs(self) -> tuple[tuple[int, ...], ...]:
        """For each part, itself and the parts that it needs, in order; the input is nobody's."""
        read: list[set[int]] = [set() for _ in self.results]
        for node in self.nodes:
            read[node.part] |= {self[name].part for name in node.ins if name != self.input.name} - {node.part}
        return needed(read)

    @property
    def exit_macs(self) -> tuple[int, ...]:
        """Multiply-accumulates of a frame that stops at each exit, a router's included."""
        router = self.macs(0) if self.route else 0
        return tuple(router + sum(self.macs(part) for part in self.needs[at]) for at in self.exits)

    @property
    def parameters(self) -> int:
        """Elements of all arrays, running statistics apart."""
        return sum(array.size for array in self.arrays.values() if array.trainable)

    def macs(self, part: int | None = None) -> int:
        """Multiply-accumulates of a frame that runs everything, or of one part."""
        return sum(node.layer.macs(*self.shapes_in(node)) for node in self.nodes if part in (None, node.part))

    @property
    def states(self) -> dict[str, Shape]:
        """What persists between frames, by "node.suffix"."""
        return {f"{node.name}.{suffix}": shape for node in self.nodes
                for suffix, shape in node.layer.state_shapes(*self.shapes_in(node)).items()}

    def readers(self, name: str) -> tuple[Node, ...]:
        """Nodes that read ``name``."""
        return tuple(node for node in self.nodes if name in node.ins)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        nodes = [{"name": n.name, "kind": n.layer.kind, **asdict(n.layer), "ins": list(n.ins), "part": n.part,
                  **({"weights": n.weights} if n.weights else {})} for n in self.nodes]
        return {"nodes": nodes, "results": [asdict(r) for r in self.results], "policy": policy_json(self.policy),
                "extra": [asdict(r) for r in self.extra], **({"bits": dict(self.bits)} if self.bits else {})}

    @staticmethod
    def of_json(values: Mapping[str, Any]) -> Net:
        """What ``to_json`` gave.

        Raises:
            ModelError: a layer, policy or setting that is not known.
        """
        try:
            nodes = tuple(_node(dict(entry)) for entry in values["nodes"])
            made = policy_of(values["policy"])
            results, extra = (tuple(Result(**entry) for entry in values[key]) for key in ("results", "extra"))
            bits = dict(values.get("bits", {}))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"not a network of this version: {error}", "update tinyse, or train it again") from error
        net = Net(nodes, results, made, extra)
        return net.with_bits(bits) if bits else net

    def with_layers(self, changed: Mapping[str, Layer]) -> Net:
        """The same network with other settings for some nodes."""
        return replace(self, nodes=tuple(replace(node, layer=changed.get(node.name, node.layer))
                                         for node in self.nodes))


def _node(entry: dict[str, Any]) -> Node:
    placed = {key: entry.pop(key) for key in ("name", "ins", "part")}
    weights, kind = entry.pop("weights", ""), entry.pop("kind")
    return Node(placed["name"], _settings(LAYERS[kind], entry), tuple(placed["ins"]), placed["part"], weights)


def _settings(kind: Any, values: dict[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    if unknown := set(values) - known:
        raise KeyError(f"{kind.__name__} has no {sorted(unknown)[0]}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
