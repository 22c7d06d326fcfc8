"""What mixing does beyond adding: lengths, alignment, bounds, and that a share of 0 changes nothing."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyse.sound import Ends
from tinyse.sound.corpus.clips import RATE
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import augment
from tinyse.train.mixer import Mixer
from tinyse.train.recipe import MixingPart


def _wave(seed: int, samples: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32) * np.float32(0.1)


def _share(wave: np.ndarray, above: float) -> float:
    power = np.abs(np.fft.rfft(wave)) ** 2
    return float(power[np.fft.rfftfreq(wave.size, 1 / RATE) > above].sum() / power.sum())


@given(st.integers(0, 2**31 - 1), st.integers(64, 40_000))
def test_everything_keeps_the_length_and_stays_finite(seed, samples):
    wave, rng = _wave(seed, samples), np.random.default_rng(seed)
    found = [augment.equalized(wave[: samples // 2 * 2], rng, 12.0), augment.in_a_room(wave, rng),
             *augment.narrowed((wave[: samples // 2 * 2], wave[: samples // 2 * 2]), rng),
             *augment.overloaded(wave, wave / 2, rng)]
    assert [part.size for part in found] == [samples // 2 * 2, samples, *[samples // 2 * 2] * 2, samples, samples]
    assert all(part.dtype == np.float32 and np.isfinite(part).all() for part in found)


@given(st.integers(0, 2**31 - 1))
def test_a_room_leaves_the_direct_sound_where_it_is(seed):
    click = np.zeros(RATE, np.float32)
    click[1000] = 1.0
    heard = augment.in_a_room(click, np.random.default_rng(seed))
    assert heard[1000] == pytest.approx(1.0, abs=1e-3)
    assert np.abs(heard[:1000]).max() < 1e-4  # nothing before it
    tail = float(np.sum(np.square(heard[1001:], dtype=np.float64)))
    assert 10 ** -2.1 < tail < 10 ** -0.15  # 2 to 20 dB below


@given(st.integers(0, 2**31 - 1))
def test_a_narrow_band_is_the_same_filter_for_both(seed):
    mixed, clean = _wave(seed, RATE), _wave(seed + 1, RATE)
    narrow, other = augment.narrowed((mixed, clean), np.random.default_rng(seed))
    alone, _ = augment.narrowed((clean, clean), np.random.default_rng(seed))
    assert np.array_equal(other, alone)
    assert _share(narrow, 7800.0) < 0.5 * _share(mixed, 7800.0)
    assert _share(narrow, 3000.0) < _share(mixed, 3000.0)


def test_an_overloaded_mixture_clips_and_its_clean_part_does_not():
    mixed, clean = _wave(1, RATE), _wave(2, RATE)
    loud, part = augment.overloaded(mixed, clean, np.random.default_rng(3))
    gain = part[np.abs(clean).argmax()] / clean[np.abs(clean).argmax()]
    assert np.abs(loud).max() == 1.0 and 10 ** 0.05 < gain * np.abs(mixed).max() < 10 ** 0.45
    inside = np.abs(mixed * gain) < 1.0
    assert np.allclose(loud[inside], (mixed * gain)[inside])


@given(st.floats(0.5, 2.0), st.integers(100, 5000))
def test_another_voice_is_the_same_wave_played_at_another_rate(rate, samples):
    time = np.arange(int(samples * rate) + 2)
    tone = np.sin(2 * np.pi * 200 / RATE * time)
    wanted = np.sin(2 * np.pi * 200 * rate / RATE * np.arange(samples))
    assert np.abs(augment.stretched(tone, samples, rate) - wanted).max() < 1e-3


@given(st.integers(0, 2**32 - 1), st.integers(2, 40_000))
def test_a_rumble_lies_below_voices(seed, samples):
    noise = np.random.default_rng(1).standard_normal(samples).astype(np.float32)
    found = augment.rumbling(noise, np.random.default_rng(seed))
    assert found.dtype == np.float32 and found.shape == noise.shape
    added = found - noise
    ratio = 10 * np.log10(np.mean(np.square(added)))
    assert augment.RUMBLE_DB[0] - 0.1 < ratio < augment.RUMBLE_DB[1] + 0.1
    if samples > 8000:  # gusts widen what they ride on
        power = np.square(np.abs(np.fft.rfft(added * np.hanning(samples))))
        assert power[np.fft.rfftfreq(samples, 1 / RATE) > 300].sum() < 0.01 * power.sum()


def test_each_share_changes_the_batch_and_none_does_not(tmp_path):
    corpus = synthetic_corpus(tmp_path, 1)
    plain = MixingPart(seconds=0.5, generated=0.0)
    mixer = Mixer(corpus, plain, Ends(), 1)
    base = mixer.batch(3, 0, 4).waves
    mixer.part = dataclasses.replace(plain, voice=0.0, room=0.0, narrow=0.0, overload=0.0, quiet=0.0, noise_room=0.0,
                                     rumble=0.0)
    assert np.array_equal(mixer.batch(3, 0, 4).waves, base)
    for key in ("voice", "room", "narrow", "overload", "quiet", "rumble"):
        mixer.part = dataclasses.replace(plain, **{key: 1.0})
        changed = mixer.batch(3, 0, 4)
        assert changed.waves.shape == base.shape and np.isfinite(changed.features).all()
        assert not np.array_equal(changed.waves, base), key
        assert np.array_equal(mixer.batch(3, 0, 4).waves, changed.waves)  # and again the same
        assert np.abs(changed.waves[0]).max() <= 1.0
