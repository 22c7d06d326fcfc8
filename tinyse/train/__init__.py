"""Training: batches, schedule, checkpoints, logs.

``train`` is the one door; TensorFlow is imported only when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinyse.core.progress import Progress, silent
from tinyse.train.recipe import Recipe

if TYPE_CHECKING:
    from tinyse.train.loop import TrainResult

__all__ = ["train"]


def train(recipe: Recipe, folder: Path, corpus_dir: Path, progress: Progress = silent,
          resume: bool = False, whole: bool | None = None) -> TrainResult:
    """Train ``recipe`` into ``folder`` on the corpus in ``corpus_dir``.

    Writes recipe.yaml, log.csv, tb/, curves.png, checkpoints/, float.npz, model.npz, calibration.npy, manifest.json.

    Args:
        whole: one plain step a batch, as on a GPU, in place of the CPU's lanes; None: where TensorFlow sees a GPU.

    Raises:
        CorpusError: no corpus there. TrainingError: a run is there already, or was interrupted.
    """
    from tinyse.train.lanes import use_lanes

    use_lanes()
    from tinyse.sound.corpus.store import Corpus
    from tinyse.train.loop import start_run

    return start_run(recipe, folder, Corpus.open(corpus_dir), progress, resume, whole)
