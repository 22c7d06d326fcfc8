"""How many points run at once: what cores and free memory allow, and why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

NEED = 3 << 30
"""Bytes of one point: the full recipe on the default corpus stays below 2.6 GiB while it trains (measured)."""
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Choice:
    """How many workers, and why in one line."""

    workers: int
    why: str


def free_memory() -> int | None:
    """Bytes that new processes can have without swapping, within the container's limit; None where unknown."""
    try:
        rows = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines() if ":" in line)
        free = int(rows["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError, IndexError):
        return None
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if limit == "max" else min(free, max(0, int(limit) - int(used)))
    except (OSError, ValueError):
        return free


def choose_workers(points: int, asked: int | None = None, cores: int | None = None) -> Choice:
    """One worker a core as far as memory goes; ``asked`` is taken as it is.

    Args:
        points: how many there are to do.
        asked: the user's number.
        cores: of this process; default: as many as it may use.
    """
    cores = cores or len(os.sched_getaffinity(0))
    free = free_memory()
    memory = "free memory unknown" if free is None else f"{free / 2**30:.1f} GiB free, {NEED / 2**30:.0f} GiB a worker"
    if asked is not None:
        return Choice(asked, f"asked for; {cores} cores, {memory}")
    fit = 1 if free is None else max(1, free // NEED)
    return Choice(max(1, min(cores, fit, points)), f"{cores} cores, {memory}, {points} to do")


def ray_workers(points: int, asked: int | None, on: str) -> Choice:
    """All points at once, or ``asked``: Ray places them, a core and `NEED` each."""
    return Choice(asked or max(1, points), f"at most; {on} places them, a core and {NEED / 2**30:.0f} GiB a point")
