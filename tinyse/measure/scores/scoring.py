"""Stream mixtures through an engine, hop by hop as a device would, and score what comes out.

Two worker processes each load the engine once and take clips from a queue; clips are numbered, so the
result does not depend on which worker was faster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.core.artifacts import versions
from tinyse.core.errors import CorpusError, TinyseError
from tinyse.core.progress import Progress, Step, silent
from tinyse.core.workers import in_workers
from tinyse.engines import Engine
from tinyse.measure.scores.conditions import CONDITIONS, LEVEL_SNR, LEVELS_DB, Maker
from tinyse.measure.scores.metrics import METRICS, PAPERS, VOICE, Metric, Signal, conventions, score, select
from tinyse.measure.scores.pairs import Pair, corpus_pairs, folder_pairs, over_note
from tinyse.measure.scores.result import NOISY, SOURCE, ClipScore, Evaluation
from tinyse.measure.scores.systems import System, describe, load, resolve
from tinyse.measure.scores.voices import CONVENTIONS, hears_voice, score_voices
from tinyse.sound import StreamingEnhancer

SNRS = (-6.0, -3.0, 0.0, 3.0, 6.0, 9.0)
ALL = tuple(name for name in METRICS if name not in ("composite", "predicted"))
QUICK = ("si_sdr", "pesq")
SECONDS = 5.0
ENHANCED = "enhanced"
"""Label of a model that was given none."""


def stream(engine: Engine, wave: Signal) -> Signal:
    """Enhance ``wave``, float32[samples], hop by hop; the same length comes back, time-aligned."""
    ends = engine.ends
    enhancer = StreamingEnhancer(engine, ends)
    enhancer.reset()
    hops = -(-len(wave) // ends.framing.hop)
    padded = np.zeros(hops * ends.framing.hop, np.float32)
    padded[: len(wave)] = wave
    done = [enhancer.push(hop) for hop in padded.reshape(hops, ends.framing.hop)]
    result: Signal = np.concatenate([*done, enhancer.flush()])[ends.delay : ends.delay + len(wave)]
    return result


_WORKER: dict[str, Any] = {}


def _start(systems: Sequence[System], metrics: Sequence[str]) -> None:
    _WORKER["metrics"] = select(metrics)
    try:
        _WORKER["engines"] = [(system.label, load(system)) for system in systems]
    except TinyseError as error:  # an initializer that raises prints a traceback and breaks the pool
        _WORKER["failure"] = error


def _score_pair(pair: Pair) -> ClipScore:
    if failure := _WORKER.get("failure"):
        raise failure
    metrics: tuple[Metric, ...] = _WORKER["metrics"]
    outputs = {NOISY: pair.noisy}
    updates, parts = {}, {}
    for label, engine in _WORKER["engines"]:
        outputs[label] = stream(engine, pair.noisy)
        if (rate := engine.update_rate) is not None:
            updates[label] = rate
        if rates := engine.part_rates:
            parts[label] = rates
    scored = {label: score(metrics, pair.clean, output) for label, output in outputs.items()}
    return ClipScore(
        name=pair.name,
        snr=pair.snr,
        values={label: values for label, (values, _) in scored.items()},
        skipped={label: skipped for label, (_, skipped) in scored.items() if skipped},
        updates=updates,
        parts=parts,
    )


def score_pairs(
    systems: Sequence[System],
    pairs: Iterable[Pair],
    metrics: Sequence[str] = ALL,
    *,
    total: int = 0,
    workers: int = 2,
    progress: Progress = silent,
    provenance: dict[str, Any] | None = None,
) -> Evaluation:
    """Score the noisy input and each system's streamed output on every pair.

    Args:
        systems: models to run, labels unique.
        pairs: clips; read lazily, a few at a time.
        metrics: names from ``METRICS``; networks that say where voice is have columns of their own.
        total: how many pairs to expect, for the progress bar.
        workers: processes; 1 runs in this one.
        progress: called after each clip.
        provenance: what to note beside the hashes, conventions and versions.

    Raises:
        TinyseError: no pair, a model that cannot be loaded, or a metric package that is missing.
    """
    chosen, voices = select(metrics), hears_voice(systems)
    if voices:
        systems = [replace(each, label="voice") if each.label == ENHANCED else each for each in systems]
    names = [metric.name for metric in chosen]
    labels = (NOISY, *(system.label for system in systems))
    if len(set(labels)) != len(labels):
        raise TinyseError(f"two systems are called the same: {', '.join(labels)}")
    digest = hashlib.sha256()
    clips: list[ClipScore] = []
    if voices:
        clips += score_voices(systems, _hashed(pairs, digest), total, progress)
    try:
        for clip in () if voices else in_workers(
                _score_pair, _hashed(pairs, digest), workers if workers > 1 else 0, _start, (systems, names),
                "an evaluation worker", "native code, or memory that ran out: use --workers 1 or another --engine"):
            clips.append(clip)
            progress(Step("evaluate", len(clips), total, clip.name))
    finally:
        _WORKER.clear()
    if not clips:
        raise CorpusError("nothing to evaluate: no mixture or pair was found",
                          "check the folders, or fetch a corpus")
    return Evaluation(
        systems=labels,
        columns=tuple(VOICE) if voices else tuple(column for metric in chosen for column, _ in metric.columns),
        clips=tuple(clips),
        provenance={
            "source": SOURCE,
            "models": [describe(system) for system in systems],
            "audio_sha256": digest.hexdigest(),
            "conventions": CONVENTIONS if voices else conventions(names),
            "versions": versions(),
            **(provenance or {}),
        },
    )


def _hashed(pairs: Iterable[Pair], digest: Any) -> Iterator[Pair]:
    for pair in pairs:
        for signal in (pair.noisy, pair.clean):
            digest.update(np.ascontiguousarray(signal, np.float32).tobytes())
        yield pair


def evaluate(
    model_path: Path | str,
    engine: str | None,
    corpus: Path | str | None,
    split: str = "test",
    snrs: Sequence[float] = SNRS,
    count_per_snr: int = 20,
    seed: int = 0,
    *,
    against: System | None = None,
    metrics: Sequence[str] = ALL,
    seconds: float = SECONDS,
    workers: int = 2,
    progress: Progress = silent,
    label: str = ENHANCED,
    condition: str = "mixtures",
    exit_at: int = 0,
) -> Evaluation:
    """Score a model on seeded mixtures of a corpus split.

    Args:
        model_path: run folder, export folder, ``.npz`` or ``.tflite``.
        engine: "keras", "tflm", "npu", or None for what the path suggests.
        corpus: a fetched or imported corpus folder; None for the fetched small one.
        split: "test", "validation" or "train".
        snrs: signal-to-noise ratios in dB.
        count_per_snr: mixtures at each; the same utterances and noises at every SNR.
        seed: of the mixtures.
        against: a second system on the same mixtures.
        metrics: names from ``METRICS``.
        seconds: length of a mixture.
        workers: processes.
        progress: called after each clip.
        label: the model's name in tables.
        condition: of `conditions.CONDITIONS`; in "levels" an SNR stands for a level.
        exit_at: where every frame of the model stops, an exit from 1; 0 for what its plan says.

    Raises:
        TinyseError: model, corpus or package missing, or no mixture.
    """
    if count_per_snr < 1 or not snrs:
        raise CorpusError("nothing to evaluate: give at least one SNR and a count of at least 1")
    systems = [resolve(model_path, engine, label, exit_at), *([against] if against else [])]
    described: dict[str, Any] = {"split": split, "snrs": [float(snr) for snr in snrs], "count_per_snr": count_per_snr,
                 "seed": seed, "seconds": seconds}
    make: Maker = corpus_pairs
    total = len(snrs) * count_per_snr
    if condition != "mixtures":
        make, described["condition"] = CONDITIONS[condition], condition
        fixed: dict[str, dict[str, Any]] = {
            "levels": {"snrs": [LEVEL_SNR], "levels_db": list(LEVELS_DB)}, "clean": {"snrs": []}}
        described.update(fixed.get(condition, {}))
        total = {"levels": len(LEVELS_DB) * count_per_snr, "clean": count_per_snr}.get(condition, total)
    return score_pairs(
        systems, make(corpus, split, snrs, count_per_snr, seconds, seed), metrics,
        total=total, workers=workers, progress=progress, provenance=described,
    )


def evaluate_folders(
    model_path: Path | str,
    engine: str | None,
    noisy: Path,
    clean: Path,
    *,
    against: System | None = None,
    metrics: Sequence[str] = PAPERS,
    workers: int = 2,
    progress: Progress = silent,
    label: str = ENHANCED,
    exit_at: int = 0,
) -> Evaluation:
    """Score a model on a user's own pairs: files of the same name in two folders.

    Arguments as in ``evaluate``.

    Raises:
        TinyseError: a folder, a partner, the model or a package is missing.
    """
    systems = [resolve(model_path, engine, label, exit_at), *([against] if against else [])]
    over: dict[Path, float] = {}
    evaluation = score_pairs(systems, folder_pairs(noisy, clean, over), metrics, workers=workers, progress=progress,
                             provenance={"split": "own pairs"})
    return replace(evaluation, provenance={**evaluation.provenance, "note": over_note(over)}) if over else evaluation
