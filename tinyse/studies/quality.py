"""A quality predictor from a recipe to a released model: labels, which are kept for other runs, training, scores."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tinyse.core.artifacts import put_folder, sha256, write_json, write_manifest, write_text
from tinyse.core.errors import TrainingError
from tinyse.core.lock import alone
from tinyse.core.progress import Progress, silent
from tinyse.export.bundle import COMPILED, INT8, manifest_of
from tinyse.export.cnetwork import c_network
from tinyse.export.pipeline import export_run
from tinyse.export.reader import read
from tinyse.families import load
from tinyse.graph.model import Model
from tinyse.graph.net import Net
from tinyse.measure.footprint import FLOAT, Footprint, footprint
from tinyse.measure.footprint import INT8 as AS_INT8
from tinyse.measure.labels import labels_folder, make_labels
from tinyse.measure.predictors import Agreement, agreements, float_answers, int8_answers, predictor_card
from tinyse.sound.corpus.store import Corpus
from tinyse.sound.corpus.store import corpus_dir as store_dir
from tinyse.studies.release import check_finished, release_folder
from tinyse.train.interrupt import Stop, at_once, interrupts
from tinyse.train.labelled import frames_of, read_labels
from tinyse.train.predictor import Predictor, Training, check_predictor, check_window
from tinyse.train.recipe import Recipe, load_recipe
from tinyse.train.start import check_ends, check_net


def train_quality(recipe: Recipe, folder: Path, corpus_dir: Path, progress: Progress = silent, resume: bool = False,
                  workers: int = 1) -> Predictor:
    """Train ``recipe``, whose network scores, into ``folder``: log.csv, checkpoints/, float.npz, model.npz and others.

    Raises:
        RecipeError: what cannot be trained or run later, before anything is. CorpusError: no corpus there.
        TrainingError: a run is there already, or was interrupted: labels and checkpoint are kept. TinyseError: another
            process trains there.
    """
    check_ends(recipe.ends, scores=True)
    check_predictor(recipe)
    corpus = Corpus.open(corpus_dir)
    if (folder / "checkpoints" / "last.npz").exists() and not resume:
        raise TrainingError(f"{folder}: holds a run already", "add --resume, or give another --out")
    net = recipe.net()
    check_window(recipe, net)
    check_net(net, recipe.ends)
    with interrupts(), ExitStack() as held:
        try:
            with at_once():
                labels = labels_folder(corpus, recipe.labels, recipe.ends, recipe.seed)
                make_labels(corpus, recipe.labels, recipe.ends, recipe.seed, labels, workers, progress)
                train, validation = (read_labels(labels, split, recipe.labels.count(split))
                                     for split in ("train", "validation"))
                held.enter_context(alone(folder, "training"))
                run = Training(recipe, net, folder, train, validation, corpus.hash)
                if resume and run.checkpoint.exists():
                    run.resume()
                recipe.write(folder)
        except Stop as stop:
            raise stop.error("before training began; labels are kept") from None
        return run.run(progress)


def test_agreements(int8: Path, others: Mapping[str, Model], recipe: Recipe, corpora: Mapping[str, Path],
                    progress: Progress = silent) -> dict[str, dict[str, dict[str, Agreement]]]:
    """By corpus and model, "int8" and the names of ``others``: agreement with labels of the test split, by group.

    Labels are made where they are missing, and kept.
    """
    found: dict[str, dict[str, dict[str, Agreement]]] = {}
    wanted = replace(recipe.labels, train=0, validation=0)
    for name, place in corpora.items():
        corpus = Corpus.open(place)
        folder = labels_folder(corpus, wanted, recipe.ends, recipe.seed)
        make_labels(corpus, wanted, recipe.ends, recipe.seed, folder, 1, progress)
        clips = read_labels(folder, "test", wanted.test)
        given = {"int8": int8_answers(int8, clips)}
        given |= {other: float_answers(model, clips) for other, model in others.items()}
        found[name] = {model: agreements(values, clips) for model, values in given.items()}
    return found


test_agreements.__test__ = False  # type: ignore[attr-defined]  # a name that pytest would collect


def footprints(net: Net, recipe: Recipe, int8: Path) -> dict[str, Footprint]:
    """The network with real maps in float over a whole window, others beside it, and what C takes of the ``int8`` file.

    Raises:
        ModelError: the file is damaged, or the C library does not run it.
    """
    packed = c_network(read(int8.read_bytes(), str(int8)))
    window = frames_of(recipe.ends, recipe.labels.seconds) // recipe.ends.rows
    real = load(recipe.family).net({**recipe.family_options, "activation": "relu"}, recipe.ends)
    return {"real maps, float, a window at once": footprint(real, FLOAT, window),
            "binary maps, int8, a window at once": footprint(net, AS_INT8, window),
            "real maps, float, streamed": footprint(real, FLOAT),
            "binary maps, int8, streamed": footprint(net, AS_INT8),
            "the same in the C library: constants, arena": Footprint(packed.flash, packed.arena.bytes)}


def release_quality(run: Path, name: str, corpus_dir: Path, models: Path, target: str,
                    progress: Progress = silent) -> Path:
    """Export and score a run whose network scores, as ``models/name``; gives the folder, which is replaced whole.

    Held-out clips are of the test split of ``corpus_dir``; unseen ones of the unseen tier, where it was fetched.

    Raises:
        ModelError: the run is not finished. Whatever export and labelling raise.
    """
    final = release_folder(models, name, target)
    check_finished(run, "model.npz", "float.npz", "recipe.yaml", "log.csv")
    recipe, model = load_recipe(run / "recipe.yaml"), Model.load(run / "float.npz")
    exported = export_run(run, target, run / "export", progress)
    places = {"held-out": corpus_dir, **({"unseen": unseen} if (unseen := store_dir("unseen")).is_dir() else {})}
    found = test_agreements(exported.folder, {"float": model}, recipe, places, progress)
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=final.parent))
    try:
        for file in (INT8, COMPILED):
            if (exported.folder / file).is_file():
                shutil.copyfile(exported.folder / file, folder / file)
        recipe.write(folder)
        shutil.copyfile(run / "log.csv", folder / "log.csv")
        sizes = footprints(model.net, recipe, exported.folder / INT8)
        write_json(folder / "agreement.json", {"agreement": plain_agreements(found), "memory": {
            key: {"parameters": one.parameters, "values": one.values} for key, one in sizes.items()}})
        trained = manifest_of(run, needed=True)
        write_text(folder / "README.md", predictor_card(name, recipe, trained, exported, found, sizes))
        described = {key: manifest_of(exported.folder)[key] for key in ("plan", "ends", "cycles")}
        write_manifest(folder, "release", {path.name: path for path in sorted(folder.iterdir())}, {
            **described, "name": name, "target": target, "start": None, "model": sha256(run / "model.npz"),
            "float": sha256(run / "float.npz")})
        put_folder(folder, final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return final


def plain_agreements(found: Mapping[str, Mapping[str, Mapping[str, Agreement]]]) -> dict[str, Any]:
    """As JSON holds them."""
    return {corpus: {model: {group: asdict(one) for group, one in groups.items()} for model, groups in models.items()}
            for corpus, models in found.items()}
