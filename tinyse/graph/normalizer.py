"""The normalizer of features, (feature - shift) / scale, folded into whatever reads them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.layers import ConvLayer, GruLayer
from tinyse.graph.net import Net, Node

Real = NDArray[np.float32]
PRODUCTS = ("dense", "conv", "depthwise", "upsample")


def _takes_scale(net: Net, node: Node) -> bool:
    shared = (node.weights and not node.slim) or any(o.weights == node.name and not o.slim for o in net.nodes)
    joint = isinstance(node.layer, GruLayer) and node.layer.joint
    return node.layer.kind in (*PRODUCTS, "lstm", "gru") and not shared and not joint


def _takes_shift(net: Net, node: Node) -> bool:
    """Whether no zero beside the features, of a margin or a past, would have to be shifted as well."""
    layer = node.layer
    margins = isinstance(layer, ConvLayer) and layer.pad(net.shapes_in(node)[0][1]) != (0, 0)
    return layer.kind != "upsample" and not margins


def _readers(net: Net) -> tuple[list[Node], bool]:
    """Nodes that feature values come to, and whether they come straight."""
    found, names, straight = [], [net.input.name], True
    while names:
        for node in net.readers(names.pop()):
            if node.layer.kind in ("past", "pool", "reshape"):
                straight = straight and node.layer.kind == "reshape"
                names.append(node.name)
            else:
                found.append(node)
    return found, straight


def normalizable(net: Net) -> str:
    """What of (feature - shift) / scale folds into what reads the input: "both", "scale", or "" for nothing."""
    readers, straight = _readers(net)
    if not readers or not all(_takes_scale(net, node) for node in readers):
        return ""
    return "both" if straight and all(_takes_shift(net, node) for node in readers) else "scale"


def unnormalized(net: Net, arrays: Mapping[str, Real], shift: float, scale: float) -> dict[str, Real]:
    """Arrays of a network that was given (feature - shift) / scale and is given features instead."""
    made = dict(arrays)
    for node in {node.owner: net[node.owner] for node in _readers(net)[0]}.values():
        kernel, bias = f"{node.name}/kernel", f"{node.name}/bias"
        made[kernel] = (arrays[kernel] / np.float32(scale)).astype(np.float32)
        if shift:
            axes = (0, 1) if node.layer.kind == "depthwise" else tuple(range(made[kernel].ndim - 1))
            made[bias] = (arrays[bias] - shift * made[kernel].sum(axis=axes)).astype(np.float32)
    return made
