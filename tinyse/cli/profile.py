"""``tinyse profile``: what an export costs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--target", metavar="NAME|FILE", help="Default: the one the model was exported for.")
@click.option("--compare", nargs=2, type=click.Path(path_type=Path), metavar="A B",
              help="Two models side by side, with ratios.")
@click.option("--operators", is_flag=True, help="A row for each NPU operator.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write everything as JSON too.")
@click.option("--png", "png_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Draw the roofline.")
def command(model: Path | None, target: str | None, compare: tuple[Path, Path] | None, operators: bool,
            json_file: Path | None, png_file: Path | None) -> None:
    """Cycles, traffic, memory and size of MODEL, each with what produced the number.

    MODEL is an export folder, a run folder, or a .tflite; a bare int8 .tflite needs --target.

    \b
    Example:
      tinyse profile runs/quick --png roofline.png --json profile.json
      tinyse profile model_int8.tflite --target ethos-u55-256
      tinyse profile --compare runs/dense runs/pruned
    """
    from tinyse.artifacts import write_json
    from tinyse.profile import compare as comparing
    from tinyse.profile import render
    from tinyse.profile.pipeline import profile
    from tinyse.profile.roofline import draw_roofline
    from tinyse.targets import load_target

    if (model is None) == (compare is None):
        raise click.UsageError("name one MODEL, or two with --compare A B")
    if compare is not None and (png_file is not None or operators):
        raise click.UsageError("--png and --operators go with one MODEL, not with --compare")
    found = [profile(path, target) for path in (compare or (model,)) if path is not None]
    if compare is not None:
        shown, document = [comparing.table(*found)], comparing.comparison_json(*found)
    else:
        shown, document = render.tables(found[0], operators), render.to_json(found[0])
    click.echo("\n\n".join(render.plain(table) for table in shown))
    if json_file is not None:
        write_json(json_file, document)
    if png_file is not None:
        draw_roofline(found[0], png_file, load_target(target) if target else None)
