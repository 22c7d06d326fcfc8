"""A quality predictor from a recipe: labels, which are kept for other runs, then training."""

from __future__ import annotations

from pathlib import Path

from tinyse.core.errors import TrainingError
from tinyse.core.progress import Progress, silent
from tinyse.families import load
from tinyse.measure.labels import labels_folder, make_labels
from tinyse.sound.corpus.store import Corpus
from tinyse.train.interrupt import Stop, at_once, interrupts
from tinyse.train.predictor import Predictor, Training, check_predictor
from tinyse.train.labelled import read_labels
from tinyse.train.recipe import Recipe
from tinyse.train.start import check_net


def train_quality(recipe: Recipe, folder: Path, corpus_dir: Path, progress: Progress = silent, resume: bool = False,
                  workers: int = 1) -> Predictor:
    """Train ``recipe``, whose network scores, into ``folder``: log.csv, checkpoints/, float.npz, model.npz and others.

    Raises:
        RecipeError: what cannot be trained or run later, before anything is. CorpusError: no corpus there.
        TrainingError: a run is there already, or was interrupted: labels and checkpoint are kept.
    """
    check_predictor(recipe)
    corpus = Corpus.open(corpus_dir)
    if (folder / "checkpoints" / "last.npz").exists() and not resume:
        raise TrainingError(f"{folder}: holds a run already", "add --resume, or give another --out")
    net = recipe.net()
    check_net(net, recipe.ends)
    with interrupts():
        try:
            with at_once():
                labels = labels_folder(corpus, recipe.labels, recipe.ends, recipe.seed)
                make_labels(corpus, recipe.labels, recipe.ends, recipe.seed, labels, workers, progress)
                train, validation = (read_labels(labels, split, recipe.labels.count(split))
                                     for split in ("train", "validation"))
                folder.mkdir(parents=True, exist_ok=True)
                run = Training(recipe, net, folder, train, validation, corpus.hash)
                if resume and run.checkpoint.exists():
                    run.resume()
                recipe.write(folder)
        except Stop as stop:
            raise stop.error("before training began; labels are kept") from None
        return run.run(progress)
