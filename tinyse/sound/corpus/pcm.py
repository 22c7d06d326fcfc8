"""Samples of a corpus: int16 at 16 kHz, their float form, their hash and their levels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

FULL_SCALE = 32768.0

Samples = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]


def as_float(pcm: Pcm) -> Samples:
    """int16 as float32 in [-1, 1)."""
    return pcm.astype(np.float32) / np.float32(FULL_SCALE)


def to_int16(samples: npt.NDArray[Any]) -> Pcm:
    """Float samples in [-1, 1] as int16, rounded half to even and saturated; int16 passes through."""
    if samples.dtype == np.int16:
        return samples
    scaled = np.multiply(samples, FULL_SCALE, dtype=np.float64)
    return np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled).astype(np.int16)


def content(blocks: Iterable[Pcm]) -> bytes:
    """SHA-256 of int16[n] in blocks, little-endian: what makes two recordings one."""
    digest = hashlib.sha256()
    for pcm in blocks:
        digest.update(np.ascontiguousarray(pcm, "<i2").data)
    return digest.digest()


def levels(pcm: Pcm) -> dict[str, Any]:
    """What a catalogue says of int16[n]: length, rms_db, peak, swing, sha256."""
    low, high = int(pcm.min()), int(pcm.max())
    wide = pcm.astype(np.float64)
    power = float(np.einsum("i,i->", wide, wide)) / len(pcm) / FULL_SCALE**2  # exact: whole numbers below 2**53
    return {"length": len(pcm), "rms_db": round(10 * np.log10(max(power, 1e-12)), 2),
            "peak": round(max(-low, high) / FULL_SCALE, 5), "swing": high - low, "sha256": content([pcm])}
