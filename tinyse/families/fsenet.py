"""Conv-FSENet (Miccini et al., arXiv 2412.17121): stacks of dilated blocks over time on every bin, and channel gates.

A block widens, convolves every channel over time, narrows again and is added to what it read. With ``gates`` one unit a
block says which channels of the frame are open: a closed one's convolution over time and its column of the narrowing
matrix need not be computed (docs/channel-gates.md). The form that the paper quantizes: convolution, norm, ReLU.
"""

from __future__ import annotations

from tinyse.graph.build import Build
from tinyse.graph.net import Net
from tinyse.sound import Bands, Ends, Feature

ENDS = Ends(bands=Bands("none"), feature=Feature("log_power", mean=1.0))
"""The paper's features are magnitudes to the power 0.3: a recipe with ``ends.feature: {kind: magnitude, mean: 0}``."""


def net(channels: int = 128, hidden: int = 256, stacks: int = 3, blocks: int = 3, kernel: int = 3, gates: bool = False,
        gate_units: int = 0, ends: Ends = ENDS) -> Net:
    """``channels`` between blocks, ``hidden`` inside; dilations 1, 2, 4 ... over the ``blocks`` of every stack.

    ``gates``: with channel gates. ``gate_units`` of a unit that reads the block's input; 0 (ours, and cheaper): every
    channel is opened by its own value, that is, by the first matrix of the block.
    """
    b = Build(ends.shape)
    x = b.dense(b.x, channels, "relu")
    for block in range(stacks * blocks):
        wide = b.norm(b.dense(x, hidden), "relu")
        opened = ""
        if gates:
            opened = b.dense(b.dense(x, gate_units, "relu"), hidden, "step") if gate_units else b.threshold(wide)
        over = b.norm(b.depthwise(wide, (kernel, 1), dilation=(2 ** (block % blocks), 1)), "relu")
        x = b.join("add", x, b.dense(b.join("mul", over, opened) if gates else over, channels))
    return b.done(mask=b.dense(x, ends.outputs, "sigmoid"))
