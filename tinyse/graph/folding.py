"""Norms folded into the products before them: what is left has none, and computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinyse.errors import ModelError
from tinyse.graph.layers import NormLayer
from tinyse.graph.layers.plain import EPSILON
from tinyse.graph.net import Net, Node

Real = NDArray[np.float32]
PRODUCTS = ("dense", "conv", "depthwise", "upsample")


def product_before(net: Net, norm: Node) -> Node:
    """The node that a norm folds into.

    Raises:
        ModelError: what it reads is no product, has an activation, shares its weights, or is read by others too.
    """
    node = net[norm.ins[0]]
    shared = node.weights or any(other.weights == node.name for other in net.nodes)
    results = {result.node for result in (*net.results, *net.extra)}
    if (node.layer.kind not in PRODUCTS or getattr(node.layer, "activation", "") != "linear" or shared
            or len(net.readers(node.name)) > 1 or node.name in results or node.part != norm.part):
        raise ModelError(f"{norm.name}: a norm does not fold into {node.name}",
                         "put it straight after a linear dense, conv, depthwise or upsample that nothing else reads")
    return node


def fold_norms(net: Net, arrays: Mapping[str, Real]) -> tuple[Net, dict[str, Real]]:
    """The same function without norms.

    Raises:
        ModelError: a norm that cannot be folded.
    """
    norms = [node for node in net.nodes if isinstance(node.layer, NormLayer)]
    made, instead = dict(arrays), {}
    for norm in norms:
        node = product_before(net, norm)
        gamma, beta, mean, variance = (np.asarray(made.pop(f"{norm.name}/{name}"), np.float64) for name in (
            "gamma", "beta", "mean", "variance"))
        gain = gamma / np.sqrt(variance + EPSILON)
        kernel, bias = f"{node.name}/kernel", f"{node.name}/bias"
        made[kernel] = (made[kernel] * gain).astype(np.float32)
        made[bias] = ((made[bias] - mean) * gain + beta).astype(np.float32)
        instead[norm.name] = node.name

    def renamed(name: str) -> str:
        return instead.get(name, name)

    nodes = tuple(replace(node, ins=tuple(map(renamed, node.ins))) for node in net.nodes if node.name not in instead)
    results, extra = (tuple(replace(result, node=renamed(result.node)) for result in given)
                      for given in (net.results, net.extra))
    return replace(net, nodes=nodes, results=results, extra=extra), made
