"""Joins the NPU simulator's account of the command stream, where the simulator and a stream are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyse import __version__
from tinyse.core.origin import Origin, Source
from tinyse.measure.costs.results import NpuEstimate, SimulatedCost, Simulation

if TYPE_CHECKING:
    from tinyse.npu.account import OpAccount

MODELLED = "ethos-u55"


def reason(compiled: Sequence[Path], npu: NpuEstimate | None) -> str:
    """Why the simulator cannot account for a model; empty where it can."""
    if not compiled:
        return "simulated: the model has no NPU command stream"
    if npu is not None and not npu.accelerator.startswith(MODELLED):
        return f"simulated: the simulator models the Ethos-U55, not {npu.accelerator}"
    return ""


def account(compiled: Path, npu: NpuEstimate | None) -> Simulation:
    """Ask ``tinyse.npu`` for the stream's bytes and MACs.

    Raises:
        NpuError: the compiled file is corrupt.
    """
    from tinyse.npu.account import account as simulate

    layers = {each.offset: each.layer for each in npu.operators if each.offset >= 0} if npu else {}
    groups = group(simulate(compiled), layers)
    order = [layer.name for layer in npu.layers] if npu else []
    names = sorted(groups, key=lambda name: order.index(name) if name in order else len(order))
    total = [each for name in names for each in groups[name]]
    return Simulation(Origin(Source.SIMULATED, f"tinyse.npu {__version__}"),
                      tuple(_sum(name, groups[name]) for name in names), _sum("total", total))


def group(operators: list[OpAccount], layers: Mapping[int, str]) -> dict[str, list[OpAccount]]:
    """Operators by layer; one that Vela's database does not list (a DMA) goes with the next that it does."""
    groups: dict[str, list[OpAccount]] = {}
    layer = "all" if not layers else "other"
    for operator in reversed(operators):
        layer = layers.get(operator.offset, layer)
        groups.setdefault(layer, []).append(operator)
    return groups


def _sum(layer: str, operators: list[OpAccount]) -> SimulatedCost:
    return SimulatedCost(
        layer, len(operators), sum(each.macs for each in operators), sum(each.macs_on_zeros for each in operators),
        sum(each.flash_bytes for each in operators), sum(each.sram_bytes for each in operators))
