"""The order of a profile's stages, and what happens where one has nothing to work on."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from tinyse.core.artifacts import sha256
from tinyse.core.errors import ModelError
from tinyse.core.origin import Origin, Source
from tinyse.export import hostarena
from tinyse.export.hostarena import HostArena
from tinyse.export.targets import Target, load_target
from tinyse.graph.gates import gates
from tinyse.measure.costs import layers, locate, simulated, sizes, vela
from tinyse.measure.costs.channels import channel_cost
from tinyse.measure.costs.execution import Executed, Options, execute
from tinyse.measure.costs.parts import UNKNOWN as UNKNOWN_PARTS
from tinyse.measure.costs.parts import counted_rates, part_costs, whole_arena, whole_estimate, whole_simulation
from tinyse.measure.costs.results import NpuEstimate, Profile, Simulation
from tinyse.measure.costs.skipping import UNKNOWN, skip_cost
from tinyse.sound import DEFAULT


def profile(path: Path | str, target: str | None = None, firmware: Options | None = None) -> Profile:
    """Profile an export folder, a run folder, or a .tflite file.

    A bare int8 .tflite needs ``target``; without Vela's reports, it and a release are compiled into a temporary folder.

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
        bundle = found.bundle()
        # TFLM and Vela say less of what they cannot read.
        graphs = bundle.graph_plan().graphs if found.int8 else ()
        if found.reports is None and not found.compiled and found.target is None:
            raise ModelError(f"{path}: says not what it was exported for", "name a target: --target ethos-u55-128")
        if found.reports is None and found.int8 and found.target is not None and found.target.has_npu:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tinyse-profile-")))
            found = _compile(found, found.target, folder)
        frames_per_second = bundle.ends.frames_per_second
        npus, reports, chosen = _npus(found, skipped, frames_per_second)
        npu, measured = whole_estimate(npus), _arena(found, skipped)
        counted = sizes.model_sizes(graphs, found.int8, found.compiled, reports)
        simulations = _simulations(found, npus, skipped)
        simulation = whole_simulation(simulations)
        skips = bundle.gate is not None
        ran = Executed() if firmware is None else execute(found, chosen, firmware, skipped, skips, frames_per_second)
        skip = skip_cost(ran.firmware, npu, simulation, frames_per_second) if skips else None
        if skip is not None and skip.rate is None:
            skipped.append(UNKNOWN)
        gated = any(gates(graph) for graph in graphs)
        channels = channel_cost(bundle, firmware.wav if firmware is not None else None) if gated else None
        parts = part_costs(counted_rates(ran.firmware), bundle.plan, graphs, npus, simulations)
        if parts.several and parts.rates is None:
            skipped.append(UNKNOWN_PARTS)
        hashes = {file.name: sha256(file) for file in (*found.int8, *found.compiled)}
    return Profile(name=found.name, target=chosen.name if chosen else "", sha256=hashes, npu=npu,
                   arena=measured, sizes=counted, simulation=simulation, skipped=tuple(skipped),
                   firmware=ran.firmware, memory=ran.memory, budget=ran.budget, runner=ran.runner, skip=skip,
                   parts=parts, channels=channels, frames_per_second=frames_per_second)


def _compile(found: locate.Located, target: Target, folder: Path) -> locate.Located:
    from tinyse.export.vela import compile_model

    return replace(found, compiled=tuple(compile_model(path, target, folder).path for path in found.int8),
                   reports=folder, vela="")


def _npus(found: locate.Located, skipped: list[str],
          frames_per_second: float) -> tuple[list[NpuEstimate], list[vela.Reports], Target | None]:
    """Vela's estimate of every part."""
    target = found.target
    if found.reports is None:
        if target is not None and not target.has_npu:
            skipped.append(f"cycles: {target.name} has no NPU, so Vela has no estimate")
        else:
            skipped.append("cycles: no Vela reports beside the file; profile the export folder, or the int8 "
                           ".tflite with --target")
        return [], [], target
    stems = [path.stem for path in found.int8]
    if len(stems) < 2:
        stems = [found.compiled[0].stem.removesuffix("_vela") if target is None and found.compiled else ""]
    reports = [vela.read_reports(found.reports, stem) for stem in stems]
    chosen = target or load_target(reports[0].accelerator)
    return [_npu(each, chosen, found, frames_per_second) for each in reports], reports, chosen


def _npu(reports: vela.Reports, target: Target, found: locate.Located, frames_per_second: float) -> NpuEstimate:
    if target.npu is None or target.npu.accelerator != reports.accelerator:
        raise ModelError(f"{found.reports}: made for {reports.accelerator}, not for {target.name}",
                         "profile the int8 .tflite with --target instead")
    if target.npu.system_config != reports.summary.get("system_config"):
        raise ModelError(f"{found.reports}: made for {reports.summary.get('system_config')}, and {target.name} is "
                         f"{target.npu.system_config}", "name a target file of that system with --target")
    return estimate(reports, target, found.vela, frames_per_second)


def _simulations(found: locate.Located, npus: list[NpuEstimate], skipped: list[str]) -> list[Simulation]:
    """The simulator's account of every part, or none and a line in ``skipped``."""
    reason = simulated.reason(found.compiled, npus[0] if npus else None)
    if reason:
        skipped.append(reason)
        return []
    known: Sequence[NpuEstimate | None] = npus or [None] * len(found.compiled)
    return [simulated.account(path, npu) for path, npu in zip(found.compiled, known, strict=True)]


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
    if not found.int8:
        skipped.append("arena: TFLM on the host runs the int8 file; profile the export folder")
        return None
    return whole_arena([hostarena.host_arena(path) for path in found.int8])
