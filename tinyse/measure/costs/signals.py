"""What the firmware enhances while it is profiled: the user's WAV file, or a made-up voice in noise."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyse.core.artifacts import sha256
from tinyse.core.errors import AudioError

GENERATED = "generated voice in noise, 1 s"


def write_signal(folder: Path, wav: Path | None = None) -> tuple[Path, str]:
    """A 16-bit mono WAV file in ``folder`` and what to call it.

    Args:
        folder: where the generated signal goes.
        wav: the user's file, which is taken as it is.

    Raises:
        AudioError: ``wav`` is not there.
    """
    if wav is not None:
        if not wav.is_file():
            raise AudioError(f"{wav}: no such file", "name a 16-bit PCM mono WAV")
        return wav, f"{wav.name}, sha256 {sha256(wav)[:12]}"
    from tinyse.measure.report.page import wav_bytes

    path = folder / "signal.wav"
    path.write_bytes(wav_bytes((generated() / 32767).astype(np.float32)))
    return path, GENERATED


def generated(seconds: float = 1.0) -> npt.NDArray[np.int16]:
    """The same samples on every machine: syllables of one voice at about 10 dB over white noise, int16."""
    from tinyse.sound.corpus.synthetic import utterance

    rng = np.random.default_rng(20200517)
    voice = utterance(rng, seconds, 120.0, 1.0)
    noisy = voice + 0.03 * rng.standard_normal(len(voice))
    return np.clip(np.rint(noisy * 32767), -32768, 32767).astype(np.int16)


def samples(path: Path) -> npt.NDArray[np.int16]:
    """Samples of a 16-bit mono WAV file.

    Raises:
        AudioError: it is none.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2 or file.getnchannels() != 1:
                raise AudioError(f"{path}: is not 16-bit mono", "give a 16-bit PCM mono WAV at the model's rate")
            return np.frombuffer(file.readframes(file.getnframes()), "<i2")
    except (wave.Error, EOFError) as error:
        raise AudioError(f"{path}: {error or 'is cut off'}",
                         "give a 16-bit PCM mono WAV at the model's rate") from error
