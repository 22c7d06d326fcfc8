"""``tinyse run``: the whole chain, ending in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tinyse.measure.report.summary import Summary


@click.command()
@click.option("--recipe", default="quick", show_default=True, help="A built-in recipe's name or a YAML file.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("report"), show_default=True,
              help="Folder of everything that is made.")
@click.option("--target", default="ethos-u55-128", show_default=True, help="A target's name or YAML file.")
@click.option("--corpus", type=click.Path(path_type=Path), help="Corpus folder; default: fetched.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one key of the recipe.")
@click.option("--count", default=8, show_default=True, type=click.IntRange(1), help="Test mixtures per SNR.")
def command(recipe: str, out: Path, target: str, corpus: Path | None, overrides: tuple[str, ...],
            count: int) -> None:
    """Fetch, train, export, enhance, evaluate, profile and report.

    Cut it at any point and call it again: what is finished is kept.

    \b
    Example:
      tinyse run
      tinyse run --recipe full --out report-full
      tinyse run --set train.float_steps=300 --target ethos-u55-32
    """
    from tinyse.cli.draw import progress_bars
    from tinyse.cli.train import parse_overrides
    from tinyse.studies.run import run

    with progress_bars() as progress:
        result = run(recipe, out, target, corpus, parse_overrides(overrides), count=count, progress=progress)
    show(result.summary)
    for stage in result.times:
        note = " (already there)" if stage.skipped else ""
        click.echo(f"{stage.name:<9}{stage.seconds:8.1f} s{note}")
    click.echo(f"{'in all':<9}{sum(stage.seconds for stage in result.times):8.1f} s (measured)")
    click.echo(f"wrote {result.page}")


def show(summary: Summary) -> None:
    """Print the one result table, its sources in the header."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in summary.header:
        table.add_column(name, justify="left" if name in ("", "source") else "right", no_wrap=True)
    for row in summary.rows:
        table.add_row(*row)
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, 100)  # a row is one line, also in a pipe
    console.print(table)
    for line in summary.notes:
        console.print(line, markup=False)
