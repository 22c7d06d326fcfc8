"""From a sound file's bytes to 16 kHz mono int16, and which recordings are fit for use."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyse.core.errors import AudioError
from tinyse.sound.corpus.store import RATE, to_int16

Floats = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]

FRAME = RATE // 50
TRIM_BELOW_PEAK_DB = 40.0
TRIM_PAD = RATE // 20
SHORTEST = {"speech": 0.2, "noise": 0.02}
SILENT_RMS_DB = -60.0
CLIPPED_SHARE = {"speech": 0.002, "noise": 0.02}
CLIP_LEVEL = 0.999


def read_sound(data: bytes, reader: str = "file", whole: bool = True) -> tuple[Floats, int]:
    """Decode a file: float32[frames, channels] as stored, and its rate in Hz.

    Args:
        data: the file; anything `AudioReader` reads, or raw G.722 at 64 kbit/s for ``reader`` "g722".
        reader: "g722", or anything else for `AudioReader`.
        whole: refuse what was cut short or has an impossible rate; else take what is there.

    Raises:
        AudioError: it cannot be decoded, is empty, or holds values that are not finite.
    """
    if reader == "g722":
        from G722 import G722

        decoded = np.asarray(G722(RATE, 64000).decode(data), np.float32)
        if not len(decoded):
            raise AudioError("is empty", "leave the file out")
        return decoded[:, None] / np.float32(32768), RATE
    from tinyse.sound.audio import AudioReader

    with AudioReader(io.BytesIO(data), name="", whole=whole) as sound:
        return np.concatenate(list(sound.stored())), sound.format.rate


def to_mono_16k(samples: npt.NDArray[Any], rate: int) -> Floats:
    """Mean of the channels at 16 kHz by soxr's best quality: float32[n], without a constant offset.

    Linear: a mixture less its speech is the noise. Resampling may pass full scale; see `limit`.
    """
    import soxr

    mono = np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32))
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE, quality="VHQ").astype(np.float32)
    if len(mono):
        mono = mono - mono.mean(dtype=np.float64).astype(np.float32)
    return mono


def limit(samples: Floats) -> Floats:
    """Lower a whole clip that passes full scale, rather than clip it."""
    peak = float(np.abs(samples).max(initial=0))
    return samples if peak < CLIP_LEVEL else samples * np.float32(CLIP_LEVEL / peak)


def trim(samples: Floats) -> Floats:
    """Cut the silent ends: 20 ms frames more than 40 dB below the loudest, keeping 50 ms of margin."""
    frames = len(samples) // FRAME
    if frames < 2:
        return samples
    power = np.square(samples[:frames * FRAME].astype(np.float64)).reshape(frames, FRAME).mean(axis=1)
    active = np.flatnonzero(power > power.max() * 10 ** (-TRIM_BELOW_PEAK_DB / 10))
    if not len(active):
        return samples
    start = max(int(active[0]) * FRAME - TRIM_PAD, 0)
    end = min((int(active[-1]) + 1) * FRAME + TRIM_PAD, len(samples))
    return samples[start:end]


def unfit(stored: npt.NDArray[Any], rate: int, samples: Floats, kind: str) -> str:
    """Why a recording is not to be used, in a word or two; empty when it is fit.

    Args:
        stored: as the file has it, float[frames, channels]: where clipping shows.
        rate: of the file, Hz; speech below 16 kHz has no upper band to learn from.
        samples: float32[n] at 16 kHz, trimmed.
        kind: "speech" or "noise".
    """
    if kind == "speech" and rate < RATE:
        return "narrow band"
    if len(samples) < SHORTEST[kind] * RATE:
        return "too short"
    if 20 * np.log10(max(float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))), 1e-9)) < SILENT_RMS_DB:
        return "silent"
    if float(np.mean(np.abs(stored) >= CLIP_LEVEL)) > CLIPPED_SHARE[kind]:
        return "clipped"
    return ""


def decode(data: bytes, kind: str, reader: str = "file") -> tuple[Pcm | None, str]:
    """Decode, convert, trim and judge one file: (int16[n] or None, why not).

    A file that cannot be decoded counts as unfit.
    """
    try:
        stored, rate = read_sound(data, reader, whole=False)  # its package was hashed: it is as published
    except AudioError as error:
        return None, str(error)
    samples = limit(to_mono_16k(stored, rate))
    if kind == "speech":
        samples = trim(samples)
    if reason := unfit(stored, rate, samples, kind):
        return None, reason
    return to_int16(samples), ""


def gather(clips: list[Pcm], seconds: float, rng: np.random.Generator) -> list[Pcm]:
    """Join short noises at random distances (0 to 0.4 s) into tracks of about ``seconds``.

    The order is shuffled; every clip is used once.
    """
    order = rng.permutation(len(clips))
    tracks: list[Pcm] = []
    parts: list[Pcm] = []
    length = 0
    for index in order:
        gap = np.zeros(int(rng.uniform(0, 0.4) * RATE), np.int16)
        parts += [clips[int(index)], gap]
        length += len(parts[-2]) + len(gap)
        if length >= seconds * RATE:
            tracks.append(np.concatenate(parts))
            parts, length = [], 0
    if parts and (length >= seconds * RATE / 2 or not tracks):
        tracks.append(np.concatenate(parts))
    elif parts:
        tracks[-1] = np.concatenate([tracks[-1], *parts])
    return tracks
