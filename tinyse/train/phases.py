"""Phases: which steps a run's two phases take, at which learning rate, and from where on nothing but weights moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tinyse.train.loop import Run

FINAL_RATE = 0.03
"""Share of the peak learning rate left at the end of a phase's cosine."""


def bounds_of(run: Run) -> tuple[int, int, float]:
    """First step of the phase, the one after its last, and its peak learning rate."""
    train = run.recipe.train
    if run.phase == "float":
        return 0, run.float_end, train.float_rate
    return run.float_end, run.float_end + train.compress_steps, train.compress_rate


def rate_of(run: Run) -> float:
    """The learning rate of the next step: a warmup, and a cosine over the phase or the stage."""
    begin, end, peak = bounds_of(run)
    begin, end = run.staged.bounds if run.staged else (begin, end)
    done = run.step - begin
    warm = min(1.0, (done + 1) / max(1, run.recipe.train.warmup))
    share = done / max(1, end - begin)
    return peak * warm * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + float(np.cos(np.pi * share))))


def freeze_steps(run: Run) -> set[int]:
    """Steps of the compressed phase at which ranges are learned again; fixed after the last."""
    freeze = int(run.recipe.quantize.freeze * run.recipe.train.compress_steps)
    return {run.float_end + freeze // 2, run.float_end + freeze} if freeze > 1 else set()


def settled(run: Run) -> bool:
    """Whether masks and ranges are final, so that a validation may choose this model."""
    last = -1 if run.phase == "float" else max([*freeze_steps(run), run.float_end])
    if run.pruning is not None:
        last = max(last, run.pruning.last)
    if run.budget is not None:
        last = max(last, run.budget.last)
    return run.step > last
