"""Sub-bands: convolutions over frequency, GRUs over time whose weights all sub-bands share, one narrow full-band GRU.

What an Ethos-U likes is few weights used often: 128 bands come down to 32 sub-bands by two strided convolutions, each
block's GRU walks over time with the same weights in every sub-band, a depthwise convolution mixes neighbours, a narrow
GRU sees the whole band, and two transposed convolutions lead back to 128 gains over skip connections.
"""

from __future__ import annotations

from tinyse.graph.build import Build
from tinyse.graph.net import Net
from tinyse.sound import Bands, Ends, Feature, Framing

ENDS = Ends(Framing(window="sqrt_hann"), Bands("erb", 128, fine_hz=1500.0), Feature("log_power", mean=1.0),
            layout="width")
STRIDES = 4
"""Bands that a sub-band holds: two convolutions of stride 2."""


def net(channels: int = 32, blocks: int = 2, wide: int = 32, narrow: int = 2, first: int = 16, kernel: int = 5,
        mix: int = 9, bits: int = 8, reset: str = "none", ends: Ends = ENDS) -> Net:
    """``channels`` of every sub-band and units of its GRU, of ``blocks`` blocks; ``first`` before the second stride.

    ``wide``: units of the full-band GRU of the first block, which sees ``narrow`` numbers of every sub-band; 0: none.
    ``kernel``: of the strided convolutions; ``mix``: of the depthwise ones. ``bits`` and ``reset``: of the GRUs.
    """
    b = Build(ends.shape)
    subbands = ends.width // STRIDES
    fine = b.conv(b.x, first, (1, kernel), (1, 2), "relu")
    x = b.conv(fine, channels, (1, kernel), (1, 2), "tanh")
    for block in range(blocks):
        h = b.gru(x, channels, reset=reset, bits=bits, joint=True)
        if block == 0 and wide:
            w = b.reshape(b.dense(h, narrow, "tanh"), (1, 1, 0))
            w = b.gru(w, wide, reset=reset, bits=bits, joint=True)
            w = b.reshape(b.dense(w, narrow * subbands, "tanh"), (1, subbands, narrow))
            h = b.join("concat", h, w)
        x = b.depthwise(h, (1, mix), activation="linear")
        x = b.dense(x, channels, "tanh" if block + 1 < blocks else "relu")
    x = b.join("add", b.upsample(x, first, (1, 2), (1, 3), "relu"), fine)
    return b.done(mask=b.upsample(x, 1, (1, 2), (1, 3), "sigmoid"))
