"""Real-time factors of contenders on the host, measured side by side in a process of its own."""

from __future__ import annotations

import time

import numpy as np

from tinyse.bench.contenders import Contender
from tinyse.bench.peer import Real, Suppressor
from tinyse.core.workers import ONE_THREAD, Workers

SECONDS = 10.0
REPEATS = 3
SOURCE = "measured (host)"


def real_time_factor(contender: Contender) -> float:
    """CPU seconds of one process, all its threads, a second of audio; the best of three runs.

    CPU time and not wall time, so that other programs on the machine do not count. Resampling is left out, the
    adapter's Python is in it.

    Raises:
        TinyseError: it cannot be loaded.
    """
    with Workers(1, variables=ONE_THREAD) as pool:
        return pool.submit(_measure, contender).result()


def measure(suppressor: Suppressor, seconds: float = SECONDS, repeats: int = REPEATS) -> float:
    """``real_time_factor`` of a loaded suppressor, in this process."""
    wave = test_signal(suppressor.rate, seconds)
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        suppressor.process(wave)
        times.append(time.process_time() - begin)
    return min(times) / seconds


def test_signal(rate: int, seconds: float) -> Real:
    """Noise that comes and goes four times a second, float32 [rate * seconds]."""
    rng = np.random.default_rng(0)
    samples = int(rate * seconds)
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * np.arange(samples) / rate)
    return np.asarray(0.1 * envelope * rng.standard_normal(samples), np.float32)


test_signal.__test__ = False  # type: ignore[attr-defined]  # a name that pytest would collect


def _measure(contender: Contender) -> float:
    return measure(contender.open())
