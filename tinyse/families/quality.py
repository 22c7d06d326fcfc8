"""Speech quality by binary maps (Miccini et al., arXiv 2407.04578): log mel of 5 s to one MOS by 45,697 weights.

Four convolutions of 3 x 3, each under a Heaviside step and the largest of 2 x 2, the last under the largest of all;
then 64, 64, 1 units. With ``activation="relu"`` the same network with real maps. The paper's network sees a window at
once. This one is a stream, as every Net: a step takes 8 frames, and what lies before it are states, two rows a
convolution and the largest of each step of the window (docs/quality.md). So there is a score every 160 ms.
"""

from __future__ import annotations

from tinyse.core.errors import ModelError
from tinyse.graph.build import Build
from tinyse.graph.net import Net
from tinyse.sound import Bands, Ends, Feature, Framing, Result

ENDS = Ends(Framing(frame=640, hop=320, fft=1024), Bands(count=120, low_hz=0.0, high_hz=8000.0), Feature("log_power"),
            Result("score"), "width", 8)


def net(channels: tuple[int, ...] = (32, 32, 32, 64), dense: tuple[int, ...] = (64, 64), window: int = 31,
        activation: str = "step", ends: Ends = ENDS) -> Net:
    """``window``: steps that a score is of, 31 of 160 ms are 4.96 s. ``activation``: of the maps, "step" or "relu"."""
    halvings = len(channels) - 1
    if not channels or ends.rows % 2**halvings:
        raise ModelError(f"channels: {halvings} halvings of {ends.rows} rows", "ends: rows: a multiple of 2 for each")
    if window < 2 or activation not in ("step", "relu"):
        raise ModelError(f"window: {window}, activation: {activation!r}", "2 steps or more; step or relu")
    b = Build(ends.shape)
    x = b.x
    for number, units in enumerate(channels):
        x = b.conv(x, units, (3, 3), activation=activation)
        x = b.pool(x, (2, 2)) if number < halvings else b.pool(x, (0, 0))
    x = b.pool(b.past(x, window - 1), (window, 1), (1, 1))
    for units in dense:
        x = b.dense(x, units, "relu")
    return b.done(score=b.dense(x, ends.outputs, "relu"))
