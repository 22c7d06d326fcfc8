"""``tinyse enhance``: a WAV file or a raw PCM pipe through a streaming engine."""

from __future__ import annotations

import sys

import click

from tinyse.cli import ENGINES, check_stop
from tinyse.cli.draw import progress_bars


@click.command("enhance")
@click.argument("source", metavar="IN.wav")
@click.argument("target", metavar="OUT.wav")
@click.option("--model", required=True, metavar="PATH", help="Run folder, export folder, .npz or .tflite.")
@click.option("--engine", "kind", type=click.Choice(ENGINES),
              help="What runs it; by default, what the file is for.")
@click.option("--exit", "exit_at", type=click.IntRange(min=1), metavar="N",
              help="Stop every frame at exit N of the network. Default: what its plan says.")
@click.option("--budget", metavar="AMOUNT",
              help="The last exit within so much a second of sound, such as 12Mmacs or 20Mcycles.")
@click.option("--pcm-rate", default=16000, show_default=True, metavar="HZ", help="Rate of raw PCM on a pipe.")
def command(source: str, target: str, model: str, kind: str | None, exit_at: int | None, budget: str | None,
            pcm_rate: int) -> None:
    """Enhance IN.wav into OUT.wav, frame by frame.

    Any length, any rate from 8 kHz, any channel count; the output is mono, of the input's rate and length.
    "-" stands for raw 16-bit little-endian mono on standard input or output, in real time: every hop
    that comes in sends one out, one hop later (16 ms for TinyLSTMs' network). Input that starts as a WAV, FLAC, OGG or
    AIFF file does is read as one.

    \b
    Example:
      tinyse enhance noisy.wav clean.wav --model runs/quick/export
      tinyse enhance noisy.wav clean.wav --model runs/exits/export --budget 12Mmacs
      arecord -t raw -f S16_LE -r 16000 | tinyse enhance - - --model runs/quick | aplay -f S16_LE -r 16000
    """
    from tinyse.engines.base import load_engine
    from tinyse.engines.enhance import PIPE, Pipe, enhance_file
    from tinyse.engines.exits import affordable, stop_at

    check_stop(exit_at, budget)
    if source == PIPE and sys.stdin and sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal; pipe raw PCM into it")
    streams = Pipe(sys.stdin.buffer if sys.stdin else None, sys.stdout.buffer if sys.stdout else None, pcm_rate)
    engine = load_engine(model, kind)
    if budget is not None:
        exit_at = affordable(engine, model, budget)
    if exit_at:
        stop_at(engine, exit_at)
    with progress_bars() as progress:
        result = enhance_file(source, target, engine, progress, streams)
    for note in result.notes:
        click.echo(f"note: {source}: {note}", err=True)
    ran = "" if result.update_rate is None else f", the network ran on {result.update_rate:.1%} of the frames"
    if result.exit_rates:
        ran += f", exits 1 to {len(result.exit_rates)} on {', '.join(f'{rate:.1%}' for rate in result.exit_rates)}"
    click.echo(f"{target}: {result.seconds:.2f} s at {result.rate} Hz, {result.engine} engine{ran}", err=True)
