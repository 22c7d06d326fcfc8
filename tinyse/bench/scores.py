"""Scores of one contender on the bench's mixtures, kept clip by clip so that nothing is scored twice.

A contender's file is named by a hash over the contender and the metrics, and a line of it by one over a clip's
samples: a run that was cut short goes on, and a longer one takes over what a shorter one scored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.bench.contenders import Contender
from tinyse.bench.peer import enhance
from tinyse.core.artifacts import versions, write_bytes, writing
from tinyse.core.cluster import Cluster
from tinyse.core.errors import TinyseError
from tinyse.core.progress import Progress, Step, silent
from tinyse.core.workers import ONE_THREAD, in_workers
from tinyse.export.bundle import model_sha256
from tinyse.measure.scores.metrics import conventions, score, select
from tinyse.measure.scores.pairs import Pair
from tinyse.measure.scores.result import ClipScore, Evaluation
from tinyse.measure.scores.systems import System


@dataclass(frozen=True)
class Scored:
    """One clip of one contender: values by metric column, reasons of what is missing, share of frames that ran.

    ``clip`` is the SHA-256 of its samples, as of ``clip_digest``.
    """

    clip: str
    values: Mapping[str, float]
    skipped: Mapping[str, str] = field(default_factory=dict)
    update_rate: float | None = None


@dataclass(frozen=True)
class Mixtures:
    """The clips of one table, and the SHA-256 of all their samples."""

    pairs: tuple[Pair, ...]
    clips: tuple[str, ...]
    sha256: str

    @staticmethod
    def of(pairs: Iterable[Pair]) -> Mixtures:
        """Hash in the order and form that ``tinyse evaluate`` does."""
        kept = tuple(pairs)
        digest = hashlib.sha256()
        for pair in kept:
            digest.update(_bytes(pair))
        return Mixtures(kept, tuple(clip_digest(pair) for pair in kept), digest.hexdigest())


def clip_digest(pair: Pair) -> str:
    """SHA-256 of a clip's noisy and clean samples."""
    return hashlib.sha256(_bytes(pair)).hexdigest()


def _bytes(pair: Pair) -> bytes:
    return b"".join(np.ascontiguousarray(signal, np.float32).tobytes() for signal in (pair.noisy, pair.clean))


def score_contender(contender: Contender, mixtures: Mixtures, metrics: Sequence[str], cache: Path, workers: int = 1,
                    progress: Progress = silent, cluster: Cluster | None = None) -> list[Scored]:
    """Scores on every mixture, in order; what the cache or a model's card holds is not scored again.

    Args:
        contender: whom.
        mixtures: on what.
        metrics: names from ``tinyse.measure.scores.metrics``.
        cache: folder of finished scores.
        workers: processes; 0 scores in this one.
        progress: receives the contender's name as the task.
        cluster: where the workers run; None: here.

    Raises:
        TinyseError: it cannot be loaded, or a worker died.
    """
    file = cache / f"{_slug(contender.name)}-{_key(contender, metrics)}.jsonl"
    done = _read(file)
    if contender.system is not None and len(done.keys() & set(mixtures.clips)) < len(mixtures.clips):
        done |= carded(contender.system, mixtures, metrics)
    todo = [pair for pair, clip in zip(mixtures.pairs, mixtures.clips, strict=True) if clip not in done]
    total = len(mixtures.pairs)
    finished = total - len(todo)
    progress(Step(contender.name, finished, total))
    if todo:
        with writing(file):
            cache.mkdir(parents=True, exist_ok=True)
            with open(file, "a", encoding="utf-8") as stream:
                for scored in _scores(contender, todo, list(metrics), workers, cluster):
                    stream.write(json.dumps(asdict(scored)) + "\n")
                    stream.flush()
                    done[scored.clip] = scored
                    finished += 1
                    progress(Step(contender.name, finished, total))
    _WORKER.clear()
    return [done[clip] for clip in mixtures.clips]


def carded(system: System, mixtures: Mixtures, metrics: Sequence[str]) -> dict[str, Scored]:
    """Scores by clip from the evaluation.json beside a model; none unless all that decides them is the same."""
    try:
        found = Evaluation.from_dict(json.loads((system.folder / "evaluation.json").read_text(encoding="utf-8")))
        wanted = {"engine": system.engine, "sha256": model_sha256(system.path)}
        label = next((model["label"] for model in found.provenance["models"]
                      if {key: model.get(key) for key in wanted} == wanted), None)
        given = {key: found.provenance[key] for key in ("audio_sha256", "versions", "conventions")}
        if label is None or len(found.clips) != len(mixtures.clips) or given != {
                "audio_sha256": mixtures.sha256, "versions": versions(), "conventions": conventions(metrics)}:
            return {}
        return {clip: Scored(clip, row.values[label], row.skipped.get(label, {}), row.updates.get(label))
                for clip, row in zip(mixtures.clips, found.clips, strict=True)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, TinyseError):
        return {}  # no card, or a damaged one: the model is scored here


def evaluation_of(scores: Mapping[str, Sequence[Scored]], mixtures: Mixtures, metrics: Sequence[str],
                  provenance: Mapping[str, Any]) -> Evaluation:
    """All contenders' scores as one evaluation: a mean covers the clips on which every one could be scored."""
    by_clip = [{name: listed[index] for name, listed in scores.items()} for index in range(len(mixtures.pairs))]
    clips = tuple(
        ClipScore(pair.name, pair.snr, {name: one.values for name, one in found.items()},
                  {name: one.skipped for name, one in found.items() if one.skipped},
                  {name: one.update_rate for name, one in found.items() if one.update_rate is not None})
        for pair, found in zip(mixtures.pairs, by_clip, strict=True))
    columns = tuple(column for metric in select(metrics) for column, _ in metric.columns)
    return Evaluation(tuple(scores), columns, clips, provenance)


def _key(contender: Contender, metrics: Sequence[str]) -> str:
    parts = [contender.identity(), conventions(metrics)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _read(file: Path) -> dict[str, Scored]:
    """Whole lines of a score file; what was cut short or damaged is taken off the file, the rest stays."""
    if not file.is_file():
        return {}
    lines = file.read_bytes().splitlines(keepends=True)
    found = [(line, scored) for line in lines if (scored := _parsed(line)) is not None]
    if len(found) < len(lines):
        write_bytes(file, b"".join(line for line, _ in found))
    return {scored.clip: scored for _, scored in found}


def _parsed(line: bytes) -> Scored | None:
    try:
        scored = Scored(**json.loads(line))
    except (ValueError, TypeError):
        return None
    whole = line.endswith(b"\n") and isinstance(scored.values, dict) and isinstance(scored.skipped, dict)
    return scored if whole and isinstance(scored.clip, str) else None


_WORKER: dict[str, Any] = {}


def _start(contender: Contender, metrics: list[str]) -> None:
    _WORKER.clear()
    _WORKER["metrics"] = select(metrics)
    try:
        _WORKER["suppressor"] = contender.open()
    except TinyseError as error:  # an initializer that raises prints a traceback and breaks the pool
        _WORKER["failure"] = error


def _score(pair: Pair) -> Scored:
    if failure := _WORKER.get("failure"):
        raise failure
    suppressor = _WORKER["suppressor"]
    output = enhance(suppressor, pair.noisy)
    values, skipped = score(_WORKER["metrics"], pair.clean, output)
    rate = getattr(getattr(suppressor, "engine", None), "update_rate", None)
    return Scored(clip_digest(pair), values, skipped, rate)


def _scores(contender: Contender, pairs: Sequence[Pair], metrics: list[str], workers: int,
            cluster: Cluster | None) -> Iterator[Scored]:
    if cluster is None:
        yield from in_workers(_score, pairs, workers, _start, (contender, metrics), f"{contender.name}: a worker",
                              "free some memory, or use --workers 1")
        return
    with cluster.workers(min(workers, len(pairs)), _start, (contender, metrics), ONE_THREAD) as pool:
        yield from pool.in_order(_score, pairs)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())
