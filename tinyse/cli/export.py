"""``tinyse export``: a trained run to TFLite, Vela and C."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--target", default="ethos-u55-128", show_default=True, metavar="NAME|FILE",
              help="A target's name, or a YAML file of your own.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Default: RUN/export.")
@click.option("--reorder", is_flag=True, help="Densest hidden units first: the same output, fewer bytes after Vela.")
@click.option("--firmware", type=click.Path(path_type=Path), metavar="DIR",
              help="Also write a firmware project: sources, model, Makefile; builds with arm-none-eabi-gcc alone.")
@click.option("--board", metavar="NAME", help="What plain make builds the project for. Default: the target's board.")
def command(run: Path, target: str, out: Path | None, reorder: bool, firmware: Path | None,
            board: str | None) -> None:
    """Export RUN as a streaming int8 model with Vela's compilation and C sources.

    RUN is a folder that tinyse train wrote, a .npz model, a released model's folder, or an int8 .tflite. Writes
    model_int8.tflite, model_vela.tflite (NPU targets), model.h, model.c, packed.h, packed.c, memory.json,
    memory.txt, vela/ and manifest.json.

    \b
    Example:
      tinyse export runs/quick --target ethos-u55-128
      tinyse export runs/quick --target cortex-m7 --out runs/quick/export-m7
      tinyse export runs/quick --target cortex-m7 --firmware my-firmware --board stm32f746g-disco
    """
    from tinyse.cli.draw import progress_bars
    from tinyse.export.pipeline import export_run
    from tinyse.export.render import summary
    from tinyse.export.targets import load_target
    from tinyse.firmware.project import write_project

    if board and not firmware:
        raise click.UsageError("--board says what a firmware project is for: give --firmware DIR too")

    with progress_bars() as progress:
        made = export_run(run, target, out, progress, reorder)
        project = write_project(made.folder, firmware, board, progress, load_target(target)) if firmware else None
    click.echo(summary(made))
    if project:
        click.echo(f"{'firmware project':<18}{project.folder} (make -C {quote(str(project.folder))})")
