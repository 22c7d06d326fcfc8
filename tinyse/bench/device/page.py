"""Files of the device comparison: a section of docs/benchmarks.md, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinyse.bench.device.catalogue import Device
from tinyse.bench.device.costs import CORE, MODES, SHARED, SRAM, TARGET, Cost
from tinyse.bench.document import put_section, table
from tinyse.core.artifacts import write_json, write_text
from tinyse.core.errors import ModelError

COMMAND = "make bench-device"
YARDSTICK = "RNNoise-shaped, Laplace"
"""Of the two RNNoise shapes the cheaper one, so the harder one to get below."""
PUBLISHED_CYCLES, PUBLISHED_READ = 104_514, 111_288
"""Arm's own: NPU cycles of a frame on the FVP, bytes read on AXI1 (13,911 beats of 8)."""
ARM_VELA = {SHARED: 109_510, SRAM: 18_636}
"""Vela 5.2's cycles of Arm's file, by memory mode: run once by hand, since no package registry has the file."""
KIT, ZOO = "ML evaluation kit, noise reduction", "ML zoo, RNNoise"
PUBLISHED = (
    ("int8 .tflite, 42 features to 22 gains every 10 ms", "113,472 B", ZOO),
    ("NPU cycles a frame, Ethos-U55-128, FVP", f"{PUBLISHED_CYCLES:,}", KIT),
    ("NPU cycles a second of audio, 100 times that", f"{PUBLISHED_CYCLES / 1e4:.2f} M", KIT),
    ("bytes read from flash a frame, FVP", f"{PUBLISHED_READ:,} B", KIT),
    ("TFLM's arena with the compiled file", "1,940 B", KIT),
    ("WB-PESQ on VoiceBank-DEMAND, not this page's mixtures", "2.945", ZOO),
)


def write_device(device: Device, docs: Path, folder: Path) -> list[Path]:
    """Write ``device.json`` and ``device.csv`` to ``folder`` and the page's section.

    Returns:
        The files that were written.

    Raises:
        TinyseError: a folder cannot be written; what was written before stays.
    """
    files = [folder / "device.json", folder / "device.csv", docs / "benchmarks.md"]
    write_json(files[0], to_dict(device))
    write_text(files[1], costs_csv(device))
    put_section(files[2], "device", COMMAND, section(device))
    return files


def refuse_failed(device: Device) -> None:
    """End in an error, once everything else is written, where a network could not be measured.

    Raises:
        ModelError: it names the networks.
    """
    if device.failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in device.failed.items())
        raise ModelError(f"{len(device.failed)} of {len(device.failed) + len(device.costs)} networks failed: {reasons}",
                         "the others are written")


def to_dict(device: Device) -> dict[str, Any]:
    """The comparison as JSON-ready values."""
    return {"schema": 1, "target": TARGET, "core": CORE, "costs": [cost.to_dict() for cost in device.costs],
            "about": dict(device.about), "missing": dict(device.missing), "failed": dict(device.failed),
            "versions": dict(device.versions)}


def costs_csv(device: Device) -> str:
    """One line a network, of a frame and of a second of audio; empty where it could not be had."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    cycles = [f"cycles_{mode.lower()}" for mode in MODES]
    kinds = ("macs", *cycles, "tflm_instructions", "packed_instructions")
    writer.writerow(("name", "ours", "frames_per_second", "files", "parameters", "int8_bytes", "encoded_bytes",
                     "constants_bytes", "flash_bytes", "vela_arena_bytes", "tflm_arena_bytes", "update_rate",
                     *(f"{kind}_per_frame" for kind in kinds), *(f"{kind}_per_second" for kind in kinds)))
    for cost in device.costs:
        npu, tflm = cost.npu, cost.tflm
        frame = (cost.macs, *(npu.cycles[mode] if npu else None for mode in MODES),
                 tflm.instructions if tflm else None, cost.packed)
        writer.writerow((cost.name, cost.ours, cost.frames_per_second, cost.files, cost.parameters, cost.int8_bytes,
                         *((npu.encoded, npu.constants, npu.flash, npu.arena) if npu else (None,) * 4),
                         tflm.arena if tflm else None, cost.update_rate, *frame,
                         *(None if each is None else cost.second(each) for each in frame)))
    return stream.getvalue()


def section(device: Device) -> str:
    """Markdown of the whole comparison."""
    parts = ["## On the device", _about(device), _sizes(device.costs), _npu(device.costs), _cpu(device.costs),
             _skips(device.costs), _beside(device.costs), _missing(device), "### Arm's RNNoise, as published",
             table(("", "theirs", "from Arm's"), PUBLISHED), _shapes(device)]
    return "\n\n".join(part for part in parts if part)


def _about(device: Device) -> str:
    vela = device.versions.get("ethos-u-vela", "?")
    return (f"Bytes and MACs: **exact**. Cycles and Vela's arena: **estimated** (Vela {vela}, {TARGET}, "
            f"High_End_Embedded: {SHARED} reads weights from flash at 0.5 GB/s, {SRAM} has all in SRAM). Instructions "
            f"and TFLM's arena: **emulated** (QEMU, {CORE}). A second of audio is the network on every frame.")


def _sizes(costs: Sequence[Cost]) -> str:
    header = ("", "hop, ms", "parameters", "MMAC/s", "int8 .tflite", "Vela-encoded weights", "flash, Vela's file",
              "arena, Vela", "arena, TFLM on the M55")
    return table(header, [
        (_bold(cost), f"{1000 / cost.frames_per_second:g}", f"{cost.parameters:,}",
         f"{cost.second(cost.macs) / 1e6:.1f}", _bytes(cost.int8_bytes),
         *(_bytes(getattr(cost.npu, field) if cost.npu else None) for field in ("encoded", "flash", "arena")),
         _bytes(cost.tflm.arena if cost.tflm else None)) for cost in costs])


def _npu(costs: Sequence[Cost]) -> str:
    header = ("NPU cycles", *(f"a frame, {mode}" for mode in MODES), *(f"a second, {mode}" for mode in MODES))
    rows = []
    for cost in costs:
        frame = [cost.npu.cycles[mode] if cost.npu else None for mode in MODES]
        rows.append((_bold(cost), *map(_whole, frame), *(_millions(cost, each) for each in frame)))
    return table(header, rows)


def _cpu(costs: Sequence[Cost]) -> str:
    header = (f"{CORE} instructions", "a frame, TFLM + CMSIS-NN", "a frame, tinyse", "of TFLM's",
              "a second, TFLM + CMSIS-NN", "a second, tinyse")
    rows = []
    for cost in costs:
        theirs, ours = cost.tflm.instructions if cost.tflm else None, cost.packed
        ratio = "-" if ours is None or not theirs else f"{ours / theirs:.2f} x"
        rows.append((_bold(cost), _whole(theirs), _whole(ours), ratio, _millions(cost, theirs), _millions(cost, ours)))
    return (table(header, rows) + "\n\nTFLM + CMSIS-NN is the same .tflite in Arm's prebuilt runner, **patched** to "
            "start without an NPU ([profile.md](profile.md#arms-runner)), one inference from reset states; tinyse is "
            "the network stage of our firmware with its packed kernels, which run tinyse's networks only. TFLM's int8 "
            "sigmoid and tanh are done sooner with values that saturate, as the evenly spread weights' do.")


def _skips(costs: Sequence[Cost]) -> str:
    lines = []
    for cost in costs:
        if cost.update_rate is not None:
            rate = cost.update_rate
            mean = "".join(f", {_millions(cost, cost.npu.cycles[mode] * rate)} cycles in {mode}" for mode in MODES
                           ) if cost.npu else ""
            lines.append(f"* {cost.name} runs on {rate:.1%} of the test mixtures' frames (measured, host); the tables "
                         f"show frames that run. A mean second (estimated x measured rate): "
                         f"{cost.second(cost.macs) * rate / 1e6:.1f} MMAC{mean}.")
    return "\n".join(lines)


def _beside(costs: Sequence[Cost]) -> str:
    yardstick = next((cost for cost in costs if cost.name == YARDSTICK), None)
    if yardstick is None or yardstick.npu is None:
        return ""
    rows = []
    for cost in costs:
        if cost is not yardstick and cost.npu is not None:
            cycles = [cost.second(cost.npu.cycles[mode]) / yardstick.second(yardstick.npu.cycles[mode])
                      for mode in MODES]
            ratios = (cost.npu.encoded / yardstick.npu.encoded, *cycles)
            rows.append((_bold(cost), *(f"{ratio:.2f} x" for ratio in ratios),
                         "yes" if max(ratios) <= 1 else "no"))
    header = (f"of {YARDSTICK}", "Vela-encoded weights", *(f"cycles a second, {mode}" for mode in MODES),
              "at or below in all")
    return table(header, rows)


def _missing(device: Device) -> str:
    return "\n".join(f"* **{name}**: {reason}" for name, reason in (*device.missing.items(), *device.failed.items()))


def _shapes(device: Device) -> str:
    lines = ["### The shapes", "", "Not trained: random weights of one seed.", ""]
    costs = {cost.name: cost for cost in device.costs}
    for name, about in device.about.items():
        lines.append(f"* {name}: {about}.")
        npu = costs[name].npu if name in costs else None
        if name.startswith("RNNoise") and npu is not None:
            lines[-1] += (" Against Arm's file: " + ", ".join(
                f"{npu.cycles[mode]:,} cycles a frame for {ARM_VELA[mode]:,} in {mode} "
                f"({npu.cycles[mode] / ARM_VELA[mode] - 1:+.1%})" for mode in MODES)
                + f", {npu.constants:,} B read from flash for {PUBLISHED_READ:,} B.")
    return "\n".join([*lines, "", "Arm's file, cycles: estimated, Vela 5.2, once and by hand; it is in no package "
                      "registry, so this command cannot repeat it."])


def _bold(cost: Cost) -> str:
    return f"**{cost.name}**" if cost.ours else cost.name


def _bytes(value: int | None) -> str:
    return "-" if value is None else f"{value:,} B"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _millions(cost: Cost, per_frame: float | None) -> str:
    return "-" if per_frame is None else f"{cost.second(per_frame) / 1e6:.2f} M"
