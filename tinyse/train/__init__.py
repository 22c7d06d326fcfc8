"""Training: batches, schedule, checkpoints, logs.

``train`` is the one door; TensorFlow is imported only when it is called.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tinyse.core.errors import TrainingError
from tinyse.core.lock import alone
from tinyse.core.progress import Progress, silent
from tinyse.families import load
from tinyse.train.interrupt import Stop, at_once, interrupts
from tinyse.train.recipe import Recipe

if TYPE_CHECKING:
    from tinyse.train.loop import Run
    from tinyse.train.result import TrainResult

__all__ = ["train"]


def train(recipe: Recipe, folder: Path, corpus_dir: Path, progress: Progress = silent,
          resume: bool = False, whole: bool | None = None) -> TrainResult:
    """Train ``recipe`` into ``folder`` on the corpus in ``corpus_dir``.

    Writes recipe.yaml, log.csv, tb/, curves.png, checkpoints/, float.npz, model.npz, calibration.npy, manifest.json.

    Args:
        whole: one plain step a batch, as on a GPU, in place of the CPU's lanes; None: where TensorFlow sees a GPU.

    Raises:
        RecipeError: what cannot be trained or run later, before anything is. CorpusError: no corpus there.
        TrainingError: a run is there already, or was interrupted. TinyseError: another process trains there.
    """
    with interrupts(), ExitStack() as held:
        try:
            with at_once():
                run = _prepared(recipe, folder, corpus_dir, progress, resume, whole, held)
        except Stop as stop:
            raise stop.error("before training began") from None
        return run.train()


def _prepared(recipe: Recipe, folder: Path, corpus_dir: Path, progress: Progress, resume: bool,
              whole: bool | None, held: ExitStack) -> Run:
    from tinyse.sound.corpus.store import Corpus
    from tinyse.train.start import check_ends, check_losses, check_net, load_start

    corpus, begins = Corpus.open(corpus_dir), not (folder / "checkpoints" / "last.npz").exists()
    if not begins and not resume:
        raise TrainingError(f"{folder}: holds a run already", "add --resume, or give another --out")
    family, options, ends, skips = load(recipe.family), recipe.family_options, recipe.ends, recipe.skip.enabled
    check_ends(ends)
    net = recipe.net()
    check_losses(recipe, net)
    check_net(net, ends)
    source = recipe.train.start if begins or recipe.train.distill else None
    given = load_start(source, family.net(options, ends) if skips else net, ends) if source is not None else None

    from tinyse.train.lanes import WORTH_COMPILING, sees_gpu, use_lanes  # TensorFlow's seconds, once all is settled
    from tinyse.train.loop import Run
    from tinyse.train.resume import resume_run

    use_lanes(net, compiled=max(recipe.train.float_steps, recipe.train.compress_steps) >= WORTH_COMPILING)
    held.enter_context(alone(folder, "training"))
    run = Run(recipe, net, Path(recipe.family).stem, folder, corpus, progress, sees_gpu() if whole is None else whole)
    if given is not None and recipe.train.distill:
        run.learn_from(given)
    if resume:
        resume_run(run)
    if given is not None and begins:
        run.start_from(given)
    recipe.write(folder)
    run.records.settings(run.identity)
    return run
