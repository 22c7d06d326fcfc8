"""The roofline of an Ethos-U for one network: where each layer stands, and what its cycles wait for."""

from __future__ import annotations

from pathlib import Path

from tinyse.core.artifacts import write_bytes
from tinyse.core.errors import ModelError
from tinyse.core.figure import blank_figure, png_of
from tinyse.export.targets import Holds, Target, load_target
from tinyse.measure.costs.results import Bound, Profile

COLOURS = {Bound.FLASH: "#c44e52", Bound.DECODE: "#dd8452", Bound.MACS: "#55a868", Bound.SRAM: "#4c72b0",
           Bound.OUTPUT: "#8c8c8c"}


def draw_roofline(profile: Profile, path: Path, target: Target | None = None) -> None:
    """Write a PNG of two panels.

    Left: MACs a cycle against MACs a byte of the model memory, a small dot an operator with weights, a
    large one a layer, under three roofs: the memory's bandwidth, the weight decoder, the MAC array.
    Right: each layer's cycles, split by what bounds its operators. Same profile, same bytes.

    Args:
        profile: of an NPU target.
        path: the PNG.
        target: where the profile's target is a file of yours; default: the shipped one of that name.

    Raises:
        ModelError: the profile has no NPU estimate.
    """
    npu = profile.npu
    chosen = target or load_target(profile.target)
    if npu is None or chosen.npu is None:
        raise ModelError(f"{profile.name}: has no NPU cycles to draw", "profile an Ethos-U export")
    figure = blank_figure(12, 5)
    roof, bars = figure.subplots(1, 2)

    memory = chosen.memory(Holds.MODEL)
    bandwidth = chosen.bytes_per_cycle(memory)
    array, decoder = chosen.npu.macs_per_cycle, chosen.npu.weights_per_cycle
    points = [(each.macs / each.flash_bytes, each.macs / each.cycles) for each in npu.operators
              if each.weights and each.flash_bytes and each.cycles]
    heavy = [layer for layer in npu.layers if layer.weights and layer.flash_bytes and layer.cycles]
    spots = [(layer.macs / layer.flash_bytes, layer.macs / layer.cycles) for layer in heavy]
    low = min([0.1, *(x / 2 for x, _ in points)])
    high = max(4.0 * array / bandwidth, *(2 * x for x, _ in points), 1.0)
    roof.plot([low, array / bandwidth], [low * bandwidth, array], color=COLOURS[Bound.FLASH],
              label=f"{memory.kind} {bandwidth:g} B a cycle")
    roof.plot([low, high], [decoder, decoder], color=COLOURS[Bound.DECODE],
              label=f"weight decoder {decoder:g} a cycle")
    roof.plot([low, high], [array, array], color=COLOURS[Bound.MACS], label=f"array {array} MACs a cycle")
    if points:
        roof.scatter(*zip(*points, strict=True), s=10, color="#999999", zorder=3)
    for index, (layer, (x, y)) in enumerate(zip(heavy, spots, strict=True)):
        colour = COLOURS[layer.bound] if layer.bound else "black"
        roof.scatter([x], [y], s=60, color=colour, zorder=4)
        # Layers of one kind of storage share a spot, so the names hang below each other.
        roof.annotate(layer.name, (x, y), xytext=(14, -14 - 11 * index), textcoords="offset points", fontsize=8,
                      arrowprops={"arrowstyle": "-", "color": "#bbbbbb"})
    roof.set(xscale="log", yscale="log", xlabel=f"MACs per byte read from {memory.name}",
             ylabel="MACs per cycle", title=f"{profile.name} on {profile.target}, {npu.origin.label}")
    roof.legend(loc="lower right", fontsize=8)
    roof.grid(True, which="both", alpha=0.2)

    shown = [layer for layer in npu.layers if layer.cycles][::-1]
    names = [layer.name for layer in shown]
    left = [0.0] * len(shown)
    for bound, colour in COLOURS.items():
        widths = [layer.bound_cycles.get(str(bound), 0) / 1e3 for layer in shown]
        if any(widths):
            bars.barh(names, widths, left=left, color=colour, label=f"bound by {bound}")
            left = [start + width for start, width in zip(left, widths, strict=True)]
    bars.set(xlabel="thousand cycles a frame", title=f"{npu.cycles:,} cycles a frame, {npu.origin.tool}")
    bars.legend(fontsize=8)
    write_bytes(path, png_of(figure))
