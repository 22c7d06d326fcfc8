"""The composite measures: against the example that their author published, closed forms, and a plain transcription."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import solve_toeplitz, toeplitz
from scipy.signal import lfilter

from tinyse.measure.scores import composite
from tinyse.measure.scores.composite import (
    frames,
    log_likelihood_ratio,
    ratings,
    segmental_snr,
    weighted_spectral_slope,
)
from tinyse.measure.scores.metrics import METRICS, Unscorable, score


def test_the_published_example():
    # Loizou's composite.m on sp09.wav and enhanced_logmmse.wav, from its readme
    found = ratings(pesq=2.255732, llr=0.681368, wss=49.671978, snr=3.991727)
    assert {name: round(value, 4) for name, value in found.items()} == {"csig": 3.3050, "cbak": 2.6160, "covl": 2.7133}


def test_ratings_stay_on_their_scale():
    assert set(ratings(4.64, 0, 0, 35).values()) == {5.0}
    assert ratings(1.0, 3.0, 200.0, -10.0) == {"csig": 1.0, "cbak": 1.0, "covl": 1.0}


def test_segmental_snr_of_a_scaled_signal():
    signal = np.random.default_rng(0).standard_normal(16000)
    assert segmental_snr(signal, 0.9 * signal) == pytest.approx(20, abs=1e-6)
    assert segmental_snr(signal, signal) == 35 and segmental_snr(signal, 10 * signal) == -10


def test_the_same_signal_differs_in_nothing():
    signal = np.random.default_rng(0).standard_normal(16000)
    assert log_likelihood_ratio(signal, signal) == pytest.approx(0, abs=1e-12)
    assert weighted_spectral_slope(signal, signal) == 0
    assert log_likelihood_ratio(signal, 0.1 * signal) == pytest.approx(0, abs=1e-9)  # a level is no distortion


def test_likelihood_ratio_of_two_resonances_is_what_theory_says():
    # of a process with filter A: error of filter B over its own; for white noise against AR(1) it is 1 + a^2
    rng = np.random.default_rng(0)
    white = rng.standard_normal(16000 * 60)
    coloured = lfilter([1], [1, -0.9], rng.standard_normal(16000 * 60))
    above = log_likelihood_ratio(white, coloured) - math.log(1 + 0.81)
    assert 0.03 < above < 0.15  # two filters of 16 taps, each learned from one frame


def plainly(clean, estimate):
    """LLR and WSS frame by frame and band by band, as the book tells it."""
    llr, wss = [], []
    for one, other in zip(frames(clean + composite.EPS), frames(estimate + composite.EPS), strict=True):
        lags = [np.array([frame[k:] @ frame[:len(frame) - k] for k in range(17)]) for frame in (one, other)]
        filters = [np.append(1, solve_toeplitz(r[:-1], -r[1:])) for r in lags]
        errors = [a @ toeplitz(lags[0]) @ a for a in filters]
        llr.append(math.log(errors[1] / errors[0]))
        weights, slopes = [], []
        for frame in (one, other):
            power = np.abs(np.fft.rfft(frame, 1024)[:512]) ** 2
            levels = []
            for centre, width in zip(composite.CENTRES, composite.WIDTHS, strict=True):
                gain = np.exp(-11 * ((np.arange(512) - math.floor(centre / 8000 * 512)) / (width / 8000 * 512)) ** 2
                              + math.log(70) - math.log(width))
                gain[gain <= math.exp(-30 / 4.606)] = 0
                levels.append(10 * math.log10(max(gain @ power, 1e-10)))
            slope = [levels[n + 1] - levels[n] for n in range(24)]
            weight = []
            for band in range(24):
                n = band
                if slope[band] > 0:
                    while n < 24 and slope[n] > 0:
                        n += 1
                    peak = levels[n - 1]
                else:
                    while n >= 0 and slope[n] <= 0:
                        n -= 1
                    peak = levels[n + 1]
                weight.append(20 / (20 + max(levels) - levels[band]) / (1 + peak - levels[band]))
            weights.append(np.array(weight))
            slopes.append(np.array(slope))
        mean = sum(weights) / 2
        wss.append(mean @ (slopes[0] - slopes[1]) ** 2 / mean.sum())
    kept = round(0.95 * len(llr))
    return np.mean(sorted(llr)[:kept]), np.mean(sorted(wss)[:kept])


@given(st.integers(0, 2**16), st.floats(0.01, 3), st.floats(-0.95, 0.95))
def test_equals_a_plain_transcription(seed, level, pole):
    rng = np.random.default_rng(seed)
    clean = lfilter([1], [1, -pole], rng.standard_normal(2400)) * (1 + np.sin(np.arange(2400) / 300))
    estimate = clean + level * rng.standard_normal(2400)
    llr, wss = plainly(clean, estimate)
    assert log_likelihood_ratio(clean, estimate) == pytest.approx(llr, rel=1e-6, abs=1e-9)
    assert weighted_spectral_slope(clean, estimate) == pytest.approx(wss, rel=1e-6)


@given(arrays(np.float64, st.integers(0, 1500), elements=st.floats(-1, 1)))
def test_any_signal_gives_numbers_or_a_reason(signal):
    try:
        found = segmental_snr(signal, 0.5 * signal), weighted_spectral_slope(signal, 0.5 * signal)
    except ValueError as error:
        assert len(signal) < 600 and "shorter than two frames" in str(error)
    else:
        assert np.isfinite(found).all()


def test_the_metric_gives_three_columns_or_a_reason():
    rng = np.random.default_rng(1)
    clean = (np.repeat(rng.standard_normal(200), 240) * 0.1).astype(np.float32)
    metric = METRICS["composite"]
    values, skipped = score([metric], clean, clean + np.float32(0.01) * rng.standard_normal(48000).astype(np.float32))
    assert set(values) == {"csig", "cbak", "covl"} and not skipped and all(1 <= value <= 5 for value in values.values())
    with pytest.raises(Unscorable, match="silent"):
        metric.score(np.zeros(48000, np.float32), clean)
