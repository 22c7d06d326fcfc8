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
from tinyse.train.budget import Budget
from tinyse.train.calibration import learn_ranges
from tinyse.train.channels import ChannelLanes
from tinyse.train.distillation import Teacher
from tinyse.train.interrupt import Stop, at_once, stop_if_asked
from tinyse.train.keras import tf, tf_keras
from tinyse.train.lanes import WORTH_COMPILING, Lanes
from tinyse.train.mixer import Mixer
from tinyse.train.network import Network
from tinyse.train.phases import bounds_of, freeze_steps, rate_of, settled
from tinyse.train.prune import PruningMethod
from tinyse.train.pruning import make_compression, zero_share
from tinyse.train.recipe import Recipe
from tinyse.train.records import Records
from tinyse.train.result import TrainResult, finish
from tinyse.train.resume import save_run
from tinyse.train.routing import RoutedLanes, Toll
from tinyse.train.skipping import GatedLanes
from tinyse.train.slimming import SlimLanes
from tinyse.train.stages import Stages, goes_on, restart
from tinyse.train.start import Start, take_weights
from tinyse.train.validation import validation_of

LOG_EVERY = 10


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
        self.validation = validation_of(self.ends)(corpus, recipe.train.validate_count, recipe.seed, self.ends,
                                                   recipe.train.validate_apart)
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
        self.budget_gates()
        self.stages = Stages(net, recipe.train.float_steps) if recipe.train.order == "layerwise" else None
        self.average = Average(recipe.train.average) if recipe.train.average else None
        self.speed: dict[str, float] = {}
        self.records = Records(folder, [], type(self.validation))
        self.begin_phase()

    # -- one step ---------------------------------------------------------------------------------------

    def begin_phase(self) -> None:
        """A fresh optimizer, and gradient lanes traced for the network as it is now."""
        self.optimizer = tf_keras.optimizers.Adam(self.recipe.train.float_rate, epsilon=1e-7)
        self.optimizer.build(self.network.trainable_weights)
        self._trace()

    def _trace(self) -> None:
        train = self.recipe.train
        self._let_go()
        begin, end, _ = bounds_of(self)
        given = (self.network, self.mixer, train.loss, self.recipe.mixing.batch, end - begin >= WORTH_COMPILING,
                 self.teacher, self.staged.weights if self.staged else train.exits, self.whole, train.spectral)
        if self.network.net.widths:
            self.lanes = SlimLanes(*given, part=self.recipe.route)
        elif self.budget is None:
            self.lanes = Lanes(*given)
        elif isinstance(self.budget, Toll):
            self.lanes = RoutedLanes(*given, budget=self.budget)
        elif self.recipe.skip.enabled:
            self.lanes = GatedLanes(*given, budget=self.budget, price=self.recipe.skip.price)
        else:
            self.lanes = ChannelLanes(*given, budget=self.budget)

        @tf.function
        def apply(gradients: list[Any]) -> Any:
            clipped, norm = tf.clip_by_global_norm(gradients, train.clip_norm)
            self.optimizer.apply_gradients(zip(clipped, self.network.trainable_weights, strict=True))
            return norm

        self._apply = apply

    def _let_go(self, wait: bool = True) -> None:
        """Of what was traced of the network as it was: each is 100 MB, and refers to itself."""
        self.validation.forget()
        if hasattr(self, "lanes"):
            self.lanes.close(wait)
            del self.lanes, self._apply
        release()

    @property
    def staged(self) -> Stages | None:
        """The stages where they are being trained."""
        return self.stages if self.phase == "float" else None

    def _take_step(self) -> float:
        self.optimizer.learning_rate.assign(rate_of(self))
        loss, gradients = self.lanes.gradient_step(self.step)
        if not np.isfinite(loss):
            raise TrainingError(f"step {self.step}: the loss is {loss}",
                                "lower train.float_rate; the last checkpoint is kept")
        if self.staged is not None:
            gradients = self.staged.gradients(self.network, gradients)
        if self.pruning is not None:
            gradients = self.pruning.gradients(self.step, gradients)
        with self.lanes.around(self.step):
            self._apply(gradients)
        if self.pruning is not None:
            self.pruning.after_step(self.step)
        if self.average is not None and settled(self):
            self.average.add(self.network)
        return loss

    # -- phases -----------------------------------------------------------------------------------------

    def _relearn(self) -> None:
        self._let_go()
        with at_once():
            ranges = learn_ranges(self.network, self.mixer, 16, self.step)
        self.ranges = ranges
        self.network.quantize(ranges)

    def _enter_compress(self) -> None:
        """Keep the best float weights, fold the normalizer, go on the grids, start pruning."""
        if self.best_weights:
            self.network.set_weights(self.best_weights)
        meta = {"phase": "float", self.records.score: self.best["score"], "recipe": self.recipe.name}
        self.network.export(self.ends, None, meta, self.label).save(self.folder / "float.npz")
        self.network.fold_normalizer()
        self.network.fold_norms()
        self.phase, self.float_end, self.best_weights = "compress", self.step, []
        restart(self)
        self.setup_compress()
        if self.recipe.quantize.enabled and self.recipe.train.compress_steps:
            self._relearn()
        self.begin_phase()

    def setup_compress(self) -> None:
        """What the recipe prunes, clusters and skips."""
        steps = self.recipe.train.compress_steps
        self.pruning = make_compression(self.recipe, self.network, self.float_end, steps)
        if self.network.net.route is not None and not self.network.net.widths:
            self.budget = Toll(self.recipe.route, self.network.net, self.float_end, steps)
        elif (part := self.recipe.skip).enabled:
            begin, end = (self.float_end + int(share * steps) for share in (part.begin, part.end))
            self.budget = Budget(part.rate, begin, end, part.cost)

    def budget_gates(self) -> None:
        """The budget of channel gates, which holds in both phases."""
        part, steps = self.recipe.gates, self.float_end + self.recipe.train.compress_steps
        if part.share is not None:
            self.budget = Budget(part.share, int(part.begin * steps), int(part.end * steps), part.cost)

    def learn_from(self, given: Start) -> None:
        """Take the dense model of the start as the teacher."""
        train = self.recipe.train
        self.teacher = Teacher(given, train.distill, self.ends, train.compress_steps >= WORTH_COMPILING)

    def start_from(self, given: Start) -> None:
        """Take a dense model in place of the float phase."""
        take_weights(self.network, given.model)
        self.start_hash = given.sha256
        self.best["score"] = given.model.meta.get(self.records.score, -1e9)
        self.float_end = 0
        self.budget_gates()

    # -- validation -------------------------------------------------------------------------------------

    def _validate(self) -> None:
        with self.average.shown(self.network, self.pruning) if self.average is not None else nullcontext():
            self._score()

    def _score(self) -> None:
        learnt = self.budget is not None or bool(self.network.net.widths)  # what a frame runs
        with at_once():
            self.score = score = self.validation.mean(
                self.network, self.staged.exit if self.staged else -1, learnt)
        rate = self.validation.update_rate
        row: dict[str, Any] = {self.records.score: score, self.records.beside: self.validation.before}
        if self.pruning is not None:
            row["sparsity"] = zero_share(self.network)
        if rate is not None and learnt:
            row["update_rate" if self.recipe.skip.enabled else "cost"] = rate
        if self.validation.open_share is not None:
            row["open_share"] = self.validation.open_share
        self.records.add(step=self.step, phase=self.phase, **row)
        if settled(self):
            if score > self.best["score"]:
                self.best, self.stale = {"score": score, "step": self.step, "update_rate": rate,
                                         "open_share": self.validation.open_share}, 0
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
            self._let_go(waits)

    def _run_phase(self) -> None:
        try:
            self._run_steps()
        except Stop:
            save_run(self)
            raise

    def _run_steps(self) -> None:
        train = self.recipe.train
        begin, end, _ = bounds_of(self)
        started, first = time.perf_counter(), self.step
        self.score = self.best["score"] if self.best["step"] >= 0 else self.validation.before
        self._catch_up()
        while goes_on(self, end):
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
                                 rate=rate_of(self))
            if self.phase == "compress" and self.step in freeze_steps(self) and self.ranges:
                self.due.append("ranges")
            ends = (end, self.staged.bounds[1]) if self.staged else (end,)
            if self.step % train.validate_every == 0 or self.step in ends:
                self.due.append("score")
            self._catch_up()
            self.progress(Step(f"train {self.phase}", self.step - begin, end - begin,
                               values={"loss": self.recent[-1], self.validation.key: self.score,
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
