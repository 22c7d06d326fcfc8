"""Learns the quantization ranges from training batches.

A range is the mean over batches of each batch's extremes, which one outlier cannot stretch; the cell state, whose
power-of-two scale has room, takes the largest. Logits are cut at +-6: beyond that the int8 mask is already
within one step of 0 or 1, and the finer grid serves the middle of the sigmoid (ours); so are an 8-bit GRU's
gates. Scales are snapped to 11 bits, h to 2^-7 (``tinyse.graph.snap``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyse.graph.layers.recurrent import GruLayer
from tinyse.graph.snap import snap_ranges
from tinyse.train.gated import Gated, pick
from tinyse.train.keras import tf
from tinyse.train.mixer import Mixer
from tinyse.train.network import Network
from tinyse.train.slimming import at_each

LOGIT_LIMIT = 6.0
GATE_LIMIT, NEW_LIMIT = 4.0, 2.5
"""Where the ranges of an 8-bit GRU's z and r, and of its n, end: beyond them sigmoid and tanh are flat, and the grid is
finer for it. A z below sigmoid(-4) moves an 8-bit state by less than it can hold (docs/subband.md)."""
CHOICE_LIMIT = 4.0
"""Of a router's logits, which are given their range: they are hardly trained when ranges are learnt (ours)."""
BATCHES = 8


def learn_ranges(network: Network, mixer: Mixer, size: int, first_batch: int) -> dict[str, tuple[float, float]]:
    """Ranges of every activation over ``BATCHES`` training batches, as the network runs now.

    Args:
        network: float, or on its grids with provisional ranges.
        size: mixtures a batch.
        first_batch: number of the first batch; lane 1000 keeps them apart from training's own.
    """

    gated = Gated(network) if network.net.skip is not None else None

    def run(features: Any) -> Any:
        seen: dict[str, Any] = {}
        width = at_each(network.net, features) if network.net.widths else None
        network.run(features, network.zero_states(features.shape[1]), seen, route=width)
        return {name: (tf.reduce_min(seen[name]), tf.reduce_max(seen[name])) for name in network.net.ranges}

    run = tf.function(run)
    limits: dict[str, list[tuple[float, float]]] = {}
    for index in range(BATCHES):
        batch = mixer.batch(first_batch + index, 1000, size)
        features = tf.constant(batch.features)
        if gated is not None:  # only updates reach the integers; to the shortest, so that none comes twice
            found = gated.updates(features)
            features = pick(features, found.frames[: found.shortest])
        for name, (low, high) in run(features).items():
            limits.setdefault(name, []).append((float(low), float(high)))
    logits = {f"{result.node}.out" for result in network.net.results
              if result.node and getattr(network.net[result.node].layer, "activation", "") == "sigmoid"}
    gates = {f"{node.name}.{gate}": NEW_LIMIT if gate == "n" else GATE_LIMIT for node in network.net.nodes
             if isinstance(node.layer, GruLayer) and node.layer.bits == 8 for gate in node.layer.gates}
    ranges = {}
    for name, pairs in limits.items():
        low, high = (float(value) for value in np.mean(pairs, axis=0))
        if name.endswith(".c"):
            peak = max(max(abs(a), abs(b)) for a, b in pairs)
            low, high = -peak, peak
        elif name in gates:
            low, high = max(low, -gates[name]), min(high, gates[name])
        elif name == f"{network.net.choice}.out":
            low, high = -CHOICE_LIMIT, CHOICE_LIMIT
        elif name in logits:
            low, high = max(low, -LOGIT_LIMIT), min(high, LOGIT_LIMIT)
        ranges[name] = (min(low, 0.0), max(high, 0.0))
    return snap_ranges(network.net, ranges)
