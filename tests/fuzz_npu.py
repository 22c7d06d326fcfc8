"""Throw mutated compiled models at the simulator: each must run, or be refused in one clear error.

    python -m tests.fuzz_npu --count 100000 --seed 0

A find is anything else: another exception, more than a second, more memory than the limit. Finds are
written to ``tests/npu_finds/`` and replayed by tests/test_npu_fuzz.py from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from npu_models import compile_model, enhancer
from npu_operators import convolution, convolution_stack, elementwise, pooling, resize, softmax, unary

from tinyse.npu import Machine, NpuError

FINDS = Path(__file__).parent / "npu_finds"
SLOW, HANG, MEMORY = 1.0, 5, 1 << 30
INTERESTING = [0, 1, 2, 3, 15, 16, 127, 128, 255, 256, 0x3FFF, 0x4000, 0x7FFF, 0x8000, 0xFFFF, 1 << 20, 1 << 31,
               0x7FFFFFFF, 0xFFFFFFFF]


class Hang(BaseException):
    """The alarm went off."""


def seeds() -> list[bytes]:
    """Small compiled models that together use every kind of operation."""
    rng = np.random.default_rng(0)
    made = [enhancer(bands=8, units=(8,), hidden=8, seed=1), convolution(rng, (5, 4, 6), 8, (3, 3)),
            convolution(rng, (5, 4, 6), 8, (3, 3), depthwise=True, dtype="int16"), pooling(rng, (6, 5, 8), "AVERAGE"),
            elementwise(rng, "ADD", (2, 3, 8)), softmax(rng, 2, 6), softmax(rng, 1, 6, "int16"),
            unary(rng, "TANH", (2, 2, 8), "int16", result={"dtype": "int16", "scale": 1 / 32768, "zero": 0}),
            resize(rng, (2, 3, 8)), convolution_stack(rng, 6, 6)]
    return [compile_model(data) for data in made]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One mutated copy: bytes, words of the command stream, a cut, a stretch, or a block from elsewhere."""
    out = bytearray(data)
    start = data.index(b"COP1")
    words = max((len(data) - start) // 4, 1)
    for _ in range(int(rng.integers(1, 5))):
        choice = rng.random()
        if choice < 0.3:
            out[int(rng.integers(len(out)))] = int(rng.integers(256))
        elif choice < 0.75:
            place = start + 4 * int(rng.integers(min(words, 400)))
            value = int(INTERESTING[rng.integers(len(INTERESTING))]) if rng.random() < 0.5 else int(rng.integers(2**32))
            keep = int.from_bytes(out[place : place + 4], "little")
            if rng.random() < 0.5:  # the parameter of a command, whose code stays
                value = (value & 0xFFFF) << 16 | keep & 0xFFFF
            out[place : place + 4] = value.to_bytes(4, "little")
        elif choice < 0.85:
            place, size = int(rng.integers(len(out))), int(rng.integers(1, 64))
            source = int(rng.integers(len(out)))
            out[place : place + size] = out[source : source + size]
        elif choice < 0.95:
            out[int(rng.integers(len(out)))] ^= 1 << int(rng.integers(8))
        else:
            del out[int(rng.integers(len(out))) :]
        if not out:
            break
    return bytes(out)


def attempt(data: bytes) -> str:
    """Load and run twice; say how it went. Any exception but NpuError comes out."""
    try:
        machine = Machine.parse(data)
    except NpuError as error:
        assert str(error), "an error says something"
        return "refused"
    for value in (0, 1):  # the second run takes tables that the first has earned
        machine.run(*(np.full(view.shape, value, view.dtype) for view in machine.inputs))
    return "ran"


def save(data: bytes, what: str) -> Path:
    FINDS.mkdir(exist_ok=True)
    path = FINDS / f"{what}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    return path


def _alarm(*_: object) -> None:
    raise Hang


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, bases, tally = np.random.default_rng(options.seed), seeds(), Counter()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    signal.signal(signal.SIGPROF, _alarm)
    np.seterr(all="ignore")
    began, slowest = time.monotonic(), 0.0
    for number in range(options.count):
        data = mutate(bases[number % len(bases)], rng)
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, HANG)
        try:
            tally[attempt(data)] += 1
        except Hang:
            tally["hung"] += 1
            print(f"{number}: hung: {save(data, 'hung')}", flush=True)
        except Exception as error:
            tally["finds"] += 1
            print(f"{number}: {type(error).__name__}: {error}: {save(data, type(error).__name__)}", flush=True)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        spent = time.process_time() - start
        slowest = max(slowest, spent)
        if spent > SLOW:
            tally["slow"] += 1
            print(f"{number}: {spent:.1f} s: {save(data, 'slow')}", flush=True)
        if (number + 1) % 10_000 == 0:
            print(f"{number + 1}: {dict(tally)}, slowest {slowest:.2f} s, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{options.count} mutated models: {dict(tally)}, slowest {slowest:.2f} s, "
          f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return 1 if set(tally) - {"ran", "refused"} else 0


if __name__ == "__main__":
    sys.exit(main())
