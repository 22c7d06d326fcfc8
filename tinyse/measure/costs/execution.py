"""Builds the firmware with the model, runs it where the user says or where it can be, and types what it says.

The order of preference is the FVP, QEMU, neither. What cannot be had is one line in ``skipped`` as long as the
user did not ask for it; what was asked for and fails is an error.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tinyse import __version__
from tinyse.core.errors import ExportError, ModelError, TinyseError, ToolError
from tinyse.core.origin import Origin, Source
from tinyse.core.tools import FVP_VARIABLE
from tinyse.export.targets import Target
from tinyse.firmware import fvp, qemu
from tinyse.firmware.build import COMPILER, Built, build
from tinyse.firmware.results import STAGES, Counter, Results, Ticks, parse
from tinyse.measure.costs import board, host, runner
from tinyse.measure.costs.assembly import assemble
from tinyse.measure.costs.budget import frame_budget
from tinyse.measure.costs.firmware import FirmwareMemory, FirmwareRun, FrameBudget, RunnerRun, StageCost
from tinyse.measure.costs.locate import Located
from tinyse.measure.costs.memory import firmware_memory
from tinyse.measure.costs.signals import write_signal
from tinyse.sound import DEFAULT

QEMU_BOARDS = {"cortex-m7": "mps2-an500", "cortex-m55": "corstone300"}
"""What QEMU has of each core, where it has not the board itself."""
BOARD = "board:"
NOISE = "the board's own noise"


class Where(StrEnum):
    """What runs the firmware."""

    FVP = "fvp"
    QEMU = "qemu"
    HOST = "host"
    BOARD = "board"


@dataclass(frozen=True)
class Options:
    """What the user asks for.

    Attributes:
        on: ``fvp``, ``qemu``, ``host``, ``board:DEVICE``; None: the best there is.
        fvp: path of the FVP.
        wav: what to enhance; None: the generated signal.
        backend: ``cpu`` or ``npu``; None: the target's own.
        arm: run Arm's runner too.
        enhanced: where the emulated firmware's WAV goes; None drops it.
    """

    on: str | None = None
    fvp: str | None = None
    wav: Path | None = None
    backend: str | None = None
    arm: bool = False
    enhanced: Path | None = None


@dataclass(frozen=True)
class Executed:
    """The groups of a profile that come from running the firmware; None where skipped."""

    firmware: FirmwareRun | None = None
    memory: FirmwareMemory | None = None
    budget: FrameBudget | None = None
    runner: RunnerRun | None = None


def execute(found: Located, target: Target | None, options: Options, skipped: list[str],
            skips: bool = False, frames_per_second: float = DEFAULT.frames_per_second) -> Executed:
    """Run the firmware with the located model; a line in ``skipped`` for each thing that could not be had.

    ``skips``: the model is a Skip RNN. ``frames_per_second``: of sound.

    Raises:
        ModelError: something asked for needs the int8 file, or the model does not fit.
        ToolError: what was asked for is missing or failed.
    """
    if not found.int8 or target is None:
        return _nothing("firmware: it is built from the int8 file; profile the export folder", options, skipped)
    try:
        where, detail = choose(options, target)
    except ToolError as error:
        return _nothing(f"firmware: {error.line()}", options, skipped, error)
    try:
        return _executed(found, target, where, detail, options, skipped, skips, frames_per_second)
    except (ToolError, ExportError) as error:  # nobody asked for it: a profile without it is better than none
        return _nothing(f"firmware: {error.line()}", options, skipped, error)


def _executed(found: Located, target: Target, where: Where, detail: str, options: Options,
              skipped: list[str], skips: bool, frames_per_second: float) -> Executed:
    if where is Where.BOARD:
        if options.wav is not None:
            raise ToolError("a board enhances its own noise", "leave out --wav")
        run = _measured(board.read_board(Path(detail)), Origin(Source.MEASURED, detail, "board"), NOISE)
        return Executed(run, None, frame_budget(run, target, skips, frames_per_second), None)
    with tempfile.TemporaryDirectory(prefix="tinyse-firmware-") as name:
        folder = Path(name)
        wav, signal = write_signal(folder, options.wav)
        project = assemble(found, target, folder).folder
        try:
            memory = firmware_memory(build(project, target.board, options.backend), target)
        except ToolError as error:  # no compiler, or too large for the part; the network can still be timed elsewhere
            memory = None
            skipped.append(f"memory of the {target.board} image: {error.line()}")
        if where is Where.HOST:
            run = _measured(host.run_on_host(project, wav), Origin(Source.MEASURED, host.host_name(), "host"), signal)
            features = b""
        elif where is Where.FVP:
            run, features = _on_fvp(build(project, target.board, options.backend), detail, target, wav, signal), b""
        else:
            run, features = _on_qemu(project, target, found, options, wav, signal, skips)
        beside = _runner(found, target, options, where, detail, features)
    return Executed(run, memory, frame_budget(run, target, skips, frames_per_second), beside)


def choose(options: Options, target: Target) -> tuple[Where, str]:
    """Where to run, with the FVP's path or the board's device.

    Raises:
        ToolError: what was asked for is not there, or nothing is.
    """
    asked = options.on or (Where.FVP if options.fvp else None)
    if asked and asked.startswith(BOARD):
        return Where.BOARD, asked.removeprefix(BOARD)
    if asked == Where.HOST:
        return Where.HOST, ""
    fits = target.core == "cortex-m55" and (target.npu is None or target.npu.accelerator.startswith("ethos-u55"))
    if asked == Where.FVP or (asked is None and fits):
        found = fvp.find(options.fvp)
        if found and not fits:
            raise ToolError(f"the FVP has a Cortex-M55 and an Ethos-U55, {target.name} has not", "--on qemu")
        if found:
            return Where.FVP, found
        if asked:
            raise ToolError("no FVP found", f"--fvp PATH, or ${FVP_VARIABLE}; or --on qemu")
    missing = [name for name in (qemu.PROGRAM, COMPILER, "make") if shutil.which(name) is None]
    if missing:
        raise ToolError(f"{' and '.join(missing)} missing", "apt-get install qemu-system-arm gcc-arm-none-eabi "
                        "libnewlib-arm-none-eabi make; or an FVP")
    if target.npu is not None and options.backend != "cpu" and not target.npu.accelerator.startswith("ethos-u55"):
        raise ToolError(f"the NPU simulator beside QEMU models the Ethos-U55, not {target.npu.accelerator}",
                        "--backend cpu")
    return Where.QEMU, ""


def _nothing(line: str, options: Options, skipped: list[str], error: TinyseError | None = None) -> Executed:
    if options.on is not None or options.arm or options.fvp is not None:
        raise error or ModelError(line.removeprefix("firmware: "))
    skipped.append(line)
    return Executed()


def _on_qemu(project: Path, target: Target, found: Located, options: Options, wav: Path,
             signal: str, skips: bool) -> tuple[FirmwareRun, bytes]:
    """The run, and the features of its middle frame for Arm's runner."""
    machine = target.board if target.board in qemu.MACHINES else QEMU_BOARDS[target.core]
    built = build(project, machine, options.backend)
    npu = found.compiled if built.backend == "npu" else ()
    done = qemu.run(built.elf, machine, wav, options.enhanced, network=True, npu_models=npu)
    origin = Origin(Source.EMULATED, f"QEMU {qemu.version()} {qemu.MACHINES[machine][0]}")
    results, record = done.results, done.network or b""
    frame = len(record) // max(1, results.frames)
    start = results.frames // 2 * frame
    return _typed(results, origin, "instructions", signal), record[start:start + frame // 2 - skips]


def _on_fvp(built: Built, program: str, target: Target, wav: Path, signal: str) -> FirmwareRun:
    with tempfile.TemporaryDirectory(prefix="tinyse-fvp-") as name:
        folder = Path(name)
        shutil.copyfile(wav, folder / "in.wav")
        fvp.run(fvp.command(program, built.elf.absolute(), target, "tinyse in.wav out.wav results.json"), folder)
        file = folder / "results.json"
        if not file.is_file():
            raise ToolError("the FVP wrote no results", "is its semihosting allowed to write files?")
        results = parse(file.read_text(encoding="utf-8"))
    return _measured(results, Origin(Source.MEASURED, f"Fast Models {fvp.version(program) or '?'}", "FVP"), signal)


def _measured(results: Results, origin: Origin, signal: str) -> FirmwareRun:
    return _typed(results, origin, "cycles" if results.counter.name == "dwt" else "ns", signal)


def _typed(results: Results, origin: Origin, unit: str, signal: str) -> FirmwareRun:
    frames, npu = max(1, results.frames), results.npu

    def cost(name: str, ticks: Ticks) -> StageCost:
        total, most = (_in_unit(count, results.counter, unit) for count in (ticks.total, ticks.max))
        return StageCost(name, total, total / frames, most)

    simulated = npu is not None and npu.name == "simulator"
    counted_by = Origin(Source.SIMULATED, f"tinyse.npu {__version__}") if simulated else origin
    return FirmwareRun(
        origin, results.board, results.core, results.backend, results.kernels, unit, results.frames,
        results.updates, results.parts, signal,
        tuple(cost(name, results.stages[name]) for name in STAGES), cost("frame", results.frame), simulated, npu,
        counted_by if npu else None,
        {name: dict(values) for name, values in results.timing_adapters.items()} if results.timing_adapters else None,
        results.arena_bytes, results.state_bytes, results.stack.bytes, results.stack.used)


def _in_unit(ticks: int, counter: Counter, unit: str) -> float:
    nanoseconds = ticks * 1e9 / counter.hz
    if unit == "instructions":
        return nanoseconds / 2**qemu.ICOUNT_SHIFT
    return ticks if unit == "cycles" else nanoseconds


def _runner(found: Located, target: Target, options: Options, where: Where, detail: str,
            features: bytes) -> RunnerRun | None:
    if not options.arm:
        return None
    if len(found.int8) > 1:
        raise ToolError("Arm's runner takes one file, and the network has several parts", "leave out --runner arm")
    if where is Where.FVP:
        return runner.run_on_fvp((found.compiled or found.int8)[0], detail, target)
    return runner.run_on_qemu(found.int8[0], features)
