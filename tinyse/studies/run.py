"""The whole chain with one call: corpus, training, export, an example, scores, cost, report.

``run`` owns the order and nothing else; each stage is a call into the module that does it. Everything is
kept under the output folder, so a run that was cut goes on where it stopped, and a second call with the
same inputs only reads.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinyse.core.artifacts import sha256, versions, write_bytes, write_json
from tinyse.core.chain import Chain, Outcome, StageTime
from tinyse.core.errors import CorpusError
from tinyse.core.origin import Source
from tinyse.core.progress import Progress, silent
from tinyse.engines import load_engine
from tinyse.engines.enhance import enhance_signal
from tinyse.export.bundle import model_of, model_sha256
from tinyse.export.targets import load_target
from tinyse.graph.model import Model
from tinyse.measure.costs.parts import Rates, rated, scored_rates
from tinyse.measure.costs.render import Table, tables, to_json
from tinyse.measure.report import Clip, Costs, Number, Report, Summary, figure_before_after, write_report
from tinyse.measure.report.page import wav_bytes
from tinyse.measure.scores.pairs import Pair, corpus_pairs, read_signal
from tinyse.measure.scores.render import write_evaluation
from tinyse.measure.scores.result import Evaluation
from tinyse.measure.scores.scoring import ALL, SECONDS, SNRS, evaluate
from tinyse.measure.scores.systems import System
from tinyse.sound.corpus.store import Corpus, corpus_dir
from tinyse.train.recipe import Recipe, load_recipe

COUNT = 8  # mixtures per SNR: 48 clips keep the evaluation within a minute on two cores
SEED = 2026  # of the test mixtures; fixed, so that recipes are scored on the same clips
EXAMPLES = ((0.0, 0), (6.0, 1))  # SNR in dB and index of the clips to listen to
SIGNALS = ("noisy", "float", "quantized", "clean")
FIRMWARE = "firmware (QEMU)"
FLOAT, QUANTIZED = "float", "quantized"
ENHANCED = "audio/0-firmware.wav"
COSTS = ("cycles per frame", "cycles per mean frame", "ms per frame", "bytes")


@dataclass(frozen=True)
class RunResult:
    """What a run gives.

    Attributes:
        summary: the one table.
        page: the report.
        training: folder of the training run.
        export: folder of the export.
        times: each stage's elapsed time, measured.
    """

    summary: Summary
    page: Path
    training: Path
    export: Path
    times: tuple[StageTime, ...]


def run(
    recipe: str | Path = "quick",
    out: Path | str = "report",
    target: str = "ethos-u55-128",
    corpus: Path | str | None = None,
    overrides: Mapping[str, str] | None = None,
    *,
    count: int = COUNT,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
) -> RunResult:
    """Train, export, score and report.

    Args:
        recipe: a built-in name or a YAML file.
        out: folder of everything that is made; the page is ``out/index.html``.
        target: a target's name or YAML file.
        corpus: a corpus folder; None fetches the recipe's tier.
        overrides: ``section.key`` -> YAML text, applied to the recipe.
        count: test mixtures per SNR.
        progress: told of every stage.
        clock: seconds, for elapsed times.

    Raises:
        TinyseError: any stage's; what finished before it stays and is not done again.
    """
    plan = load_recipe(recipe, overrides).enhances()
    load_target(target)  # an unknown target is refused before minutes of training
    folder = Path(out)
    chain = Chain(folder, progress, clock)
    sound = _fetched(chain, plan, corpus, progress)
    training = _trained(chain, plan, sound, progress)
    export = _exported(chain, training, target, progress)
    examples = _example(chain, training, export, sound)
    evaluation = _scored(chain, training, export, sound, count, progress)
    cost = _costed(chain, training, export, target, scored_rates(evaluation, QUANTIZED))
    examples = _with_firmware(examples, chain.folder)
    costs = Costs({label: {name: Number(**number) for name, number in numbers.items()}
                   for label, numbers in cost["costs"].items()}, COSTS)
    summary = Summary.of(evaluation, costs)
    page = write_report(folder, Report(
        title=f"tinyse: {plan.name} on {target}",
        subtitle=f"recipe {plan.name}, seed {plan.seed}; corpus {sound.hash[:12]}; "
                 f"{len(evaluation.clips)} unseen test mixtures",
        summary=summary,
        evaluation=evaluation,
        clips=examples,
        curves=_bytes(training / "curves.png"),
        figures={"Roofline": roofline} if (roofline := _bytes(folder / "profile" / "roofline.png")) else {},
        tables=[Table(row["title"], tuple(row["header"]), tuple(map(tuple, row["rows"])), tuple(row["notes"]))
                for row in cost["tables"]],
        recipe=plan.as_yaml(),
        versions=versions(),
    ))
    return RunResult(summary, page, training, export, tuple(chain.times))


def _fetched(chain: Chain, plan: Recipe, chosen: Path | str | None, progress: Progress) -> Corpus:
    """Open the corpus; fetch it first where the recipe's tier is not there."""
    given = chosen or plan.corpus.path
    if given:
        return Corpus.open(given)
    folder = corpus_dir(plan.corpus.tier)

    def work() -> Outcome:
        from tinyse.sound.corpus.fetch import fetch

        fetch(plan.corpus.tier, progress=progress)
        return Outcome([folder / "corpus.json"])

    chain.stage("fetch", {"tier": plan.corpus.tier}, work)
    return Corpus.open(folder)


def _trained(chain: Chain, plan: Recipe, sound: Corpus, progress: Progress) -> Path:
    inputs = {"recipe": plan.identity(), "corpus": sound.hash}
    folder = chain.folder / "runs" / f"{plan.name}-{_digest(inputs)}"  # another recipe never resumes this one

    def work() -> Outcome:
        from tinyse.train import train

        train(plan, folder, sound.folder, progress, resume=True)
        return Outcome([folder / name for name in ("model.npz", "float.npz", "curves.png")])

    chain.stage("train", inputs, work)
    return folder


def _exported(chain: Chain, training: Path, target: str, progress: Progress) -> Path:
    folder = chain.folder / "export"

    def work() -> Outcome:
        from tinyse.export.pipeline import export_run

        export_run(training, target, folder, progress)
        return Outcome(sorted(path for path in folder.rglob("*") if path.is_file()))

    chain.stage("export", {"model": sha256(training / "model.npz"), "target": _target_key(target)}, work)
    return folder


def _example(chain: Chain, training: Path, export: Path, sound: Corpus) -> list[Clip]:
    """Enhance the clips to listen to; WAV files and the before-after figure lie in ``audio/``."""
    folder = chain.folder / "audio"
    models = _models(training, export)

    def work() -> Outcome:
        engines = {system.label: load_engine(system.path, system.engine) for system in models}
        files = []
        for number, pair in enumerate(_chosen(sound)):
            signals = {"noisy": pair.noisy, "clean": pair.clean}
            signals |= {label: enhance_signal(pair.noisy, engine) for label, engine in engines.items()}
            for name, signal in signals.items():
                files.append(folder / f"{number}-{name}.wav")
                write_bytes(files[-1], wav_bytes(signal))
            if number == 0:
                files.append(folder / "before-after.png")
                write_bytes(files[-1], figure_before_after(pair.noisy, signals[QUANTIZED], pair.clean))
        return Outcome(files, {"names": [f"{snr:g} dB input SNR, test clip {index}" for snr, index in EXAMPLES]})

    value = chain.stage("enhance", {"corpus": sound.hash, **_hashes(models)}, work)
    return [Clip(name, {signal: read_signal(folder / f"{number}-{signal}.wav") for signal in SIGNALS})
            for number, name in enumerate(value["names"])]


def _with_firmware(clips: list[Clip], folder: Path) -> list[Clip]:
    """The first clip as the firmware enhanced it too, where it ran on QEMU."""
    file = folder / ENHANCED
    if not file.is_file():
        return clips
    signals = dict(clips[0].signals)
    clean = signals.pop("clean")
    return [Clip(clips[0].name, {**signals, FIRMWARE: read_signal(file), "clean": clean}), *clips[1:]]


def _chosen(sound: Corpus) -> list[Pair]:
    chosen = []
    for snr, index in EXAMPLES:
        pairs = list(corpus_pairs(sound.folder, "test", (snr,), index + 1, SECONDS, SEED))
        if len(pairs) <= index:
            raise CorpusError(f"{sound.folder}: too little test speech or noise for an example",
                              "fetch a corpus, or import more test material")
        chosen.append(pairs[index])
    return chosen


def _scored(chain: Chain, training: Path, export: Path, sound: Corpus, count: int,
            progress: Progress) -> Evaluation:
    folder = chain.folder / "evaluation"
    models = _models(training, export)

    def work() -> Outcome:
        before, after = models
        evaluation = evaluate(before.path, before.engine, sound.folder, "test", SNRS, count, SEED,
                              against=after, metrics=ALL, progress=progress, label=before.label)
        return Outcome(write_evaluation(evaluation, folder).values())

    chain.stage("evaluate", {"corpus": sound.hash, "count": count, "seed": SEED, **_hashes(models)}, work)
    return Evaluation.from_dict(json.loads((folder / "evaluation.json").read_text(encoding="utf-8")))


def _costed(chain: Chain, training: Path, export: Path, target: str, rates: Rates | None) -> Mapping[str, Any]:
    """Cycles, milliseconds and bytes per model, and the profile's tables, as JSON values.

    Of a network that does not run whole on every frame, a mean frame is one at ``rates``.
    """
    folder = chain.folder / "profile"
    models = _models(training, export)

    def work() -> Outcome:
        from tinyse.measure.costs.execution import Options
        from tinyse.measure.costs.pipeline import profile
        from tinyse.measure.costs.roofline import draw_roofline

        emulated = chain.folder / ENHANCED
        emulated.unlink(missing_ok=True)
        options = Options(wav=chain.folder / "audio" / "0-noisy.wav", enhanced=emulated)
        profiled = rated(profile(export, target, options), rates)
        files = [folder / "profile.json", *([emulated] if emulated.is_file() else [])]
        write_json(files[0], to_json(profiled))
        sizes = profiled.sizes
        numbers = {"bytes": Number(sizes.vela_file or sizes.int8_file or 0, "", sizes.origin.label)}
        if profiled.npu is not None:
            source = f"{profiled.npu.origin.label} ({profiled.npu.origin.tool})"
            numbers["cycles per frame"] = Number(profiled.npu.cycles, "", source)
            mean = profiled.parts.of("cycles", Source.ESTIMATED)[-1] if profiled.parts and rates else None
            if profiled.parts and mean is not None and mean.mean is not None:
                numbers["cycles per mean frame"] = Number(round(mean.mean), "", profiled.parts.mean_label(mean))
            numbers["ms per frame"] = Number(profiled.npu.milliseconds, "", source)
            files.append(folder / "roofline.png")
            draw_roofline(profiled, files[-1], load_target(target))
        plain = Number(4 * Model.load(models[0].path).parameters, "", sizes.origin.label)
        costs = {FLOAT: {"bytes": plain}, QUANTIZED: numbers}
        return Outcome(files, {
            "costs": {label: {name: asdict(n) for name, n in found.items()} for label, found in costs.items()},
            "tables": [asdict(table) for table in tables(profiled)[1:]],
        })

    inputs = {"target": _target_key(target), **_hashes(models), **({"rates": list(rates.shares)} if rates else {})}
    return chain.stage("profile", inputs, work)


def _models(training: Path, export: Path) -> tuple[System, System]:
    return (System(FLOAT, "keras", training / "float.npz"),
            System(QUANTIZED, "tflm", model_of(export) or export))


def _hashes(models: tuple[System, ...]) -> dict[str, str]:
    return {system.label: model_sha256(system.path) for system in models}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def _target_key(target: str) -> str:
    return sha256(target) if Path(target).is_file() else target


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
