"""A profile as tables of text, and as JSON; every table's title carries what produced its numbers."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import Any

from tinyse.core.artifacts import versions
from tinyse.measure.costs.channels import channel_table
from tinyse.measure.costs.parts import PartCosts
from tinyse.measure.costs.render_firmware import firmware_tables, rate_note
from tinyse.measure.costs.results import NpuEstimate, OperatorCost, Profile, Simulation, Sizes
from tinyse.measure.costs.skipping import SkipCost
from tinyse.measure.costs.table import Table, percent, plain

__all__ = ["SCHEMA", "Table", "mean_tables", "npu_tables", "operator_row", "percent", "plain", "simulated_table",
           "size_table", "tables", "to_json"]

FRAME, UPDATE = "frame", "frame that runs the network"
SCHEMA = 5
"""Raised with the layout of the JSON; 2 added ``firmware``, ``memory``, ``budget`` and ``runner``, 3 ``skip``, 4
``parts``, 5 ``channels``."""


def to_json(profile: Profile) -> dict[str, Any]:
    """The whole profile as JSON values; the same profile gives the same bytes."""
    made = {"schema": SCHEMA, "kind": "profile", "versions": versions(), **asdict(profile)}
    if profile.channels is not None:
        del made["channels"]["wave"]
    return made


def tables(profile: Profile, operators: bool = False) -> list[Table]:
    """Every group of the profile; with ``operators`` also a row for each NPU operator."""
    found = [Table(f"{profile.name}, {profile.target}" if profile.target else profile.name)]
    if profile.npu is not None:
        found += npu_tables(profile.npu, operators, profile.skip is not None)
    if profile.simulation is not None:
        found.append(simulated_table(profile.simulation, profile.skip is not None))
    if profile.skip is not None:
        found += mean_tables(profile.skip)
    if profile.parts is not None and profile.parts.several:
        found += [*part_tables(profile.parts), *exit_tables(profile.parts, profile.frames_per_second)]
    if profile.channels is not None:
        found.append(channel_table(profile.channels))
    if profile.arena is not None:
        arena = profile.arena
        found.append(Table(f"TFLM arena of the int8 file, {arena.origin.label} ({arena.origin.tool})", notes=(
            f"{arena.total:,} B: {arena.head:,} B of activations, {arena.tail:,} B persistent "
            "(pointers are 8 bytes here, 4 on the target)",)))
    found.append(size_table(profile.sizes))
    found += firmware_tables(profile)
    if profile.skipped:
        found.append(Table("not there", notes=profile.skipped))
    return found


def npu_tables(npu: NpuEstimate, operators: bool, skips: bool = False) -> list[Table]:
    """Vela's numbers: layers, operators if wanted, traffic, memories; with ``skips`` of a frame that is not skipped."""
    frame = UPDATE if skips else FRAME
    every = ", no frame skipped" if skips else ""
    label = f"{npu.origin.label} ({npu.origin.tool})"
    rows = [(layer.name, str(layer.operators), f"{layer.cycles:,}", percent(layer.cycles, npu.cycles),
             f"{layer.npu_cycles:,}", f"{layer.flash_cycles:,}", f"{layer.sram_cycles:,}", f"{layer.macs:,}",
             f"{100 * layer.utilisation:.2f} %", str(layer.bound) if layer.bound else "fused")
            for layer in npu.layers]
    rows.append(("total", str(sum(layer.operators for layer in npu.layers)), f"{npu.cycles:,}", "100.0 %",
                 f"{npu.npu_cycles:,}", f"{sum(layer.flash_cycles for layer in npu.layers):,}",
                 f"{sum(layer.sram_cycles for layer in npu.layers):,}", f"{npu.macs:,}", "", ""))
    found = [Table(
        f"one {frame}, {label}: {npu.system_config}, {npu.memory_mode}, {npu.clock_mhz:g} MHz",
        ("layer", "ops", "cycles", "share", "NPU", "flash", "SRAM", "MACs", "of array", "bound by"),
        tuple(rows),
        (f"{npu.cycles:,} cycles: {npu.milliseconds:.3f} ms, {100 * npu.hop_share:.2f} % of the "
         f"{1000 / npu.frames_per_second:g} ms hop, {npu.cycles_per_second / 1e6:.2f} M per second of audio{every}",))]
    if operators:
        found.append(Table(
            f"NPU operators, {label}", ("id", "layer", "operator", "cycles", "flash", "decode", "MACs", "SRAM",
                                        "output", "bound by", "tensor"),
            tuple(operator_row(each) for each in npu.operators)))
    found.append(Table(f"traffic of one {frame}, {label}",
                       ("memory", "features read", "written", "weights read", "all bytes", "cycles", f"MB/s{every}"),
                       tuple((each.memory, f"{each.feature_read:,}", f"{each.feature_write:,}",
                              f"{each.weight_read:,}", f"{each.total:,}", f"{each.cycles:,}",
                              f"{each.total * npu.frames_per_second / 1e6:.2f}") for each in npu.traffic)))
    found.append(Table(f"memory, {label}", ("memory", "holds", "used", "of", "left"),
                       tuple((each.memory, each.holds, f"{each.used:,}", f"{each.size:,}",
                              f"{each.size - each.used:,}") for each in npu.memories),
                       (f"the arena holds {len(npu.regions)} buffers; --json lists them",)))
    return found


def simulated_table(done: Simulation, skips: bool = False) -> Table:
    """The NPU simulator's bytes and MACs, a row a layer."""
    return Table(f"command stream of one {UPDATE if skips else FRAME}, {done.origin.label} ({done.origin.tool})",
                 ("layer", "ops", "MACs", "on zeros", "model bytes read", "arena bytes"),
                 tuple((each.layer, str(each.operators), f"{each.macs:,}", percent(each.macs_on_zeros, each.macs),
                        f"{each.flash_bytes:,}", f"{each.sram_bytes:,}") for each in (*done.layers, done.total)))


def mean_tables(skip: SkipCost) -> list[Table]:
    """What a Skip RNN's network costs at the rate at which it ran: a table for each source."""
    if skip.rate is None:
        return []
    return [Table(f"Skip RNN's network on {skip.rate.signal}, {origin.label} ({origin.tool})",
                  ("", "an update", "a frame, mean", "a second of audio"),
                  tuple((each.name, *(f"{count:,.0f}" for count in (each.update, each.mean, each.second)))
                        for each in rows),
                  (rate_note(skip.rate),))
            for origin, rows in ((origin, list(group)) for origin, group in groupby(
                skip.network, key=lambda each: each.origin))]


def part_tables(parts: PartCosts) -> list[Table]:
    """A row for each part of the network and one for all, a table for each source; the rates are the notes."""
    found, rates = [], parts.rates
    notes = () if rates is None else (f"rates on {rates.signal}, {rates.origin.label} ({rates.origin.tool})",)
    for origin, group in groupby(parts.costs, key=lambda each: each.origin):
        costs = list(group)
        names = list(dict.fromkeys((each.name, each.unit) for each in costs))
        rows = []
        for part in dict.fromkeys(each.part for each in costs):
            of_part = [each for each in costs if each.part == part]
            cells = [f"{value:,.0f}" for each in of_part for value in (each.once, each.mean) if value is not None]
            shown = [] if rates is None else ["" if part is None else percent(rates.shares[part], 1)]
            rows.append(("all" if part is None else f"part {part}", *shown, *cells))
        columns = [column for name, _ in names for column in (name, *["a frame, mean"] * (rates is not None))]
        found.append(Table(f"parts of the network, {origin.label} ({origin.tool}){', means x the rates' * bool(rates)}",
                           ("", *["of frames"] * (rates is not None), *columns), tuple(rows), notes))
    return found


def exit_tables(parts: PartCosts, frames_per_second: float) -> list[Table]:
    """What a frame takes that stops at each exit, at worst and in the mean, and a second; empty for one exit."""
    return [Table(f"exits of the network, {origin.label} ({origin.tool})", ("", name, "a second"),
                  tuple((label, f"{count:,.0f}", f"{count * frames_per_second:,.0f}") for label, count in rows))
            for name, origin, rows in parts.stopping()]


def operator_row(each: OperatorCost) -> tuple[str, ...]:
    """One NPU operator: its cycles beside the least that each resource needs."""
    bounds = each.bounds
    return (str(each.id), each.layer, each.kind, f"{each.cycles:,}", f"{bounds.flash:,.0f}",
            f"{bounds.decode:,.0f}", f"{bounds.macs:,.0f}", f"{bounds.sram:,.0f}", f"{bounds.output:,.0f}",
            str(each.bound) if each.cycles else "fused", each.name.rsplit("/", 1)[-1])


def size_table(sizes: Sizes) -> Table:
    """The three conventions and the files, one row each; what is not known is left out."""
    whole = sizes.weights
    rows: list[tuple[str, int | None]] = [
        *([("weights in the bits of their matrices", sizes.narrow)] if (sizes.narrow or 0) < (whole or 0) else []),
        ("surviving weights, one byte each", sizes.surviving), ("bitmask + surviving bytes", sizes.bitmask),
        ("Vela-encoded weights", sizes.encoded), ("Vela's constants, scales and tables included", sizes.constants),
        ("int8 .tflite", sizes.int8_file), ("compiled .tflite", sizes.vela_file)]
    notes: tuple[str, ...] = ()
    if sizes.weights is not None and sizes.nonzero is not None:
        notes = (f"{sizes.weights:,} int8 weights, {sizes.nonzero:,} not zero "
                 f"({100 * (1 - sizes.nonzero / max(1, sizes.weights)):.1f} % sparse)",)
    return Table(f"size, {sizes.origin.label}", ("convention", "bytes", "bits a weight"),
                 tuple((name, f"{count:,}", f"{8 * count / whole:.2f}" if whole else "")
                       for name, count in rows if count is not None), notes)
