"""nsNet2 (Braun et al. 2021): log power of 257 bins, a layer, two GRUs, two ReLU layers, one gain a bin; with exits.

Papers: dynamic nsNet2 (Miccini et al. 2023). The paper's widths, 2.78 million weights, are ``first=400, gru=(400, 400),
dense=(600, 600)``; the defaults are a narrow one of the same shape that fits an Ethos-U (ours: 342,081 weights and
biases, 336 kB encoded). With ``exits`` a frame may stop after a layer, numbered from 1, ``first`` being layer 1; every
exit has a sigmoid layer of its own::

    plain    layer -+-> next layer            split   +-> layer --> next layer
                    +-> mask                          +-> its double --> mask

Each mask is a part of its own, and so is what lies between two exits: a frame computes its own mask alone, by default
the last.
"""

from __future__ import annotations

from tinyse.core.errors import ModelError
from tinyse.graph.build import Build
from tinyse.graph.layers import DenseLayer, GruLayer
from tinyse.graph.net import Net
from tinyse.graph.plan import Budget, Policy
from tinyse.sound import Bands, Ends, Feature

ENDS = Ends(bands=Bands("none"), feature=Feature("log_power", mean=1.0))


def net(first: int = 128, gru: tuple[int, ...] = (128, 128), dense: tuple[int, ...] = (192, 192), bits: int = 16,
        reset: str = "after", exits: tuple[int, ...] = (), topology: str = "plain", router: int = 0,
        ends: Ends = ENDS) -> Net:
    """Units of every layer; ``bits`` and ``reset`` of the GRUs; ``exits``: after which layers but the last.

    ``topology``: "plain", or "split", where the layer before an exit is there twice. ``router``: units of a GRU that
    chooses the exit of every frame; 0: none.
    """
    b, split = Build(ends.shape), topology == "split"
    layers = [("linear", first), *(("gru", units) for units in gru), *(("relu", units) for units in dense)]
    if topology not in ("plain", "split"):
        raise ModelError(f"topology: {topology!r} is not known", "plain or split")
    if sorted({*exits} & {*range(1, len(layers))}) != list(exits):
        raise ModelError(f"exits: {list(exits)} are not layers in order", f"some of 1 to {len(layers) - 1}, each once")

    if router and not exits:
        raise ModelError(f"router: {router} units choose among exits, and there is one", "exits: [1, 2, 3]")

    def layer(number: int, x: str, name: str = "layer") -> str:
        kind, units = layers[number - 1]
        made = GruLayer(units, reset, bits) if kind == "gru" else DenseLayer(units, kind)
        return b.add(made, x, name=f"{name}_{number}")

    def gains(x: str, name: str) -> str:
        return b.add(DenseLayer(ends.outputs, "sigmoid"), x, name=name)

    policy: Policy = Budget(len(exits) + 1)
    if router:
        seen = b.add(DenseLayer(router, "tanh"), b.x, name="router_in")
        seen = b.add(GruLayer(router, "none", bits, joint=True), seen, name="router")
        policy = b.route(b.add(DenseLayer(len(exits) + 1), seen, name="choice"))
    x = b.x
    for number in range(1, len(layers) + 1):
        if number in exits and split:
            if x != b.x:
                b.part()
            b.exit(gains(layer(number, x, "double"), f"gains_{number}"))
        x = layer(number, x)
        if number in exits and not split:
            b.part()
            b.exit(gains(x, f"gains_{number}"))
    return b.done(policy, mask=gains(x, "gains"))
