"""``python -m tinyse.bench``: parses, makes one call into the library, prints what it wrote."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tinyse.bench.pace.catalogue import NAMES, ROUNDS
from tinyse.bench.quality import COUNT, Plan
from tinyse.bench.tables import TABLES
from tinyse.cli.draw import progress_bars
from tinyse.core.errors import TinyseError

PATH = click.Path(path_type=Path)
MOST_HOURS = 100_000


@click.group()
def command() -> None:
    """Compare tinyse with what people would use instead."""


@command.command()
def install() -> None:
    """Fetch every peer's package into a folder of its own; the Python environment stays as it is."""
    from tinyse.bench.quality import install_peers

    with progress_bars() as progress:
        missing = install_peers(progress=progress)
    for name, reason in missing.items():
        click.echo(f"{name} is missing: {reason}")


@command.command()
@click.option("--models", default="models", type=PATH, show_default=True, help="Released models.")
@click.option("--runs", default="runs", type=PATH, show_default=True, help="Training runs, for float weights.")
@click.option("--docs", default="docs", type=PATH, show_default=True, help="Where benchmarks.md lies.")
@click.option("--out", default="build/bench", type=PATH, show_default=True, help="Scores of every clip.")
@click.option("--count", default=COUNT, show_default=True, type=click.IntRange(1), help="Mixtures per SNR.")
@click.option("--table", "tables", multiple=True, type=click.Choice(list(TABLES)), help="Only this table.")
@click.option("--workers", type=click.IntRange(1), help="Processes that score.  [default: 2, on Ray one a core]")
@click.option("--on", metavar="ray|ray://HOST", help="Score on a Ray cluster (docs/sweep.md).")
def quality(models: Path, runs: Path, docs: Path, out: Path, count: int, tables: tuple[str, ...], workers: int | None,
            on: str | None) -> None:
    """Score every peer and model on the same mixtures; writes docs/benchmarks.md. What is scored stays scored."""
    from tinyse.bench.output import write_quality
    from tinyse.bench.quality import bench_quality, refuse_failed

    with progress_bars() as progress:
        found = bench_quality(Plan(models, runs, _places(tables), count=count, workers=workers, on=on), progress)
    for path in write_quality(found, docs, out):
        click.echo(path)
    refuse_failed(found)


@command.command()
@click.option("--models", default="models", type=PATH, show_default=True, help="Released models.")
@click.option("--runs", default="runs", type=PATH, show_default=True, help="Training runs, for float weights.")
@click.option("--out", default="build/bench", type=PATH, show_default=True, help="Where the pages go.")
@click.option("--table", "tables", multiple=True, type=click.Choice(list(TABLES)), help="Only this table.")
def listen(models: Path, runs: Path, out: Path, tables: tuple[str, ...]) -> None:
    """Write a page to listen to ten clips of each table through everyone."""
    from tinyse.bench.quality import listening_pages

    with progress_bars() as progress:
        for path in listening_pages(Plan(models, runs, _places(tables)), out, progress):
            click.echo(path)


@command.command()
@click.option("--model", default="models/tinylstm-dense", type=PATH, show_default=True, help="A released model.")
@click.option("--docs", default="docs", type=PATH, show_default=True, help="Where benchmarks.md lies.")
@click.option("--out", default="build/bench", type=PATH, show_default=True, help="Where speed.json and .csv go.")
@click.option("--rounds", default=ROUNDS, show_default=True, type=click.IntRange(1, 100), help="Timed runs of each.")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Only this; leaves benchmarks.md as it is.")
def speed(model: Path, docs: Path, out: Path, rounds: int, only: tuple[str, ...]) -> None:
    """Time training, export, engines and simulator beside the plain way to do it; writes docs/benchmarks.md."""
    from tinyse.bench.pace.catalogue import Contests, bench_speed
    from tinyse.bench.pace.page import summary, write_speed

    with progress_bars() as progress:
        found = bench_speed(Contests(model, rounds, only), progress)
    for path in write_speed(found, docs, out):
        click.echo(path)
    click.echo(summary(found))


@command.command()
@click.option("--models", default="models", type=PATH, show_default=True, help="Released models.")
@click.option("--docs", default="docs", type=PATH, show_default=True, help="Where benchmarks.md lies.")
@click.option("--out", default="build/bench", type=PATH, show_default=True, help="Where device.json and .csv go.")
def device(models: Path, docs: Path, out: Path) -> None:
    """Cost every model and others' shapes on the NPU and the CPU of a device; writes docs/benchmarks.md."""
    from tinyse.bench.device.catalogue import bench_device
    from tinyse.bench.device.page import refuse_failed, write_device

    with progress_bars() as progress:
        found = bench_device(models, progress)
    for path in write_device(found, docs, out):
        click.echo(path)
    refuse_failed(found)


@command.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--page", default="docs/early-exit.md", type=PATH, show_default=True, help="The page with the section.")
@click.option("--mixtures", type=PATH, help="A corpus on whose test mixtures channel gates are counted.")
def dynamic(runs: tuple[Path, ...], page: Path, mixtures: Path | None) -> None:
    """Set RUNS, exported and scored by scripts/dynamic, side by side; writes a section of PAGE and a plot."""
    from tinyse.bench.dynamic import write_dynamic

    for path in write_dynamic(runs, page, mixtures):
        click.echo(path)


@command.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--page", default="docs/training.md", type=PATH, show_default=True, help="The page with the section.")
def training(runs: tuple[Path, ...], page: Path) -> None:
    """Set RUNS that differ in one thing beside the first and its seeds, scored by scripts/ablations."""
    from tinyse.bench.training import write_training

    click.echo(write_training(runs, page))


@command.command()
@click.option("--hours", default="10,50,200", show_default=True, metavar="HOURS,...", help="Of sound; 230 MB an hour.")
@click.option("--docs", default="docs", type=PATH, show_default=True, help="Where corpus.md lies.")
@click.option("--work", default="build/bench/corpus", type=PATH, show_default=True, help="Made, and removed again.")
def corpus(hours: str, docs: Path, work: Path) -> None:
    """Measure memory and time of fetch, import, open, mix and train on large corpora; writes docs/corpus.md."""
    from tinyse.bench.corpus import bench_corpus, write_cost

    try:
        sizes = [float(text) for text in hours.split(",")]
        if not all(0 < size <= MOST_HOURS for size in sizes):  # nan is not, either
            raise ValueError
    except ValueError:
        raise click.BadParameter(f"--hours {hours}: give numbers, such as 10,50") from None
    with progress_bars() as progress:
        bench_corpus(sizes, work, lambda cost: write_cost(cost, docs), progress)
    click.echo(docs / "corpus.md")


@command.command()
@click.option("--run", default="runs/quality", type=PATH, show_default=True, help="The run with binary maps.")
@click.option("--real", default="runs/quality-real", type=PATH, show_default=True, help="The same with real maps.")
@click.option("--corpus", type=PATH, help="Of the held-out clips.  [default: corpora/voices]")
@click.option("--docs", default="docs", type=PATH, show_default=True, help="Where quality.md lies.")
def predictor(run: Path, real: Path, corpus: Path | None, docs: Path) -> None:
    """Hold the quality predictor to WB-PESQ and to real maps, count its memory, time it; writes docs/quality.md."""
    from tinyse.bench.predictor import write_predictor

    with progress_bars() as progress:
        click.echo(write_predictor(run, real, corpus or Path("corpora/voices"), docs, progress))


@command.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option("--table", "tables", multiple=True, default=("held-out", "unseen"), show_default=True,
              help="A folder of RUN/scores.")
@click.option("--target", default="ethos-u55-128", show_default=True, help="Whose NPU encodes the weights.")
@click.option("--docs", default="docs", type=PATH, show_default=True, help="Where mixed-precision.md lies.")
@click.option("--section", default="points", show_default=True, help="Of the page, that is written anew.")
@click.option("--command", "made", default="scripts/mixed-precision", show_default=True, help="That the section names.")
def precision(runs: tuple[Path, ...], tables: tuple[str, ...], target: str, docs: Path, section: str,
              made: str) -> None:
    """Bytes and scores of runs of other bits beside the first of them; writes docs/mixed-precision.md."""
    from tinyse.bench.precision import write_precision

    click.echo(write_precision(runs, docs, tables, target, section, made))


def _places(tables: tuple[str, ...]) -> dict[str, Path | str]:
    return {name: place for name, place in Plan().tables.items() if not tables or name in tables}


def main() -> None:
    """Run the command; an expected failure is one line."""
    try:
        command(prog_name="python -m tinyse.bench")
    except TinyseError as error:
        click.echo(f"error: {error.line()}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {name}{error.strerror or error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
