"""The layers that a Net is made of: a closed vocabulary, one table."""

from __future__ import annotations

from tinyse.graph.layers.base import Array, Layer, Shape
from tinyse.graph.layers.plain import (
    ActivationLayer,
    InputLayer,
    JoinLayer,
    NormLayer,
    PastLayer,
    PoolLayer,
    ReshapeLayer,
)
from tinyse.graph.layers.products import ConvLayer, DenseLayer, DepthwiseLayer, UpsampleLayer
from tinyse.graph.layers.recurrent import GruLayer, LstmLayer

LAYERS: dict[str, type[Layer]] = {layer.kind: layer for layer in (
    InputLayer, DenseLayer, ConvLayer, DepthwiseLayer, UpsampleLayer, LstmLayer, GruLayer, PastLayer, JoinLayer,
    ActivationLayer, PoolLayer, ReshapeLayer, NormLayer)}

__all__ = ["LAYERS", "ActivationLayer", "Array", "ConvLayer", "DenseLayer", "DepthwiseLayer", "GruLayer", "InputLayer",
           "JoinLayer", "Layer", "LstmLayer", "NormLayer", "PastLayer", "PoolLayer", "ReshapeLayer", "Shape",
           "UpsampleLayer"]
