"""A small made-up corpus, for tests and trials without a network: never a measure of quality.

Speech is a glottal pulse train through moving formants in syllables with pauses, one fundamental and
vocal-tract length a speaker; noise is coloured, hummed and clicking. Speakers and noise sources are
disjoint over the splits, as in a real corpus.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyse.sound.corpus.store import RATE, SPLITS, Corpus, NewClip

Floats = npt.NDArray[np.float32]
VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
SHARE = {"train": 0.6, "validation": 0.2, "test": 0.2}


def synthetic_corpus(folder: Path | str, seed: int = 0, minutes: float = 1.0) -> Corpus:
    """Write a synthetic corpus of ``minutes`` of speech and as much noise, over all three splits.

    Args:
        folder: where to write.
        seed: same seed, same bytes.
        minutes: of speech in all; the train split gets 60 %.
    """
    clips: list[NewClip] = []
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng([seed, number])
        seconds = max(60 * minutes * SHARE[split], 4.0)
        speakers = 3 if split == "train" else 2
        for speaker in range(speakers):
            pitch, size = float(rng.uniform(90, 240)), float(rng.uniform(0.85, 1.2))
            done, index = 0.0, 0
            while done < seconds / speakers:
                samples = utterance(rng, float(rng.uniform(1.5, 3.0)), pitch, size)
                done += len(samples) / RATE
                clips.append(NewClip(f"synthetic/{split}-voice{speaker}-{index:03d}", "speech", split,
                                     f"synthetic-{split}-voice{speaker}", samples, "synthetic", "1", "xx",
                                     "none"))
                index += 1
        for source, make in enumerate((_coloured, _hum, _clicks)):
            noise = (0.1 * make(rng, int(seconds / 3 * RATE))).astype(np.float32)
            clips.append(NewClip(f"synthetic/{split}-noise{source}", "noise", split,
                                 f"synthetic-{split}-noise{source}", noise, "synthetic", "1", "", "none"))
    return Corpus.write(folder, clips, {"tier": "synthetic", "seed": seed, "minutes": minutes})


def utterance(rng: np.random.Generator, seconds: float, pitch: float, size: float) -> Floats:
    """Syllables of one voice: float32[samples], peak 0.5.

    Args:
        rng: the source of chance.
        seconds: length.
        pitch: mean fundamental, Hz.
        size: formant scale; 1 is an adult male vocal tract.
    """
    out = np.zeros(int(seconds * RATE), np.float32)
    at = 0
    while at < len(out) - 1600:
        length = int(rng.uniform(0.12, 0.3) * RATE)
        part = _syllable(rng, length, pitch * float(rng.uniform(0.85, 1.2)), size)[:len(out) - at]
        out[at:at + len(part)] = part
        at += length + int(rng.choice([0.01, 0.03, 0.15]) * RATE)
    return out * np.float32(0.5 / max(float(np.abs(out).max()), 1e-6))


def _syllable(rng: np.random.Generator, length: int, pitch: float, size: float) -> Floats:
    time = np.arange(length) / RATE
    glide = pitch * (1 + 0.1 * rng.uniform(-1, 1) * time / time[-1] + 0.01 * np.sin(2 * np.pi * 5 * time))
    phase = 2 * np.pi * np.cumsum(glide) / RATE
    formants = np.array(VOWELS[int(rng.integers(len(VOWELS)))]) * size
    out = np.zeros(length)
    for harmonic in range(1, int(7000 / pitch)):
        frequency = harmonic * pitch
        gain = sum(1 / (1 + ((frequency - f) / (60 + 0.06 * f)) ** 2) for f in formants) / harmonic**0.5
        out += (gain + 0.002) * np.sin(harmonic * phase)
    onset = int(rng.integers(0, 800))
    if onset > 200:  # a fricative before the vowel
        out[:onset] = 0.15 * np.diff(rng.standard_normal(onset + 1))
    window = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 400)
    return (out * window).astype(np.float32)


def _coloured(rng: np.random.Generator, length: int) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** rng.uniform(0.2, 0.8)
    return _unit(np.fft.irfft(spectrum, length))


def _hum(rng: np.random.Generator, length: int) -> npt.NDArray[np.float64]:
    time = np.arange(length) / RATE
    base = rng.uniform(45, 160)
    tones = sum(np.sin(2 * np.pi * base * k * time + rng.uniform(0, 6.28)) / k for k in range(1, 12))
    return _unit(np.asarray(tones) + 0.3 * rng.standard_normal(length))


def _clicks(rng: np.random.Generator, length: int) -> npt.NDArray[np.float64]:
    out = 0.02 * rng.standard_normal(length)
    for at in rng.integers(0, max(length - 800, 1), length // 4000):
        click = rng.standard_normal(800) * np.exp(-np.arange(800) / 80)
        out[at:at + 800] += click[:length - at]
    return _unit(out)


def _unit(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(samples / np.sqrt(np.mean(samples**2)))
