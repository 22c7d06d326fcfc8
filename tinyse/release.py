"""Release: a finished run as a small folder of models/, with a card that says what it does and what it costs.

The folder holds the recipe, the int8 .tflite, the Vela-compiled .tflite, the scores of the **streamed int8** output
under TFLM beside the float model and the noisy input, the costs with their sources, and README.md, the card.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tinyse.artifacts import sha256, write_json, write_manifest, write_text
from tinyse.corpus.store import Corpus
from tinyse.errors import ModelError
from tinyse.evaluate.metrics import LABELS
from tinyse.evaluate.render import write_evaluation
from tinyse.evaluate.result import Evaluation, table_rows
from tinyse.evaluate.scoring import ALL, SNRS, evaluate
from tinyse.evaluate.systems import System
from tinyse.export.origin import INT8
from tinyse.export.pipeline import export_run
from tinyse.parity import Parity, measure_parity
from tinyse.profile.pipeline import profile
from tinyse.profile.render import to_json
from tinyse.profile.results import Profile
from tinyse.progress import Progress, silent

SEED = 2026
FILES = (INT8, "model_vela.tflite")


@dataclass(frozen=True)
class Release:
    """What a release holds: its folder, scores, costs and parity."""

    folder: Path
    evaluation: Evaluation
    profile: Profile
    parity: Parity


def release(run: Path | str, name: str, corpus_dir: Path | str, models: Path | str = "models",
            target: str = "ethos-u55-128", count: int = 20, progress: Progress = silent,
            metrics: Sequence[str] = ALL) -> Release:
    """Export, score, cost and describe ``run`` as ``models/name``; the folder is replaced whole at the end.

    Args:
        run: a finished run folder.
        name: of the model, such as "tinylstm-dense".
        corpus_dir: corpus whose test split scores it.
        models: folder of released models.
        target: an NPU target.
        count: mixtures per SNR.
        metrics: names from ``tinyse.evaluate.metrics``.

    Raises:
        ModelError: the run is not finished. Whatever the stages raise.
    """
    run, final = Path(run), Path(models) / name
    for needed in ("model.npz", "float.npz", "recipe.yaml"):
        if not (run / needed).is_file():
            raise ModelError(f"{run}: no {needed}", "finish it with: tinyse train ... --resume")
    exported = export_run(run, target, run / "export", progress)
    quantized = System("int8", "tflm", exported.folder / INT8)
    evaluation = evaluate(run / "float.npz", "keras", corpus_dir, "test", SNRS, count, SEED, against=quantized,
                          metrics=metrics, progress=progress, label="float")
    costs = profile(exported.folder, target)
    parity = measure_parity(run / "model.npz", exported.folder / INT8, Corpus.open(corpus_dir))
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=final.parent))
    try:
        for file in FILES:
            if (exported.folder / file).exists():
                shutil.copyfile(exported.folder / file, folder / file)
        for file in ("recipe.yaml", "log.csv", "curves.png"):
            shutil.copyfile(run / file, folder / file)
        for kind, path in write_evaluation(evaluation, folder).items():
            if kind == "clips" or path.name == "clips.csv":
                path.unlink()
        write_json(folder / "profile.json", to_json(costs))
        write_json(folder / "parity.json", asdict(parity))
        write_text(folder / "README.md", card(name, run, evaluation, costs, parity))
        files = {path.name: path for path in sorted(folder.iterdir())}
        write_manifest(folder, "release", files, {"name": name, "target": target,
                                                  "model": sha256(run / "model.npz")})
        folder.chmod(0o755)
        if final.exists():
            shutil.rmtree(final)
        folder.rename(final)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Release(final, evaluation, costs, parity)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |"]
    lines.append("|" + "---|" * (lines[0].count("|") - 1))
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def card(name: str, run: Path, evaluation: Evaluation, costs: Profile, parity: Parity) -> str:
    """The model card, Markdown; every table says what produced it."""
    header, rows = table_rows(evaluation, LABELS)
    manifest = json.loads((run / "manifest.json").read_text())
    sizes, npu = costs.sizes, costs.npu
    cost_rows = [("parameters", f"{manifest['parameters']:,}", "exact"),
                 ("multiply-accumulates per frame", f"{manifest['macs_per_frame']:,}", "exact"),
                 ("int8 .tflite", f"{sizes.int8_file or 0:,} B", "exact"),
                 ("non-zero int8 weights", f"{sizes.surviving or 0:,} B", "exact"),
                 ("bitmask + non-zero weights", f"{sizes.bitmask or 0:,} B", "exact"),
                 ("Vela-encoded weights", f"{sizes.encoded or 0:,} B", "exact")]
    if npu is not None:
        vela = "estimated (Vela)"
        cost_rows += [(f"cycles per frame, {npu.accelerator}, {npu.memory_mode}", f"{npu.cycles:,}", vela),
                      ("cycles, NPU alone", f"{npu.npu_cycles:,}", vela),
                      (f"share of the 16 ms hop at {npu.clock_mhz:.0f} MHz", f"{npu.hop_share:.1%}", vela)]
    if costs.arena is not None:
        cost_rows.append(("TFLM arena on the host", f"{costs.arena.total:,} B", "measured (host)"))
    parity_rows = [("mask, streaming Keras against TFLM, largest", f"{parity.streamed_max} / 256"),
                   ("mask, streaming Keras against TFLM, mean", f"{parity.streamed_mean:.4f} / 256"),
                   ("mask, training pass against TFLM, largest", f"{parity.trained_max} / 256"),
                   ("mask, training pass against TFLM, mean", f"{parity.trained_mean:.4f} / 256"),
                   ("SI-SDR of the two outputs apart", f"{parity.si_sdr_apart:.4f} dB")]
    return f"""# {name}

A streaming int8 speech enhancer, TinyLSTMs' network: 16 kHz, one 16 ms hop in, one 16 ms hop out, 32 ms of latency.

## Scores: measured (host)

{_table(header, rows)}

{len(evaluation.clips)} mixtures of the test split, whose languages and noise recordings training never saw
(corpus {manifest['corpus'][:12]}, seed {evaluation.provenance['seed']}). int8 is the streamed output under TFLM.
Conventions are in evaluation.json.

## Costs

{_table(("what", "figure", "source"), cost_rows)}

## Parity over {parity.frames} frames of noisy test speech: measured (host)

{_table(("difference", "figure"), parity_rows)}

## Reproduce

`make model NAME={name}` trains `recipe.yaml`, exports, scores and writes this folder. Training log: log.csv,
curves.png.
Validation SI-SDR {manifest['val_noisy_si_sdr_db']:.2f} dB noisy, {manifest['val_si_sdr_db']:.2f} dB enhanced.

SHA-256 of every file, and the versions that made them, are in manifest.json. The corpus is recorded speech and
noise from Debian packages; packages and licences are listed by `tinyse data fetch` in LICENCES.txt.
"""
