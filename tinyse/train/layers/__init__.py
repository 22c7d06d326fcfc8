"""Twins of the layers: a closed vocabulary, one table, as ``tinyse.graph.layers`` has it."""

from __future__ import annotations

from tinyse.train.layers.base import Seen, Twin
from tinyse.train.layers.depthwise import DepthwiseTwin
from tinyse.train.layers.gru import GruTwin
from tinyse.train.layers.lstm import LstmTwin
from tinyse.train.layers.plain import ActivationTwin, JoinTwin, NormTwin, PastTwin, PoolTwin, ReshapeTwin
from tinyse.train.layers.product import ConvTwin, DenseTwin, UpsampleTwin

TWINS: dict[str, type[Twin]] = {
    "dense": DenseTwin, "conv": ConvTwin, "depthwise": DepthwiseTwin, "upsample": UpsampleTwin, "lstm": LstmTwin,
    "gru": GruTwin, "past": PastTwin, "join": JoinTwin, "activation": ActivationTwin, "pool": PoolTwin,
    "reshape": ReshapeTwin, "norm": NormTwin}
"""Of every kind of layer but the input."""

__all__ = ["TWINS", "NormTwin", "Seen", "Twin"]
