"""The order of a profile's stages, and what happens where one has nothing to work on."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from tinyse.core.artifacts import sha256
from tinyse.core.errors import ModelError
from tinyse.export.bundle import exported_ends
from tinyse.export.network import parse
from tinyse.measure.costs import arena, layers, locate, simulated, sizes, vela
from tinyse.measure.costs.execution import Executed, Options, execute
from tinyse.measure.costs.results import HostArena, NpuEstimate, Origin, Profile, Source
from tinyse.measure.costs.skipping import UNKNOWN, is_skipping, skip_cost
from tinyse.sound import DEFAULT
from tinyse.export.targets import Target, load_target


def profile(path: Path | str, target: str | None = None, firmware: Options | None = None) -> Profile:
    """Profile an export folder, a run folder, or a .tflite file.

    A bare int8 .tflite needs ``target`` and is compiled by Vela into a temporary folder.

    Args:
        path: what to profile.
        target: name or file of a target; default: the one it was exported for.
        firmware: build the firmware with the model and run it; None leaves it alone.

    Raises:
        ModelError: nothing to profile there, or a file of it is corrupt.
        RecipeError: the target is not known.
        ToolError: Vela failed, or the firmware where it was asked for.
    """
    skipped: list[str] = []
    with ExitStack() as stack:
        found = locate.locate(Path(path), target)
        if found.int8 is not None:
            parse(found.int8.read_bytes(), str(found.int8))  # TFLM and Vela say less of what they cannot read
        if found.reports is None and found.compiled is None:
            if found.target is None:
                raise ModelError(f"{path}: says not what it was exported for",
                                 "name a target: --target ethos-u55-128")
            if found.target.has_npu:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tinyse-profile-")))
                found = _compile(found, found.target, folder)
        frames_per_second = _frames_per_second(found)
        npu, reports, chosen = _npu(found, skipped, frames_per_second)
        measured = _arena(found, skipped)
        counted = sizes.model_sizes(found.int8, found.compiled, reports)
        simulation = simulated.account(found.compiled, npu, skipped)
        skips = is_skipping(found.int8, found.compiled)
        ran = Executed() if firmware is None else execute(found, chosen, firmware, skipped, skips, frames_per_second)
        skip = skip_cost(ran.firmware, npu, simulation, frames_per_second) if skips else None
        if skip is not None and skip.rate is None:
            skipped.append(UNKNOWN)
        hashes = {file.name: sha256(file) for file in (found.int8, found.compiled) if file}
    return Profile(name=found.name, target=chosen.name if chosen else "", sha256=hashes, npu=npu,
                   arena=measured, sizes=counted, simulation=simulation, skipped=tuple(skipped),
                   firmware=ran.firmware, memory=ran.memory, budget=ran.budget, runner=ran.runner, skip=skip,
                   frames_per_second=frames_per_second)


def _compile(found: locate.Located, target: Target, folder: Path) -> locate.Located:
    from tinyse.export.vela import compile_model

    assert found.int8 is not None
    compiled = compile_model(found.int8, target, folder)
    return replace(found, compiled=compiled.path, reports=folder)


def _frames_per_second(found: locate.Located) -> float:
    file = found.int8 or found.compiled
    assert file is not None
    return exported_ends(file).frames_per_second


def _npu(found: locate.Located, skipped: list[str],
         frames_per_second: float) -> tuple[NpuEstimate | None, vela.Reports | None, Target | None]:
    target = found.target
    if found.reports is None:
        if target is not None and not target.has_npu:
            skipped.append(f"cycles: {target.name} has no NPU, so Vela has no estimate")
        else:
            skipped.append("cycles: no Vela reports beside the file; profile the export folder, or the int8 "
                           ".tflite with --target")
        return None, None, target
    stem = found.compiled.stem.removesuffix("_vela") if found.target is None and found.compiled else ""
    reports = vela.read_reports(found.reports, stem)
    target = target or load_target(reports.accelerator)
    if target.npu is None or target.npu.accelerator != reports.accelerator:
        raise ModelError(f"{found.reports}: made for {reports.accelerator}, not for {target.name}",
                         "profile the int8 .tflite with --target instead")
    if target.npu.system_config != reports.summary.get("system_config"):
        raise ModelError(f"{found.reports}: made for {reports.summary.get('system_config')}, and {target.name} is "
                         f"{target.npu.system_config}", "name a target file of that system with --target")
    return estimate(reports, target, found.vela, frames_per_second), reports, target


def estimate(reports: vela.Reports, target: Target, version: str = "",
             frames_per_second: float = DEFAULT.frames_per_second) -> NpuEstimate:
    """Interpret Vela's reports for ``target``; ``version`` of the Vela that wrote them, default the installed.

    ``frames_per_second``: of sound.

    Raises:
        ModelError: the reports lack a table or a column.
    """
    assert target.npu is not None
    operators = layers.operator_costs(reports, target)
    cycles = int(reports.number("cycles_total"))
    clock = reports.number("core_clock") / 1e6
    return NpuEstimate(
        origin=Origin(Source.ESTIMATED, f"Vela {version or metadata.version('ethos-u-vela')}"),
        accelerator=reports.accelerator, system_config=reports.summary["system_config"],
        memory_mode=reports.summary["memory_mode"], clock_mhz=clock, cycles=cycles,
        npu_cycles=int(reports.number("cycles_npu")), macs=int(reports.number("nn_macs")),
        milliseconds=cycles / clock / 1e3, hop_share=cycles / clock / 1e6 * frames_per_second,
        cycles_per_second=cycles * frames_per_second, layers=layers.layer_costs(operators, target.npu),
        operators=operators, traffic=layers.traffic(reports), memories=layers.memory_uses(reports, target),
        regions=layers.regions(reports), frames_per_second=frames_per_second)


def _arena(found: locate.Located, skipped: list[str]) -> HostArena | None:
    if found.int8 is None:
        skipped.append("arena: TFLM on the host runs the int8 file; profile the export folder")
        return None
    return arena.host_arena(found.int8)
