"""The order of a sweep: the dense model first, then every point that is not done, then table, plots and page."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyse.core.artifacts import sha256, versions, write_json
from tinyse.core.cluster import Cluster
from tinyse.core.errors import RecipeError, TinyseError
from tinyse.core.progress import Progress, Step, silent
from tinyse.export.bundle import MOST_PARTS, model_of
from tinyse.sound.corpus.store import Corpus, corpus_dir
from tinyse.studies.sweep.columns import MEAN, OPERATIONS, RATE, VAL_RATE, costs, part_rate, sweep_columns
from tinyse.studies.sweep.lock import alone
from tinyse.studies.sweep.nodes import RayPool
from tinyse.studies.sweep.plan import Common, Job, dense_job, offline_job, trained_job
from tinyse.studies.sweep.point import finished
from tinyse.studies.sweep.pool import Pool, Task
from tinyse.studies.sweep.render import write_data, write_presentation
from tinyse.studies.sweep.results import Column, PointResult, SweepResult
from tinyse.studies.sweep.spec import SweepSpec
from tinyse.studies.sweep.workers import Choice, choose_workers, ray_workers


@dataclass(frozen=True)
class Plan:
    """A sweep that is ready to run.

    Attributes:
        spec, common: what and where.
        dense: the first job.
        total: points in all, the dense one included.
        workers: how many at once, and why.
        on: the Ray cluster that they run on, as `Cluster` takes it; None for this machine.
    """

    spec: SweepSpec
    common: Common
    dense: Job
    total: int
    workers: Choice
    on: str | None = None


def plan_sweep(spec: SweepSpec, out: Path | str, corpus: Path | str | None = None,
               workers: int | None = None, on: str | None = None) -> Plan:
    """Open the corpus, find the dense model, choose the workers; nothing is written.

    Args:
        spec: what to sweep.
        out: the sweep's folder.
        corpus: takes the place of the sweep's and the recipe's.
        workers: points at once; None: what cores and memory allow.
        on: a Ray cluster, as `Cluster` takes it; None: this machine.

    Raises:
        CorpusError: no corpus there. ModelError: no dense model there. RecipeError: offline points of several parts.
        TinyseError: no such ``on``.
    """
    if spec.offline and len(spec.recipe.net().results) > 1:
        raise RecipeError(f"{spec.file}: offline: {spec.recipe.family} is a network of several parts",
                          "offline pruning takes one: leave offline: out")
    given = corpus or spec.corpus or spec.recipe.corpus.path or corpus_dir(spec.recipe.corpus.tier)
    opened = Corpus.open(given)
    if on is not None:
        on = Cluster(on).on
    common = Common(Path(out), Path(given).absolute(), opened.hash, spec.target, spec.devices, spec.score)
    points = sum(len(point.seeds) for point in spec.points) + len(spec.offline)
    chosen = choose_workers(points, workers) if on is None else ray_workers(points, workers, on)
    return Plan(spec, common, dense_job(spec, common), points + 1, chosen, on)


def run_sweep(plan: Plan, progress: Progress = silent, worker: tuple[str, ...] = ()) -> SweepResult:
    """Run every point that is not done; write ``sweep.json`` and ``sweep.csv`` after each, plots and page at the end.

    Args:
        plan: from `plan_sweep`.
        progress: one task a point, and "sweep".
        worker: the command of a point's process; default tinyse's own.

    Raises:
        TinyseError: the dense model failed, or another sweep runs in the folder.
        KeyboardInterrupt: after every point has stopped where it can go on.
    """
    with ExitStack() as stack:
        lock = stack.enter_context(alone(plan.common.out, "sweep", progress))
        cluster = stack.enter_context(Cluster(plan.on)) if plan.on is not None else None

        def run(tasks: list[Task], workers: int, ended: Callable[[Task, str], None]) -> None:
            (Pool(workers, progress, ended, held=(lock,)) if cluster is None else
             RayPool(cluster, workers, progress, ended)).run(tasks)

        sweep = _Sweep(plan, progress, worker or (sys.executable, "-m", "tinyse.studies.sweep.worker"), run)
        sweep.run([plan.dense], 1)
        if sweep.failed:
            raise TinyseError(f"dense: {sweep.failed['dense']}", "every point starts from it")
        sweep.run(_jobs(plan), plan.workers.workers)
        result = sweep.result()
        write_presentation(result, plan.common.out)
    return result


def _jobs(plan: Plan) -> list[Job]:
    start = plan.spec.start or plan.dense.folder
    found = [trained_job(point, seed, start, plan.dense, plan.common)
             for point in plan.spec.points for seed in point.seeds]
    int8 = model_of(Path(plan.dense.folder) / "export")
    assert int8 is not None
    return found + [offline_job(point, int8, plan.common) for point in plan.spec.offline]


class _Sweep:
    """What is done so far."""

    def __init__(self, plan: Plan, progress: Progress, worker: tuple[str, ...],
                 run: Callable[[list[Task], int, Callable[[Task, str], None]], None]) -> None:
        self.plan, self.progress, self.worker, self._run = plan, progress, worker, run
        self.jobs: list[Job] = []
        self.done: dict[str, PointResult] = {}
        self.failed: dict[str, str] = {}

    def run(self, jobs: list[Job], workers: int) -> None:
        self.jobs += jobs
        tasks = []
        for job in jobs:
            if not self._take(job):
                file = Path(job.folder) / "job.json"
                write_json(file, job.to_json())
                tasks.append(Task(job.label, (*self.worker, str(file)), Path(job.folder) / "worker.log"))
        by_label = {job.label: job for job in jobs}

        def ended(task: Task, error: str) -> None:
            if not error and not self._take(by_label[task.label]):
                error = "ended without a result"
            if error:
                self.failed[task.label] = error
            self._tell(task.label + (f": {error}" if error else ""))
            if self.done:
                write_data(self.result(), self.plan.common.out)

        self._tell()
        self._run(tasks, workers, ended)

    def _tell(self, note: str = "") -> None:
        self.progress(Step("sweep", len(self.done), self.plan.total, note))

    def _take(self, job: Job) -> bool:
        found = finished(job, self.plan.common.out)
        if found is not None:
            self.done[job.label] = found
        return found is not None

    def result(self) -> SweepResult:
        """All finished points in the order of the plan."""
        spec, common = self.plan.spec, self.plan.common
        points = [self.done[job.label] for job in self.jobs if job.label in self.done]
        skips = any(point.values.get(RATE, 1.0) < 1 for point in points)
        parts = max((sum(part_rate(n) in point.values for n in range(MOST_PARTS)) for point in points), default=1)
        columns = sweep_columns(spec.target, spec.devices, spec.score.metrics, skips, parts)
        reference, points = _derived(points, columns)
        settings: dict[str, Any] = {
            "sweep_sha256": sha256(spec.file), "corpus": common.corpus_hash, "recipe": spec.recipe.identity(),
            "from": spec.start, "devices": list(spec.devices), "scoring": spec.score.to_json()}
        return SweepResult(spec.name, spec.target, settings, columns, reference, tuple(points), dict(self.failed),
                           versions())


def _derived(points: list[PointResult], columns: tuple[Column, ...]) -> tuple[dict[str, float], list[PointResult]]:
    """The dense float model's numbers, and the points with what is reckoned against it."""
    dense = points[0].values
    reference = {key.removeprefix("float_"): value for key, value in dense.items() if key.startswith("float_")}
    reference |= {key: value for key, value in dense.items() if key.startswith("noisy_")}
    found = []
    for point in points:
        values = {key: value for key, value in point.values.items() if not key.startswith(("float_", "noisy_"))}
        values |= _against(values, reference, dense["weights"])
        if any(column.key.startswith(MEAN) for column in columns):
            values |= _means(values, columns)
        found.append(dataclasses.replace(point, values=values))
    return reference, found


def _against(values: Mapping[str, float], reference: Mapping[str, float], weights: float) -> dict[str, float]:
    found = {"zeros": 100 * (1 - values["surviving"] / weights),
             "smaller": reference["bytes"] / max(1.0, values.get("encoded", values["bitmask"]))}
    for key, score in (("delta", "sdr"), ("val_delta", "val_sdr")):
        if score in values and score in reference:
            found[key] = values[score] - reference[score]
    return found


def _means(values: Mapping[str, float], columns: tuple[Column, ...]) -> dict[str, float]:
    """Update rates, and each cost times the test split's; a network of several parts brings its own means."""
    rate = values.get(RATE, 1.0)
    found = {RATE: rate, VAL_RATE: values.get(VAL_RATE, rate)} if any(c.key == RATE for c in columns) else {}
    if part_rate(1) not in values:
        found |= {MEAN + c.key: rate * values[c.key] for c in costs(columns) if c.key in values}
    return found | {"mean_mops": OPERATIONS * ({**values, **found})[MEAN + "macs"] / 1e6}
