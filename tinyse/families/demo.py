"""The demonstration: a few hundred weights that use every kind of layer, so that one test covers all of them."""

from __future__ import annotations

from tinyse.graph.build import Build
from tinyse.graph.net import Net
from tinyse.sound import Bands, Ends

ENDS = Ends(bands=Bands("erb", 16), layout="width")


def net(channels: int = 4, bits: int = 16) -> Net:
    """A little of everything; ``channels`` of the inner maps, ``bits`` of the GRU."""
    b = Build(ENDS.shape)
    early = b.conv(b.x, channels, (2, 5), (1, 2), "relu")
    x = b.gate(early, b.pool(early, (0, 0)))
    x = b.gru(x, channels, reset="none", bits=bits)
    b.exit(b.upsample(x, 1, (1, 2), (1, 3), "sigmoid"))
    x = b.prelu(b.depthwise(x, (3, 3), dilation=(2, 1)))
    x = b.join("add", b.glu(x, channels), early)
    return b.done(mask=b.upsample(b.join("concat", x, early), 1, (1, 2), (1, 3), "sigmoid"))
