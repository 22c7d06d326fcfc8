"""``tinyse export``: a trained run to TFLite, Vela and C."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--target", default="ethos-u55-128", show_default=True, metavar="NAME|FILE",
              help="A target's name, or a YAML file of your own.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Default: RUN/export.")
def command(run: Path, target: str, out: Path | None) -> None:
    """Export RUN as a streaming int8 model with Vela's compilation and C sources.

    RUN is a folder that tinyse train wrote, or a .npz model. Writes model_int8.tflite, model_vela.tflite
    (NPU targets), model.h, model.c, packed.h, packed.c, memory.json, memory.txt, vela/ and manifest.json.

    \b
    Example:
      tinyse export runs/quick --target ethos-u55-128
      tinyse export runs/quick --target cortex-m7 --out runs/quick/export-m7
    """
    from tinyse.cli.draw import progress_bars
    from tinyse.export.pipeline import export_run
    from tinyse.export.render import summary

    with progress_bars() as progress:
        made = export_run(run, target, out, progress)
    click.echo(summary(made))
