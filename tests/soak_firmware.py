"""Stream an hour of noisy speech through the emulated firmware and hold every minute of it to the host.

    python -m tests.soak_firmware --minutes 60 --image m55

Drift is a network byte that TFLM does not answer to the same feature bytes, or a minute of audio that is further from
the host's than every minute may be. The host's recurrent network takes its features from the firmware, because one
feature on a boundary may fall either way (tests/test_firmware_chain.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from firmware_audio import write_wav
from firmware_chain import FULL_SCALE, IMAGES, Listener, decibels, heard, int16, streamed, tflm

from tinyse.engines.enhance import enhance_signal
from tinyse.sound.corpus.mix import test_mixtures
from tinyse.sound.corpus.store import corpus_dir

DENSE = str(Path(__file__).resolve().parents[1] / "models" / "tinylstm-dense")
RATE, MIXTURE = 16000, 10.0
QUIET = -70.0  # dB, every minute of the firmware's audio against the host's


def noisy_speech(minutes: float) -> np.ndarray:
    """int16 mixtures of the test split one after another, none used twice."""
    folders = [folder for folder in map(corpus_dir, ("default", "small")) if (folder / "corpus.json").is_file()]
    if not folders:
        sys.exit("no recorded speech: tinyse data fetch")
    snrs = (-6.0, 0.0, 6.0, 12.0)
    count = int(np.ceil(minutes * 60 / MIXTURE / len(snrs)))
    waves = [mixture.noisy for mixture in test_mixtures(folders[0], snrs=snrs, count_per_snr=count, seconds=MIXTURE)]
    order = np.random.default_rng(0).permutation(len(waves))
    return int16(np.concatenate([waves[n] for n in order])[: int(minutes * 60 * RATE)])


def minutes_of(*signals: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """The same minute of every signal."""
    for begin in range(0, len(signals[0]), 60 * RATE):
        yield tuple(signal[begin : begin + 60 * RATE] for signal in signals)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--image", choices=list(IMAGES), default="m55")
    chosen = parser.parse_args()
    noisy = noisy_speech(chosen.minutes)
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        wav = write_wav(Path(name) / "hour.wav", noisy)
        run = heard(chosen.image, DENSE, wav, Path(name), seconds=24 * 3600)
    print(f"{len(noisy) / RATE:.0f} s of sound, {len(run.features):,} frames on {' '.join(IMAGES[chosen.image])}, "
          f"in {time.monotonic() - began:.0f} s")
    wrong = np.count_nonzero((streamed(tflm(DENSE), run.features) != run.masks).any(axis=1))
    print(f"frames whose network bytes are not TFLM's: {wrong}")
    host = int16(enhance_signal(noisy.astype(np.float32) / FULL_SCALE, Listener(tflm(DENSE), run.features)))
    levels = [decibels(mine, theirs) for mine, theirs in minutes_of(run.samples, host)]
    print(f"audio against the host, dB, by minute: first {levels[0]:.1f}, last {levels[-1]:.1f}, "
          f"worst {max(levels):.1f} (minute {1 + int(np.argmax(levels))}); allowed {QUIET:g}")
    good = not wrong and max(levels) < QUIET and len(run.samples) == len(noisy)
    print("no drift" if good else "DRIFT")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
