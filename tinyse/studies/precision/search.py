"""NSGA-II (Deb et al. 2002; pymoo's) over genomes: fewer bytes, less loss. ::

    found = search(Genes.of(net), judge, journal, Settings(generations=20, population=24))
    front(found)                                # genomes that no other beats
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ToolError
from tinyse.core.progress import Progress, Step, silent
from tinyse.core.workers import ONE_THREAD, Workers, unless_set
from tinyse.studies.precision.evaluation import Subject, judge, start
from tinyse.studies.precision.genes import LEAST, MOST, Genes, Genome
from tinyse.studies.precision.journal import Journal

Numbers = Mapping[str, float]
Many = Callable[[Sequence[Genome]], Iterator[tuple[Genome, dict[str, float]]]]
OBJECTIVES = ("loss", "encoded", "packed", "cycles")
"""Numbers of a genome of which fewer are better."""


@dataclass(frozen=True)
class Settings:
    """A search.

    Attributes:
        generations, population: as NSGA-II has them; the first generation counts. seed: of its draws.
        objectives: of ``OBJECTIVES``. max_loss: of the loss, from which a genome is no solution; of those only the
            amount beyond counts, so that the search stays where somebody would look.
    """

    generations: int
    population: int
    seed: int = 1
    objectives: tuple[str, ...] = OBJECTIVES[:3]
    max_loss: float = 1.0


def search(genes: Genes, many: Many, journal: Journal, settings: Settings, progress: Progress = silent
           ) -> dict[Genome, Numbers]:
    """Run the generations; genomes that the journal knows are not judged again.

    Args:
        many: judges genomes, in whichever order they end.

    Returns:
        Numbers of every genome of the journal.

    Raises:
        ToolError: pymoo is not installed, or a worker died.
    """
    algorithm, problem = _nsga2(genes, settings)
    total, began, fresh = settings.generations * settings.population, 0.0, 0
    for generation in range(settings.generations):
        asked = algorithm.ask()
        genomes = [tuple(int(bits) for bits in row) for row in asked.get("X")]
        unknown = [genome for genome in dict.fromkeys(genomes) if genome not in journal.known]
        done = generation * settings.population + len(genomes) - len(unknown)
        for genome, numbers in many(unknown):
            journal.add(genome, numbers)
            done, began = done + 1, began or time.monotonic()  # what came before the first was preparation
            left = f", {_duration((time.monotonic() - began) / fresh * (total - done))} left" if fresh else ""
            fresh += 1
            progress(Step("search", done, total, f"generation {generation + 1}/{settings.generations}{left}"))
        _tell(algorithm, problem, asked, [journal.known[genome] for genome in genomes], settings)
    return dict(journal.known)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _tell(algorithm: Any, problem: Any, asked: Any, rows: Sequence[Numbers], settings: Settings) -> None:
    from pymoo.core.evaluator import Evaluator
    from pymoo.problems.static import StaticProblem

    values = np.array([[row[key] for key in settings.objectives] for row in rows], np.float64)
    beyond = np.array([[row["loss"] - settings.max_loss] for row in rows])
    Evaluator().eval(StaticProblem(problem, F=values, G=beyond), asked)
    algorithm.tell(infills=asked)


def _nsga2(genes: Genes, settings: Settings) -> tuple[Any, Any]:
    try:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.ux import UniformCrossover
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
    except ImportError as error:
        raise ToolError("pymoo, which has NSGA-II, is not installed", "pip install 'tinyse[search]'") from error
    count = len(genes.places)
    problem = Problem(n_var=count, n_obj=len(settings.objectives), n_ieq_constr=1, xl=LEAST, xu=MOST, vtype=int)
    algorithm = NSGA2(pop_size=settings.population, sampling=first(genes, settings),
                      crossover=UniformCrossover(prob=0.9),
                      mutation=PM(prob=0.9, prob_var=max(1.5 / count, 0.05), eta=5.0, vtype=float,
                                  repair=RoundingRepair()))
    algorithm.setup(problem, termination=("n_gen", settings.generations), seed=settings.seed, verbose=False)
    return algorithm, problem


def first(genes: Genes, settings: Settings) -> NDArray[np.int64]:
    """The first generation: the homogeneous genomes, then mixtures around a mean that grows from few bits to all."""
    rng = np.random.default_rng(settings.seed)
    alike = [genes.alike(bits) for bits in range(MOST, LEAST - 1, -1)][: settings.population]
    rest = settings.population - len(alike)
    means = np.linspace(LEAST + 1, MOST - 1, max(rest, 1))[:rest, None]
    drawn = np.clip(np.rint(rng.normal(means, 1.3, (rest, len(genes.places)))), LEAST, MOST)
    return np.concatenate([np.array(alike).reshape(-1, len(genes.places)), drawn]).astype(np.int64)


def front(found: Mapping[Genome, Numbers], keys: Sequence[str] = OBJECTIVES[:2]) -> list[Genome]:
    """Genomes that no other beats in one of ``keys`` without losing in another, from the smallest to the largest."""
    genomes = sorted(found, key=lambda genome: tuple(found[genome][key] for key in reversed(keys)))
    values = np.array([[found[genome][key] for key in keys] for genome in genomes])
    kept: list[Genome] = []
    for row, genome in zip(values, genomes, strict=True):
        beaten = (values <= row).all(1) & (values < row).any(1)
        if not beaten.any() and all(any(found[genome][key] != found[other][key] for key in keys) for other in kept):
            kept.append(genome)
    return kept


@contextmanager
def processes(subject: Subject, workers: int) -> Iterator[Many]:
    """A ``Many`` of worker processes, each with a network and the mixtures of its own; 0: in this one.

    Raises:
        ToolError: one died.
    """
    if workers < 1:
        start(subject)
        yield lambda genomes: ((genome, judge(genome)) for genome in genomes)
        return
    with Workers(workers, start, (subject,), unless_set(ONE_THREAD)) as pool:

        def many(genomes: Sequence[Genome]) -> Iterator[tuple[Genome, dict[str, float]]]:
            waiting: dict[Future[Any], Genome] = {pool.submit(judge, genome): genome for genome in genomes}
            try:
                while waiting:
                    for ended in wait(waiting, return_when=FIRST_COMPLETED).done:
                        yield waiting.pop(ended), ended.result()
            except BrokenProcessPool as error:
                raise ToolError(f"a worker of the search {pool.ending()}",
                                "give the same command again, with --workers 1 if memory was short") from error

        yield many
