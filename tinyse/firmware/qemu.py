"""Runs an image on QEMU: a WAV file in, a WAV file and `Results` out; the NPU is tinyse's simulator.

``-icount`` ties QEMU's clock to the instructions that the guest executes, so ticks are counts of instructions
(`instructions`), the same in every run. They are **emulated**: QEMU knows no cycles, caches or wait states.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyse.core.artifacts import atomic_path
from tinyse.core.errors import AudioError, ExportError, ToolError
from tinyse.firmware.results import Counter, Results, complaint, parse

PROGRAM = "qemu-system-arm"
FORMAT = "give a 16-bit PCM mono WAV at the model's rate"
HINT = "install it: apt-get install -y qemu-system-arm"
ICOUNT_SHIFT = 5
"""One instruction takes 2^shift ns of QEMU's clock."""

MACHINES = {"corstone300": ("mps3-an547",), "corstone300-u65": ("mps3-an547",),
            "mps2-an500": ("mps2-an500", "-cpu", "cortex-m7")}
"""Boards that QEMU has, and how it calls them."""

EXIT_INPUT, EXIT_USAGE, EXIT_ENGINE, EXIT_FAULT = 1, 2, 3, 4
"""Exit codes of the image (app/main.c)."""


@dataclass(frozen=True)
class Run:
    """What a run left behind.

    Attributes:
        results: what the image says.
        uart: everything it wrote to the UART.
        network: per frame the features and the mask as integers, where they were asked for; of a network in parts
            the bits of those that ran behind them, uint32.
        scores: of a network that scores, every one from the first whole window on, in thousandths; else none.
    """

    results: Results
    uart: str
    network: bytes | None
    scores: tuple[float, ...] = ()


def run(elf: Path | str, board: str, wav_in: Path | str, wav_out: Path | str | None = None, *,
        network: bool = False, npu_models: Sequence[Path] = (), exit_at: int = 0,
        icount: bool = True, seconds: float = 600) -> Run:
    """Enhance ``wav_in`` on the emulated board.

    Args:
        elf: the image. board: one of `MACHINES`.
        wav_in: 16-bit PCM mono at the model's rate.
        wav_out: as long as ``wav_in`` and aligned with it, or of a network that scores its lines "end score"; written
            whole or not at all; None to drop it.
        network: keep what the network was given and what it answered.
        npu_models: the Vela-compiled .tflite files that the image was made from, one a part, for the simulated NPU;
            none for images whose CPU runs the network.
        exit_at: where every frame stops, an exit from 1; 0 for what its plan says.
        icount: tie the clock to instructions; without, a run is faster and its ticks mean nothing.
        seconds: longest time that the run may take.

    Raises:
        ToolError: QEMU is missing, does not know the board, or does not finish; the image faulted, or says
            nothing that can be understood. AudioError: the image refuses ``wav_in``.
        ExportError: the model, or the NPU, is not what the image was made for.
    """
    if board not in MACHINES:
        raise ExportError(f"QEMU has no {board}", f"one of {', '.join(sorted(MACHINES))}")
    program = shutil.which(PROGRAM)
    if program is None:
        raise ToolError(f"{PROGRAM} is not installed", HINT)
    elf, wav_in = Path(elf).absolute(), Path(wav_in).absolute()
    for path in (elf, wav_in):
        if not path.is_file():
            raise ToolError(f"{path}: no such file")
    with tempfile.TemporaryDirectory(prefix="tinyse-qemu-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "in.wav").symlink_to(wav_in)  # names without the blanks and commas that would need quoting
        arguments = ["tinyse", "in.wav", "out.wav", "results.json"]
        if network:
            arguments += ["--network", "network.bin"]
        if npu_models:
            from tinyse.firmware.cosim import serve

            arguments += ["--npu", *stack.enter_context(serve(npu_models, folder))]
        if exit_at:
            arguments += ["--exit", str(exit_at)]
        code, noise = _execute(_command(program, elf, board, arguments, icount), folder, seconds, elf.name)
        uart_file = folder / "uart.txt"
        uart = uart_file.read_text(encoding="utf-8", errors="replace") if uart_file.is_file() else ""
        if code:
            raise _failure(code, uart, noise, board, wav_in)
        results = parse((folder / "results.json").read_text(encoding="utf-8"))
        if wav_out is not None:
            with atomic_path(wav_out) as temporary:
                shutil.copyfile(folder / "out.wav", temporary)
        scores = _scores((folder / "out.wav").read_text(encoding="ascii"), results) if results.scores else ()
        return Run(results, uart, (folder / "network.bin").read_bytes() if network else None, scores)


def _scores(text: str, results: Results) -> tuple[float, ...]:
    lines = [line.split(" ") for line in text.splitlines()]
    if results.scores is None or len(lines) != results.scores.count or any(len(line) != 2 for line in lines):
        raise ToolError("the image's scores are not those that it counted", "build the firmware again")
    return tuple(float(score) for _, score in lines)


def check_wav(path: Path) -> None:
    """See that the image will read a file, before minutes of building.

    Raises:
        AudioError: it is missing, no WAV file, or not of 16-bit PCM and one channel.
    """
    import soundfile

    if not path.is_file():
        raise AudioError(f"{path}: no such file", "give the name of a WAV file")
    try:
        found = soundfile.info(str(path))
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path}: not a WAV file", FORMAT) from error
    if found.format not in ("WAV", "WAVEX") or (found.subtype, found.channels) != ("PCM_16", 1):
        raise AudioError(f"{path}: {found.format}, {found.subtype}, channels: {found.channels}", FORMAT)


def instructions(ticks: int, counter: Counter) -> int:
    """Instructions that ``ticks`` stand for in a run with ``icount``."""
    return round(ticks * 1e9 / counter.hz / 2**ICOUNT_SHIFT)


def _command(program: str, elf: Path, board: str, arguments: list[str], icount: bool) -> list[str]:
    host = ",".join(["enable=on,target=native", *(f"arg={argument}" for argument in arguments)])
    return [program, "-M", *MACHINES[board], "-display", "none", "-monitor", "none", "-serial", "file:uart.txt",
            *(["-icount", f"shift={ICOUNT_SHIFT},sleep=off"] if icount else []), "-semihosting-config", host,
            "-kernel", str(elf)]


def _execute(command: list[str], folder: Path, seconds: float, name: str) -> tuple[int, str]:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=seconds,
                              check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{name}: does not finish on QEMU within {seconds:.0f} s") from error
    return done.returncode, done.stdout + done.stderr


def _failure(code: int, uart: str, noise: str, board: str, wav: Path) -> Exception:
    said = complaint(uart)
    if said is None:
        lines = [line for line in noise.splitlines() if line.strip()]
        return ToolError(f"QEMU, {board}: {lines[0] if lines else f'exit code {code}'}", "is QEMU 7.0 or later?")
    said = said.removeprefix("error: ")
    if code == EXIT_INPUT:
        return AudioError(f"{wav}: {said.removeprefix('in.wav: ')}", FORMAT)
    if code == EXIT_ENGINE:
        hint = "QEMU has no NPU: name the compiled model, for the simulated one" if "no Ethos-U" in said else (
            "export the model again and build the firmware from it")
        return ExportError(f"firmware on {board}: {said}", hint)
    return ToolError(f"firmware on {board}: {said}")


def version(program: str = PROGRAM) -> str:
    """What QEMU says of its version; "?" where it does not."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, errors="replace", timeout=20,
                          check=False)
    match = re.search(r"version (\S+)", done.stdout)
    return match[1] if match else "?"
