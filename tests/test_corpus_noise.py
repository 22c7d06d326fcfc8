import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.core.errors import CorpusError
from tinyse.sound.corpus.noise import KINDS, babble, generate


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(KINDS), st.integers(1, 40000), st.integers(0, 1000))
def test_every_kind_has_unit_rms_and_the_length_asked_for(kind, samples, seed):
    noise = generate(kind, samples, np.random.default_rng(seed))
    assert noise.dtype == np.float32 and noise.shape == (samples,) and np.isfinite(noise).all()
    assert np.sqrt(np.mean(noise.astype(float) ** 2)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_seeded(kind):
    one, same, other = (generate(kind, 16000, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_none_draws_several_kinds_and_kinds_differ_in_kind():
    assert len(KINDS) >= 8
    clicks, hum = (generate(kind, 64000, np.random.default_rng(1)) for kind in ("clicks", "hum"))
    assert np.mean(clicks**4) > 3 * np.mean(hum**4)  # impulsive against steady
    spectrum = np.abs(np.fft.rfft(generate("coloured", 64000, np.random.default_rng(1)))) ** 2
    assert spectrum[100:1000].mean() != pytest.approx(spectrum[20000:].mean(), rel=0.2)


def test_gusts_and_modulated_move_in_level():
    for kind in ("gusts", "modulated"):
        frames = generate(kind, 160000, np.random.default_rng(3)).reshape(-1, 1600)
        level = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
        assert level.max() - level.min() > 6


def test_babble_sounds_six_voices_or_more_and_wraps_short_ones():
    voices = [np.sin(2 * np.pi * (200 + 100 * k) * np.arange(4000) / 16000) for k in range(12)]
    noise = babble(voices, 16000, np.random.default_rng(0))
    assert noise.shape == (16000,) and np.sqrt(np.mean(noise**2)) == pytest.approx(1, abs=1e-3)
    spectrum = np.abs(np.fft.rfft(noise))
    heard = sum(spectrum[200 + 100 * k] > 0.05 * spectrum.max() for k in range(12))
    assert 6 <= heard <= 10
    assert np.array_equal(noise, babble(voices, 16000, np.random.default_rng(0)))


def test_bad_requests_are_named():
    with pytest.raises(CorpusError, match="noise 'rain'"):
        generate("rain", 100, np.random.default_rng(0))
    with pytest.raises(CorpusError, match="0 samples"):
        generate("hum", 0, np.random.default_rng(0))
    with pytest.raises(CorpusError, match="at least one voice"):
        babble([np.zeros(0)], 100, np.random.default_rng(0))
