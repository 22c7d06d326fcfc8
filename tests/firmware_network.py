"""Builds the network part of the firmware alone, for the host or a QEMU machine, and runs int8 frames through it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyse.export.cnetwork import c_network
from tinyse.export.coperator import Pack
from tinyse.export.packing import pack_matrix
from tinyse.export.reader import read

SOURCES = Path(__file__).parent.parent / "firmware" / "src"
TESTS = Path(__file__).parent
KERNELS = tuple(path.name for kind in ("operators", "kernels") for path in sorted(SOURCES.glob(f"{kind}*.c")))
FILES = ("network_cpu.c", *KERNELS)
STRICT = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion",
          "-Werror", "-DTINYSE_BACKEND=0")


@dataclass(frozen=True)
class Machine:
    """A compiler with its flags, and what runs the result."""

    compiler: str
    flags: tuple[str, ...]
    run: tuple[str, ...] = ()
    memory: str = ""
    ticks: float = 1.0


def _qemu(machine: str, *more: str) -> tuple[str, ...]:
    return ("qemu-system-arm", "-M", machine, *more, "-nographic", "-monitor", "none", "-serial", "none", "-icount",
            "shift=5", "-semihosting-config", "enable=on,target=native", "-kernel")


_M55 = ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard")
_M7 = ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16")
_AN547 = "V (rx): ORIGIN = 0x10000000, LENGTH = 4K\n  F (rx): ORIGIN = 0x11000000, LENGTH = 2M\n" \
         "  R (rw): ORIGIN = 0x30000000, LENGTH = 512K"
_AN500 = "V (rx): ORIGIN = 0x0, LENGTH = 4K\n  F (rx): ORIGIN = 0x1000, LENGTH = 2M\n" \
         "  R (rw): ORIGIN = 0x20000000, LENGTH = 512K"
_SANITIZE = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
MACHINES = {
    "host": Machine("gcc", ()),
    "sanitized": Machine("gcc", _SANITIZE),
    # -icount shift=5 is 32 ns an instruction; SysTick counts 31.25 ns on AN547 and 40 ns on AN500.
    "mve": Machine("arm-none-eabi-gcc", _M55, _qemu("mps3-an547"), _AN547, 31.25 / 32),
    "m55-portable": Machine("arm-none-eabi-gcc", (*_M55, "-DTINYSE_KERNELS_PORTABLE"), _qemu("mps3-an547"), _AN547,
                            31.25 / 32),
    "dsp": Machine("arm-none-eabi-gcc", _M7, _qemu("mps2-an500", "-cpu", "cortex-m7"), _AN500, 40 / 32),
}

LINK = """MEMORY {{
  {memory}
}}
ENTRY(start)
SECTIONS {{
  .vectors : {{ KEEP(*(.vectors)) }} > V
  .text : {{ *(.text*) *(.rodata*) . = ALIGN(8); }} > F
  .data : {{ data_start = .; *(.data*) . = ALIGN(4); data_end = .; }} > R AT > F
  data_load = LOADADDR(.data);
  .bss (NOLOAD) : {{ . = ALIGN(16); bss_start = .; *(.bss*) *(COMMON) . = ALIGN(8); bss_end = .; }} > R
  stack_top = ORIGIN(R) + LENGTH(R);
}}
"""


@dataclass(frozen=True)
class Program:
    """A built network; ``run`` streams frames from a fresh start."""

    machine: Machine
    path: Path
    outputs: int

    def run(self, frames: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
        """Masks [count, bands], and per frame instructions (QEMU) or nanoseconds (host)."""
        masks = np.frombuffer(self.pipe(frames.tobytes()), np.int8).reshape(-1, self.outputs)
        spent = np.fromfile(self.path.parent / "ticks.bin", np.uint32)
        return masks, (spent & 0xFFFFFF if self.machine.run else spent) * self.machine.ticks

    def pipe(self, data: bytes) -> bytes:
        """What the program makes of a file."""
        folder = self.path.parent
        (folder / "frames.bin").write_bytes(data)
        done = subprocess.run([*self.machine.run, str(self.path)], cwd=folder, capture_output=True, text=True,
                              check=False, timeout=900)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return (folder / "masks.bin").read_bytes()


def build(data: bytes, name: str, folder: Path, pack: Pack = pack_matrix,
          harness: str = "network_harness.c", files: tuple[str, ...] = FILES) -> Program:
    """Compile ``data``'s network for MACHINES[name] in ``folder``; skips where a tool is missing."""
    network = c_network(read(data), pack=pack)
    bands, outputs = network.plan.inputs[0].size, network.plan.result.size
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "packed.h").write_text(network.header(data))
    (folder / "packed.c").write_text(network.source(data))
    (folder / "model.h").write_text("\n".join(f"#define TINYSE_{key} {value}" for key, value in {
        "FRAME": 512, "HOP": 256, "FFT": 512, "BANDS": bands, "ROW": bands, "ROWS": 1, "INPUTS": bands,
        "OUTPUTS": outputs, "FEATURE": 0, "RESULT": 0, "INPUT_BITS": 8, "OUTPUT_BITS": 8, "SKIP": outputs - bands,
        "NPU": 0, "PARTS": 1}.items()) + "\n")
    sources = [*(SOURCES / file for file in files), folder / "packed.c", TESTS / harness]
    return Program(MACHINES[name], compiled(name, folder, sources), outputs)


def compiled(name: str, folder: Path, sources: list[Path], options: tuple[str, ...] = ()) -> Path:
    """The program that MACHINES[name]'s compiler makes of ``sources``; skips where a tool is missing."""
    machine = MACHINES[name]
    for tool, package in ((machine.compiler, "gcc-arm-none-eabi libnewlib-arm-none-eabi" if machine.run else "gcc"),
                          *([(machine.run[0], "qemu-system-arm")] if machine.run else [])):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is missing: apt-get install {package}")
    link = []
    if machine.run:
        (folder / "link.ld").write_text(LINK.format(memory=machine.memory))
        link = ["-nostartfiles", "--specs=nosys.specs", "-T", str(folder / "link.ld")]
    program = folder / f"{name}.elf"
    command = [machine.compiler, *STRICT, *machine.flags, f"-I{folder}", f"-I{SOURCES}", f"-I{SOURCES.parent}/include",
               *options, *map(str, sources), *link, "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    return program
