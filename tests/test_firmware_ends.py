"""The C library against NumPy for other ends than TinyLSTMs': host under sanitizers, and a few on QEMU."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from firmware_level import LEVELS
from frontend_library import CONTRACT, INTEGERS, Script, compiled, decibels, grids, library, noise, run

from tinyse.core.errors import ExportError
from tinyse.sound import Bands, Ends, Feature, Framing, Meter, Result, StreamingEnhancer

NONE, ERB, FINE = Bands("none"), Bands("erb", 64), Bands("erb", 96, fine_hz=2000.0)
SKIP, SHORT, UNEVEN = Framing(frame=400, hop=100), Framing(frame=320, hop=160), Framing(frame=480, hop=300)
ROOT = Framing(frame=256, hop=64, fft=256, window="sqrt_hann")
BLOCK, PLAIN = Framing(frame=256, fft=256, window="none"), Framing(frame=100, hop=100, fft=100, window="none")
LOG, COMPLEX, SAMPLES = Feature("log_power"), Feature("complex"), Feature("samples")
ABOVE = Feature("log_power", mean=0.25)
TURN, HOP, SCORE = Result("complex_gains", 2.0), Result("samples"), Result("score", 3.0, 5)
SPECTRAL = [Ends(framing, bands, feature, result) for framing, bands, feature, result in (
    (SHORT, Bands(), LOG, Result()), (Framing(), NONE, Feature(), Result(limit=2.0)), (Framing(), NONE, LOG, Result()),
    (Framing(), NONE, COMPLEX, TURN), (SKIP, ERB, Feature(), Result()), (SKIP, FINE, COMPLEX, TURN),
    (ROOT, ERB, LOG, TURN), (ROOT, NONE, COMPLEX, Result()), (UNEVEN, Bands(), COMPLEX, TURN),
    (UNEVEN, NONE, Feature(power=1.0), TURN), (BLOCK, FINE, Feature("complex", 1.0), Result()),
    (BLOCK, Bands(), LOG, HOP), (SHORT, NONE, COMPLEX, HOP), (SKIP, ERB, SAMPLES, Result()),
    (SHORT, NONE, SAMPLES, TURN), (Framing(), FINE, ABOVE, Result()), (SKIP, Bands(), ABOVE, TURN))]
WAVES = [Ends(BLOCK, NONE, SAMPLES, HOP), Ends(PLAIN, NONE, SAMPLES, Result("samples", 0.5))]
SCORES = [Ends(Framing(), Bands(), LOG, SCORE, "width", 4), Ends(SKIP, NONE, COMPLEX, SCORE, "width"),
          Ends(PLAIN, NONE, SAMPLES, SCORE)]
ON_QEMU = [SPECTRAL[2], SPECTRAL[3], SPECTRAL[5], SPECTRAL[-2], WAVES[0], SCORES[0], LEVELS[0]]
TARGETS = [pytest.param(core, marks=pytest.mark.qemu) for core in ("m55", "m55-portable", "m7")]


def named(ends: Ends) -> str:
    kinds = f"{ends.feature.kind}-{ends.result.kind}{'-level' * ends.level.on}{'-mean' * bool(ends.mean_frames)}"
    return f"{ends.framing.frame}/{ends.framing.hop} {ends.bands.kind} {kinds}"


def answers_for(hops: int, ends: Ends, bits: int) -> np.ndarray:
    limits = np.iinfo(f"int{bits}")
    return np.random.default_rng(1).integers(limits.min, limits.max + 1, (hops, ends.outputs)).astype(limits.dtype)


def sizes(features: np.ndarray, ends: Ends) -> np.ndarray:
    """What the features were made of, where rounding errors are of one size: bands' magnitudes, or complex values."""
    features = features.astype(float)
    if ends.feature.kind == "samples":
        return features
    if ends.feature.kind == "log_power":
        return np.exp((features - ends.feature.bias) / ends.feature.gain / 2)
    values = features.view(complex) if ends.feature.kind == "complex" else features
    return values * np.maximum(np.abs(values), 1e-30) ** (1 / np.float32(ends.feature.power) - 1)


def agrees(core: str, ends: Ends, bits: int, hops: int = 40) -> None:
    samples, answers = noise(hops, ends), answers_for(hops, ends, bits)
    answer = run(core, ends, samples, answers, bits=bits)
    engine = Script(answers)
    stream = Meter(engine, ends) if ends.result.kind == "score" else StreamingEnhancer(engine, ends)
    out = [stream.push(hop) for hop in samples]
    assert not answer.status.any() and (answer.counts[-1] == (hops, hops // ends.rows)).all()
    features = np.array(engine.asked).reshape(-1, ends.row)
    got, wanted = sizes(answer.bands, ends), sizes(features, ends)
    loudest = np.abs(wanted).max(axis=1, keepdims=True)
    assert (np.abs(got - wanted) <= 4e-5 * np.abs(wanted) + 2e-6 * loudest).all()
    given = grids(bits)[0].quantize(answer.bands)
    if ends.rows > 1:
        last = answer.feature[ends.rows - 1 :: ends.rows]
        np.testing.assert_array_equal(last, given.reshape(-1, ends.inputs))
    else:
        np.testing.assert_array_equal(answer.feature, given)
    if ends.result.kind == "score":
        np.testing.assert_array_equal(answer.samples, samples)
        expected = [np.zeros(ends.outputs) if score is None else score for score in out]
        np.testing.assert_allclose(answer.scores, expected, rtol=1e-6)
    elif ends.result.kind == "samples":
        np.testing.assert_allclose(answer.samples, out, rtol=1e-6)
    else:
        assert decibels(answer.samples, np.array(out)) < -120


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("ends", [*SPECTRAL, *WAVES, *SCORES, *LEVELS], ids=named)
def test_agrees_with_numpy(ends, bits):
    agrees("host", ends, bits)


@pytest.mark.parametrize("core", TARGETS)
@pytest.mark.parametrize("ends", ON_QEMU, ids=named)
def test_agrees_with_numpy_on_target(ends, core):
    agrees(core, ends, 8, 24)


@pytest.mark.parametrize("core", ["host", *TARGETS])
@pytest.mark.parametrize("feature", [LOG, COMPLEX], ids=lambda f: f.kind)
def test_silence_and_extremes(core, feature):
    ends = Ends(bands=NONE, feature=feature)
    answers = answers_for(6, ends, 8)
    silent = run(core, ends, np.zeros((6, 256), np.float32), answers)
    expected = feature.gain * np.log(np.float32(feature.floor)) + feature.bias if feature.kind == "log_power" else 0
    np.testing.assert_allclose(silent.bands, expected, rtol=1e-6)
    assert not silent.samples.any()
    square = np.sign(np.sin(np.arange(6 * 256) / 9)).reshape(6, 256).astype(np.float32)
    for level in (2.0**39, 1.0, 1e-12, 1e-40):
        answer = run(core, ends, square * np.float32(level), answers)
        assert np.isfinite(answer.bands).all() and np.isfinite(answer.samples).all()


def test_logarithm_is_accurate_over_all_powers():
    ends = Ends(Framing(), NONE, Feature("log_power", floor=1e-12, gain=1.0, bias=0.0))
    samples = noise(200, ends) * 10 ** np.linspace(-9, 9, 200)[:, None].astype(np.float32)
    engine = Script(answers_for(200, ends, 8))
    stream = StreamingEnhancer(engine, ends)
    for hop in samples:
        stream.push(hop)
    answer = run("host", ends, samples, engine.answers)
    error = np.abs(answer.bands - np.array(engine.asked))
    assert np.median(error) < 2e-6 and np.quantile(error, 0.999) < 1e-3


@pytest.mark.parametrize("ends", [WAVES[0], SCORES[0]], ids=named)
def test_arguments_are_checked(ends):
    line = run("host", ends, noise(1, ends), answers_for(4, ends, 8), CONTRACT).status[0]
    assert line == 0, f"tests/firmware_frontend/driver.c:{line}"


@pytest.mark.parametrize("ends", [WAVES[0], SCORES[0]], ids=named)
def test_a_failed_network_gives_silence_and_goes_on(ends):
    samples, answers = noise(12, ends), answers_for(12, ends, 8)
    answer = run("host", ends, samples, answers, fail_at=2)
    failed = 2 * ends.rows - 1
    assert answer.status.tolist() == [3 if hop == failed else 0 for hop in range(12)]
    assert not answer.samples[failed].any() and answer.samples[failed + 1].any()
    if ends.result.kind == "score":
        assert answer.scores[failed - 1].any() and not answer.scores[failed].any()


def test_a_meter_leaves_int16_sound_as_it_is():
    samples = np.random.default_rng(0).integers(-32768, 32768, (8, 256)).astype(np.int16)
    answer = run("host", SCORES[0], samples, answers_for(2, SCORES[0], 8), INTEGERS)
    np.testing.assert_array_equal(answer.samples, samples)


def test_reset_forgets_half_gathered_rows():
    ends = SCORES[0]
    samples, answers = noise(14, ends), answers_for(14, ends, 8)
    answer = run("host", ends, samples, answers, reset_at=6)
    again = run("host", ends, samples[6:], answers)
    for part in ("scores", "feature", "counts"):
        end = getattr(again, part)
        rows = slice(3, None, 4) if part == "feature" else slice(None)
        np.testing.assert_array_equal(getattr(answer, part)[6:][rows], end[rows])


def test_reset_and_a_failed_network_leave_no_level_behind():
    ends = LEVELS[0]
    samples, answers = noise(14, ends), answers_for(14, ends, 16)
    answer = run("host", ends, samples, answers, reset_at=6, fail_at=3, bits=16)
    again = run("host", ends, samples[6:], answers, bits=16)
    assert answer.status.nonzero()[0].tolist() == [2, 8]
    for part in ("samples", "feature"):
        np.testing.assert_array_equal(np.delete(getattr(answer, part)[6:], 2, 0), np.delete(getattr(again, part), 2, 0))


@pytest.mark.parametrize("core", ["host", *TARGETS])
def test_silence_and_extremes_of_a_level(core):
    ends = LEVELS[0]
    answers = answers_for(6, ends, 16)
    silent = run(core, ends, np.zeros((6, 256), np.float32), answers, bits=16)
    lift = np.float32(10 ** ((ends.level.target_db - ends.level.floor_db) / 20))
    assert not silent.bands.any()
    np.testing.assert_allclose(silent.samples, grids(16)[1].dequantize(answers) / lift, rtol=1e-6)
    square = np.sign(np.sin(np.arange(6 * 256) / 9)).reshape(6, 256).astype(np.float32)
    for level in (2.0**39, 1.0, 1e-12, 1e-40):
        answer = run(core, ends, square * np.float32(level), answers, bits=16)
        assert np.abs(answer.bands).max() <= 1 and np.isfinite(answer.samples).all()
    click = np.zeros((6, 256), np.float32)
    click[2, 5] = -0.5  # 24 dB above its hop's mean square: full scale is the bound
    assert run(core, ends, click, answers, bits=16).bands[2, 5] == pytest.approx(-1, abs=1e-6)


def test_what_c_cannot_do_is_refused_in_one_line(tmp_path):
    with pytest.raises(ExportError, match="fft 320: the C library has transforms of 32, 64 .. 4096"):
        compiled("host", Ends(Framing(frame=320, hop=160, fft=320)), tmp_path)


def test_waveforms_need_no_transform():
    for ends, wanted in ((SPECTRAL[0], True), (WAVES[0], False)):
        object_ = next(library("host", ends).glob("*_frontend.o"))
        names = subprocess.run(["nm", str(object_)], capture_output=True, text=True, check=True).stdout
        assert "tinyse_quantize" in names
        assert all((word in names) is wanted for word in ("rfft", "analysis_window", "band_weights"))
