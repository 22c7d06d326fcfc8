"""Throw sounds, WAV files, command lines, payloads and simulator answers at the firmware's C under ASan and UBSan.

    python -m tests.fuzz_firmware --count 100000 --seed 0

A find is anything but an answer: a sanitizer's report, output that is not finite, output that depends on what memory
held before. Finds are written to tests/firmware_finds/ and replayed by tests/test_firmware_fuzz.py from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from tinyse.firmware.vendor import DSP_SOURCES, vendor

FINDS = Path(__file__).parent / "firmware_finds"
FIRMWARE = Path(__file__).resolve().parents[1] / "firmware"
KERNELS = tuple(f"src/{path.name}" for name in ("operators", "kernels")
                for path in sorted((FIRMWARE / "src").glob(f"{name}*.c")))
SOURCES = ("src/tinyse.c", "src/frontend.c", "src/network_cpu.c", *KERNELS, "src/payload.c", "src/cosim.c",
           "app/wav.c", "app/arguments.c", "fuzz/harness.c", "fuzz/files.c")
FLAGS = ["-std=c11", "-O1", "-g", "-D__GNUC_PYTHON__", "-DTINYSE_BACKEND=0", "-fno-math-errno",
         "-fsanitize=address,undefined,float-cast-overflow,float-divide-by-zero", "-fno-sanitize-recover=all"]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Werror"]
HOP, RATE, UNLIMITED, BATCH, SECONDS = 256, 16000, 0xFFFFFFFF, 500, 300
NUMBERS = (0, 1, 2, 15, 16, 17, 26, 40, 44, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
FLOATS = np.array([0, -0.0, 1, -1, 1e-45, -1e-45, 1.17549435e-38, 1.17549421e-38, 2.0**39, np.nextafter(2.0**40, 0),
                   2.0**40, -(2.0**40), 3.4e38, -3.4e38, np.inf, -np.inf, np.nan], np.float64).astype(np.float32)


@dataclass(frozen=True)
class Record:
    """One input of the harness: its kind, its bytes, and how many bytes files move before they fail."""

    kind: str
    data: bytes
    limit: int = UNLIMITED

    @property
    def packed(self) -> bytes:
        return self.kind.encode() + struct.pack("<II", len(self.data), self.limit) + self.data


def build(folder: Path, export: Path) -> Path:
    """Compile the harness for an export (model.h, packed.c ...); our own files under the strict warnings."""
    parts = vendor()
    includes = [*(f"-I{FIRMWARE / name}" for name in ("include", "src", "app", "fuzz")), f"-I{export}"]
    system = ["-isystem", f"{parts.dsp}/Include", "-isystem", f"{parts.dsp}/PrivateInclude"]
    ours = [*(FIRMWARE / name for name in SOURCES), export / "model.c", export / "packed.c"]
    objects = []
    for number, file in enumerate([*ours, *(parts.dsp / name for name in DSP_SOURCES)]):
        objects.append(folder / f"{number}.o")
        warnings = STRICT if file in ours else ["-w"]
        subprocess.run(["gcc", *FLAGS, *warnings, *includes, *system, "-c", file, "-o", objects[-1]], check=True)
    program = folder / "harness"
    subprocess.run(["gcc", *FLAGS, *objects, "-lm", "-o", program], check=True)
    return program


def play(program: Path, records: list[Record]) -> tuple[list[str], str]:
    """The answers, and what stopped the program; fewer answers than records where something did."""
    try:
        run = subprocess.run([program], input=b"".join(record.packed for record in records), capture_output=True,
                             timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as hung:
        return (hung.stdout or b"").decode(errors="replace").splitlines(), f"hangs for {SECONDS} s"
    answers = run.stdout.decode(errors="replace").splitlines()
    return answers, run.stderr.decode(errors="replace") or f"ends with {run.returncode}" if run.returncode else ""


def samples(rng: np.random.Generator) -> np.ndarray:
    """int16: silence, full scale, alternating extremes, an impulse, a tone, noise; from no sample to seven hops."""
    count = int(rng.choice([0, 1, 2, HOP - 1, HOP, HOP + 1, int(rng.integers(0, 7 * HOP))]))
    shape = rng.integers(7)
    if shape == 0:
        return np.full(count, rng.choice([0, 1, -1, 32767, -32768]), np.int16)
    if shape == 1:
        return np.where(np.arange(count) // int(rng.choice([1, 2, 3, 128, 256])) % 2, 32767, -32768).astype(np.int16)
    if shape == 2:
        pulse = np.zeros(count, np.int16)
        pulse[rng.integers(0, count, min(count, 2))] = rng.choice([32767, -32768])
        return pulse
    if shape == 3:
        return np.rint(32767 * np.sin(np.arange(count) * rng.uniform(0, np.pi))).astype(np.int16)
    return np.clip(rng.normal(0, 10 ** rng.uniform(0, 5), count), -32768, 32767).astype(np.int16)


def floats(rng: np.random.Generator) -> bytes:
    """float32 hops of ordinary, extreme, subnormal and arbitrary values, NaN and infinities among them."""
    count = HOP * int(rng.integers(1, 6))
    shape = rng.integers(5)
    if shape == 0:
        values = rng.choice(FLOATS, count)
    elif shape == 1:
        values = rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)
    elif shape == 2:
        values = np.where(np.arange(count) % 2, 1, -1) * rng.choice(FLOATS)
    elif shape == 3:
        values = rng.normal(0, 1, count) * 10.0 ** rng.uniform(-45, 12)
    else:
        values = rng.normal(0, 0.1, count)
        values[rng.integers(0, count, 4)] = rng.choice(FLOATS, 4)
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(np.float32).tobytes()


def wav(rng: np.random.Generator, values: np.ndarray) -> bytes:
    """A file that must be accepted: plain or extensible, other chunks before, between and after."""
    plain = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    form = plain if rng.random() < 0.6 else struct.pack("<H", 0xFFFE) + plain[2:] + struct.pack(
        "<HHIH14s", 22, 16, 4, 1, b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71")
    parts = [_chunk(b"fmt ", form), _chunk(b"data", values.astype("<i2").tobytes())]
    for _ in range(int(rng.integers(0, 3))):
        parts.insert(int(rng.integers(len(parts) + 1)), _chunk(b"LIST", bytes(int(rng.integers(0, 60)))))
    body = b"WAVE" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunk(tag: bytes, data: bytes) -> bytes:
    return tag + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def mutate(rng: np.random.Generator, data: bytes) -> bytes:
    """Cut it, or change bytes, bits and 16- or 32-bit numbers of it, mostly near its start."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if not out:
            break
        place = int(rng.integers(len(out) if rng.random() < 0.2 else min(len(out), 80)))
        choice = rng.random()
        if choice < 0.25:
            del out[place:]
        elif choice < 0.5:
            width = int(rng.choice([2, 4]))
            out[place : place + width] = (int(rng.choice(NUMBERS)) & (1 << 8 * width) - 1).to_bytes(width, "little")
        elif choice < 0.75:
            out[place] ^= 1 << int(rng.integers(8))
        elif choice < 0.9:
            del out[place : place + int(rng.integers(1, 9))]
        else:
            out[place:place] = rng.bytes(int(rng.integers(1, 9)))
    return bytes(out)


def payload(rng: np.random.Generator) -> bytes:
    words = [0x31504F43, 1, 0x01000000, 0x10010000, 5, 5, 5, 0x00040002, *map(int, rng.integers(0, 2**32, 4))]
    return struct.pack(f"<{len(words)}I", *words)


def answers_of_a_simulator(rng: np.random.Generator) -> bytes:
    """What the other end of the co-simulation may say: done, done with an arena, an error, nonsense."""
    said = [struct.pack("<II", 3, 0)]
    for _ in range(int(rng.integers(0, 4))):
        text = rng.bytes(int(rng.choice([0, 1, 30, 158, 159, 160, 161])))
        said.append([struct.pack("<II", 3, 64) + rng.bytes(64), struct.pack("<II", 4, len(text)) + text,
                     rng.bytes(12)][int(rng.integers(3))])
    return b"".join(said)


def record(rng: np.random.Generator) -> Record:
    """One of everything."""
    choice = rng.random()
    if choice < 0.45:
        data = wav(rng, samples(rng))
        data = mutate(rng, data) if rng.random() < 0.7 else data
        return Record("W", data, int(rng.integers(0, 4000)) if rng.random() < 0.15 else UNLIMITED)
    if choice < 0.65:
        return Record("F", floats(rng))
    if choice < 0.75:
        values = samples(rng)
        return Record("I", values[: len(values) // HOP * HOP].tobytes())
    if choice < 0.8:
        words = [b"tinyse", b"in.wav", b"out", b"r", b"--network", b"--npu", b"", b" ", b"\t", rng.bytes(5)]
        return Record("A", b" ".join(words[i] for i in rng.integers(0, len(words), int(rng.integers(0, 10)))))
    if choice < 0.9:
        return Record("P", mutate(rng, payload(rng)))
    said = answers_of_a_simulator(rng)
    return Record("C", mutate(rng, said) if rng.random() < 0.5 else said,
                  int(rng.integers(0, 300)) if rng.random() < 0.3 else UNLIMITED)


def save(find: Record) -> Path:
    FINDS.mkdir(exist_ok=True)
    path = FINDS / f"{find.kind}-{hashlib.sha256(find.packed).hexdigest()[:12]}.bin"
    path.write_bytes(find.packed)
    return path


def load(path: Path) -> Record:
    data = path.read_bytes()
    return Record(chr(data[0]), data[9:], struct.unpack_from("<I", data, 5)[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from firmware_images import export

    rng, tally, began, finds = np.random.default_rng(options.seed), Counter(), time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="tinyse-fuzz-") as name:
        program = build(Path(name), export("small", "cortex-m7"))
        done = 0
        while done < options.count:
            records = [record(rng) for _ in range(min(BATCH, options.count - done))]
            done += len(records)
            while records:
                answers, trouble = play(program, records)
                tally.update(f"{given.kind} {answer.split(' ', 1)[0]}"
                             for given, answer in zip(records, answers, strict=False))
                if not trouble and len(answers) == len(records):
                    break
                finds += 1
                tally["finds"] += 1
                print(f"{save(records[len(answers)])}: {trouble[:2000]}", flush=True)
                records = records[len(answers) + 1 :]
            if done % (20 * BATCH) == 0:
                print(f"{done}: {dict(tally)}, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{options.count} inputs: {dict(sorted(tally.items()))}, {time.monotonic() - began:.0f} s")
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
