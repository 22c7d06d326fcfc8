"""``tinyse release``: a finished run to models/NAME with its card."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("release")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Of the model, such as tinylstm-dense.")
@click.option("--models", default=Path("models"), show_default=True, type=click.Path(path_type=Path),
              help="Folder of released models.")
@click.option("--corpus", type=click.Path(path_type=Path), help="Scores it.  [default: the fetched default corpus]")
@click.option("--target", default="ethos-u55-128", show_default=True, help="An NPU target.")
@click.option("--count", default=20, show_default=True, type=click.IntRange(1), help="Test mixtures per SNR.")
def command(run: Path, name: str, models: Path, corpus: Path | None, target: str, count: int) -> None:
    """Export, score and describe a finished RUN as models/NAME.

    \b
    Example:
      tinyse release runs/full --name tinylstm-dense
    """
    from tinyse.cli.draw import progress_bars
    from tinyse.measure.scores.metrics import LABELS, UNITS
    from tinyse.sound.corpus.store import corpus_dir
    from tinyse.studies.release import release
    from tinyse.train.recipe import load_recipe

    if (run / "recipe.yaml").is_file() and load_recipe(run / "recipe.yaml").ends.result.kind == "score":
        from tinyse.studies.quality import release_quality

        with progress_bars() as progress:
            folder = release_quality(run, name, corpus or corpus_dir("default"), models, target, progress)
        click.echo(f"wrote {folder}")
        return
    with progress_bars() as progress:
        done = release(run, name, corpus or corpus_dir("default"), models, target, count, progress)
    for system in done.evaluation.systems:
        key = done.evaluation.columns[0]
        click.echo(f"{system:<6} {LABELS[key]} {done.evaluation.mean(system, key):6.2f} {UNITS[key]} (measured, host)")
    click.echo(f"wrote {done.folder}")
