"""The C library with a network that answers as told: built for the host, or for QEMU's Cortex-M, and run."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from tinyse.export.cheader import header, source
from tinyse.export.memory import MemoryReport, Place
from tinyse.export.targets import load_target
from tinyse.firmware.vendor import DSP_SOURCES, vendor
from tinyse.graph.grid import Grid
from tinyse.graph.plan import Always, Plan, Ports, Skip
from tinyse.graph.tensor import Tensor
from tinyse.sound import Ends

ROOT = Path(__file__).resolve().parents[1] / "firmware"
PARTS = Path(__file__).resolve().parent / "firmware_frontend"
MAX_HOPS = 256
FLOATS, INTEGERS, IN_PLACE, POWER, QUANTIZE, CONTRACT = range(6)
INPUT = Place("features", "int8", 128, 0.0193, -121, None, 0)
OUTPUT = Place("mask", "int8", 128, 1 / 256, -128, None, 1)
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Werror"]
FLAGS = ["-std=c11", "-O2", "-g", "-ffunction-sections", "-fdata-sections", "-fno-math-errno", "-Wl,--gc-sections"]
HOST = ("gcc", "-D__GNUC_PYTHON__", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
M55 = ("arm-none-eabi-gcc", "-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard")
M7 = ("arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16")
CORES = {"host": HOST, "m55": M55, "m55-portable": (*M55, "-DTINYSE_KERNELS_PORTABLE"), "m7": M7}
MACHINES = {  # QEMU arguments, where code and data lie, nanoseconds of a SysTick tick
    "m55": (["-M", "mps3-an547"], 0x10000000, 0x31000000, 31.25),
    "m7": (["-M", "mps2-an500", "-cpu", "cortex-m7"], 0x0, 0x20000000, 40.0)}


@dataclass(frozen=True)
class Answer:
    """What the library did with a signal: [hops, ...]; instructions by stage, and of the whole call."""

    status: np.ndarray
    instructions: np.ndarray
    bands: np.ndarray
    feature: np.ndarray
    samples: np.ndarray
    mask: np.ndarray
    counts: np.ndarray
    scores: np.ndarray


class Script:
    """A network that answers with what it was given, and keeps what it was asked."""

    name = "script"

    def __init__(self, answers: np.ndarray) -> None:
        self.answers = answers
        self.asked: list[np.ndarray] = []
        self.reset()

    def reset(self) -> None:
        self._next: Iterator[np.ndarray] = iter(self.answers)

    def mask(self, feature: np.ndarray) -> np.ndarray:
        self.asked.append(feature)
        answer = next(self._next)
        return grids(8 * answer.dtype.itemsize)[1].dequantize(answer)


def grids(bits: int = 8) -> tuple[Grid, Grid]:
    """Of the input and of the output; 16 bits have the range of 8, in steps of 1/256."""
    first, second = places(bits)
    return Grid(first.scale, first.zero_point, bits), Grid(second.scale, second.zero_point, bits)


def places(bits: int) -> tuple[Place, Place]:
    """The network's input and output, of one value each."""
    if bits == 8:
        return replace(INPUT, bytes=1), replace(OUTPUT, bytes=1)
    return (replace(INPUT, type="int16", bytes=2, scale=INPUT.scale / 256, zero_point=0),
            replace(OUTPUT, type="int16", bytes=2, scale=OUTPUT.scale / 256, zero_point=0))


def noise(hops: int, ends: Ends, seed: int = 0) -> np.ndarray:
    """Noise whose level wanders over 60 dB."""
    rng = np.random.default_rng(seed)
    level = 10 ** rng.uniform(-3, 0, (hops, 1))
    return (0.3 * level * rng.standard_normal((hops, ends.framing.hop))).astype(np.float32)


def decibels(signal: np.ndarray, wanted: np.ndarray) -> float:
    """Energy of the difference over that of what was wanted."""
    error = np.sum(np.square(signal.astype(float) - wanted))
    return 10 * np.log10(max(error, 1e-200) / np.sum(np.square(wanted.astype(float))))


@lru_cache
def dsp_objects(core: str) -> list[str]:
    """CMSIS-DSP for ``core``, compiled once a session: it does not depend on the ends."""
    folder, parts = Path(tempfile.mkdtemp(prefix=f"tinyse-dsp-{core}-")), vendor()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    found = []
    for name in DSP_SOURCES:
        found.append(str(folder / f"{Path(name).stem}.o"))
        subprocess.run([*CORES[core], *FLAGS, *_includes(), "-w", "-c", str(parts.dsp / name), "-o", found[-1]],
                       check=True, capture_output=True)
    return found


def _includes() -> list[str]:
    parts = vendor()
    return ["-isystem", f"{parts.dsp}/Include", "-isystem", f"{parts.dsp}/PrivateInclude", "-isystem",
            f"{parts.core}/Include"]


def model_folder(folder: Path, ends: Ends, skip: bool = False, bits: int = 8) -> Path:
    """model.h, model.c and packed.h of an export without a network; of a Skip RNN with ``skip``."""
    given, answer = places(bits)
    given = replace(given, bytes=given.bytes * ends.inputs)
    answer = replace(answer, bytes=answer.bytes * (ends.outputs + skip))
    report = MemoryReport("cortex-m7", "measured", 64, 0, 16, 16, 0, 0, (Place("s", "int8", 4, 1.0, 0, 0, 2),),
                          given, answer)
    target = load_target("cortex-m7")
    given, answer = (Tensor(place.name, (place.bytes * 8 // bits,), Grid(place.scale, place.zero_point, bits))
                     for place in (given, answer))
    plan = Plan((Ports("network", (given,), (answer,)),), ("mask",), Skip("mask", ends.outputs) if skip else Always())
    for name, write in (("model.h", header), ("model.c", source)):
        (folder / name).write_text(write([bytes(16)], plan, ends, report, target, "0" * 64))
    (folder / "packed.h").write_text("#define TINYSE_PACKED_ARENA_BYTES 64\n")
    return folder


def compiled(core: str, ends: Ends, folder: Path, skip: bool = False,
             bits: int = 8) -> subprocess.CompletedProcess[str]:
    """Compile and link ``folder``/driver; the strict warnings hold for our sources."""
    if not shutil.which(CORES[core][0]):
        package = "gcc" if core == "host" else "gcc-arm-none-eabi libnewlib-arm-none-eabi"
        pytest.skip(f"{CORES[core][0]} is missing: apt-get install {package}")
    model_folder(folder, ends, skip, bits)
    common = [*CORES[core], *FLAGS, f"-I{ROOT}/include", f"-I{ROOT}/src", f"-I{folder}", f"-I{PARTS}",
              *_includes()]
    ours = [ROOT / "src" / "frontend.c", ROOT / "src" / "tinyse.c", PARTS / "network.c", PARTS / "driver.c",
            folder / "model.c"]
    if core == "host":
        ours.append(PARTS / "host.c")
        link = ["-lm"]
    else:
        ours += [PARTS / "target.c", ROOT / "app" / "semihosting.c"]
        code, data = MACHINES[core.split("-")[0]][1:3]
        link = ["-nostartfiles", "--specs=nano.specs", "-T", str(PARTS / "target.ld"), f"-Wl,--defsym=CODE={code}",
                f"-Wl,--defsym=RAM={data}", "-Wl,--no-warn-rwx-segments", "-lm"]
    for number, file in enumerate(ours):
        done = subprocess.run([*common, *STRICT, "-c", str(file), "-o", str(folder / f"{number}_{file.stem}.o")],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            return done
    objects = [*map(str, sorted(folder.glob("*.o"))), *dsp_objects(core)]
    return subprocess.run([*common, *objects, *link, "-o", str(folder / "driver")], capture_output=True, text=True,
                          check=False)


@lru_cache
def library(core: str, ends: Ends, skip: bool = False, bits: int = 8) -> Path:
    """The folder of a driver for ``core``; built once a session."""
    folder = Path(tempfile.mkdtemp(prefix=f"tinyse-frontend-{core}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    done = compiled(core, ends, folder, skip, bits)
    assert done.returncode == 0, done.stderr
    return folder


def run(core: str, ends: Ends, samples: np.ndarray, masks: np.ndarray, mode: int = FLOATS,
        reset_at: int = MAX_HOPS, fail_at: int = 0, skip: bool = False, bits: int = 8) -> Answer:
    """Stream ``samples`` [hops, hop] with the network's answers ``masks`` [calls, outputs], of a Skip RNN [calls,
    outputs + 1]. Calls are counted from the last reset on."""
    driver = library(core, ends, skip, bits) / "driver"
    hops = len(samples)
    given = np.zeros((MAX_HOPS, ends.framing.hop), np.float32)
    wide = given.view(np.int16) if mode == INTEGERS else given
    wide[:hops, : ends.framing.hop] = samples
    answers = np.zeros((MAX_HOPS, ends.outputs + skip), f"int{bits}")
    answers[: len(masks)] = masks
    head = np.array([mode, hops, reset_at, fail_at, 0], "<u4")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in.bin").write_bytes(head.tobytes() + answers.tobytes() + given.tobytes())
        command = [str(driver)]
        if core != "host":
            machine = MACHINES[core.split("-")[0]][0]
            if not shutil.which("qemu-system-arm"):
                pytest.skip("qemu-system-arm is missing: apt-get install qemu-system-arm")
            command = ["qemu-system-arm", *machine, "-nographic", "-monitor", "none", "-serial", "none", "-icount",
                       "shift=5", "-semihosting-config", "enable=on,target=native", "-kernel", str(driver)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
        raw = Path(folder, "out.bin").read_bytes()
    return _answer(raw, core, ends, hops, mode, skip, bits)


def _answer(raw: bytes, core: str, ends: Ends, hops: int, mode: int, skip: bool, bits: int) -> Answer:
    fields, offset = [], 0
    for kind, width in ((np.uint32, 1), (np.uint32, 7), (np.float32, ends.row), (f"int{bits}", ends.inputs),
                        (f"int{bits}", ends.outputs + skip), (np.uint32, 2), (np.float32, ends.outputs),
                        (np.float32, ends.framing.hop)):
        values = np.frombuffer(raw, kind, MAX_HOPS * width, offset).reshape(MAX_HOPS, width)
        offset += values.nbytes
        fields.append(values[:hops])
    assert offset == len(raw)
    status, ticks, bands, feature, mask, counts, scores, samples = fields
    nanoseconds = 0.0 if core == "host" else MACHINES[core.split("-")[0]][3]
    if mode == INTEGERS:
        samples = samples.view(np.int16)[:, : ends.framing.hop]
    return Answer(status[:, 0], ticks * nanoseconds / 32, bands, feature, samples, mask, counts, scores)
