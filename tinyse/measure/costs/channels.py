"""What channel gates cost and save on a signal: open channels and multiply-accumulates, on the mean and at worst."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyse.core.artifacts import sha256
from tinyse.core.origin import Origin, Source
from tinyse.engines.integer import IntegerEngine
from tinyse.export.bundle import Bundle
from tinyse.measure.channels import gates_of, joined, opened, spent
from tinyse.measure.costs.signals import GENERATED, generated, samples
from tinyse.measure.costs.table import Table, percent

ALL = "on an NPU every channel is computed: Vela's and the simulator's costs are of all"


@dataclass(frozen=True)
class GateShare:
    """One gate: share of its channels that are open, 0..1, on the mean and in the frame with most."""

    name: str
    channels: int
    mean: float
    most: float


@dataclass(frozen=True)
class ChannelCost:
    """All gates over the frames of a signal; multiply-accumulates with the gates' own.

    Attributes:
        origin: what counted. signal: on what. gates: one by one. share, most: of all channels, on the mean and in the
            worst frame. shares: of every frame.
        macs: of a frame with all channels open; ``mean_macs``, ``most_macs`` of a mean and of the worst frame;
            ``second_macs`` of the mean second. wave: the signal, for a figure; not in JSON.
    """

    origin: Origin
    signal: str
    frames: int
    gates: tuple[GateShare, ...]
    share: float
    most: float
    shares: tuple[float, ...]
    macs: int
    mean_macs: float
    most_macs: float
    second_macs: float
    wave: NDArray[np.float32] = field(repr=False, compare=False)


def channel_cost(bundle: Bundle, wav: Path | None) -> ChannelCost | None:
    """Of an exported network on a 16-bit WAV file, or on the generated signal; None where it has no gates."""
    engine = IntegerEngine(bundle.graph_plan(), bundle.ends, bundle.label)
    if not gates_of(engine):
        return None
    wave = (generated() if wav is None else samples(wav)).astype(np.float32) / np.float32(32768)
    masks = opened(engine, wave)
    every = joined(masks).mean(1)
    macs, frame_macs = sum(graph.macs for graph in engine.plan.graphs), spent(engine, masks)
    per_gate = tuple(GateShare(name, mask.shape[1], float(mask.mean()), float(mask.mean(1).max()))
                     for name, mask in masks.items())
    signal = GENERATED if wav is None else f"{wav.name}, sha256 {sha256(wav)[:12]}"
    return ChannelCost(
        Origin(Source.MEASURED, "integer reference", "host"), signal, len(every), per_gate, float(every.mean()),
        float(every.max()), tuple(map(float, every)), macs, float(frame_macs.mean()),
        float(frame_macs.max()), float(frame_macs.mean()) * bundle.ends.frames_per_second, wave)


def channel_table(cost: ChannelCost) -> Table:
    """A row a gate, then all."""
    rows = [(each.name, str(each.channels), percent(each.mean, 1), percent(each.most, 1)) for each in cost.gates]
    rows.append(("all", str(sum(each.channels for each in cost.gates)), percent(cost.share, 1), percent(cost.most, 1)))
    return Table(
        f"open channels on {cost.signal}, {cost.origin.label} ({cost.origin.tool})",
        ("gate", "channels", "open, mean", "worst frame"), tuple(rows),
        (f"{cost.mean_macs:,.0f} MACs a mean frame, gates counted, of {cost.macs:,} with all open "
         f"({100 * (1 - cost.mean_macs / cost.macs):.1f} % fewer); worst frame {cost.most_macs:,.0f}; "
         f"{cost.second_macs / 1e6:.2f} M a second of audio", ALL))


def channel_figure(cost: ChannelCost) -> bytes:
    """PNG: the signal's spectrogram, and below it the share of open channels over the same time."""
    from tinyse.core.figure import blank_figure, png_of
    from tinyse.measure.report.figures import FLOOR_DB, RATE, spectrogram

    figure = blank_figure(8.0, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    level, seconds = spectrogram(cost.wave), len(cost.wave) / RATE
    top = float(level.max())
    upper.imshow(level, origin="lower", aspect="auto", cmap="magma", vmin=top + FLOOR_DB, vmax=top,
                 extent=(0, seconds, 0, RATE / 2000), interpolation="nearest")
    upper.set_ylabel("frequency in kHz", fontsize=8)
    frame = seconds / max(1, cost.frames)
    lower.step(frame * np.arange(cost.frames), 100 * np.array(cost.shares), where="post", color="#0072b2", linewidth=1)
    lower.axhline(100 * cost.share, color="#999999", linewidth=1, linestyle="--")
    lower.set_ylim(0, 100)
    lower.set_ylabel("open channels in %", fontsize=8)
    lower.set_xlabel("time in s; dashed: the mean", fontsize=8)
    for axis in (upper, lower):
        axis.tick_params(labelsize=8)
    return png_of(figure)
