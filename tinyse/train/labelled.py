"""Sound with known scores: what a quality predictor learns from, on disk.

A folder holds ``labels.json``, what was asked for, and for every split ``<split>-<number>.npz`` of ``CHUNK``
mixtures each: the mixture as it is and as enhancers leave it, with the score of each. A file is whole or not there.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import TrainingError
from tinyse.core.sections import within
from tinyse.sound import Ends, Real, band_matrix, stft

CHUNK = 16
SPLITS = ("train", "validation", "test")
FAINTEST = np.float32(1e-12)
"""Under a band's power before its logarithm is kept; far below the feature's own floor."""
UNPROCESSED, CLEAN = "noisy", "clean"
"""Systems that are none."""


@dataclass(frozen=True)
class LabelsPart:
    """Mixtures whose WB-PESQ a quality predictor learns, and how it learns.

    ``train``, ``validation``, ``test``: mixtures of each split. Each is labelled as it is and after one of
    ``enhancers``, released models or folders of int8 files; ``clean`` is the share whose speech alone is labelled too.
    ``gain_db``: training moves levels by at most so much up or down, which moves no label. ``dropout``: of the maps.
    """

    train: int = within(0, 1_000_000, default=2000)
    validation: int = within(0, 100_000, default=160)
    test: int = within(0, 100_000, default=240)
    seconds: float = within(0.5, 20, default=5.0)
    snr_db: tuple[float, ...] = within(-60, 60, default=(-15.0, 25.0))
    level_db: float = within(-60, 0, default=-26.0)
    enhancers: tuple[str, ...] = field(metadata={"empty": True}, default=(
        "tinylstm-small", "tinylstm-unit", "tinylstm-robust", "subband-small"))
    clean: float = within(0, 1, default=0.05)
    gain_db: float = within(0, 40, default=12.0)
    dropout: float = within(0, 0.9, default=0.2)

    def count(self, split: str) -> int:
        """Mixtures of a split."""
        return int(getattr(self, split))


@dataclass(frozen=True)
class Labelled:
    """Clips of one split, with their scores.

    Attributes:
        logs: ln of band power, float16 [clips, frames, bands]. scores: WB-PESQ, float32 [clips].
        snrs: dB, float32 [clips]. systems: what each was enhanced by, "noisy" or "clean".
    """

    logs: NDArray[np.float16]
    scores: Real
    snrs: Real
    systems: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)


def frames_of(ends: Ends, seconds: float) -> int:
    """Frames of a clip that a predictor is shown: whole steps of them."""
    return int(seconds * ends.framing.rate / ends.framing.hop) // ends.rows * ends.rows


def logs_of(wave: Real, ends: Ends, seconds: float) -> NDArray[np.float16]:
    """ln of band power, float16 [frames, bands], of float32 [samples], framed as a stream frames it."""
    before = np.zeros(ends.framing.frame - ends.framing.hop, np.float32)
    spectrum = stft(np.concatenate([before, wave]), ends.framing)[: frames_of(ends, seconds)]
    power = (np.square(spectrum.real) + np.square(spectrum.imag)) @ band_matrix(ends.bands, ends.framing)
    return np.log(power + FAINTEST).astype(np.float16)


def features_of(logs: NDArray[np.float16], ends: Ends, gain_db: NDArray[Any] | float = 0.0) -> Real:
    """A predictor's input, float32 [..., frames, bands], of kept logs; ``gain_db``: [...], the sound's gain."""
    moved = logs.astype(np.float32) + np.asarray(gain_db, np.float32)[..., None, None] * np.float32(np.log(10) / 10)
    feature = ends.feature
    values: Real = np.log(np.exp(moved) + np.float32(feature.floor)) * np.float32(feature.gain)
    return values + np.float32(feature.bias)


def chunk_file(folder: Path, split: str, number: int) -> Path:
    """Where a chunk of labels lies."""
    return folder / f"{split}-{number:04d}.npz"


def read_labels(folder: Path, split: str, mixtures: int) -> Labelled:
    """Every clip of a split.

    Raises:
        TrainingError: a chunk is missing or damaged.
    """
    parts = []
    for number in range(-(-mixtures // CHUNK)):
        path = chunk_file(folder, split, number)
        try:
            with np.load(path, allow_pickle=False) as data:
                parts.append([data[name] for name in ("logs", "scores", "snrs", "systems")])
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise TrainingError(f"{path}: damaged labels: {error}", "delete the file and train again") from error
    logs, scores, snrs, systems = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(scores):
        raise TrainingError(f"{folder}: no clip of the {split} split has a score", "label more mixtures")
    return Labelled(logs, scores, snrs, tuple(map(str, systems)))
