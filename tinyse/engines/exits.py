"""Exits of a model: what each costs, and the engine that stops at one. ::

    stop_at(engine, 2)                                     # the second exit on every frame, whatever the plan says
    stop_at(engine, affordable(engine, "runs/x/export", "20Mcycles"))

MACs are counted in the graphs, cycles are Vela's estimates in an export's manifest; both are of the parts that an exit
needs, and no other.
"""

from __future__ import annotations

import re
from pathlib import Path

from tinyse.core.errors import ModelError
from tinyse.engines.base import Engine, load_engine
from tinyse.export.bundle import manifest_of, open_bundle
from tinyse.graph.graph import Graph
from tinyse.graph.plan import Budget

UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def stop_at(engine: Engine, number: int) -> None:
    """Let every frame stop at exit ``number``, from 1.

    Raises:
        ModelError: the network has no such exit.
    """
    if engine.gate is not None:
        raise ModelError(f"{engine.label}: a Skip RNN has no exits", "leave out --exit and --budget")
    engine.under(Budget(number))


def exit_within(path: Path | str, kind: str | None, budget: str) -> int:
    """The exit of a model on disk that a budget leaves; see ``affordable``.

    Args:
        path, kind: as ``load_engine`` takes them.

    Raises:
        ModelError: as ``load_engine``, ``affordable`` and ``stop_at``.
    """
    engine = load_engine(path, kind)
    number = affordable(engine, path, budget)
    stop_at(engine, number)
    return number


def exit_costs(engine: Engine, path: Path | str, unit: str) -> tuple[float, ...]:
    """What each exit takes a second of sound, in ``unit``: "macs" or "cycles".

    Args:
        path: what the engine was loaded from.

    Raises:
        ModelError: nobody knows.
    """
    plan = engine.plan
    folder = next((place for place in (Path(engine.label), Path(path)) if place.is_dir()), Path(engine.label).parent)
    if unit == "cycles":
        costs = manifest_of(folder).get("cycles")
        known = costs.get("parts") if isinstance(costs, dict) else None
        if (not isinstance(known, list) or len(known) != len(plan.parts)
                or not all(isinstance(cost, int | float) for cost in known)):
            raise ModelError(f"{folder}: has no cycles of its parts", "an export for an NPU has; or a budget of MACs")
    else:
        whole = all(isinstance(part, Graph) for part in plan.parts)
        known = [graph.macs for graph in (plan if whole else open_bundle(folder).graph_plan()).graphs]
    return tuple(sum(known[part] for part in plan.needs[at]) * engine.ends.frames_per_second for at in plan.exits)


def affordable(engine: Engine, path: Path | str, budget: str) -> int:
    """The last exit within a budget a second of sound: "12Mmacs", "20Mcycles".

    Raises:
        ModelError: it is no budget, or below the first exit.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMG]?)(macs|cycles)", budget)
    if found is None:
        raise ModelError(f"--budget {budget}: is no budget", "so much a second of sound, such as 12Mmacs or 20Mcycles")
    costs = exit_costs(engine, path, found[3])
    within = [number for number, cost in enumerate(costs, 1) if cost <= float(found[1]) * UNITS[found[2]]]
    if not within:
        least = min(costs)
        raise ModelError(f"--budget {budget}: the cheapest exit takes {least / 1e6:,.2f} M {found[3]} a second",
                         f"{least / 1e6:.4g}M{found[3]} or more")
    return within[-1]
