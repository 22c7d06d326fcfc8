"""``tinyse evaluate``: score a model's streamed output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyse.cli import ENGINES, Number, check_stop, decibels, given

if TYPE_CHECKING:
    from tinyse.core.progress import Progress
    from tinyse.measure.scores.result import Evaluation

METRIC_NAMES = "si_sdr,sdr,pesq,stoi,dnsmos"
PAPER_NAMES = "pesq,composite,stoi,si_sdr"
HARM_COLUMNS = ("si_sdr", "pesq", "stoi")
PAPER_COLUMNS = ("pesq", "csig", "cbak", "covl", "stoi", "si_sdr")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--engine", type=click.Choice(ENGINES), help="Default: as the file is.")
@click.option("--exit", "exit_at", type=click.IntRange(min=1), metavar="N",
              help="Stop every frame of MODEL at exit N. Default: what its plan says.")
@click.option("--budget", metavar="AMOUNT",
              help="The last exit within so much a second of sound, such as 12Mmacs or 20Mcycles.")
@click.option("--against", metavar="MODEL[:ENGINE]", help="A second model on the same clips.")
@click.option("--corpus", type=click.Path(path_type=Path), help="Default: the fetched small corpus.")
@click.option("--split", default="test", show_default=True, help="Of the corpus.",
              type=click.Choice(["test", "validation", "train"]))
@click.option("--snr", default="-6,-3,0,3,6,9", show_default=True, callback=decibels, metavar="DB,...",
              help="Of the mixtures.")
@click.option("--count", default=20, show_default=True, type=click.IntRange(1), help="Mixtures per SNR.")
@click.option("--seconds", default=5.0, show_default=True, type=Number(1, 60), help="Of each.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same mixtures.")
@click.option("--condition", type=click.Choice(["mixtures", "rooms", "levels", "clean"]), default="mixtures",
              show_default=True, help="As they are, in simulated rooms, at -55 to -10 dB, or speech alone.")
@click.option("--noisy", type=click.Path(path_type=Path), help="Your own noisy files, instead of mixtures.")
@click.option("--clean", type=click.Path(path_type=Path), help="Their clean partners, same names.")
@click.option("--metrics", metavar="NAME,...",
              help=f"What to score [{METRIC_NAMES}; of own pairs {PAPER_NAMES}].")
@click.option("--voice-activity", is_flag=True,
              help="Score a linear probe of its channel gates too, fitted on the validation split.")
@click.option("--quick", is_flag=True, help="SI-SDR and PESQ on 4 mixtures per SNR.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Processes that score.")
@click.option("--out", type=click.Path(path_type=Path), help="Write JSON, CSV and a plot to this folder.")
def command(model: Path, engine: str | None, exit_at: int | None, budget: str | None, against: str | None,
            corpus: Path | None, split: str, snr: tuple[float, ...], count: int, seconds: float, seed: int,
            condition: str, noisy: Path | None, clean: Path | None, metrics: str | None, voice_activity: bool,
            quick: bool, workers: int, out: Path | None) -> None:
    """Score MODEL's streamed output beside the noisy input.

    MODEL is a run folder, an export folder, a .npz or a .tflite. Every number is measured on the host.

    \b
    Example:
      tinyse evaluate runs/quick/export --against runs/quick/float.npz:keras --out scores
      tinyse evaluate models/tinylstm-robust --condition rooms --count 4
      tinyse evaluate model_int8.tflite --noisy my/noisy --clean my/clean --metrics si_sdr,pesq
      tinyse evaluate models/tinylstm-dense --noisy vb/noisy_testset_wav --clean vb/clean_testset_wav --out scores
    """
    from tinyse.cli.draw import progress_bars
    from tinyse.core.artifacts import check_apart, check_writable
    from tinyse.engines.exits import exit_within
    from tinyse.measure.scores import render, scoring, systems

    asked = metrics is not None
    check_stop(exit_at, budget)
    if (noisy is None) != (clean is None):
        raise click.UsageError("--noisy and --clean go together")
    told = given("condition", "snr", "count", "seconds", "seed", "split")
    if noisy is not None and told:
        raise click.UsageError(f"--{told[0]} is of mixtures, and --noisy gives your own")
    if condition in ("levels", "clean") and "snr" in told:
        raise click.UsageError(f"--snr is not for {condition}: levels are at 3 dB, clean speech has no noise")
    if voice_activity and (noisy is not None or condition != "mixtures" or split == "validation"):
        raise click.UsageError("--voice-activity is of mixtures of the test or train split")
    if quick and (asked or "count" in told):
        raise click.UsageError(f"--quick chooses {'--metrics' if asked else '--count'} itself")
    check_apart(out)
    check_writable(None if out is None else out / "evaluation.json")
    if budget is not None:
        exit_at = exit_within(model, engine, budget)
    metrics = (METRIC_NAMES if noisy is None else PAPER_NAMES) if metrics is None else metrics
    chosen, count = (scoring.QUICK, 4) if quick else (tuple(metrics.split(",")), count)
    other = systems.parse_against(against) if against else None
    with progress_bars() as progress:
        if noisy is not None and clean is not None:
            evaluation = scoring.evaluate_folders(model, engine, noisy, clean, against=other, metrics=chosen,
                                                  workers=workers, progress=progress, exit_at=exit_at or 0)
        else:
            evaluation = scoring.evaluate(model, engine, corpus, split, snr, count, seed,
                                          against=other, metrics=chosen, seconds=seconds,
                                          workers=workers, progress=progress, condition=condition, exit_at=exit_at or 0)
        probed = _probe(model, corpus, split, snr, count, seconds, seed, progress) if voice_activity else []
    show(evaluation)
    if asked and "auc" in evaluation.columns:
        click.echo("note: --metrics is of enhancers; networks that say where voice is have their own", err=True)
    for line in probed:
        click.echo(line)
    if out is not None:
        render.write_evaluation(evaluation, out)
        click.echo(f"wrote {out}/evaluation.json, evaluation.csv, clips.csv, files.csv, evaluation.png")


def _probe(model: Path, corpus: Path | None, split: str, snr: tuple[float, ...], count: int, seconds: float, seed: int,
           progress: Progress) -> list[str]:
    from tinyse.engines.base import find_model
    from tinyse.engines.integer import IntegerEngine
    from tinyse.measure import probe
    from tinyse.measure.scores.pairs import corpus_pairs

    engine = IntegerEngine.load(find_model(model, "tflm")[1])
    fitted, scored = (corpus_pairs(corpus, each, snr, count, seconds, seed) for each in ("validation", split))
    found = probe.probe(engine, fitted, scored, 2 * count * len(snr), progress)
    return probe.lines(found, "validation mixtures", f"the same of {split}")


def show(evaluation: Evaluation) -> None:
    """Print the result table, what produced it, and what was skipped."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from tinyse.measure.scores.metrics import LABELS
    from tinyse.measure.scores.result import paper_rows, table_rows

    paired = not evaluation.snrs and "csig" in evaluation.columns
    header, rows = paper_rows(evaluation, PAPER_COLUMNS, LABELS) if paired else table_rows(evaluation, LABELS)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in header:
        table.add_column(name, justify="left" if name in ("metric", "signal") else "right", no_wrap=True)
    previous = ""
    for row in rows:
        if previous and row[0] != previous:
            table.add_section()
        table.add_row("" if row[0] == previous else row[0], *row[1:])
        previous = row[0]
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 120
    console.print(table)
    lines = [f"{evaluation.provenance['source']}, {len(evaluation.clips)} clips; means over the clips that "
             "every signal could be scored on"]
    lines += [f"{model['label']}: {model['file']} on {model['engine']}, sha256 {model['sha256'][:12]}"
              + (f", exit {model['exit']}" if "exit" in model else "")
              for model in evaluation.provenance["models"]]
    lines += [f"{name}: {text}" for name, text in evaluation.provenance["conventions"].items()]
    alone = evaluation.provenance.get("condition") == "clean"  # a copy's SI-SDR is a clamp
    lines += [f"harm, {system}: " + ", ".join(harms) for system in evaluation.systems[1:]
              if (harms := [harm for column in HARM_COLUMNS[alone:] if (harm := _harm(evaluation, system, column))])]
    if evaluation.provenance.get("condition") == "levels":
        lines.append("columns: active level of the speech in dB of full scale, at 3 dB SNR")
    note = evaluation.provenance.get("note")
    for line in (*lines, *evaluation.skips(), *([f"note: {note}"] if note else [])):
        console.print(line, markup=False)


def _harm(evaluation: Evaluation, system: str, column: str) -> str:
    """Share of clips that came out worse, and what the worst tenth gained; "" where it was not scored."""
    from tinyse.measure.scores.metrics import LABELS

    worse, tenth = evaluation.worse(system, column), evaluation.worst_tenth(system, column)
    if worse is None or tenth is None:
        return ""
    digits = 3 if column == "stoi" else 2
    return f"{LABELS[column]} worse on {100 * worse:.0f} % of clips, worst tenth {tenth:+.{digits}f}"
