"""``tinyse firmware``: images of a model: build them, run one on QEMU, flash one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyse.cli import check_stop

if TYPE_CHECKING:
    from tinyse.firmware.images import Images
    from tinyse.firmware.qemu import Run

BOARD_HELP = "corstone300, corstone300-u65, mps2-an500 (QEMU's Cortex-M7), stm32f746g-disco or stm32h743zi."
board_option = click.option("--board", default="corstone300", show_default=True, metavar="NAME", help=BOARD_HELP)
target_option = click.option("--target", metavar="NAME|FILE", help="What to export for. Default: by the board.")
out_option = click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
                          help="For export and project. Default: build/firmware/MODEL-BOARD.")


@click.group()
def command() -> None:
    """Build firmware images of a model, run them on QEMU, flash them.

    MODEL is a run, a released model's folder, a .npz or an int8 .tflite.

    \b
    Example:
      tinyse firmware build models/tinylstm-dense --board corstone300
      tinyse firmware run models/tinylstm-dense noisy.wav clean.wav --backend npu
      tinyse firmware flash models/tinylstm-dense --board stm32f746g-disco
    """


@command.command()
@click.argument("model", type=click.Path(path_type=Path))
@board_option
@target_option
@out_option
@click.option("--tflm", type=click.Path(path_type=Path), metavar="DIR",
              help="Your TensorFlow Lite Micro tree, for an image that runs the model in TFLM.")
def build(model: Path, board: str, target: str | None, out: Path | None, tflm: Path | None) -> None:
    """Export MODEL and build every image that the board can run.

    \b
    Example:
      tinyse firmware build models/tinylstm-dense --board stm32f746g-disco
    """
    from tinyse.firmware.images import TFLM_SKIPPED

    images = _images(model, board, target, out, tflm)
    for built in images.built:
        sizes = ", ".join(f"{path.name} {path.stat().st_size:,} B" for path in built.binaries)
        click.echo(f"{built.board:<18}{built.backend:<6}{built.elf}  {sizes}  exact")
    if tflm is None:
        click.echo(TFLM_SKIPPED)


@command.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path), required=False)
@board_option
@target_option
@out_option
@click.option("--backend", type=click.Choice(["cpu", "npu"]), default="cpu", show_default=True,
              help="What runs the network; npu is tinyse's simulator behind the real driver's interface.")
@click.option("--exit", "exit_at", type=click.IntRange(min=0), default=0, metavar="N",
              help="Stop every frame at exit N of the network, from 1. Default: what its plan says.")
@click.option("--budget", metavar="AMOUNT",
              help="The last exit within so much a second of sound, such as 12Mmacs or 20Mcycles.")
def run(model: Path, source: Path, destination: Path | None, board: str, target: str | None, out: Path | None,
        backend: str, exit_at: int, budget: str | None) -> None:
    """Enhance the WAV file SOURCE into DESTINATION with MODEL's firmware on QEMU.

    A model that predicts quality takes no DESTINATION: its scores are printed, as by tinyse score-quality. Nor does
    one that says where voice is: its frames of voice are counted.

    \b
    Example:
      tinyse firmware run models/tinylstm-dense noisy.wav clean.wav
      tinyse firmware run models/tinylstm-dense noisy.wav clean.wav --board mps2-an500
      tinyse firmware run models/quality noisy.wav
    """
    from tinyse.core.artifacts import check_writable
    from tinyse.engines.exits import exit_within
    from tinyse.firmware import qemu

    check_stop(exit_at, budget)
    qemu.check_wav(source)
    check_writable(destination)
    if budget is not None:
        exit_at = exit_within(model, None, budget)
    images = _images(model, board, target, out, None, destination is None, exit_at)
    built = images.backend(backend)
    done = qemu.run(built.elf, built.board, source, destination,
                    npu_models=images.compiled if backend == "npu" else (), exit_at=exit_at)
    counter, frames = done.results.counter, max(done.results.frames, 1)
    for name, ticks in [*done.results.stages.items(), ("frame", done.results.frame)]:
        each = qemu.instructions(ticks.total, counter) / frames
        click.echo(f"{name:<12}{each:>12,.0f} instructions a frame  emulated (QEMU)")
    if done.results.updates < done.results.frames:
        click.echo(f"the network ran on {done.results.updates:,} of {frames:,} frames")
    if len(done.results.parts) > 1:
        for part, runs in enumerate(done.results.parts):
            click.echo(f"part {part} ran on {runs:,} of {frames:,} frames")
    if done.results.scores is not None:
        _show_scores(source, images, done)


@command.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--board", required=True, metavar="NAME", help="stm32f746g-disco, stm32h743zi or mps3-an547.")
@target_option
@out_option
@click.option("--backend", type=click.Choice(["cpu", "npu"]), help="Default: the NPU where the board has one.")
@click.option("--drive", type=click.Path(path_type=Path), metavar="DIR",
              help="Root of the MPS3's USB drive. Default: the one that is mounted.")
def flash(model: Path, board: str, target: str | None, out: Path | None, backend: str | None,
          drive: Path | None) -> None:
    """Build MODEL's image for a board and put it there: by openocd, or onto the MPS3's drive.

    \b
    Example:
      tinyse firmware flash models/tinylstm-dense --board stm32f746g-disco
    """
    from tinyse.firmware.flash import flash as flash_image
    from tinyse.firmware.flash import place_of

    place_of(board)
    images = _images(model, board, target, out, None, False)
    built = images.backend(backend) if backend else images.built[-1]
    click.echo(flash_image(built, board, drive))


def _show_scores(source: Path, images: Images, done: Run) -> None:
    from tinyse.cli.score_quality import show
    from tinyse.engines.quality import Scorer, heard
    from tinyse.export.bundle import open_bundle

    if open_bundle(images.export).ends.result.kind == "voice":
        voiced = sum(said >= 0.5 for said in done.scores)
        click.echo(f"{source}: voice on {voiced:,} of {len(done.scores):,} frames")
        return
    show(source, heard(done.scores, done.results.frames, Scorer.load(images.export), str(source)))


def _images(model: Path, board: str, target: str | None, out: Path | None, tflm: Path | None,
            scores: bool | None = None, exit_at: int = 0) -> Images:
    from tinyse.cli.draw import progress_bars
    from tinyse.firmware.images import make_images

    with progress_bars() as progress:
        return make_images(model, board, target, out, tflm, progress=progress, scores=scores, exit_at=exit_at)
