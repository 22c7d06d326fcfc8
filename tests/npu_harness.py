"""Host builds of the firmware's NPU path: the harnesses of tests/firmware_npu, sanitized, with a small model."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from functools import lru_cache
from pathlib import Path

import firmware_images
import pytest
from firmware_images import NPU

from tinyse.export.cparts import npu_parts

ROOT = Path(__file__).resolve().parents[1]
SOURCES, HARNESS = ROOT / "firmware" / "src", Path(__file__).parent / "firmware_npu"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Werror"]
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
OK, ERROR_ARGUMENT, ERROR_MODEL, ERROR_NPU = 0, 1, 2, 3


def export() -> Path:
    return firmware_images.export("small", NPU)


@lru_cache
def payload() -> bytes:
    data = (export() / "model_vela.tflite").read_bytes()
    parts = npu_parts(data)
    return data[parts.payload_offset : parts.payload_offset + parts.payload_bytes]


def identity(data: bytes) -> tuple[int, int]:
    """Configuration and architecture words of a payload whose first action is the configuration, NOPs aside."""
    words = struct.unpack(f"<{len(data) // 4}I", data)
    place = next(i for i, word in enumerate(words) if word & 0xFF == 1 and i > 0)
    return words[place + 1], words[place + 2]


@lru_cache
def build(harness: str, *sources: str, options: tuple[str, ...] = (), extra: tuple[Path, ...] = ()) -> Path:
    """Compile a harness with library sources, warning-free and sanitized; once a session."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no host C compiler: apt-get install -y gcc")
    name = f"{harness}-{zlib.crc32(repr((sources, options, extra)).encode()):x}"
    files = [HARNESS / f"{harness}.c", *(SOURCES / f"{source}.c" for source in sources), *extra]
    program = firmware_images.scratch() / name
    subprocess.run([compiler, *STRICT, *SANITIZE, *options, f"-I{ROOT}/firmware/include", f"-I{SOURCES}",
                    f"-I{HARNESS}", f"-I{export()}", *map(str, files), "-o", str(program)], check=True)
    return program


def output(program: Path, *arguments: object, code: int = 0) -> list[str]:
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines()
