"""``tinyse train``: a recipe in, a run folder out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyse.core.errors import RecipeError

if TYPE_CHECKING:
    from tinyse.train.recipe import Recipe


def parse_overrides(pairs: tuple[str, ...]) -> dict[str, str]:
    """Split ``section.key=value`` words.

    Raises:
        RecipeError: a word has no "=".
    """
    for pair in pairs:
        if "=" not in pair:
            raise RecipeError(f"--set {pair}: no value", "section.key=value")
    return dict(pair.split("=", 1) for pair in pairs)


def check_effect(keys: Iterable[str], recipe: Recipe) -> None:
    """See that what was asked for is of a part of the recipe that is on.

    Raises:
        RecipeError: it would change nothing.
    """
    switches = {"prune": ("method", "threshold", recipe.prune.method != "none"),
                "cluster": ("values", "4", bool(recipe.cluster.values)),
                "skip": ("enabled", "true", recipe.skip.enabled)}
    for key in keys:
        section, _, name = key.partition(".")
        switch, on, works = switches.get(section, ("", "", True))
        if not works and name not in ("", switch):
            raise RecipeError(f"--set {key}: changes nothing, {section} is off", f"--set {section}.{switch}={on} too")


def compression(structure: str | None, sparsity: float | None, start: Path | None,
                clusters: int | None = None, skip: float | None = None) -> dict[str, str]:
    """``--compress``, ``--target-sparsity``, ``--from``, ``--clusters`` and ``--skip`` as overrides of recipe keys."""
    found: dict[str, str] = {}
    if structure == "none":
        found["prune.method"] = "none"
    elif structure is not None:
        found |= {"prune.method": "threshold", "prune.structure": structure}
    if sparsity is not None:
        found["prune.sparsity"] = str(sparsity)
    if start is not None:
        found["train.start"] = json.dumps(str(start))
    if clusters is not None:
        found["cluster.values"] = str(clusters)
    if skip is not None:
        found |= {"skip.enabled": "true", "skip.rate": str(skip)}
    return found


@click.command("train")
@click.argument("recipe")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/<recipe name>]")
@click.option("--corpus", type=click.Path(path_type=Path), help="Corpus folder.  [default: the recipe's]")
@click.option("--compress", type=click.Choice(["weight", "block", "unit", "none"]),
              help="Prune by learned thresholds: single weights, tiles, or whole units.")
@click.option("--target-sparsity", type=float, metavar="SHARE", help="Share of weights to prune, 0 to 0.999.")
@click.option("--clusters", type=int, metavar="N",
              help="Non-zero values that a weight matrix may hold, half of them negative; 0 for any.")
@click.option("--skip", type=float, metavar="RATE",
              help="Train a Skip RNN, whose network runs on this share of the frames.")
@click.option("--from", "start", type=click.Path(path_type=Path), metavar="RUN",
              help="A dense run, a float .npz or an int8 model, whose weights take the place of the float phase.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one key of the recipe.")
@click.option("--step", type=click.Choice(["lanes", "plain"]),
              help="Two CPU lanes, or one plain step as on a GPU.  [default: plain where TensorFlow sees a GPU]")
@click.option("--resume", is_flag=True, help="Go on from the run folder's last checkpoint.")
def command(recipe: str, out: Path | None, corpus: Path | None, compress: str | None, target_sparsity: float | None,
            clusters: int | None, skip: float | None, start: Path | None, overrides: tuple[str, ...],
            step: str | None, resume: bool) -> None:
    """Train RECIPE (a YAML file, or the name of a built-in one) into a run folder.

    \b
    Example:
      tinyse train quick --set train.float_steps=300 --out runs/try
      tinyse train full --compress block --target-sparsity 0.85 --from runs/full --out runs/block85
      tinyse train full --compress weight --target-sparsity 0.93 --clusters 4 --from runs/full --out runs/few
      tinyse train full --compress unit --target-sparsity 0.66 --skip 0.55 --from runs/full --out runs/skip
      tinyse train full --resume
      tinyse train quality
    """
    from tinyse.cli.draw import progress_bars
    from tinyse.sound.corpus.store import corpus_dir
    from tinyse.train import train
    from tinyse.train.recipe import load_recipe

    asked = compression(compress, target_sparsity, start, clusters, skip)
    loaded = load_recipe(recipe, asked | parse_overrides(overrides))
    if target_sparsity is not None and loaded.prune.method == "none":
        raise RecipeError(f"--target-sparsity {target_sparsity}: the recipe does not prune (prune.method: 'none')",
                          "add --compress weight, block or unit")
    check_effect(asked | parse_overrides(overrides), loaded)
    folder = out or Path("runs") / loaded.name
    where = corpus or loaded.corpus.path or corpus_dir(loaded.corpus.tier)
    if loaded.ends.result.kind == "score":
        from tinyse.studies.quality import train_quality

        with progress_bars() as progress:
            found = train_quality(loaded, folder, Path(where), progress, resume)
        click.echo(f"validation Pearson {found.pearson:.3f}, error {found.rmse:.3f} MOS (measured)")
        click.echo(f"wrote {found.folder}: model.npz, float.npz, log.csv")
        return
    with progress_bars() as progress:
        result = train(loaded, folder, Path(where), progress, resume, None if step is None else step == "plain")
    click.echo(f"validation {result.name} {result.before:.2f} {result.unit} {result.beside}, {result.score:.2f} "
               f"{result.unit} {'enhanced' if result.beside == 'noisy' else 'network'} (measured)")
    for phase, speed in result.frames_per_second.items():
        click.echo(f"{phase}: {speed:,.0f} frames/s trained (measured)")
    click.echo(f"wrote {result.folder}: model.npz, float.npz, log.csv, curves.png")
