"""``tinyse npu``: look into, run and check Vela-compiled models on the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyse.cli import given

if TYPE_CHECKING:
    from tinyse.engines.npu import NpuEngine
    from tinyse.measure.stimulus import Ints

MODEL = click.Path(path_type=Path)


@click.group("npu")
def command() -> None:
    """Disassemble, run and compare Vela-compiled models on the Ethos-U55 simulator.

    \b
    Example:
      tinyse npu compare models/tinylstm-dense/model_vela.tflite models/tinylstm-dense/model_int8.tflite
    """


@command.command()
@click.argument("model", type=MODEL)
@click.option("--debug-db", type=MODEL, metavar="XML", help="Vela's debug database, for names and estimated cycles.")
def disassemble(model: Path, debug_db: Path | None) -> None:
    """List the command stream of MODEL, one block an operation.

    Each shows shapes, regions, addresses and formats, scaling and rounding, and the weights: how many,
    how many of them zero, and their encoded bytes.

    \b
    Example:
      tinyse npu disassemble runs/quick/export/model_vela.tflite | less
    """
    from tinyse.npu import Machine, listing
    from tinyse.npu.account import estimates

    for line in listing(Machine.load(model), estimates(debug_db) if debug_db else None):
        click.echo(line)


@command.command()
@click.argument("model", type=MODEL)
@click.option("--audio", type=MODEL, metavar="WAV", help="Feed this sound's features.  [default: shaped noise]")
@click.option("--frames", default=100, show_default=True, type=click.IntRange(1), help="Frames of shaped noise.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the shaped noise.")
@click.option("--trace", "target", type=MODEL, metavar="NPZ", help="Dump every operation's output map, each frame.")
def run(model: Path, audio: Path | None, frames: int, seed: int, target: Path | None) -> None:
    """Run MODEL on the simulator and say how fast.

    \b
    Example:
      tinyse npu run model_vela.tflite --frames 1000
      tinyse npu run model_vela.tflite --audio noisy.wav --trace maps.npz
    """
    from tinyse.core.artifacts import check_apart, check_kind, check_writable
    from tinyse.engines.npu import NpuEngine
    from tinyse.measure.speed import run_frames

    check_kind(target, ".npz")
    check_apart(target, model, *([audio] if audio else []))
    check_writable(target)
    engine = NpuEngine.load(model, fitting=False)
    count, rate = run_frames(engine, _frames(engine, audio, frames, seed), target)
    click.echo(f"{count} frames on {engine.accelerator} (simulated), {rate:,.0f} frames/s on this host (measured)")
    if target:
        click.echo(f"wrote {target}")


@command.command()
@click.argument("compiled", type=MODEL)
@click.argument("integer", type=MODEL)
@click.option("--audio", type=MODEL, metavar="WAV", help="Feed this sound's features.  [default: shaped noise]")
@click.option("--frames", default=200, show_default=True, type=click.IntRange(1), help="Frames of shaped noise.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the shaped noise.")
def compare(compiled: Path, integer: Path, audio: Path | None, frames: int, seed: int) -> None:
    """Run COMPILED on the simulator and INTEGER on TFLM; name the first operation where they part.

    \b
    Example:
      tinyse npu compare model_vela.tflite model_int8.tflite --audio noisy.wav
    """
    from tinyse.engines.npu import NpuEngine
    from tinyse.measure.parting import compare as walk

    result = walk(compiled, integer, _frames(NpuEngine.load(compiled, fitting=False), audio, frames, seed))
    click.echo(f"{result.frames} frames: {100 * result.share:.3f} % of {result.values} output values equal, "
               f"largest difference {result.worst} LSB (simulated against TFLM)")
    click.echo(f"first quarter {100 * result.early:.3f} % equal, last quarter {100 * result.late:.3f} %")
    for tap in result.taps:
        click.echo(f"  {tap.tap:24} op {tap.index:3} {tap.offset:#08x} {tap.operation:10} "
                   f"{100 * tap.equal / tap.values:8.4f} % equal, largest difference {tap.worst}")
    if result.part:
        part = result.part
        click.echo(f"first parting: frame {part.frame}, operation {part.index} ({part.operation}) at {part.offset:#x}, "
                   f"{part.tap}[{part.element}]: simulator {part.npu}, TFLM {part.tflm}")
    else:
        click.echo("no parting: every value that both write is equal")


def _frames(engine: NpuEngine, audio: Path | None, count: int, seed: int) -> list[Ints]:
    from tinyse.measure.stimulus import sound_frames, synthetic_frames

    if audio and (idle := given("frames", "seed")):
        raise click.UsageError(f"--{idle[0]} is of shaped noise, and --audio gives a sound")
    return sound_frames(engine, audio) if audio else synthetic_frames(engine, count, seed)
