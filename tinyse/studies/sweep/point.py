"""One point: train, export, score the streamed int8 output, cost it. A chain that can be cut anywhere."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinyse.core.artifacts import sha256, versions, write_bytes, write_json
from tinyse.core.chain import Chain, Outcome
from tinyse.core.errors import ModelError, TinyseError
from tinyse.core.origin import Source
from tinyse.core.progress import Progress, silent
from tinyse.export.bundle import INT8, MANIFEST, model_of, model_sha256, open_bundle, part_files
from tinyse.export.cnetwork import c_network
from tinyse.export.targets import load_target
from tinyse.graph.groups import Structure
from tinyse.graph.model import Model
from tinyse.graph.plan import Plan
from tinyse.measure.costs.parts import USED, rated, scored_rates
from tinyse.measure.costs.results import Profile, Sizes
from tinyse.measure.scores.render import write_evaluation
from tinyse.measure.scores.result import NOISY, Evaluation
from tinyse.measure.scores.scoring import evaluate
from tinyse.measure.scores.systems import System
from tinyse.sound.corpus.store import Corpus
from tinyse.studies.sweep.columns import MEAN, RATE, SRAM_ONLY, VAL, part_rate
from tinyse.studies.sweep.identity import decides
from tinyse.studies.sweep.plan import Job, Kind, can_emulate
from tinyse.studies.sweep.results import PointResult
from tinyse.train.dense import bundled_model, dense_model
from tinyse.train.recipe import load_recipe, recipe_of

FILE = "point.json"
FLOAT, QUANTIZED = "float", "int8"
VALIDATED = ("si_sdr", "sdr")


def run_job(job: Job, progress: Progress = silent) -> None:
    """Do whatever of the job is not done and write ``point.json``.

    Raises:
        TinyseError: a stage's; what finished before it stays.
    """
    folder = Path(job.folder)
    chain = Chain(folder, progress)
    model = _model(job, chain, progress)
    int8 = _exported(job, chain, model, progress)
    scored = {split: _scored(job, chain, int8, split, progress) for split in ("validation", "test")}
    values = _scores(scored["validation"], VAL) | _scores(scored["test"])
    cost = _costed(job, chain, int8, scored["test"])
    values |= cost["values"]
    for evaluation, before in ((scored["validation"], VAL), (scored["test"], "")):
        values |= _means(evaluation.part_rates(QUANTIZED), cost.get("parts", {}), before)
    files = [folder / "export" / MANIFEST, *part_files(folder / "export", INT8),
             folder / "validation" / "evaluation.json", folder / "test" / "evaluation.json"]
    files += [path for name in (MANIFEST, "model.npz", "float.npz") if (path := folder / name).is_file()]
    write_json(folder / FILE, {
        "key": job.key, "versions": versions(), "values": values, "notes": cost["notes"],
        "sha256": {str(path.relative_to(folder)): sha256(path) for path in sorted(files)}})


def finished(job: Job, out: Path) -> PointResult | None:
    """The job's result where it is done and its int8 file is as it was."""
    folder = Path(job.folder)
    try:
        held = json.loads((folder / FILE).read_text(encoding="utf-8"))
        files = part_files(folder / "export", INT8)
        if held["key"] != job.key or not files or any(
                held["sha256"][f"export/{file.name}"] != sha256(file) for file in files):
            return None
        values = {str(key): float(value) for key, value in held["values"].items()}
        notes, hashes = tuple(map(str, held["notes"])), dict(held["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ModelError):
        return None  # not there yet, or damaged: the point runs again
    return PointResult(job.name, job.seed, job.kind, job.family, job.structure, job.sparsity,
                       str(folder.relative_to(out)), values, notes, hashes)


def _model(job: Job, chain: Chain, progress: Progress) -> Path:
    """What is exported: the run trained here, the given dense model, or an offline-pruned int8 file.

    Of a dense int8 file the float model is written too: it is what the others start from and are held against.
    """
    folder = Path(job.folder)
    if job.kind is Kind.OFFLINE:
        return _pruned(job, chain)
    if job.recipe is None:
        source = Path(job.source)
        if source.suffix == ".tflite":
            dense_model(source, "from").save(Path(job.floating))
        return source
    values = job.recipe
    if job.network:
        own = folder / Path(values["family"]).name
        write_bytes(own, job.network.encode(errors="surrogateescape"))
        values = {**values, "family": str(own)}
    recipe = recipe_of(values, job.folder)
    if (folder / "checkpoints" / "last.npz").is_file() and (folder / "recipe.yaml").is_file():
        held = load_recipe(folder / "recipe.yaml")
        if decides(held) == decides(recipe):
            recipe = held  # the same but for the path of its start, which a checkpoint insists on

    def work() -> Outcome:
        from tinyse.train import train

        train(recipe, folder, Path(job.corpus), progress, resume=True)
        names = ("model.npz", "float.npz", "calibration.npy", "recipe.yaml", MANIFEST)
        return Outcome([folder / name for name in names])

    chain.stage("train", {"recipe": decides(recipe), "corpus": Corpus.open(job.corpus).hash}, work)
    return folder


def _pruned(job: Job, chain: Chain) -> Path:
    """The pruned int8 file; where units are pruned, a model of it, whose export leaves them out.

    A matrix that lost its largest weight gets a new scale there, so masks may differ from the file's by rounding.
    """
    unit = job.structure == Structure.UNIT
    made = Path(job.folder) / ("pruned.npz" if unit else "pruned.tflite")

    def work() -> Outcome:
        from tinyse.export.writer import write
        from tinyse.graph.offline import prune_offline

        bundle = open_bundle(job.source)
        pruned = prune_offline(bundle.graph_plan().graphs[0], job.sparsity, job.structure,
                               (job.block[0], job.block[1]), apart=bundle.gate).graph
        if unit:
            plan = Plan((pruned,), bundle.plan.results, bundle.plan.policy)
            replace(bundled_model(bundle, plan), meta={"structure": job.structure}).save(made)
        else:
            write_bytes(made, write(pruned))
        return Outcome([made])

    chain.stage("prune", {"source": sha256(job.source), "sparsity": job.sparsity, "structure": job.structure,
                          "block": job.block}, work)
    return made


def _exported(job: Job, chain: Chain, model: Path, progress: Progress) -> Path:
    """The int8 file, or the export's folder where it has several parts."""
    folder = Path(job.folder) / "export"
    origin = model / "model.npz" if model.is_dir() else model

    def work() -> Outcome:
        from tinyse.export.pipeline import export_run

        export_run(model, job.target, folder, progress)
        return Outcome(sorted(path for path in folder.rglob("*") if path.is_file()))

    chain.stage("export", {"model": sha256(origin), "target": sha256(load_target(job.target).path)}, work)
    made = model_of(folder)
    assert made is not None
    return made


def _scored(job: Job, chain: Chain, int8: Path, split: str, progress: Progress) -> Evaluation:
    """Scores of one split; of the dense job the float model's too."""
    folder, score, test = Path(job.folder) / split, job.scoring, split == "test"
    quantized = System(QUANTIZED, "tflm", int8)
    floating = System(FLOAT, "keras", Path(job.floating)) if job.floating else None
    first, second = (floating, quantized) if floating else (quantized, None)
    inputs = {"corpus": Corpus.open(job.corpus).hash, "scoring": score.to_json(), "int8": model_sha256(int8),
              "float": sha256(job.floating) if job.floating else None}

    def work() -> Outcome:
        found = evaluate(first.path, first.engine, job.corpus, split, score.snrs,
                         score.count if test else score.validation, score.seed, against=second,
                         metrics=score.metrics if test else VALIDATED, seconds=score.seconds, workers=1,
                         progress=progress, label=first.label)
        return Outcome(write_evaluation(found, folder).values())

    chain.stage(split, inputs, work)
    return Evaluation.from_dict(json.loads((folder / "evaluation.json").read_text(encoding="utf-8")))


def _scores(evaluation: Evaluation, before: str = "") -> dict[str, float]:
    """Means of the metrics, and the update rate of a Skip RNN, or the rates of several parts."""
    values = {}
    for system in evaluation.systems:
        mark = {QUANTIZED: "", FLOAT: "float_", NOISY: "noisy_"}[system]
        for column in evaluation.columns:
            mean = evaluation.mean(system, column)
            if mean is not None:
                values[f"{mark}{before}{column}"] = mean
    rate, parts = evaluation.update_rate(QUANTIZED), evaluation.part_rates(QUANTIZED)
    values |= {f"{before}{part_rate(part)}": share for part, share in enumerate(parts) if len(parts) > 1}
    return values | ({f"{before}{RATE}": rate} if rate is not None else {})


def _means(rates: Sequence[float], parts: Mapping[str, Sequence[float]], before: str) -> dict[str, float]:
    """Costs of a mean frame of a network of several parts."""
    return {f"{before}{MEAN}{key}": sum(rate * cost for rate, cost in zip(rates, costs, strict=True))
            for key, costs in parts.items() if len(rates) > 1}


def _costed(job: Job, chain: Chain, int8: Path, evaluation: Evaluation) -> Mapping[str, Any]:
    """Sizes, MACs, cycles and instructions, of a frame that runs every part; a note for each that could not be had.

    ``parts`` has those that are known of each part.
    """
    folder, rates = Path(job.folder) / "profile", scored_rates(evaluation, QUANTIZED)
    inputs = {"int8": model_sha256(int8), "target": sha256(load_target(job.target).path), "emulator": can_emulate(),
              "devices": [sha256(load_target(each).path) for each in job.devices],
              **({"rates": list(rates.shares)} if rates else {})}

    def work() -> Outcome:
        from tinyse.measure.costs.pipeline import profile
        from tinyse.measure.costs.render import to_json

        notes: list[str] = []
        export = Path(job.folder) / "export"
        profiled = rated(profile(export, job.target), rates)
        write_json(folder / "profile.json", to_json(profiled))
        parts = _parts(profiled, export)
        if profiled.npu is not None and profiled.npu.memory_mode != SRAM_ONLY:
            parts |= _sram_only(part_files(export, INT8), job.target, notes)
        values = _sizes(profiled.sizes) | {key: sum(costs) for key, costs in parts.items()}
        if job.floating:
            values["float_bytes"] = 4 * Model.load(Path(job.floating)).parameters
        for device in job.devices:
            values |= _emulated(int8, device, folder, notes)
        return Outcome(sorted(folder.glob("*.json")), {"values": values, "notes": notes, "parts": parts})

    return chain.stage("profile", inputs, work)


def _sizes(sizes: Sizes) -> dict[str, float]:
    found = {"surviving": sizes.surviving, "bitmask": sizes.bitmask, "encoded": sizes.encoded,
             "constants": sizes.constants, "weights": sizes.weights}
    return {key: value for key, value in found.items() if value is not None}


def _parts(profiled: Profile, export: Path) -> dict[str, list[float]]:
    """Of each part: MACs whose weight is not zero, those in tiles that the CPU kernels keep, cycles."""
    assert profiled.parts is not None
    found = {"macs": profiled.parts.of(USED, Source.EXACT), "cycles": profiled.parts.of("cycles", Source.ESTIMATED)}
    return {key: [each.once for each in costs if each.part is not None] for key, costs in found.items() if costs} | {
        "macs_tiles": list(map(float, c_network(open_bundle(export).graph_plan()).tile_macs))}


def _sram_only(int8: Sequence[Path], target: str, notes: list[str]) -> dict[str, list[float]]:
    """Vela's cycles with the model in SRAM too: the same accelerator and clock, another memory mode."""
    from tinyse.export.vela import compile_model

    chosen = load_target(target)
    assert chosen.npu is not None
    other = replace(chosen, npu=replace(chosen.npu, memory_mode=SRAM_ONLY))
    try:
        with tempfile.TemporaryDirectory(prefix="tinyse-sweep-") as scratch:
            return {"cycles_sram_only": [compile_model(file, other, Path(scratch)).cycles for file in int8]}
    except TinyseError as error:
        notes.append(f"{SRAM_ONLY} cycles: {error.line()}")
        return {}


def _emulated(int8: Path, device: str, folder: Path, notes: list[str]) -> dict[str, float]:
    """Mean instructions of a frame and of its network on a processor, the network in the packed CPU kernels.

    Of several parts the longest network is the frame that runs them all, where the signal has one.
    """
    from tinyse.measure.costs.execution import Options
    from tinyse.measure.costs.pipeline import profile
    from tinyse.measure.costs.render import to_json

    name = load_target(device).name
    if not can_emulate():
        notes.append(f"instructions, {name}: qemu-system-arm, arm-none-eabi-gcc or make missing (tinyse doctor)")
        return {}
    try:
        profiled = profile(int8, str(device), Options(on="qemu", backend="cpu"))
    except TinyseError as error:
        notes.append(f"instructions, {name}: {error.line()}")
        return {}
    write_json(folder / f"{name}.json", to_json(profiled))
    run = profiled.firmware
    assert run is not None
    if len(run.parts) > 1:
        network = run.stage("network")
        if min(run.parts) == run.frames:
            return {f"network_{name}": network.mean, f"{MEAN}network_{name}": network.mean,
                    f"frame_{name}": run.frame.mean}
        notes.append(f"mean instructions, {name}: the firmware counts the network as a whole; network and frame are "
                     "the longest of its signal")
        return {f"network_{name}": network.most, f"frame_{name}": run.frame.most}
    return {f"network_{name}": run.updating("network"), f"frame_{name}": run.updating("frame")}
