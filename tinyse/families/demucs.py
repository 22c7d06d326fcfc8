"""Streaming DEMUCS with slimmable blocks (arXiv 2507.04879): samples in, samples out, a U-Net over time around GRUs.

::

    hop of samples
      conv K / S, ReLU, GLU ─────────────────── add ── GLU, transposed conv K x S   hop of samples
        conv K / S, ReLU, GLU ────────── add ── GLU, transposed conv K x S, ReLU
          ...                              ...
                 GLU a group ── GRU a group ── add

One frame is one step of the deepest level. A convolution of stride S is one over rows of S samples side by side, and
keeps the rows before; a transposed convolution keeps the row before, whose end overlaps. Nothing looks ahead.

The paper interpolates by U first and decimates last. A linear filter before a convolution of stride S on U times the
samples is part of a convolution of stride S / U on the samples: so it is here, and the filter's MACs are saved.
"""

from __future__ import annotations

import math

from tinyse.core.errors import ModelError
from tinyse.graph.build import Build
from tinyse.graph.net import Net
from tinyse.sound import Bands, Ends, Feature, Framing, Result

ENDS = Ends(Framing(frame=256, hop=256, fft=256, window="none"), Bands("none"), Feature("samples"), Result("samples"),
            layout="rows")


def net(width: int = 24, depth: int = 4, kernel: int = 8, stride: int = 4, upsample: int = 1, groups: int = 4,
        utilization: float = 1.0, bits: int = 16, ends: Ends = ENDS) -> Net:
    """``width`` channels after the first of ``depth`` levels, twice as many after each; ``groups`` of GRUs.

    ``kernel`` and ``stride`` of every level but the first, whose stride is ``stride / upsample``. ``utilization``: share
    of the channels that are computed inside a block; between blocks there are all. ``bits`` of the GRUs.
    """
    _check(width, depth, kernel, stride, upsample, groups, utilization, ends)
    b = Build(ends.shape, bits=16)
    steps = [stride // upsample, *[stride] * (depth - 1)]
    channels = [width << level for level in range(depth)]
    inner = [math.ceil(each * utilization) for each in channels]
    x, skips = b.x, list[str]()
    for level, step in enumerate(steps):
        rows, _, count = b.shape(x)
        wide = b.conv(b.reshape(x, (rows // step, 1, step * count)) if step > 1 else x, inner[level],
                      (kernel // step, 1), activation="relu", wide="" if level else "in")
        if level < depth - 1:
            x = b.glu(wide, channels[level])
            skips.append(x)
    parts = [b.glu(wide, channels[-1] // groups) for _ in range(groups)]
    x = b.join("concat", *(b.join("add", part, b.gru(part, channels[-1] // groups, bits=bits)) for part in parts))
    for level in reversed(range(depth)):
        if level < depth - 1:
            x = b.join("add", x, skips[level])
        step, (units, after) = steps[level], (channels[level - 1], "relu") if level else (1, "linear")
        x, side = b.glu(x, inner[level]), "" if level else "out"
        if step > 1:
            x = b.upsample(x, units, (step, 1), (kernel // step, 1), after, side)
        else:
            x = b.conv(x, units, (kernel, 1), activation=after, wide=side)
    return b.done(wave=x)


def _check(width: int, depth: int, kernel: int, stride: int, upsample: int, groups: int, utilization: float,
           ends: Ends) -> None:
    if min(width, depth, kernel, stride, upsample, groups) < 1:
        raise ModelError("width, depth, kernel, stride, upsample and groups are at least 1")
    if not 0 < utilization <= 1:
        raise ModelError(f"utilization: {utilization:g} is outside (0, 1]", "such as 0.125, 0.25, 0.5 or 1")
    if kernel % stride or stride % upsample:
        raise ModelError(f"stride: {stride} is no divisor of kernel {kernel}, or no multiple of upsample {upsample}",
                         "kernel: 8, stride: 4, upsample: 1")
    if (width << (depth - 1)) % groups:
        raise ModelError(f"groups: {width << (depth - 1)} channels do not make {groups} groups", f"a divisor of {width}")
    hop = stride**depth // upsample
    if ends.framing.hop != hop:
        raise ModelError(f"ends: framing: hop: {ends.framing.hop}: {depth} levels of stride {stride} take {hop} samples",
                         f"ends: {{framing: {{frame: {hop}, hop: {hop}, fft: {hop}}}}}")
