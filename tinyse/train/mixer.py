"""On-the-fly mixtures: what batch number n holds depends on the seed and on n alone.

So a resumed run sees what the unbroken run would have seen, and lanes can mix in any order. Speech is one
speaker's clips in a row; noise is recorded or generated, sometimes two at once, resampled and equalized,
because the variety of noise is what a small corpus lacks. The recipe states every share.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from tinyse.core.errors import CorpusError
from tinyse.core.progress import Progress, Step, silent
from tinyse.core.sections import parse_shares
from tinyse.sound import Ends, analysis_window, divisors, features, less_mean, rows
from tinyse.sound.corpus import noise as generators
from tinyse.sound.corpus.level import MEASURED, SOUND, Places, soundless
from tinyse.sound.corpus.pcm import FULL_SCALE
from tinyse.sound.corpus.store import ROOM, Corpus
from tinyse.train import augment
from tinyse.train.loss import EXPONENT
from tinyse.train.recipe import MixingPart

Wave = NDArray[np.float32]
BANK = 160
"""Generated noises made at the start; six seconds each."""
BANK_SECONDS = 6.0
QUIET_DB = 20.0, 45.0
"""SNRs of mixtures with next to nothing to take away (ours)."""
PLACES = 64
"""Recordings with silent places of which it is remembered where they have sound."""


@dataclass(frozen=True)
class Batch:
    """Time-major float32 arrays for the loss: features [T, B, bands]; the others [T, B, bins].

    ``clean`` and ``noisy`` are magnitudes to the power 0.3; ``cosine`` is of the phase between them.
    ``waves`` are the mixtures and their clean speech, [2, B, samples]; ``level``: what answers are divided by, [T, B],
    where they are.
    """

    features: Wave
    clean: Wave
    noisy: Wave
    cosine: Wave
    waves: Wave
    level: Wave | None = None


def spectra(noisy: Wave, clean: Wave, ends: Ends) -> Batch:
    """The batch of mixtures [B, samples] and their clean speech."""
    framing = ends.framing
    both = np.stack([noisy, clean])
    frames = np.lib.stride_tricks.sliding_window_view(both, framing.frame, axis=-1)[..., :: framing.hop, :]
    spectrum = scipy.fft.rfft(frames * analysis_window(framing), framing.fft, axis=-1)  # [2, B, T, bins]
    spectrum = np.ascontiguousarray(spectrum.transpose(0, 2, 1, 3))
    magnitude = np.abs(spectrum)
    product = spectrum[0].real * spectrum[1].real + spectrum[0].imag * spectrum[1].imag
    cosine = product / np.maximum(magnitude[0] * magnitude[1], 1e-12)
    root = np.power(magnitude, EXPONENT)
    if ends.feature.kind != "samples":
        return Batch(less_mean(features(spectrum[0], ends, magnitude[0]), ends), root[1], root[0], cosine, both)
    given, level = rows(noisy, spectrum[0].swapaxes(0, 1), ends), divisors(noisy, spectrum.shape[1], ends)
    return Batch(given.swapaxes(0, 1), root[1], root[0], cosine, both, None if level is None else level.T)


def _rms(wave: Wave) -> float:
    return float(np.sqrt(np.mean(np.square(wave), dtype=np.float64))) + 1e-9


class Mixer:
    """Draws training batches from a corpus's train split."""

    def __init__(self, corpus: Corpus, part: MixingPart, ends: Ends, seed: int,
                 progress: Progress = silent) -> None:
        """Index the corpus and make the bank of generated noise.

        Raises:
            CorpusError: the train split lacks speech or noise.
        """
        self.part, self.ends, self.seed = part, ends, seed
        self.frames = max(1, int(part.seconds * ends.framing.rate) // ends.framing.hop - 1)
        self.samples = (self.frames - 1) * ends.framing.hop + ends.framing.frame
        speech, noise = corpus.clips("speech", "train"), corpus.clips("noise", "train")
        swings = corpus.swings(noise).astype(np.float64) / FULL_SCALE
        noise = noise.where((noise.column("length") > ends.framing.frame) & (swings >= 4 * SOUND))
        if not len(speech) or not (len(noise) or part.generated >= 1.0):
            raise CorpusError("the corpus has no train speech or no train noise", "fetch or import one")
        speakers = speech.groups("source")
        self._speech = [corpus.recordings(clips) for clips in speakers.values()]
        self._noise = corpus.recordings(noise)
        self._rooms = [corpus.recordings(clips) for clips in corpus.clips(ROOM, "train").groups("source").values()]
        self._places = functools.lru_cache(PLACES)(lambda index: Places(self._noise.blocks(index, MEASURED)))
        # Square roots keep one long speaker, or one long recording, from drowning the rest.
        shares = parse_shares(part.shares, "mixing.shares")
        self._speaker_share = _shared([float(spoken.sizes.sum()) for spoken in self._speech],
                                      [clips[:1].texts("package")[0] for clips in speakers.values()], shares)
        longest = 60 * ends.framing.rate
        self._noise_share = _shared(np.minimum(self._noise.sizes, longest), noise.texts("package"), shares)
        for name in shares:
            if not any(clips.which("package", name).any() for clips in (speech, noise)):
                raise CorpusError(f"mixing.shares: {name!r} has neither speech nor noise in train",
                                  "mixing.shares: [] draws from all of "
                                  f"{', '.join(sorted({*speech.texts('package'), *noise.texts('package')}))}")
        self._bank = self._make_bank(progress) if part.generated > 0 else []

    def _make_bank(self, progress: Progress) -> list[NDArray[np.float16]]:
        samples = int(BANK_SECONDS * self.ends.framing.rate)
        bank: list[NDArray[np.float16]] = []
        for index in range(BANK):
            rng = np.random.default_rng([self.seed, 7, index])
            bank.append(generators.generate(None, samples, rng).astype(np.float16))
            progress(Step("noise bank", index + 1, BANK))
        return bank

    def _cut(self, size: int, read: Callable[[int, int], NDArray[Any]], places: Callable[[], Places], samples: int,
             rng: np.random.Generator) -> NDArray[Any]:
        """A random stretch of ``samples``, repeated from its start where there are fewer; a silent one moves.

        The move takes no draw from ``rng``, so that the rest of the batch is what it would have been.
        """
        if size <= samples:
            return np.resize(np.roll(read(0, size), -int(rng.integers(size))), samples)
        start = int(rng.integers(size - samples + 1))
        wave = read(start, start + samples)
        if soundless(wave):
            start = places().at(start, samples)
            return read(start, start + samples)
        return wave

    def _recorded(self, samples: int, index: int, rng: np.random.Generator) -> Wave:
        return self._cut(int(self._noise.sizes[index]), functools.partial(self._noise.read, index),
                         functools.partial(self._places, index), samples, rng)

    def _generated(self, samples: int, rng: np.random.Generator) -> Wave:
        wave = self._bank[int(rng.integers(len(self._bank)))]
        return self._cut(wave.size, lambda start, stop: wave[start:stop], lambda: Places([wave]), samples,
                         rng).astype(np.float32)

    def _speech_wave(self, rng: np.random.Generator, samples: int) -> Wave:
        clips = self._speech[_drawn(self._speaker_share, rng)]
        wave = np.zeros(samples, np.float32)
        at = -int(rng.integers(samples // 3)) if rng.random() < 0.5 else int(rng.integers(samples // 8))
        while at < samples:
            index = int(rng.integers(len(clips.sizes)))
            size = int(clips.sizes[index])
            start, stop = max(at, 0), min(at + size, samples)
            if stop > start:
                wave[start:stop] = clips.read(index, start - at, stop - at)
            at += size + int(rng.exponential(0.15) * self.ends.framing.rate)
        return wave

    def _noise_wave(self, rng: np.random.Generator, samples: int) -> Wave:
        draw = rng.random()
        if draw < self.part.babble:
            wave = sum((_unit(self._speech_wave(rng, samples)) for _ in range(int(rng.integers(4, 8)))),
                       np.zeros(samples, np.float32))
        elif draw < self.part.babble + self.part.generated and self._bank:
            wave = self._generated(samples, rng)
        else:
            index = _drawn(self._noise_share, rng)
            if rng.random() < self.part.resample:
                rate = float(2.0 ** rng.uniform(-0.7, 0.7))
                wave = augment.stretched(self._recorded(int(samples * rate) + 2, index, rng), samples, rate)
            else:
                wave = self._recorded(samples, index, rng)
        if rng.random() < self.part.equalize:
            wave = augment.equalized(wave, rng, 12.0)
        if self.part.noise_room and self._rooms and rng.random() < self.part.noise_room:
            wave = self._in_one_of_the_rooms(wave, rng)
        return _unit(wave)

    def _in_one_of_the_rooms(self, wave: Wave, rng: np.random.Generator) -> Wave:
        room = self._rooms[int(rng.integers(len(self._rooms)))]
        return augment.in_this_room(wave, room.read(int(rng.integers(len(room.sizes)))))

    def _voice(self, rng: np.random.Generator) -> Wave:
        part = self.part  # a share of 0 draws nothing: older recipes hear what they heard
        if part.voice and rng.random() < part.voice:
            rate = augment.voice_rate(rng)
            needed = int(self.samples * rate) + 2
            speech = augment.stretched(self._speech_wave(rng, needed), self.samples, rate)
        else:
            speech = self._speech_wave(rng, self.samples)
        if rng.random() < part.equalize:
            speech = augment.equalized(speech, rng, part.speech_eq_db)
        if not part.room or rng.random() >= part.room:
            return speech
        if not self._rooms:
            return augment.in_a_room(speech, rng)
        return self._in_one_of_the_rooms(speech, rng)

    def mixture(self, rng: np.random.Generator) -> tuple[Wave, Wave]:
        """One mixture and its clean speech, float32 [samples]; peaks stay below one."""
        speech = self._voice(rng)
        noise = self._noise_wave(rng, self.samples)
        if rng.random() < self.part.second_noise:
            noise = _unit(noise + float(10 ** rng.uniform(-0.5, 0.0)) * self._noise_wave(rng, self.samples))
        if self.part.rumble and rng.random() < self.part.rumble:
            noise = _unit(augment.rumbling(noise, rng))
        loud = np.abs(speech) > 0.02 * (np.abs(speech).max() + 1e-9)
        active = float(np.sqrt(np.mean(np.square(speech[loud])))) if loud.any() else 1.0
        level = 10.0 ** (rng.uniform(self.part.level_db[0], self.part.level_db[1]) / 20.0)
        ratio = 10.0 ** (-rng.uniform(self.part.snr_db[0], self.part.snr_db[1]) / 20.0)
        if self.part.quiet and rng.random() < self.part.quiet:
            ratio = 10.0 ** (-rng.uniform(*QUIET_DB) / 20.0)
        clean = speech * np.float32(level / max(active, 1e-6))
        mixed = clean + noise * np.float32(level * ratio)
        if self.part.narrow and rng.random() < self.part.narrow:
            mixed, clean = augment.narrowed((mixed, clean), rng)
        if self.part.overload and rng.random() < self.part.overload:
            return augment.overloaded(mixed, clean, rng)
        peak = float(np.abs(mixed).max())
        gain = np.float32(0.99 / peak if peak > 0.99 else 1.0)
        return mixed * gain, clean * gain

    def batch(self, step: int, lane: int, size: int) -> Batch:
        """Batch ``step`` of ``lane``: ``size`` mixtures, the same whenever it is asked for."""
        rng = np.random.default_rng([self.seed, 1, step, lane])
        pairs = [self.mixture(rng) for _ in range(size)]
        return spectra(np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs]), self.ends)


def _unit(wave: Wave) -> Any:
    return wave / np.float32(_rms(wave))


def _shared(lengths: Any, packages: Sequence[str], shares: Mapping[str, float]) -> NDArray[np.float64]:
    """Cumulated chances of drawing each of n: by the square root of its length, within the shares of its package."""
    weights = np.sqrt(np.asarray(lengths, np.float64))
    chances = weights / max(weights.sum(), 1e-9)
    names = np.array([name if name in shares else "" for name in packages])
    given = {name: shares[name] for name in set(names.tolist()) - {""}}
    rest = max(1.0 - sum(given.values()), 0.0) if "" in names else 0.0
    for name, share in ({**given, "": rest} if given else {}).items():
        if (here := names == name).any():
            chances[here] *= share / max(chances[here].sum(), 1e-300)
    total = chances.cumsum()
    return total / total[-1] if len(total) else total


def _drawn(cumulated: NDArray[np.float64], rng: np.random.Generator) -> int:
    """As ``rng.choice(n, p=...)`` draws, without its pass over all n."""
    return int(cumulated.searchsorted(rng.random(), side="right"))
