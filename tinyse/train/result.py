"""What a run that is through leaves in its folder: model.npz, calibration.npy, log, curves, manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyse.core.artifacts import atomic_path, write_manifest
from tinyse.graph.cluster import distinct_values
from tinyse.graph.snap import snap

if TYPE_CHECKING:
    from tinyse.train.loop import Run


@dataclass(frozen=True)
class TrainResult:
    """What training gives.

    Attributes:
        folder: the run folder.
        float_model, model: paths of float.npz and model.npz.
        name, unit: of the validation score. score: of the final model. before: without it, of ``beside``.
        frames_per_second: frames trained a second in the float and in the compressed phase.
    """

    folder: Path
    float_model: Path
    model: Path
    name: str
    unit: str
    score: float
    before: float
    beside: str
    frames_per_second: dict[str, float]


def finish(run: Run) -> TrainResult:
    """Write the models, the log and the manifest of a run that is through."""
    if run.best_weights:
        run.network.set_weights(run.best_weights)
    score = run.best["score"] if run.best["step"] >= 0 else run.validation.mean(
        run.network, routed=run.budget is not None)
    rate = run.best.get("update_rate", run.validation.update_rate)
    updates, cost = (rate, None) if run.recipe.skip.enabled else (None, rate)
    share = run.best.get("open_share", run.validation.open_share)
    opened = {} if share is None else {"val_open_share": share}
    sparsity = run.pruning.sparsity() if run.pruning is not None else {}
    prunes = run.pruning is not None and run.recipe.prune.method != "none"
    meta = {"phase": run.phase, run.records.score: score, "recipe": run.recipe.name, "sparsity": sparsity,
            "structure": run.recipe.prune.structure if prunes else None, "val_update_rate": updates,
            **opened, **({"val_cost": cost} if cost is not None else {})}
    model = snap(run.network.export(run.ends, run.ranges, meta, run.label))
    model.save(run.folder / "model.npz")
    with atomic_path(run.folder / "calibration.npy") as temporary, open(temporary, "wb") as stream:
        np.save(stream, run.validation.features.transpose(1, 0, 2).reshape(-1, run.ends.inputs)[:4000])
    run.records.write()
    run.records.draw()
    files = {n: run.folder / n for n in ("float.npz", "model.npz", "recipe.yaml", "log.csv", "calibration.npy")}
    files |= {own.name: run.folder / own.name for own in [run.recipe.own_family] if own}
    write_manifest(run.folder, "train", files, {
        "corpus": run.corpus_hash, "parameters": model.parameters, "macs_per_frame": model.macs_per_frame,
        **run.validation.told(score), "sparsity": sparsity,
        "val_update_rate": updates, "val_cost": cost, **opened, "distinct": distinct_values(model),
        "start_sha256": run.start_hash, "distill": run.recipe.train.distill,
        **({"bits": dict(model.net.bits)} if model.net.bits else {})})
    judge = run.validation
    return TrainResult(run.folder, files["float.npz"], files["model.npz"], judge.name, judge.unit, score, judge.before,
                       judge.beside, run.speed)
