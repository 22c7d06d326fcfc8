"""What a run keeps in checkpoints/last.npz: everything that decides its next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyse.core.errors import TrainingError
from tinyse.train.checkpoint import load_checkpoint, pack, save_checkpoint, unpack
from tinyse.train.recipe import recipe_of

if TYPE_CHECKING:
    from tinyse.train.loop import Run


def save_run(run: Run) -> None:
    """Write checkpoints/last.npz and log.csv."""
    state = {"step": run.step, "phase": run.phase, "float_end": run.float_end, "best": run.best,
             "stale": run.stale, "ranges": run.ranges, "rows": run.records.rows, "recent": run.recent, "due": run.due,
             "normalizer": [run.network.shift, run.network.scale], "corpus": run.corpus_hash,
             "recipe": run.identity, "start": run.start_hash,
             "budget": run.budget.state() if run.budget is not None else None}
    arrays = {**pack("weights", run.network.weights), **pack("optimizer", run.optimizer.variables)}
    arrays |= {f"best.{n}": a for n, a in enumerate(run.best_weights)}
    if run.average is not None:
        state["averaged"] = run.average.count
        arrays |= {f"average.{n}": a for n, a in enumerate(run.average.mean)}
    if run.pruning is not None:
        arrays |= {f"mask.{name}": mask for name, mask in run.pruning.state().items()}
    save_checkpoint(run.folder / "checkpoints" / "last.npz", state, arrays)
    run.records.write()


def resume_run(run: Run) -> bool:
    """Take up checkpoints/last.npz, where there is one.

    Raises:
        TrainingError: it is of another recipe or corpus, or damaged.
    """
    path = run.folder / "checkpoints" / "last.npz"
    if not path.exists():
        return False
    state, arrays = load_checkpoint(path)
    missing = {"step", "phase", "float_end", "best", "stale", "ranges", "rows", "recent", "normalizer",
               "corpus", "recipe"} - state.keys()
    if missing:
        raise TrainingError(f"{path}: damaged checkpoint: no {', '.join(sorted(missing))}",
                            "delete it and train again")
    same = state["recipe"].get("family", "tinylstm") == run.identity["family"]  # its file may have moved
    if (not same or recipe_of({**state["recipe"], "family": run.recipe.family}, str(path)) != run.recipe
            or state["corpus"] != run.corpus_hash):
        raise TrainingError(f"{path}: written by another recipe or corpus", "train into another folder")
    if run.teacher is not None and state.get("start") != run.teacher.sha256:
        raise TrainingError(f"{path}: train.start: {run.recipe.train.start} is not the model that this run began "
                            "with, and train.distill learns from it", "put it back, or train into another folder")
    run.step, run.phase, run.float_end = state["step"], state["phase"], state["float_end"]
    run.best, run.stale, run.start_hash = state["best"], state["stale"], state.get("start")
    run.records.rows[:], run.recent, run.due = state["rows"], state["recent"], state.get("due", [])
    run.network.shift, run.network.scale = state["normalizer"]
    if run.phase == "compress":
        run.network.fold_norms()
        run.setup_compress()
    if state["ranges"] is not None:
        run.ranges = {k: (v[0], v[1]) for k, v in state["ranges"].items()}
        run.network.quantize(run.ranges)
    run.begin_phase()
    unpack("weights", run.network.weights, arrays)
    unpack("optimizer", run.optimizer.variables, arrays)
    count = len(run.network.weights)
    run.best_weights = [arrays[f"best.{n}"] for n in range(count)] if "best.0" in arrays else []
    if run.average is not None:
        run.average.count = state["averaged"]
        run.average.mean = [arrays[f"average.{n}"] for n in range(count)] if run.average.count else []
    if run.budget is not None:
        run.budget.restore(state["budget"])
    if run.pruning is not None:
        run.pruning.restore({k[5:]: v for k, v in arrays.items() if k.startswith("mask.")})
    return True
