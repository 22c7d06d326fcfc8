"""``tinyse search``: genetic searches over a trained run."""

from __future__ import annotations

from pathlib import Path

import click

from tinyse.cli import Number

PATH = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Search what a trained network may do without.

    \b
    Example:
      tinyse search precision runs/subband --generations 20 --population 24 --out searches/subband
    """


@command.command()
@click.argument("run", type=PATH, metavar="RUN")
@click.option("--out", type=PATH, metavar="DIR", help="The search's folder.  [default: searches/<run>]")
@click.option("--generations", default=20, show_default=True, type=click.IntRange(1, 10_000), metavar="N",
              help="Of NSGA-II, the first included; a search that has ended goes on with more.")
@click.option("--population", default=24, show_default=True, type=click.IntRange(8, 1000), metavar="P",
              help="Genomes of a generation.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0, 64), metavar="N",
              help="Processes that judge genomes; 0: this one.")
@click.option("--mixtures", default=24, show_default=True, type=click.IntRange(1, 1000), metavar="N",
              help="Validation mixtures that a genome is judged on.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0, 2**31 - 1),
              help="Of genomes and mixtures.")
@click.option("--cycles", is_flag=True, help="Vela's cycles as an objective too.")
@click.option("--max-loss", default=1.0, show_default=True, type=Number(0), metavar="LOSS",
              help="Genomes that lose more a mixture, dB of SI-SDR or % of voice, are no solution.")
@click.option("--points", default=6, show_default=True, type=click.IntRange(1, 100), metavar="N",
              help="Points of the front to show.")
@click.option("--finetune", "steps", default=0, show_default=True, type=click.IntRange(0, 1_000_000), metavar="STEPS",
              help="Train each point with its bits, and the homogeneous ones of 8, 6 and 4.")
@click.option("--target", default="ethos-u55-128", show_default=True, help="Whose NPU encodes the weights.")
@click.option("--corpus", type=PATH, help="Corpus folder.  [default: the run's]")
def precision(run: Path, out: Path | None, generations: int, population: int, workers: int, mixtures: int, seed: int,
              cycles: bool, max_loss: float, points: int, steps: int, target: str, corpus: Path | None) -> None:
    """Bits for every weight matrix of RUN: fewest bytes at least loss (NSGA-II).

    A genome is judged by rounding RUN's weights, untrained, and by the SI-SDR that mixtures lose by it, or the balanced
    accuracy where RUN says where voice is. Cut it at any point and call it again: what was judged is kept. Writes
    genomes.jsonl, points/, pareto.png, genes.png and sweep.json, which tinyse recommend reads.

    \b
    Example:
      tinyse search precision runs/subband --generations 20 --population 24 --finetune 400
      tinyse recommend searches/subband --max-loss 0.05 --budget-kb 25
    """
    from tinyse.cli.draw import progress_bars
    from tinyse.core.errors import ModelError
    from tinyse.sound.corpus.store import corpus_dir
    from tinyse.studies.precision.search import OBJECTIVES, Settings
    from tinyse.studies.precision.study import Plan, lines, run_search
    from tinyse.train.recipe import load_recipe

    if not (run / "model.npz").is_file():
        raise ModelError(f"{run}: holds no model.npz", "a run's folder, as tinyse train leaves it")
    if corpus is None:
        part = load_recipe(run / "recipe.yaml").corpus
        corpus = Path(part.path or corpus_dir(part.tier))
    folder = out or Path("searches") / run.name
    objectives = OBJECTIVES if cycles else OBJECTIVES[:-1]
    settings = Settings(generations, population, seed, objectives, max_loss)
    with progress_bars() as progress:
        result = run_search(Plan(run, corpus, folder, settings, mixtures, workers, target, points, steps), progress)
    click.echo("\n".join(lines(result)))
    score = result.columns[0].title.removeprefix("val. ")
    click.echo(f"{score} measured (host) on validation; bytes exact; cycles estimated (Vela)")
    click.echo(f"wrote {folder}: pareto.png, genes.png, sweep.json, points/")
