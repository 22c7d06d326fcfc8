"""The training run: a float phase, then a compressed phase on the integer grids with pruning.

Step n draws batch n, so a run that is interrupted and resumed takes the same steps as one that is not. After every
validation everything that decides the next step is in checkpoints/last.npz.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.core.errors import TrainingError
from tinyse.core.heap import release
from tinyse.core.progress import Progress, Step
from tinyse.graph.net import Net
from tinyse.sound.corpus.store import Corpus
from tinyse.train.averaging import Average
from tinyse.train.calibration import learn_ranges
from tinyse.train.distillation import Teacher
from tinyse.train.interrupt import Stop, at_once, stop_if_asked
from tinyse.train.keras import tf, tf_keras
from tinyse.train.lanes import WORTH_COMPILING, Lanes
from tinyse.train.mixer import Mixer
from tinyse.train.network import Network
from tinyse.train.prune import PruningMethod
from tinyse.train.pruning import make_compression, zero_share
from tinyse.train.recipe import Recipe
from tinyse.train.records import Records
from tinyse.train.result import TrainResult, finish
from tinyse.train.resume import save_run
from tinyse.train.skipping import Budget, GatedLanes
from tinyse.train.start import Start, take_weights
from tinyse.train.validation import Validation

LOG_EVERY = 10
FINAL_RATE = 0.03
"""Share of the peak learning rate left at the end of a phase's cosine."""


class Run:
    """One training run in one folder, of a recipe's ``net``; ``label``: of its family."""

    lanes: Lanes
    _apply: Callable[[list[Any]], Any]

    def __init__(self, recipe: Recipe, net: Net, label: str, folder: Path, corpus: Corpus, progress: Progress,
                 whole: bool = False) -> None:
        self.recipe, self.label, self.folder, self.progress, self.whole = recipe, label, folder, progress, whole
        self.identity = recipe.identity()  # of a family's file as it is now
        self.ends = recipe.ends
        tf_keras.utils.set_random_seed(recipe.seed)
        self.validation = Validation(corpus, recipe.train.validate_count, recipe.seed, self.ends)
        self.mixer = Mixer(corpus, recipe.mixing, self.ends, recipe.seed, progress)
        features = self.mixer.batch(0, 999, 16).features
        self.network = Network(net, float(features.mean()), float(features.std()))
        self.corpus_hash = corpus.hash
        self.phase = "float"
        self.step = 0
        self.float_end = recipe.train.float_steps
        self.start_hash: str | None = None
        self.teacher: Teacher | None = None
        self.best: dict[str, Any] = {"score": -1e9, "step": -1}
        self.best_weights: list[Any] = []
        self.stale = 0
        self.recent: list[float] = []
        self.due: list[str] = []
        self.ranges: dict[str, tuple[float, float]] | None = None
        self.pruning: PruningMethod | None = None
        self.budget: Budget | None = None
        self.average = Average(recipe.train.average) if recipe.train.average else None
        self.speed: dict[str, float] = {}
        self.records = Records(folder, [])
        self.begin_phase()

    # -- one step ---------------------------------------------------------------------------------------

    def begin_phase(self) -> None:
        """A fresh optimizer, and gradient lanes traced for the network as it is now."""
        self.optimizer = tf_keras.optimizers.Adam(self.recipe.train.float_rate, epsilon=1e-7)
        self.optimizer.build(self.network.trainable_weights)
        self._trace()

    def _trace(self) -> None:
        train = self.recipe.train
        self.validation.forget()
        if hasattr(self, "lanes"):  # a trace is 100 MB, and refers to itself
            self.lanes.close()
            del self.lanes, self._apply
            release()
        begin, end, _ = self._phase_bounds()
        given = (self.network, self.mixer, train.loss, self.recipe.mixing.batch, end - begin >= WORTH_COMPILING,
                 self.teacher, train.exits, self.whole)
        self.lanes = Lanes(*given) if self.budget is None else GatedLanes(*given, budget=self.budget)

        @tf.function
        def apply(gradients: list[Any]) -> Any:
            clipped, norm = tf.clip_by_global_norm(gradients, train.clip_norm)
            self.optimizer.apply_gradients(zip(clipped, self.network.trainable_weights, strict=True))
            return norm

        self._apply = apply

    def _phase_bounds(self) -> tuple[int, int, float]:
        train = self.recipe.train
        if self.phase == "float":
            return 0, self.float_end, train.float_rate
        return self.float_end, self.float_end + train.compress_steps, train.compress_rate

    def _rate(self) -> float:
        begin, end, peak = self._phase_bounds()
        done = self.step - begin
        warm = min(1.0, (done + 1) / max(1, self.recipe.train.warmup))
        share = done / max(1, end - begin)
        return peak * warm * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + float(np.cos(np.pi * share))))

    def _take_step(self) -> float:
        self.optimizer.learning_rate.assign(self._rate())
        loss, gradients = self.lanes.gradient_step(self.step)
        if not np.isfinite(loss):
            raise TrainingError(f"step {self.step}: the loss is {loss}",
                                "lower train.float_rate; the last checkpoint is kept")
        if self.pruning is not None:
            gradients = self.pruning.gradients(self.step, gradients)
        with self.lanes.around(self.step):
            self._apply(gradients)
        if self.pruning is not None:
            self.pruning.after_step(self.step)
        if self.average is not None and self._settled():
            self.average.add(self.network)
        return loss

    # -- phases -----------------------------------------------------------------------------------------

    def _freeze_steps(self) -> set[int]:
        """Steps of the compressed phase at which ranges are learned again; fixed after the last."""
        freeze = int(self.recipe.quantize.freeze * self.recipe.train.compress_steps)
        return {self.float_end + freeze // 2, self.float_end + freeze} if freeze > 1 else set()

    def _relearn(self) -> None:
        with at_once():
            ranges = learn_ranges(self.network, self.mixer, 16, self.step)
        self.ranges = ranges
        self.network.quantize(ranges)

    def _enter_compress(self) -> None:
        """Keep the best float weights, fold the normalizer, go on the grids, start pruning."""
        if self.best_weights:
            self.network.set_weights(self.best_weights)
        meta = {"phase": "float", "val_si_sdr": self.best["score"], "recipe": self.recipe.name}
        self.network.export(self.ends, None, meta, self.label).save(self.folder / "float.npz")
        self.network.fold_normalizer()
        self.network.fold_norms()
        self.phase, self.float_end, self.stale = "compress", self.step, 0
        self.best, self.best_weights = {"score": -1e9, "step": -1}, []
        if self.average is not None:
            self.average.forget()
        self.setup_compress()
        if self.recipe.quantize.enabled and self.recipe.train.compress_steps:
            self._relearn()
        self.begin_phase()

    def setup_compress(self) -> None:
        """What the recipe prunes, clusters and skips."""
        steps = self.recipe.train.compress_steps
        self.pruning = make_compression(self.recipe, self.network, self.float_end, steps)
        self.budget = Budget(self.recipe.skip, self.float_end, steps) if self.recipe.skip.enabled else None

    def learn_from(self, given: Start) -> None:
        """Take the dense model of the start as the teacher."""
        train = self.recipe.train
        self.teacher = Teacher(given, train.distill, self.ends, train.compress_steps >= WORTH_COMPILING)

    def start_from(self, given: Start) -> None:
        """Take a dense model in place of the float phase."""
        take_weights(self.network, given.model)
        self.start_hash = given.sha256
        self.best["score"] = given.model.meta.get("val_si_sdr", -1e9)
        self.float_end = 0

    def _settled(self) -> bool:
        """Whether masks and ranges are final, so that a validation may choose this model."""
        if self.phase == "float":
            return True
        last = max([*self._freeze_steps(), self.float_end])
        if self.pruning is not None:
            last = max(last, self.pruning.last)
        if self.budget is not None:
            last = max(last, self.budget.last)
        return self.step > last

    # -- validation -------------------------------------------------------------------------------------

    def _validate(self) -> None:
        with self.average.shown(self.network, self.pruning) if self.average is not None else nullcontext():
            self._score()

    def _score(self) -> None:
        with at_once():
            self.score = score = self.validation.si_sdr(self.network)
        rate = self.validation.update_rate
        row: dict[str, Any] = {"val_si_sdr": score, "val_noisy": self.validation.noisy_db}
        if self.pruning is not None:
            row["sparsity"] = zero_share(self.network)
        if self.budget is not None:
            row["update_rate"] = rate
        self.records.add(step=self.step, phase=self.phase, **row)
        if self._settled():
            if score > self.best["score"]:
                self.best, self.stale = {"score": score, "step": self.step, "update_rate": rate}, 0
                self.best_weights = self.network.get_weights()
            else:
                self.stale += 1

    # -- the whole ----------------------------------------------------------------------------------------

    def train(self) -> TrainResult:
        """Run both phases to their end and write the models.

        Raises:
            TrainingError: interrupted (the checkpoint is written first), or the loss is not finite.
        """
        waits = True
        try:
            if self.phase == "float":
                self._run_phase()
                self._enter_compress()
                save_run(self)
            self._run_phase()
            return finish(self)
        except Stop as stop:
            waits = False  # for threads that compile
            raise stop.error(f"at step {self.step}" + "; the checkpoint is written" * bool(self.step)) from None
        except tf.errors.OpError as error:  # TensorBoard's writer on a full disk, or no memory for a batch
            raise TrainingError(f"{self.folder}: {str(error).splitlines()[0]}",
                                "free some disk space or memory, then go on with --resume") from error
        finally:
            self.lanes.close(waits)

    def _run_phase(self) -> None:
        try:
            self._run_steps()
        except Stop:
            save_run(self)
            raise

    def _run_steps(self) -> None:
        train = self.recipe.train
        begin, end, _ = self._phase_bounds()
        started, first = time.perf_counter(), self.step
        self.score = self.best["score"] if self.best["step"] >= 0 else self.validation.noisy_db
        self._catch_up()
        while self.step < end and self.stale < train.patience:
            stop_if_asked()
            self.recent = [*self.recent[1 - LOG_EVERY :], self._take_step()]
            self.step += 1
            if self.step == first + 1:
                started = time.perf_counter()  # the first step traces the graph
            elif self.step > first + 1:
                frames = (self.step - first - 1) * self.mixer.frames * self.lanes.batch
                self.speed[self.phase] = frames / (time.perf_counter() - started)
            if self.step % LOG_EVERY == 0:
                self.records.add(step=self.step, phase=self.phase, loss=float(np.mean(self.recent)),
                                 rate=self._rate())
            if self.phase == "compress" and self.step in self._freeze_steps() and self.ranges:
                self.due.append("ranges")
            if self.step % train.validate_every == 0 or self.step == end:
                self.due.append("score")
            self._catch_up()
            self.progress(Step(f"train {self.phase}", self.step - begin, end - begin,
                               values={"loss": self.recent[-1], "si_sdr": self.score,
                                       "frames/s": self.speed.get(self.phase, 0.0)}))

    def _catch_up(self) -> None:
        """Do what is due after the last step; what a signal cuts off is due again when the run goes on."""
        while self.due:
            if self.due[0] == "ranges":
                self._relearn()
                self._trace()
            else:
                self._validate()
            if self.due.pop(0) == "score":
                save_run(self)
