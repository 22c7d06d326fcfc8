"""WAV files for the firmware's tests."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np


def sound(samples: int, seed: int = 0, level: float = 3000) -> np.ndarray:
    """int16 noise whose loudness comes and goes."""
    rng = np.random.default_rng(seed)
    envelope = 0.5 * (1 + np.sin(np.arange(samples) / 900))
    return np.clip(rng.normal(0, level, samples) * envelope, -32768, 32767).astype(np.int16)


def write_wav(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    """int16 [n] or [n, channels] as a WAV file."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(samples.dtype.itemsize)
        out.setframerate(rate)
        out.writeframes(samples.tobytes())
    return path


def read_wav(path: Path) -> np.ndarray:
    """int16 samples of a mono WAV file."""
    with wave.open(str(path), "rb") as source:
        assert (source.getnchannels(), source.getsampwidth(), source.getframerate()) == (1, 2, 16000)
        return np.frombuffer(source.readframes(source.getnframes()), np.int16)
