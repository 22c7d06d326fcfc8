"""The frame budget: what share of the hop each stage of the firmware takes at the target's clock.

Cycles that were measured are taken as they are. Instructions of an emulator become cycles only by an assumed number
of cycles an instruction (CPI); the result is a range, and says so wherever it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyse.core.origin import Origin, Source
from tinyse.export.targets import Target
from tinyse.measure.costs.firmware import FirmwareRun, FrameBudget, Share
from tinyse.sound import DEFAULT

LATENCY_LIMIT_MS = 10.0
"""TinyLSTMs (Fedorov et al. 2020) allow this much computation a frame."""
LATENCY_PAPER_MS = 2.39
"""What their pruned, quantized network took on an STM32F746VE at 216 MHz."""


@dataclass(frozen=True)
class Cpi:
    """Cycles an instruction that are assumed of a core, and why."""

    low: float
    high: float
    basis: str


ASSUMED = {
    "cortex-m7": Cpi(0.6, 1.3, "up to two instructions a cycle (pairs measured at quinapalus.com/cm7cycles.html); "
                     "loads wait for flash"),
    "cortex-m55": Cpi(1.0, 2.0, "one instruction a cycle; a 128-bit vector instruction takes two, which overlap at "
                      "best"),
}


def frame_budget(run: FirmwareRun, target: Target, skips: bool = False,
                 frames_per_second: float = DEFAULT.frames_per_second) -> FrameBudget | None:
    """The budget of a run; None where neither cycles nor instructions of a known core were counted.

    The network is left out where an NPU (or its simulator) ran it: its time is another source's.
    ``skips``: the network is a Skip RNN, so a frame that runs it is told apart from the mean one.
    """
    counted = run.unit == "cycles"
    cpi = Cpi(1.0, 1.0, "cycles as counted") if counted else ASSUMED.get(run.core)
    if cpi is None or run.unit not in ("cycles", "instructions"):
        return None
    origin = run.origin if counted else Origin(Source.ASSUMED, f"{run.origin.tool}, CPI {cpi.low:g} to {cpi.high:g}")
    stages = [each for each in run.stages if each.stage != "network" or run.backend != "npu"]
    shares = tuple(Share(each.stage, each.mean * cpi.low, each.mean * cpi.high) for each in stages)
    worst = tuple(Share(each.stage, run.updating(each.stage) * cpi.low, run.updating(each.stage) * cpi.high)
                  for each in stages if skips)
    if len(stages) == len(run.stages):
        mean, most = run.frame.mean, run.frame.most
    else:
        mean, most = sum(each.mean for each in stages), sum(each.most for each in stages)
    hop = target.cycles_in(1 / frames_per_second)
    return FrameBudget(origin, target.clock_mhz, hop, cpi.low, cpi.high, cpi.basis, shares,
                       mean * cpi.low, mean * cpi.high, most * cpi.low, most * cpi.high, worst)
