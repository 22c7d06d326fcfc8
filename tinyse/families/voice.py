"""Voice activity: log power of 32 bands, a layer, a GRU, the probability that the frame is speech (ours).

A small task beside enhancement, trained on its mixtures with labels from their clean speech (docs/voice.md).
"""

from __future__ import annotations

from tinyse.graph.build import Build
from tinyse.graph.net import Net
from tinyse.sound import Bands, Ends, Feature, Result

ENDS = Ends(bands=Bands("mel", 32), feature=Feature("log_power"), result=Result("voice"))


def net(dense: int = 32, gru: tuple[int, ...] = (32,), bits: int = 16, ends: Ends = ENDS) -> Net:
    """``dense``: units of the layer before the GRUs. ``gru``: of each, with states of ``bits``."""
    b = Build(ends.shape)
    x = b.dense(b.x, dense, "relu")
    for units in gru:
        x = b.gru(x, units, bits=bits)
    return b.done(voice=b.dense(x, ends.outputs, "sigmoid"))
