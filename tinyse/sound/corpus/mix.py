"""Mixtures of speech and noise at stated signal-to-noise ratios.

**Definition.** SNR is the active-speech level over the noise's RMS over the whole file. The active level is the
RMS over the 20 ms frames of speech that lie within 40 dB of the loudest one, so pauses do not lower it
(ITU-T P.56's purpose, with a simpler rule). Noise is scaled; then one common gain brings the peak of the mixture
down to 0.98 where it would pass it, on mixture and clean alike.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyse.core.artifacts import write_json
from tinyse.core.errors import CorpusError
from tinyse.core.progress import Progress, Step, silent
from tinyse.sound.corpus.clips import RATE, Clip, Clips
from tinyse.sound.corpus.level import FRAME, MEASURED, QUIET, Places, has_sound, soundless
from tinyse.sound.corpus.pcm import as_float
from tinyse.sound.corpus.store import MANIFEST, Corpus

Floats = npt.NDArray[np.float32]

SNRS = (-6.0, -3.0, 0.0, 3.0, 6.0, 9.0)
"""Default SNRs in dB."""
ACTIVE_WITHIN_DB = 40.0
PEAK = 0.98
SPEECH_LEVEL_DB = -26.0
"""Active level of the speech in test mixtures, before the common gain, dB of full scale."""
CLEANEST = {"asterisk-core-sounds-fr-g722": ("fr",), "tuxpaint-stamps-default": ("be",)}
"""References for intrusive metrics, by package and language: preferred in the test split where present."""
GAP = (0.05, 0.25)
LOWEST_PEAK = 1e-3
"""Noise that never passes it, -60 dB of full scale, is not used."""


@dataclass(frozen=True)
class Mixture:
    """A mixture and its clean part: float32[samples] each, 16 kHz, time-aligned.

    Attributes:
        id: "<split>_<snr>dB_<number>", unique in one set.
        noisy: the mixture.
        clean: its speech, at the level it has in the mixture.
        snr_db: active-speech level over noise RMS, dB.
        speech_id: the first speech clip; `speaker` is its speaker.
        noise_id: the noise clip.
        speaker: who speaks.
    """

    id: str
    noisy: Floats
    clean: Floats
    snr_db: float
    speech_id: str
    noise_id: str
    speaker: str

    @property
    def name(self) -> str:
        """The id, under the name that evaluation uses."""
        return self.id

    @property
    def snr(self) -> float:
        """The SNR in dB, under the name that evaluation uses."""
        return self.snr_db


def active_level(speech: npt.NDArray[Any]) -> float:
    """Linear RMS over the active 20 ms frames (within 40 dB of the loudest); 0 for silence."""
    frames = len(speech) // FRAME
    if frames < 1:
        return float(np.sqrt(np.mean(np.square(speech, dtype=np.float64)))) if len(speech) else 0.0
    power = np.square(speech[:frames * FRAME], dtype=np.float64).reshape(frames, FRAME).mean(axis=1)
    active = power[power >= power.max() * 10 ** (-ACTIVE_WITHIN_DB / 10)]
    return float(np.sqrt(active.mean()))


def mix_at_snr(speech: npt.NDArray[Any], noise: npt.NDArray[Any], snr_db: float,
               ) -> tuple[Floats, Floats]:
    """Add noise to speech at an SNR: (mixture, clean), float32[samples], peak at most 0.98.

    Args:
        speech: float[samples].
        noise: float[samples], as long.
        snr_db: active-speech level over noise RMS, dB.

    Raises:
        CorpusError: lengths differ, or one of the two is silent or not finite.
    """
    if len(speech) != len(noise):
        raise CorpusError(f"speech has {len(speech)} samples, noise {len(noise)}", "cut them to one length")
    active = active_level(speech)
    rms = float(np.sqrt(np.mean(np.square(noise, dtype=np.float64)))) if len(noise) else 0.0
    if not (np.isfinite(active) and np.isfinite(rms)) or active < 1e-7 or rms < 1e-7:
        raise CorpusError("speech or noise is silent or not finite: no SNR can be set", "choose another file")
    gain = active / rms * 10 ** (-snr_db / 20)
    mixture = speech + gain * noise.astype(np.float64)
    peak = max(float(np.abs(mixture).max()), float(np.abs(speech).max()))
    common = min(1.0, PEAK / peak)
    return (common * mixture).astype(np.float32), (common * speech.astype(np.float64)).astype(np.float32)


def test_mixtures(corpus: Corpus | Path | str, split: str = "test", snrs: Sequence[float] = SNRS,
                  count_per_snr: int = 10, seconds: float = 4.0, seed: int = 0) -> Iterator[Mixture]:
    """Mixtures of one split in a fixed order, spread evenly over speakers and noise files.

    Speech is clips of one speaker with short pauses between, noise a random piece of one file (repeated where
    shorter). The same seed gives the same mixtures; at each SNR the same pairs are made, so SNRs compare.

    Args:
        corpus: an open corpus or its folder.
        split: "train", "validation" or "test".
        snrs: dB.
        count_per_snr: mixtures at each.
        seconds: length of each.
        seed: of every choice.

    Raises:
        CorpusError: the split lacks speech or noise, a clip has no sound, or an SNR is not finite or comes twice.
    """
    names = [f"{snr + 0.0:+g}" for snr in snrs]
    if not np.isfinite(snrs).all():
        raise CorpusError(f"SNRs {', '.join(f'{snr:g}' for snr in snrs)} dB: not all are finite",
                          "give numbers, such as -6,0,6")
    if len(set(names)) < len(names):
        raise CorpusError(f"SNRs {', '.join(names)} dB: one is there twice", "give each once; --count sets how many")
    corpus = corpus if isinstance(corpus, Corpus) else Corpus.open(corpus)
    speakers = speakers_of(corpus, split)
    noises = corpus.clips("noise", split)
    noises = noises.where(noises.column("peak") > LOWEST_PEAK)
    if not speakers or not len(noises):
        raise CorpusError(f"{corpus.folder}: the {split} split lacks speech or noise", "see `tinyse data show`")
    length, names_in_order = int(round(seconds * RATE)), list(speakers)
    rng = np.random.default_rng([seed, 0x5E])
    speaker_order, noise_order = rng.permutation(len(speakers)), rng.permutation(len(noises))
    for snr, label in zip(snrs, names, strict=True):
        for number in range(count_per_snr):
            pair = np.random.default_rng([seed, number])
            name = names_in_order[int(speaker_order[number % len(speakers)])]
            noise_clip = noises[int(noise_order[number % len(noises)])]
            speech, first = sentence(corpus, speakers[name], length, pair)
            noise = piece(corpus, noise_clip, length, pair)
            gain = 10 ** (SPEECH_LEVEL_DB / 20) / max(active_level(speech), 1e-6)
            try:
                noisy, clean = mix_at_snr(speech * np.float32(gain), noise, snr)
            except CorpusError as error:
                raise CorpusError(f"{first.id} with {noise_clip.id}: {error}", error.hint) from error
            yield Mixture(f"{split}_{label}dB_{number:03d}", noisy, clean, float(snr), first.id, noise_clip.id, name)


test_mixtures.__test__ = False  # type: ignore[attr-defined]  # a name that pytest would collect


def sentence(corpus: Corpus, clips: Clips, length: int, rng: np.random.Generator) -> tuple[Floats, Clip]:
    """Clips of one speaker end to end with short pauses: float32[length], and the first clip used."""
    parts: list[Floats] = []
    have, first = 0, None
    while have < length:
        clip = clips[int(rng.integers(len(clips)))]
        first = first or clip
        samples = corpus.samples(clip, 0, length - have)
        parts += [samples, np.zeros(int(rng.uniform(*GAP) * RATE), np.float32)]
        have += clip.length + len(parts[-1])
    assert first is not None
    return np.concatenate(parts)[:length], first


def piece(corpus: Corpus, clip: Clip, length: int, rng: np.random.Generator) -> Floats:
    """``length`` samples of a noise from a random place, repeated where it is shorter: float32[length].

    A quiet place (20 dB below the clip, or silent) is passed over.

    Raises:
        CorpusError: the clip has no sound anywhere.
    """
    if clip.length <= length:
        part = np.resize(np.roll(corpus.samples(clip), -int(rng.integers(clip.length))), length)
    else:
        floor = 10 ** (clip.rms_db / 20) * QUIET
        for _ in range(8):
            start = int(rng.integers(clip.length - length + 1))
            part = corpus.samples(clip, start, length)
            if float(np.sqrt(np.mean(np.square(part)))) >= floor and not soundless(part):
                return part
        places = Places(map(as_float, corpus.blocks(clip, MEASURED)))
        part = corpus.samples(clip, places.at(start, length), length)
    if not has_sound(part):
        raise CorpusError(f"{clip.id}: has no sound", "import it again, which leaves such files out")
    return part


def write_mixtures(corpus: Corpus, folder: Path | str, split: str = "test", snrs: Sequence[float] = SNRS,
                   count_per_snr: int = 10, seconds: float = 4.0, seed: int = 0, bits: str = "PCM_16",
                   progress: Progress = silent) -> int:
    """Write mixtures as ``noisy/<id>.wav``, ``clean/<id>.wav`` and ``mixtures.json``; returns how many.

    Args:
        corpus: an open corpus.
        folder: where to write; same seed, same bytes.
        split, snrs, count_per_snr, seconds, seed: as `test_mixtures`.
        bits: libsndfile's name of the sample format, "PCM_16" or "FLOAT".
        progress: receives the task "mix".
    """
    from tinyse.sound.audio import AudioFormat
    from tinyse.sound.audiofile import audio_writer

    folder = Path(folder)
    described = {"schema": 1, "corpus": corpus.hash, "split": split, "seed": seed, "seconds": seconds, "rate": RATE,
                 "snrs": list(snrs), "count": count_per_snr,
                 "snr": "active-speech level (20 ms frames within 40 dB of the loudest) over noise RMS, dB"}
    _begin(folder, described)
    rows = []
    total = len(snrs) * count_per_snr
    for done, mixture in enumerate(test_mixtures(corpus, split, snrs, count_per_snr, seconds, seed), 1):
        for name, samples in (("noisy", mixture.noisy), ("clean", mixture.clean)):
            like = AudioFormat(RATE, 1, len(samples), bits)
            with audio_writer(folder / name / f"{mixture.id}.wav", like) as file:
                file.write(samples)
        rows.append({"id": mixture.id, "snr_db": mixture.snr_db, "speech": mixture.speech_id,
                     "speaker": mixture.speaker, "noise": mixture.noise_id})
        progress(Step("mix", done, total, mixture.id))
    write_json(folder / "mixtures.json", {**described, "mixtures": rows})
    return len(rows)


def _begin(folder: Path, described: dict[str, Any]) -> None:
    """A folder holds one set, which its files and mixtures.json name alike; one that was cut off goes on."""
    if (folder / MANIFEST).exists():
        raise CorpusError(f"{folder}: is a corpus", "another folder for the mixtures")
    held: Any = None
    with contextlib.suppress(OSError, ValueError):
        held = json.loads((folder / "mixtures.json").read_text(encoding="utf-8"))
    if isinstance(held, dict) and {key: value for key, value in held.items() if key != "mixtures"} == described:
        return
    if any((folder / name).is_dir() and any((folder / name).iterdir()) for name in ("noisy", "clean")):
        raise CorpusError(f"{folder}: holds other mixtures", "another folder, or remove noisy/ and clean/ in it")
    write_json(folder / "mixtures.json", {**described, "mixtures": []})


def speakers_of(corpus: Corpus, split: str) -> dict[str, Clips]:
    """Speakers of a split with their clips; in the test split the cleanest recordings only, where there are any."""
    clips = corpus.clips("speech", split)
    if split == "test":
        clean = np.zeros(len(clips), bool)
        for package, languages in CLEANEST.items():
            for language in languages:
                clean |= clips.which("package", package) & clips.which("language", language)
        clips = clips.where(clean) if clean.any() else clips
    return clips.groups("source")
