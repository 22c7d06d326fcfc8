"""Release: a finished run as a small folder of models/, with a card that says what it does and what it costs.

The folder holds the recipe, the int8 .tflite, the Vela-compiled .tflite, the scores of the **streamed int8** output
under TFLM beside the float model and the noisy input, the costs with their sources, and README.md, the card.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote

import numpy as np

from tinyse.core.artifacts import check_writable, put_folder, sha256, write_json, write_manifest, write_text
from tinyse.core.errors import ModelError
from tinyse.core.progress import Progress, silent
from tinyse.export.bundle import COMPILED, INT8, MANIFEST, manifest_of, model_of, part_files
from tinyse.export.pipeline import export_run
from tinyse.export.targets import load_target
from tinyse.graph.model import Model
from tinyse.measure.card import card
from tinyse.measure.costs.parts import rated, scored_rates
from tinyse.measure.costs.pipeline import profile
from tinyse.measure.costs.render import to_json
from tinyse.measure.costs.results import Profile
from tinyse.measure.parity import Parity, measure_parity
from tinyse.measure.scores.render import write_evaluation
from tinyse.measure.scores.result import Evaluation
from tinyse.measure.scores.scoring import ALL, SNRS, evaluate
from tinyse.measure.scores.systems import System
from tinyse.sound.corpus.store import Corpus
from tinyse.studies.sweep.spec import NAME
from tinyse.train.dense import dense_file, dense_model
from tinyse.train.recipe import Recipe, load_recipe

SEED = 2026


@dataclass(frozen=True)
class Release:
    """What a release holds: its folder, scores, costs and parity."""

    folder: Path
    evaluation: Evaluation
    profile: Profile
    parity: Parity


def release(run: Path | str, name: str, corpus_dir: Path | str, models: Path | str = "models",
            target: str = "ethos-u55-128", count: int = 20, progress: Progress = silent,
            metrics: Sequence[str] = ALL) -> Release:
    """Export, score, cost and describe ``run`` as ``models/name``; the folder is replaced whole at the end.

    Args:
        run: a finished run folder; a point's folder of a sweep is one.
        name: of the model, such as "tinylstm-dense".
        corpus_dir: corpus whose test split scores it.
        models: folder of released models.
        target: an NPU target.
        count: mixtures per SNR.
        metrics: names from ``tinyse.measure.scores.metrics``.

    Raises:
        ModelError: the run is not finished, or starts from a run that is not released. Whatever the stages raise.
    """
    run, final = Path(run), release_folder(models, name, target)
    check_finished(run, "model.npz", "float.npz", "recipe.yaml")
    if Model.load(run / "model.npz").ranges is None:
        raise ModelError(f"{run}: was trained in float alone, and a release is int8",
                         "train it with train.compress_steps and quantize.enabled")
    recipe = reproducible(run, Path(models), name)
    exported = export_run(run, target, run / "export", progress)
    int8 = model_of(exported.folder)
    assert int8 is not None
    quantized = System("int8", "tflm", int8)
    evaluation = evaluate(run / "float.npz", "keras", corpus_dir, "test", SNRS, count, SEED, against=quantized,
                          metrics=metrics, progress=progress, label="float")
    costs = rated(profile(exported.folder, target), scored_rates(evaluation, "int8"))
    parity = measure_parity(run / "model.npz", int8, Corpus.open(corpus_dir))
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=final.parent))
    try:
        for path in (each for kind in (INT8, COMPILED) for each in part_files(exported.folder, kind)):
            shutil.copyfile(path, folder / path.name)
        recipe.write(folder)
        for file in ("log.csv", "curves.png"):
            shutil.copyfile(run / file, folder / file)
        for kind, path in write_evaluation(evaluation, folder).items():
            if kind in ("clips", "files"):
                path.unlink()
        write_json(folder / "profile.json", to_json(costs))
        write_json(folder / "parity.json", asdict(parity))
        write_text(folder / "README.md", card(name, run, int8, evaluation, costs, parity, recipe.train.start))
        files = {path.name: path for path in sorted(folder.iterdir())}
        described = {key: manifest_of(exported.folder)[key] for key in ("plan", "ends", "cycles")}
        write_manifest(folder, "release", files, {**described, "name": name, "target": target,
                                                  "start": recipe.train.start,
                                                  "model": sha256(run / "model.npz"),
                                                  "float": sha256(run / "float.npz")})
        put_folder(folder, final)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Release(final, evaluation, costs, parity)


def check_finished(run: Path, *needed: str) -> None:
    """See that a run holds what a release is made of.

    Raises:
        ModelError: a file is missing.
    """
    begun = (run / "checkpoints").is_dir()
    for name in needed:
        if not (run / name).is_file():
            raise ModelError(f"{run}: no {name}", "finish it with: tinyse train ... --resume" if begun else
                             "a finished run's folder, as tinyse train leaves it")


def release_folder(models: Path | str, name: str, target: str) -> Path:
    """Where a release of a name goes.

    Raises:
        ModelError: the name is none of a folder in ``models``, or ``target`` has no NPU. TinyseError: it cannot be
            written. RecipeError: the target is not known.
    """
    if not NAME.fullmatch(name):
        raise ModelError(f"--name {name!r}: is no name of a model",
                         "letters, digits, and . _ - within, such as tinylstm-dense")
    if Path(models).exists() and not Path(models).is_dir():
        raise ModelError(f"{models}: is no folder", "the folder of released models")
    if not load_target(target).has_npu:
        raise ModelError(f"{target} has no NPU, for which a release is compiled",
                         "an NPU target, such as ethos-u55-128")
    check_writable(Path(models) / name / MANIFEST)
    return Path(models) / name


def reproducible(run: Path, models: Path, name: str) -> Recipe:
    """The run's recipe as ``make model`` can train it again.

    ``train.start`` names a place on the machine that trained it; here it becomes ``runs/OTHER``, which ``make model``
    trains first, ``models/OTHER`` where the run started from that released int8 model, or a file of ``models/starts``.

    Raises:
        ModelError: no released model is what the run started from.
    """
    recipe = load_recipe(run / "recipe.yaml")
    if recipe.train.start is None:
        return recipe
    wanted = str(manifest_of(run, needed=True).get("start_sha256"))
    others = {str(held["name"]): held for file in sorted(models.glob(f"*/{MANIFEST}"))
              if (held := manifest_of(file.parent)).get("name", name) != name}
    places = [f"models/{other}" for other, held in others.items() if held.get("sha256", {}).get(INT8) == wanted]
    places += [f"runs/{other}" for other, held in others.items() if held.get("float") == wanted]
    places += [f"models/starts/{file.name}" for file in sorted(models.glob("starts/*.npz")) if sha256(file) == wanted]
    if not places:  # the start may have been an int8 file's weights, kept as floats
        float_weights = Model.load(run / "float.npz")
        places = [f"models/{other}" for other in others if _same_weights(models / other / INT8, float_weights)]
        places += [f"models/starts/{file.name}" for file in sorted(models.glob("starts/*.npz"))
                   if _same_arrays(Model.load(file), float_weights)]
    for place in places:
        return replace(recipe, train=replace(recipe.train, start=place))
    raise ModelError(f"{run}: no model of {models} is what it starts from, {recipe.train.start}",
                     f"release that first: tinyse release {quote(recipe.train.start)} --name NAME")


def _same_arrays(one: Model, other: Model) -> bool:
    return one.ends == other.ends and one.arrays.keys() == other.arrays.keys() and all(
        np.array_equal(array, other.arrays[name]) for name, array in one.arrays.items())


def _same_weights(int8: Path, model: Model) -> bool:
    """Whether a dense int8 file holds exactly these weights, but for a Skip RNN's gate."""
    try:
        held = dense_model(dense_file(int8, "release"), "release")
    except ModelError:
        return False
    return held.arrays.keys() == model.arrays.keys() and all(
        np.array_equal(model.arrays[name][..., : theirs.shape[-1]], theirs) for name, theirs in held.arrays.items())
