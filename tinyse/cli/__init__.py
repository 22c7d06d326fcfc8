"""The command line: a lazy Click group, one module a command, errors as one line.

A module ``tinyse/cli/<name>.py`` exposes its Click command as ``command`` (a hyphen of the name is an underscore
there). Modules are imported only when their command runs, so ``tinyse --help`` stays fast.
"""

from __future__ import annotations

import codecs
import importlib
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from tinyse import __version__
from tinyse.core.errors import TinyseError

COMMANDS = {
    "data": "Fetch, import, mix and show recorded speech and noise.",
    "train": "Train a recipe: float, pruning, quantization-aware.",
    "export": "Export a run: streaming int8 TFLite, Vela, C header.",
    "sweep": "A grid of recipes into one table with Pareto plots.",
    "search": "Bits for every matrix of a run, by genetic search.",
    "recommend": "The model of a sweep or search that fits a budget.",
    "runs": "List and compare what was trained, in one page too.",
    "prune-offline": "Prune a finished int8 .tflite by magnitude, untrained.",
    "firmware": "Firmware images of a model: build, run on QEMU, flash.",
    "enhance": "Enhance a WAV file or a PCM pipe, frame by frame.",
    "score-quality": "Predicted quality of sound files, without a reference.",
    "evaluate": "Score a model's streamed output against clean speech.",
    "profile": "Cycles, bandwidth and memory of an export, labelled by source.",
    "npu": "Disassemble and run Vela-compiled models on the simulator.",
    "release": "A finished run as models/NAME with its card.",
    "doctor": "What is installed, what is missing, what gets it.",
    "run": "The whole chain with the quick recipe, ending in one report.",
}

ENGINES = ("keras", "tflm", "npu")
"""``tinyse.engines.KINDS``, said again so that --help need not import numpy."""


def module_name(command: str) -> str:
    """The module of a command."""
    return command.replace("-", "_")


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command that is installed, in the order of the work."""
        here = os.path.dirname(__file__)
        return [name for name in COMMANDS if os.path.exists(os.path.join(here, f"{module_name(name)}.py"))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command's module and return its command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        return importlib.import_module(f"tinyse.cli.{module_name(cmd_name)}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from their one-line summaries, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


class Number(click.FloatRange):
    """A finite number in a range: no comparison finds ``nan`` outside of one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return found


def given(*names: str) -> list[str]:
    """Which of these options of the running command stand on its line, in their order."""
    source = click.get_current_context().get_parameter_source
    return [name for name in names if source(name) is ParameterSource.COMMANDLINE]


def check_stop(exit_at: int | None, budget: str | None) -> None:
    """Refuse ``--exit`` beside ``--budget``."""
    if exit_at and budget is not None:
        raise click.UsageError("--exit and --budget both say where to stop")


def numbers(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    """An option's callback: numbers with commas between them, at least one."""
    try:
        found = tuple(float(part) for part in value.split(",") if part.strip())
    except ValueError:
        found = ()
    if not found:
        raise click.BadParameter(f"{value!r} is no list of numbers, such as {parameter.default}")
    return found


def decibels(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    """As ``numbers``, of SNRs."""
    found = numbers(ctx, parameter, value)
    if not all(-60.0 <= number <= 100.0 for number in found if math.isfinite(number)):
        raise click.BadParameter(f"{value!r}: -60 to 100 dB leave a speech and a noise to hear")
    return found


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: what is half-written goes, as on Ctrl-C."""

    def __init__(self, number: int) -> None:
        """By which signal."""
        self.exit_code = 128 + number


@contextmanager
def usable_process() -> Iterator[None]:
    """Make up what a caller may have left out, while the block runs.

    Closed standard streams become the null device, lest the next file that is opened takes their place; names that are
    not UTF-8 are printed as the bytes that they are; SIGTERM and SIGHUP unwind.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    codecs.register_error("tinyse-names", _as_bytes)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a stand-in, or one that was closed
            stream.reconfigure(errors="tinyse-names")  # type: ignore[union-attr]
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        with suppress(ValueError):  # not the main thread
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores them
                before[number] = signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_bytes(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start:error.end]
    return b"".join(bytes([ord(one) & 0xFF]) if "\udc80" <= one <= "\udcff" else one.encode("ascii", "backslashreplace")
                    for one in text), error.end


def _terminate(number: int, frame: object) -> NoReturn:
    raise Terminated(number)


class OneLineErrors(LazyGroup):
    """Turns every expected failure into one line and a non-zero exit."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run in a process that is fit for it."""
        with usable_process():
            return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a TinyseError becomes a one-line Click error."""
        try:
            return super().invoke(ctx)
        except TinyseError as error:
            raise Failure(error.line(), error.exit_code) from error
        except MemoryError as error:
            raise Failure("out of memory (use a shorter file or a smaller batch)", 1) from error
        except Terminated as error:
            raise Failure("terminated", error.exit_code) from None
        except KeyboardInterrupt:
            raise Failure("interrupted", 130) from None
        except BrokenPipeError:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - nothing is left to read us
            raise SystemExit(141) from None
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            raise Failure(f"{name}{error.strerror or error}", 1) from error


class Failure(click.ClickException):
    """One line and an exit code of its own."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = code  # type: ignore[misc]  # Click declares it on the class, reads the instance


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tinyse")
def main() -> None:
    """Speech enhancers from training to an Arm Ethos-U microNPU.

    \b
    Example:
      tinyse run                                   the whole chain, quick recipe
      tinyse train quick
      tinyse export runs/quick --target ethos-u55-128
      tinyse profile runs/quick/export
    """
