"""What is in a corpus: a table, and a picture of speech, noise and a mixture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyse.core.artifacts import atomic_path, check_kind
from tinyse.core.errors import CorpusError
from tinyse.core.progress import printable
from tinyse.sound.corpus.clips import RATE, Clips
from tinyse.sound.corpus.mix import Mixture, test_mixtures
from tinyse.sound.corpus.store import KINDS, ROOM, SPLITS, Corpus


@dataclass(frozen=True)
class Row:
    """Clips of one kind in one split, of one package or of all (``package`` empty).

    Attributes:
        split, kind, package: which.
        clips: how many.
        sources: speakers of speech, sources of noise.
        minutes: in all.
        level_db: RMS over all samples, dB of full scale.
        low_db, high_db: 5th and 95th percentile of the clips' levels.
        peak: largest magnitude.
        languages: of speech, sorted.
    """

    split: str
    kind: str
    package: str
    clips: int
    sources: int
    minutes: float
    level_db: float
    low_db: float
    high_db: float
    peak: float
    languages: tuple[str, ...]


def summary(corpus: Corpus) -> list[Row]:
    """Rows by split and kind: all packages first, then each."""
    rows: list[Row] = []
    for split in SPLITS:
        for kind in (*KINDS, ROOM):
            if len(clips := corpus.clips(kind, split)):
                rows.append(_row(split, kind, "", clips))
                rows += (_row(split, kind, package, some) for package, some in clips.groups("package").items())
    return rows


def _row(split: str, kind: str, package: str, clips: Clips) -> Row:
    lengths, levels = clips.column("length").astype(float), clips.column("rms_db")
    low, high = np.percentile(levels, (5, 95))
    mean = 10 * np.log10(float(np.sum(lengths * 10 ** (levels / 10)) / lengths.sum()))
    return Row(split, kind, package, len(clips), len(np.unique(clips.codes("source"))),
               float(lengths.sum()) / RATE / 60, float(mean), float(low), float(high),
               float(clips.column("peak").max()), tuple(name for name in clips.groups("language") if name))


def draw_spectrogram(corpus: Corpus, path: Path, split: str = "test", snr_db: float = 3.0, seed: int = 0) -> Mixture:
    """Draw speech, noise and their mixture as spectrograms to a PNG; returns the mixture drawn.

    Args:
        corpus: an open corpus.
        path: of the PNG; the same corpus and seed give the same picture.
        split: where the clips are from; another is taken where it lacks speech or noise.
        snr_db: of the mixture, dB.
        seed: of the choice.

    Raises:
        CorpusError: no split has both speech and noise.
        TinyseError: the file is named as no PNG.
    """
    check_kind(path, ".png")
    usable = [name for name in (split, *SPLITS) if all(len(corpus.clips(kind, name)) for kind in KINDS)]
    if not usable:
        raise CorpusError(f"{corpus.folder}: no split has both speech and noise", "fetch or import again")
    mixture = next(test_mixtures(corpus, usable[0], (snr_db,), 1, 4.0, seed))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True, sharey=True)
    parts = (("speech", mixture.speech_id, mixture.clean), ("noise", mixture.noise_id, mixture.noisy - mixture.clean),
             (f"mixture at {snr_db:g} dB", mixture.id, mixture.noisy))
    for axis, (title, name, samples) in zip(axes, parts, strict=True):
        image = _power_db(samples)
        drawn = axis.imshow(image.T, origin="lower", aspect="auto", vmin=-100, vmax=-20, cmap="magma",
                            extent=(0, len(samples) / 16000, 0, 8))
        axis.set_ylabel("kHz")
        axis.set_title(f"{title}: {printable(name)}", fontsize=9, loc="left", parse_math=False)
    axes[-1].set_xlabel("s")
    figure.colorbar(drawn, ax=axes, label="dB of full scale")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png", metadata={"Software": None})
    return mixture


def _power_db(samples: np.ndarray) -> np.ndarray:
    """Hann spectrogram, 512/128, scaled so that a full-scale sine is near 0 dB."""
    window = np.hanning(512)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::128] * window
    power = np.square(np.abs(np.fft.rfft(frames)) / (window.sum() / 2))
    return np.asarray(10 * np.log10(power + 1e-12))
