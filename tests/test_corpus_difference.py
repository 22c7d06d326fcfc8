"""The noise of a pair: what noisy has beyond clean, aligned where that explains it, refused where it is no noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.core.errors import AudioError
from tinyse.sound.corpus.difference import likeness, noise_of
from tinyse.sound.corpus.synthetic import utterance

RATE = 16000


def pair(seed, snr_db, late=0, gain=1.0):
    """Clean, noisy and the noise in it; the noisy one put off by ``late`` samples and scaled."""
    rng = np.random.default_rng(seed)
    clean = utterance(rng, 2.0, 120, 1.0)
    noise = rng.standard_normal(len(clean)).astype(np.float32)
    noise *= np.float32(clean.std() / noise.std() * 10 ** (-snr_db / 20))

    def moved(wave):
        wide = np.concatenate([np.zeros(2000, np.float32), wave, np.zeros(2000, np.float32)])
        return np.float32(gain) * wide[2000 - late:2000 - late + len(wave)]

    return clean, moved(clean + noise), moved(noise)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.floats(-5, 30))
def test_a_pair_that_is_in_step_is_only_subtracted(seed, snr):
    clean, noisy, _ = pair(seed, snr)
    noise, remark = noise_of(noisy, clean)
    assert remark == "" and np.array_equal(noise, noisy - clean)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.floats(0, 20), st.integers(20, 1200), st.sampled_from([-1, 1]),
       st.sampled_from([0.5, 0.7, 1.0, 1.6, -1.0]))
def test_a_pair_out_of_step_is_aligned_and_scaled(seed, snr, late, sign, gain):
    clean, noisy, truth = pair(seed, snr, sign * late, gain)
    noise, remark = noise_of(noisy, clean)
    level = 20 * np.log10(abs(gain))
    milliseconds, decibels = (float(remark.split()[index]) for index in (2, 5))
    assert milliseconds == pytest.approx(sign * late / 16, abs=0.07) and decibels == pytest.approx(level, abs=0.4)
    at = max(sign * late, 0)
    assert np.corrcoef(noise, truth[at:at + len(noise)])[0, 1] > 0.97
    assert likeness(noise, clean[max(-sign * late, 0):][:len(noise)]) < 0.1


def test_what_no_shift_explains_is_refused():
    clean, noisy, _ = pair(1, 10)
    other = pair(2, 10)[1]
    fast = np.interp(np.arange(0, len(noisy), 1.02), np.arange(len(noisy)), noisy).astype(np.float32)
    for wrong in (np.pad(fast, (0, len(noisy) - len(fast))), other):
        with pytest.raises(AudioError, match=r"does not hold the clean speech \(correlation 0\.\d\d\): not a pair"):
            noise_of(wrong, clean)
    with pytest.raises(AudioError, match="differ by more than 0.1 s: not a pair"):
        noise_of(noisy[:-2000], clean)
    filtered = noisy + np.float32(0.8) * np.roll(noisy, 6)
    with pytest.raises(AudioError, match=r"noisy is not clean plus noise: .* \(correlation 0\.\d\d\)"):
        noise_of(filtered, clean)


@pytest.mark.parametrize("length", [1, 5, 20, 100])
def test_the_shortest_pairs_do_not_fail(length):
    clean = np.linspace(-0.5, 0.5, length, dtype=np.float32)
    noise, _ = noise_of(clean, clean)
    assert not noise.any()
