"""``tinyse profile``: what an export costs."""

from __future__ import annotations

from pathlib import Path

import click

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--target", metavar="NAME|FILE", help="Default: the one the model was exported for.")
@click.option("--on", metavar="fvp|qemu|host|board:DEVICE",
              help="What runs the firmware. Default: the FVP if found, else QEMU.")
@click.option("--fvp", metavar="PATH", help="The FVP. Default: $FVP_CORSTONE300, then PATH.")
@click.option("--backend", type=click.Choice(["cpu", "npu"]), help="What runs the network. Default: the target's own.")
@click.option("--runner", type=click.Choice(["tinyse", "arm"]), default="tinyse", show_default=True,
              help="arm: Arm's prebuilt TFLM firmware beside ours.")
@click.option("--wav", type=click.Path(path_type=Path), metavar="FILE",
              help="What to enhance, 16-bit mono. Default: a generated signal.")
@click.option("--static", is_flag=True, help="Do not build and run the firmware.")
@click.option("--compare", nargs=2, type=click.Path(path_type=Path), metavar="A B",
              help="Two models side by side, with ratios.")
@click.option("--operators", is_flag=True, help="A row for each NPU operator.")
@click.option("--json", "json_file", type=FILE, metavar="FILE", help="Write everything as JSON too.")
@click.option("--html", "html_file", type=FILE, metavar="FILE", help="Write everything as one page.")
@click.option("--png", "png_file", type=FILE, metavar="FILE", help="Draw the roofline.")
def command(model: Path | None, target: str | None, on: str | None, fvp: str | None, backend: str | None, runner: str,
            wav: Path | None, static: bool, compare: tuple[Path, Path] | None, operators: bool,
            json_file: Path | None, html_file: Path | None, png_file: Path | None) -> None:
    """Cycles, traffic, memory and size of MODEL, each with what produced the number.

    MODEL is an export folder, a run folder, a released model, or a .tflite; a bare int8 .tflite needs --target. The
    firmware is built with it and run: per-stage cycles on the FVP or a board, instructions on QEMU.

    \b
    Example:
      tinyse profile runs/quick --html profile.html --json profile.json
      tinyse profile runs/quick --target cortex-m55 --on qemu --runner arm
      tinyse profile runs/quick --on board:/dev/ttyACM0
      tinyse profile --compare runs/dense runs/pruned
    """
    from tinyse.core.artifacts import check_kind, check_writable, write_json, write_text
    from tinyse.export.targets import load_target
    from tinyse.measure.costs import compare as comparing
    from tinyse.measure.costs import page, render
    from tinyse.measure.costs.execution import BOARD, Options, Where
    from tinyse.measure.costs.pipeline import profile
    from tinyse.measure.costs.roofline import draw_roofline

    if (model is None) == (compare is None):
        raise click.UsageError("name one MODEL, or two with --compare A B")
    if compare is not None and (png_file is not None or operators):
        raise click.UsageError("--png and --operators go with one MODEL, not with --compare")
    if on is not None and on not in tuple(Where)[:3] and not on.startswith(BOARD):
        raise click.UsageError("--on is fvp, qemu, host or board:DEVICE")
    if static and (on or fvp or wav or backend or runner == "arm"):
        raise click.UsageError("--static runs no firmware: leave out --on, --fvp, --backend, --runner and --wav")
    for file, kind in ((json_file, ".json"), (html_file, ".html"), (png_file, ".png")):
        check_kind(file, kind)
    check_writable(json_file, html_file, png_file)
    options = None if static else Options(on, fvp, wav, backend, runner == "arm")
    found = [profile(path, target, options) for path in (compare or (model,)) if path is not None]
    if compare is not None:
        shown, document = [comparing.table(*found)], comparing.comparison_json(*found)
    else:
        shown, document = render.tables(found[0], operators), render.to_json(found[0])
    click.echo("\n\n".join(render.plain(table) for table in shown))
    chosen = load_target(target) if target else None
    if json_file is not None:
        write_json(json_file, document)
    if html_file is not None:
        write_text(html_file, page.html(found, shown, chosen))
    if png_file is not None:
        draw_roofline(found[0], png_file, chosen)
