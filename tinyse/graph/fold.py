"""Batch normalisation, and the ReLU after it, folded into the product before it: the grids know no norms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyse.core.errors import ModelError
from tinyse.graph.layers import Layer, NormLayer
from tinyse.graph.layers.plain import EPSILON
from tinyse.graph.model import Model
from tinyse.graph.net import Node


def fold(model: Model) -> Model:
    """The same function without norm nodes; the model itself where it has none.

    Raises:
        ModelError: before a norm is no linear product, or somebody else reads that product or shares its weights.
    """
    arrays, gone, changed = dict(model.arrays), dict[str, str](), dict[str, Layer]()
    for node in model.net.nodes:
        if not isinstance(node.layer, NormLayer):
            continue
        into = _product(model, node, gone)
        kernel, bias = f"{into.name}/kernel", f"{into.name}/bias"
        gamma, beta, mean, variance = (np.asarray(arrays.pop(f"{node.name}/{name}"), np.float64)
                                       for name in ("gamma", "beta", "mean", "variance"))
        scale = gamma / np.sqrt(variance + EPSILON)
        arrays[kernel] = (arrays[kernel] * scale).astype(np.float32)  # "unit" is the last axis of every product
        arrays[bias] = ((arrays[bias] - mean) * scale + beta).astype(np.float32)
        gone[node.name] = into.name
        if node.layer.activation == "relu":
            changed[into.name] = replace(into.layer, activation="relu")  # type: ignore[call-arg]
    if not gone:
        return model
    net = model.net.with_layers(changed)
    nodes = tuple(replace(node, ins=tuple(gone.get(name, name) for name in node.ins))
                  for node in net.nodes if node.name not in gone)
    results, extra = (tuple(replace(each, node=gone.get(each.node, each.node)) for each in given)
                      for given in (net.results, net.extra))
    return replace(model, net=replace(net, nodes=nodes, results=results, extra=extra), arrays=arrays)


def _product(model: Model, norm: Node, gone: dict[str, str]) -> Node:
    """The node that a norm is folded into."""
    net, name = model.net, norm.ins[0]
    product = net[gone.get(name, name)]
    shared = product.weights or norm.weights or any(node.weights == product.name for node in net.nodes)
    read = len(net.readers(name)) > 1 or name in {each.node for each in (*net.results, *net.extra)}
    if shared or read or getattr(product.layer, "activation", "") != "linear" or norm.part != product.part:
        raise ModelError(f"{norm.name}: a norm follows {product.name}, which is no linear product of its own",
                         "put it after a dense, conv, depthwise or upsample without activation that nothing else reads")
    return product
