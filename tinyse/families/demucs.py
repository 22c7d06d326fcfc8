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
from tinyse.graph.layers import ConvLayer, DenseLayer, GruLayer, PoolLayer, ReshapeLayer
from tinyse.graph.net import Net
from tinyse.graph.plan import Budget, Policy
from tinyse.sound import Bands, Ends, Feature, Framing, Leveller, Result

ENDS = Ends(Framing(frame=256, hop=256, fft=256, window="none"), Bands("none"), Feature("samples"), Result("samples"),
            layout="rows", level=Leveller("running"))
HOPS = 2, 8192
"""Fewest and most samples of a hop, as ``Framing`` takes them for a frame."""


def net(width: int = 24, depth: int = 4, kernel: int = 8, stride: int = 4, upsample: int = 1, groups: int = 4,
        utilization: float = 1.0, widths: tuple[float, ...] = (), router: int = 0, bits: int = 16,
        ends: Ends = ENDS) -> Net:
    """``width`` channels after the first of ``depth`` levels, twice as many after each; ``groups`` of GRUs.

    ``kernel`` and ``stride`` of every level but the first, whose stride is ``stride / upsample``. ``utilization``:
    share of the channels that are computed inside a block; between blocks there are all. ``widths``: several
    utilizations, an exit each, of one set of weights. ``router``: units of a GRU that chooses among them for every hop;
    0: none. ``bits`` of the GRUs.
    """
    _check(width, depth, kernel, stride, upsample, groups, ends)
    _check_widths(utilization, widths, router, stride // upsample)
    b = Build(ends.shape, bits=16)
    policy: Policy | None = Budget(len(widths)) if widths else None
    if router:
        policy = b.route(_choice(b, router, len(widths)))
    steps = (stride // upsample, *[stride] * (depth - 1))
    channels = [width << level for level in range(depth)]
    x = ""
    for number, share in enumerate(widths or (utilization,), 1):
        if widths:
            b.width(f"exit_{number}" if number < len(widths) else "")
        inner = [math.ceil(each * share) for each in channels]
        x = _unet(b, channels, inner, steps, kernel, groups, bits, bool(widths))
        if number < len(widths):
            b.exit(x)
    return b.done(policy, wave=x)


def _choice(b: Build, units: int, count: int) -> str:
    """The loudest of each of a few filters in a hop, what they were before, and a number for each width."""
    rows = b.shape(b.x)[0]
    taps = math.gcd(rows, 16)
    x = b.add(ReshapeLayer((rows // taps, 1, taps)), b.x, name="router_rows")
    x = b.add(ConvLayer(units, activation="relu", wide="in"), x, name="router_conv")
    x = b.add(PoolLayer((0, 0), (rows // taps, 1)), x, name="router_pool")
    return b.add(DenseLayer(count), b.add(GruLayer(units, "none"), x, name="router"), name="choice")


def _unet(b: Build, channels: list[int], inner: list[int], steps: tuple[int, ...], kernel: int, groups: int,
          bits: int, slim: bool) -> str:
    """``channels`` after each level, ``inner`` in it; ``slim``: a transposed convolution's state has all channels."""
    x, skips, last = b.x, list[str](), len(channels) - 1
    for level, step in enumerate(steps):
        rows, _, count = b.shape(x)
        wide = b.conv(b.reshape(x, (rows // step, 1, step * count)) if step > 1 else x, inner[level],
                      (kernel // step, 1), activation="relu", wide="" if level else "in")
        if level < last:
            x = b.glu(wide, channels[level])
            skips.append(x)
    parts = [b.glu(wide, channels[last] // groups) for _ in range(groups)]
    x = b.join("concat", *(b.join("add", part, b.gru(part, channels[last] // groups, bits=bits)) for part in parts))
    for level in range(last, -1, -1):
        if level < last:
            x = b.join("add", x, skips[level])
        x, step, taps = b.glu(x, inner[level]), steps[level], kernel // steps[level]
        units, after, side = (channels[level - 1], "relu", "") if level else (1, "linear", "out")
        if step == 1:
            x = b.conv(x, units, (kernel, 1), activation=after, wide=side)
        elif not slim or taps == 1:
            x = b.upsample(x, units, (step, 1), (taps, 1), after, side)
        else:
            rows = b.shape(x)[0]
            x = _overlapped(b, [b.conv(x, step * units, wide=side) for _ in range(taps)], after)
            x = b.reshape(x, (rows * step, 1, units))
    return x


def _overlapped(b: Build, parts: list[str], activation: str) -> str:
    """The sum of a transposed convolution's taps, samples of a stride side by side, each a row later than the last."""
    total = parts[0]
    for number, part in enumerate(parts[1:], 1):
        total = b.join("add", total, b.past(part, number, late=True),
                       activation=activation if number == len(parts) - 1 else "linear")
    return total


def _check(width: int, depth: int, kernel: int, stride: int, upsample: int, groups: int, ends: Ends) -> None:
    if min(width, depth, kernel, stride, upsample, groups) < 1:
        raise ModelError("width, depth, kernel, stride, upsample and groups are at least 1")
    if kernel % stride or stride % upsample:
        raise ModelError(f"stride: {stride} is no divisor of kernel {kernel}, or no multiple of upsample {upsample}",
                         "kernel: 8, stride: 4, upsample: 1")
    if (width << (depth - 1)) % groups:
        raise ModelError(f"groups: {width << (depth - 1)} channels do not make {groups} groups",
                         f"a divisor of {width}")
    hop, (least, most) = stride**depth // upsample, HOPS
    if not least <= hop <= most:
        raise ModelError(f"depth: {depth}, stride: {stride}: a hop of {hop} samples is outside {least} to {most}",
                         "depth: 4, stride: 4")
    if ends.framing.hop != hop:
        raise ModelError(f"ends: framing: hop: {ends.framing.hop}: {depth} levels of stride {stride} take {hop} "
                         "samples", f"ends: {{framing: {{frame: {hop}, hop: {hop}, fft: {hop + hop % 2}}}}}")


def _check_widths(utilization: float, widths: tuple[float, ...], router: int, first: int) -> None:
    for name, share in (("utilization", utilization), *(("widths", each) for each in widths)):
        if not 0 < share <= 1:
            raise ModelError(f"{name}: {share:g} is outside (0, 1]", "such as 0.125, 0.25, 0.5 or 1")
    if widths and (len(widths) < 2 or sorted(set(widths)) != list(widths) or widths[-1] != 1 or utilization != 1):
        raise ModelError(f"widths: {list(widths)} are not several that rise to 1", "[0.125, 0.25, 0.5, 1]")
    if router < 0 or (router and not widths):
        raise ModelError(f"router: {router} units choose among widths, and there is one",
                         "widths: [0.125, 0.25, 0.5, 1]")
    if widths and first == 1:
        raise ModelError("widths: a first level of stride 1 has one width here", "upsample below stride")
