"""A quality predictor's training: labelled clips in, a float and an int8 model out.

Mean squared error, Adam on a cosine, the weights of the best Pearson correlation on validation clips. Batch n is a
function of the seed and n, so a resumed run is the run that was not interrupted. Weights become int8 after training:
a step asks only for the sign of a sum.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.artifacts import atomic_path, write_manifest, write_text
from tinyse.core.errors import RecipeError, TrainingError
from tinyse.core.progress import Progress, Step, silent
from tinyse.graph.floating import calibrate
from tinyse.graph.layers import Array
from tinyse.graph.model import Model
from tinyse.graph.net import Net
from tinyse.graph.snap import snap
from tinyse.sound import Ends
from tinyse.train.checkpoint import load_checkpoint, pack, save_checkpoint, unpack
from tinyse.train.compression import GatesPart, PrunePart
from tinyse.train.interrupt import Stop, stop_if_asked
from tinyse.train.keras import tf, tf_keras
from tinyse.train.labelled import Labelled, features_of, frames_of
from tinyse.train.maps import Maps
from tinyse.train.recipe import Recipe, recipe_of

Real = NDArray[np.float32]
STATE = ("step", "stale", "rows", "recent", "best")
"""What a checkpoint holds beside the arrays."""
COLUMNS = ("step", "loss", "rate", "pearson", "rmse")
AT_ONCE = 16
"""Clips of a validation batch."""
CALIBRATION = 32
"""Validation clips that ranges are learnt from, spread over the scores."""
HIGHEST = 4.65
"""Just above the largest WB-PESQ, which the result's grid has to hold."""
FINAL_RATE = 0.01
"""Of the learning rate, at the end."""


@dataclass(frozen=True)
class Predictor:
    """A trained predictor: its folder, and how its validation scores go with the labels."""

    folder: Path
    pearson: float
    rmse: float
    step: int


def pearson(predicted: NDArray[Any], scores: NDArray[Any]) -> float:
    """Correlation of two float[n], -1 to 1; 0 where one of them is constant."""
    a, b = (np.asarray(x, np.float64) - np.mean(x, dtype=np.float64) for x in (predicted, scores))
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 1e-12 else 0.0


def rmse(predicted: NDArray[Any], scores: NDArray[Any]) -> float:
    """Root mean square of the difference."""
    return math.sqrt(float(np.mean(np.square(np.asarray(predicted, np.float64) - scores))))


def check_predictor(recipe: Recipe) -> None:
    """See that the recipe asks for nothing that scores are not trained with.

    Raises:
        RecipeError: it does.
    """
    asked = {"prune.method": recipe.prune != PrunePart(), "cluster.values": recipe.cluster.values,
             "skip.enabled": recipe.skip.enabled, "gates.share": recipe.gates != GatesPart(),
             "quantize.bits": recipe.quantize.bits, "train.start": recipe.train.start}
    if wanted := [key for key, value in asked.items() if value]:
        raise RecipeError(f"{wanted[0]}: not for a network that scores", f"leave {wanted[0].split('.')[0]} out")
    if (recipe.ends.result.count, recipe.ends.result.limit) != (1, 1.0) or not recipe.ends.transforms:
        raise RecipeError("ends: a predictor gives one score of a spectrum", "result: {count: 1, limit: 1}")
    if len(recipe.labels.snr_db) != 2 or recipe.labels.snr_db[0] > recipe.labels.snr_db[1]:
        raise RecipeError(f"labels.snr_db: {list(recipe.labels.snr_db)} is not a range", "[lowest, highest]")
    if not recipe.labels.train or not recipe.labels.validation:
        raise RecipeError("labels: a predictor needs train and validation mixtures", "1 of each, or more")


def check_window(recipe: Recipe, net: Net) -> None:
    """See that clips are as long as what a score is of.

    Raises:
        RecipeError: they are shorter.
    """
    window = 1 + max((rows for rows, _, _ in net.states.values()), default=0)
    steps = frames_of(recipe.ends, recipe.labels.seconds) // recipe.ends.rows
    if steps < window:
        raise RecipeError(f"labels.seconds: {recipe.labels.seconds:g}: {steps} steps, and a score is of {window}",
                          f"{window / recipe.ends.frames_per_second:g} s or more")


def first_arrays(net: Net, seed: int, mean: float) -> dict[str, Real]:
    """Arrays to start from: Glorot's, first kernels that see contrasts, and answers near the mean score.

    The first kernels sum to 0 over time and frequency: a level moves no score, nor does it move any PESQ.
    """
    rng = np.random.default_rng([seed, 0xF1])
    made = {name: _drawn(array, rng) for name, array in net.arrays.items()}
    first, last = next(name for name, array in net.arrays.items() if array.matrix), net.results[-1].node
    axes = tuple(n for n, axis in enumerate(net.arrays[first].axes) if axis in ("kt", "kf"))
    made[first] -= made[first].mean(axes, keepdims=True) if axes else np.float32(0)
    made[f"{last}/kernel"] *= np.float32(0.1)
    made[f"{last}/bias"] += np.float32(mean)
    return made


def _drawn(array: Array, rng: np.random.Generator) -> Real:
    limit = math.sqrt(6.0 / max(1, sum(array.fan))) if array.init == "glorot" else 0.0
    return rng.uniform(-limit, limit, array.shape).astype(np.float32)


def answers(run: Any, clips: Labelled, ends: Ends) -> Real:
    """Scores of clips at their last step, float32 [clips]; ``run`` as ``Maps.run``."""
    found = [run(tf.constant(features_of(clips.logs[at : at + AT_ONCE], ends)))[:, -1, 0].numpy()
             for at in range(0, len(clips), AT_ONCE)]
    return np.concatenate(found)


class Training:
    """One run: everything that decides the next step, and that step."""

    def __init__(self, recipe: Recipe, net: Net, folder: Path, train: Labelled, validation: Labelled,
                 corpus_hash: str) -> None:
        self.recipe, self.net, self.folder, self.corpus_hash = recipe, net, folder, corpus_hash
        self.data, self.held, self.ends = train, validation, recipe.ends
        self.maps = Maps(net, first_arrays(net, recipe.seed, float(train.scores.mean())))
        self.weights = list(self.maps.variables.values())
        self.optimizer = tf_keras.optimizers.Adam(recipe.train.float_rate)
        self.optimizer.build(self.weights)
        self.step, self.stale, self.rows, self.recent = 0, 0, list[dict[str, Any]](), list[float]()
        self.best: dict[str, Any] = {"pearson": -2.0, "rmse": 0.0, "step": -1}
        self.best_weights: list[Real] = []
        self.maps.settle(tf.constant(self.batch()[0]))
        self._gradients, self._answers = tf.function(self._learn), tf.function(self.maps.run)

    @property
    def checkpoint(self) -> Path:
        """Where the run goes on from."""
        return self.folder / "checkpoints" / "last.npz"

    def rate(self) -> float:
        """Learning rate of this step."""
        part = self.recipe.train
        share = self.step / max(1, part.float_steps)
        cosine = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * share))
        return part.float_rate * min(1.0, (self.step + 1) / max(1, part.warmup)) * cosine

    def batch(self) -> tuple[Real, Real]:
        """Features [clips, frames, bands] and scores [clips] of this step; levels and cuts into steps are drawn."""
        clips, seed, size = len(self.data), self.recipe.seed, self.recipe.mixing.batch
        size = min(size, clips)
        epoch, at = divmod(self.step, clips // size)
        chosen = np.random.default_rng([seed, 1, epoch]).permutation(clips)[at * size : (at + 1) * size]
        gain = self.recipe.labels.gain_db
        rng, rows = np.random.default_rng([seed, 2, self.step]), self.ends.rows
        gains, shifts = rng.uniform(-gain, gain, size), rng.integers(rows, size=size)
        logs = np.stack([np.roll(one, shift, 0) for one, shift in zip(self.data.logs[chosen], shifts, strict=True)])
        return features_of(logs, self.ends, gains), self.data.scores[chosen]

    def _learn(self, features: Any, scores: Any, seed: Any) -> Any:
        share = self.recipe.labels.dropout

        def keep(x: Any) -> Any:
            drawn = tf.random.stateless_uniform(tf.shape(x), seed + tf.stack([0, x.shape[1] * x.shape[2]]))
            return tf.where(drawn >= share, x / (1 - share), 0.0)

        with tf.GradientTape() as tape:
            given = self.maps.run(features, keep if share else None, brief=True)[:, -1, 0]
            loss = tf.reduce_mean(tf.square(given - scores))
        return loss, tape.gradient(loss, self.weights)

    def learn(self) -> float:
        """One step; the loss.

        Raises:
            TrainingError: it is not finite.
        """
        self.optimizer.learning_rate.assign(self.rate())
        features, scores = self.batch()
        seed = tf.constant([self.recipe.seed, self.step], tf.int32)
        loss, gradients = self._gradients(tf.constant(features), tf.constant(scores), seed)
        if not np.isfinite(float(loss)):
            raise TrainingError(f"step {self.step}: the loss is {float(loss)}",
                                "lower train.float_rate; the last checkpoint is kept")
        self.optimizer.apply_gradients(zip(tf.clip_by_global_norm(gradients, self.recipe.train.clip_norm)[0],
                                           self.weights, strict=True))
        self.step += 1
        return float(loss)

    def validate(self, loss: float) -> None:
        """Correlation on the validation clips; the best weights are kept."""
        given = answers(self._answers, self.held, self.ends)
        found = {"pearson": pearson(given, self.held.scores), "rmse": rmse(given, self.held.scores)}
        self.rows.append({"step": self.step, "loss": loss, "rate": self.rate(), **found})
        self.stale += 1
        if found["pearson"] > self.best["pearson"]:
            self.best, self.stale = {**found, "step": self.step}, 0
            self.best_weights = [weight.numpy() for weight in self.weights]

    def save(self) -> None:
        """Write the checkpoint and log.csv."""
        arrays = {**pack("weights", self.weights), **pack("optimizer", self.optimizer.variables)}
        arrays |= {f"best.{n}": value for n, value in enumerate(self.best_weights)}
        state = {name: getattr(self, name) for name in STATE}
        state |= {"recipe": self.recipe.identity(), "corpus": self.corpus_hash}
        save_checkpoint(self.checkpoint, state, arrays)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in self.rows)
        write_text(self.folder / "log.csv", text.getvalue())

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises:
            TrainingError: it is of another recipe or corpus, or damaged.
        """
        state, arrays = load_checkpoint(self.checkpoint)
        if missing := [name for name in (*STATE, "recipe", "corpus") if name not in state]:
            raise TrainingError(f"{self.checkpoint}: damaged checkpoint: no {missing[0]}", "delete it and train again")
        before, own = state["recipe"], self.recipe.identity()["family"]  # its file may have moved
        if before.get("family") != own or state["corpus"] != self.corpus_hash or self.recipe != recipe_of(
                {**before, "family": self.recipe.family}, str(self.checkpoint)):
            raise TrainingError(f"{self.checkpoint}: written by another recipe or corpus", "train into another folder")
        self.step, self.stale, self.rows, self.recent, self.best = (state[name] for name in STATE)
        unpack("weights", self.weights, arrays)
        unpack("optimizer", self.optimizer.variables, arrays)
        self.best_weights = [arrays[f"best.{n}"] for n in range(len(self.weights))] if "best.0" in arrays else []

    def run(self, progress: Progress = silent) -> Predictor:
        """To the end, or until validation has not risen for ``train.patience`` times.

        Raises:
            TrainingError: stopped by a signal, after which the checkpoint is written, or the loss is not finite.
        """
        part = self.recipe.train
        try:
            while self.step < part.float_steps and self.stale < part.patience:
                stop_if_asked()
                self.recent = [*self.recent, self.learn()][-part.validate_every :]
                if self.step % part.validate_every == 0 or self.step == part.float_steps:
                    self.validate(float(np.mean(self.recent)))
                    self.save()
                progress(Step("train", self.step, part.float_steps, values={
                    "loss": self.recent[-1], "pearson": max(0.0, self.best["pearson"])}))
        except Stop as stop:
            self.save()
            raise stop.error(f"at step {self.step}; the checkpoint is written") from None
        return self.finish()

    def finish(self) -> Predictor:
        """Write float.npz, model.npz, calibration.npy and manifest.json from the best weights."""
        for weight, value in zip(self.weights, self.best_weights, strict=True):
            weight.assign(value)
        meta = {"recipe": self.recipe.name, "val_pearson": self.best["pearson"], "val_rmse": self.best["rmse"]}
        arrays = {name: variable.numpy() for name, variable in self.maps.variables.items()}
        whole = Model(self.net, arrays, self.ends, None, meta, Path(self.recipe.family).stem)
        count, gain = min(len(self.held), CALIBRATION), self.recipe.labels.gain_db
        chosen = np.argsort(self.held.scores, kind="stable")[np.linspace(0, len(self.held) - 1, count).astype(int)]
        gains = np.random.default_rng(self.recipe.seed).permutation(np.linspace(-gain, gain, count))
        steps = features_of(self.held.logs[chosen], self.ends, gains)
        steps = steps.reshape(-1, self.ends.inputs)
        ranges = calibrate(whole, steps)
        last = f"{self.net.results[-1].node}.out"
        ranges[last] = (ranges[last][0], max(ranges[last][1], HIGHEST))
        model = snap(Model(self.net, arrays, self.ends, ranges, meta, whole.family))
        whole.save(self.folder / "float.npz")
        model.save(self.folder / "model.npz")
        with atomic_path(self.folder / "calibration.npy") as temporary, open(temporary, "wb") as stream:
            np.save(stream, steps)
        files = {name: self.folder / name for name in ("float.npz", "model.npz", "recipe.yaml", "log.csv",
                                                       "calibration.npy")}
        write_manifest(self.folder, "train", files, {
            "corpus": self.corpus_hash, "parameters": model.parameters, "macs_per_frame": model.macs_per_frame,
            "val_pearson": self.best["pearson"], "val_rmse": self.best["rmse"], "clips": len(self.data),
            "step": self.best["step"], "steps": self.step})
        return Predictor(self.folder, self.best["pearson"], self.best["rmse"], self.best["step"])
