"""The metric wrappers: known values, invariances, and what they refuse to score."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from tinyse.core.errors import TinyseError
from tinyse.measure.scores.metrics import METRICS, Metric, Unscorable, dnsmos, pesq, score, sdr, select, si_sdr, stoi

RATE = 16000


def speechlike(seconds: float = 3.0, seed: int = 0) -> np.ndarray:
    """Resonant noise in syllables: enough of speech for PESQ to find utterances in it."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE)
    envelope = np.clip(np.sin(2 * np.pi * 2 * np.arange(n) / RATE), 0, 1)
    return (0.02 * envelope * lfilter([1], [1, -1.6, 0.8], rng.standard_normal(n))).astype(np.float32)


def noise(n: int, level: float = 0.02, seed: int = 1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def test_si_sdr_is_the_ratio_of_orthogonal_parts() -> None:
    t = np.arange(RATE) / RATE
    clean = np.sin(2 * np.pi * 200 * t).astype(np.float32)
    other = np.sin(2 * np.pi * 300 * t).astype(np.float32)
    assert si_sdr(clean, clean + 0.1 * other)["si_sdr"] == pytest.approx(20.0, abs=1e-3)


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.01, 50), offset=st.floats(-0.5, 0.5))
def test_si_sdr_ignores_gain_and_offset(gain: float, offset: float) -> None:
    clean = speechlike(0.5)
    noisy = clean + noise(len(clean))
    changed = (gain * noisy + offset).astype(np.float32)
    assert si_sdr(clean, changed)["si_sdr"] == pytest.approx(si_sdr(clean, noisy)["si_sdr"], abs=0.02)


def test_sdr_forgives_a_short_filter_that_si_sdr_does_not() -> None:
    clean = speechlike()
    filtered = (np.roll(clean, 40)).astype(np.float32)
    filtered[:40] = 0
    assert sdr(clean, filtered)["sdr"] > 40
    assert si_sdr(clean, filtered)["si_sdr"] < 10


def test_an_exact_copy_scores_the_top_of_each_scale() -> None:
    clean = speechlike()
    values, skipped = score(select(["si_sdr", "sdr", "pesq", "stoi"]), clean, clean)
    assert skipped == {}
    assert values["si_sdr"] == pytest.approx(100, abs=0.01)
    assert values["sdr"] == pytest.approx(100, abs=0.01)
    assert values["pesq"] == pytest.approx(4.644, abs=0.001)
    assert values["stoi"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", ["si_sdr", "sdr", "pesq", "stoi"])
def test_more_noise_scores_lower(name: str) -> None:
    clean = speechlike()
    little, much = (METRICS[name].score(clean, clean + noise(len(clean), level)) for level in (0.005, 0.1))
    assert little[name] > much[name]


def test_dnsmos_reads_the_estimate_only_and_survives_clipping() -> None:
    clean = speechlike()
    values = dnsmos(np.zeros_like(clean), clean)
    assert values.keys() == {"dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak"}
    assert all(0.5 < value < 5 for value in values.values())
    assert values == dnsmos(clean, clean)
    assert dnsmos(clean, 300 * clean) == dnsmos(clean, np.clip(300 * clean, -1, 1))


def test_dnsmos_is_what_speechmos_says() -> None:
    from speechmos import dnsmos as package

    clip = speechlike(5.0) + noise(80000, 0.002)
    theirs, ours = package.run(clip, RATE), dnsmos(clip, clip)
    for part in ("ovrl", "sig", "bak"):
        assert ours[f"dnsmos_{part}"] == pytest.approx(theirs[f"{part}_mos"], abs=1e-4)


@pytest.mark.parametrize("metric", [si_sdr, sdr, pesq, stoi])
def test_silence_is_unscorable(metric) -> None:  # type: ignore[no-untyped-def]
    clean = speechlike(1.0)
    with pytest.raises(Unscorable, match="silent reference"):
        metric(np.zeros_like(clean), clean)
    with pytest.raises(Unscorable, match="silent estimate"):
        metric(clean, np.zeros_like(clean))


def test_a_clip_too_short_is_skipped_with_reasons() -> None:
    clean = speechlike(1.0)[3000:4000]
    values, skipped = score(select(["si_sdr", "sdr", "pesq", "stoi"]), clean, clean + noise(1000, 0.001))
    assert values.keys() == {"si_sdr"}
    assert skipped == {"sdr": "shorter than 1024 samples",
                       "pesq": "Buffer needs to be at least 1/4 of a second long",
                       "stoi": "under 30 frames of speech"}


def test_a_signal_that_is_not_a_number_is_skipped() -> None:
    clean = speechlike(1.0)
    broken = clean.copy()
    broken[5] = np.nan
    assert score(select(["si_sdr"]), clean, broken) == ({}, {"si_sdr": "not a number in the signal"})


def test_different_lengths_are_an_error() -> None:
    with pytest.raises(TinyseError, match="different shape"):
        si_sdr(speechlike(1.0), speechlike(0.5))


def test_select_orders_and_refuses() -> None:
    assert [metric.name for metric in select(["PESQ", "si-sdr", "pesq"])] == ["si_sdr", "pesq"]
    with pytest.raises(TinyseError, match="unknown metric: mos"):
        select(["mos"])
    with pytest.raises(TinyseError, match="none given"):
        select([""])


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pystoi", None)
    with pytest.raises(TinyseError, match="metric stoi needs the package pystoi") as caught:
        score(select(["stoi"]), speechlike(1.0), speechlike(1.0))
    assert "pip install pystoi" in caught.value.hint


def test_pesq_of_more_utterances_than_its_code_holds_is_the_mean_of_pieces() -> None:
    word = np.concatenate([speechlike(1.5, 3)[4000:16000], np.zeros(6400, np.float32)])  # 0.75 s and 0.4 s between
    clean = np.tile(word, 60)  # 69 s: 60 utterances, where there is room for 50
    noisy = clean + noise(len(clean), 0.002)
    values, skipped = score(select(["pesq"]), clean, noisy)
    pieces = [pesq(one, other)["pesq"] for one, other in zip(np.array_split(clean, 4), np.array_split(noisy, 4),
                                                             strict=True)]
    assert skipped == {} and values["pesq"] == pytest.approx(sum(pieces) / 4, abs=1e-9)
    half = clean.copy()
    half[len(half) // 2:] = 0  # pieces without an utterance do not count
    part = score(select(["pesq"]), half, half + noise(len(half), 0.002))[0]["pesq"]
    assert part == pytest.approx(sum(pieces[:2]) / 2, abs=0.05)


def test_pesq_up_to_20_seconds_is_one_piece() -> None:
    from pesq import pesq as package

    clean = speechlike(20.0)
    noisy = clean + noise(len(clean), 0.002)
    assert pesq(clean, noisy)["pesq"] == package(RATE, clean.astype(float), noisy.astype(float), "wb")


def crash(clean: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    if len(clean) == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    return {"crash": float(len(clean)), "other": 0.0}


def test_a_crash_of_native_code_costs_one_clip_and_is_named() -> None:
    metric = Metric("crash", (("crash", "CRASH"), ("other", "OTHER")), "somepackage", "", "", crash, native=True)
    found = [score([metric], np.zeros(n, np.float32), np.zeros(n, np.float32)) for n in (2, 1, 3)]
    why = "somepackage's native code crashed (SIGSEGV)"
    assert found == [({"crash": 2.0, "other": 0.0}, {}), ({}, {"crash": why, "other": why}),
                     ({"crash": 3.0, "other": 0.0}, {})]
    assert [name for name, metric in METRICS.items() if metric.native] == ["pesq", "dnsmos"]
