"""The C library against the NumPy front end, with a network that answers as told: host under sanitizers, and QEMU."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from frontend_library import (
    CONTRACT,
    FLOATS,
    IN_PLACE,
    INPUT,
    INTEGERS,
    POWER,
    QUANTIZE,
    ROOT,
    Answer,
    Script,
    decibels,
    grids,
    library,
    noise,
    run,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.graph.grid import Grid
from tinyse.sound import Bands, Ends, Feature, Framing, StreamingEnhancer

DEFAULT = Ends()
FRAMINGS = [DEFAULT, Ends(Framing(frame=400, hop=100)), Ends(Framing(frame=256, hop=64, fft=256), Bands(count=24)),
            Ends(Framing(frame=1024, hop=512, fft=2048)),
            Ends(Framing(frame=30, hop=15, fft=32), Bands(count=2), Feature(power=1.0)),
            Ends(Framing(frame=320, hop=160)), Ends(Framing(frame=480, hop=300, window="sqrt_hann"))]
GRID = grids()[0]
CORES = ["host", *(pytest.param(core, marks=pytest.mark.qemu) for core in ("m55", "m55-portable", "m7"))]
TARGETS = CORES[1:]
STAGES = ("transform", "features", "quantize", "network", "mask", "synthesis", "call")


def framing(ends: Ends) -> str:
    return f"{ends.framing.frame}/{ends.framing.hop}"


def reference(samples: np.ndarray, masks: np.ndarray, spec: Ends) -> tuple[np.ndarray, np.ndarray]:
    """NumPy's features [hops, bands] and output [hops, hop]."""
    engine = Script(masks)
    stream = StreamingEnhancer(engine, spec)
    out = np.array([stream.push(hop) for hop in samples])
    return np.array(engine.asked), out


def masks_for(hops: int, spec: Ends = DEFAULT, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (hops, spec.outputs)).astype(np.int8)


def agrees(answer: Answer, samples: np.ndarray, masks: np.ndarray, spec: Ends) -> None:
    """Features within 1e-5, their bytes by the engine's rule to the bit, audio within -120 dB."""
    features, out = reference(samples, masks, spec)
    assert not answer.status.any()
    np.testing.assert_allclose(answer.bands, features, rtol=1e-5)
    np.testing.assert_array_equal(answer.feature, GRID.quantize(answer.bands))
    different = answer.feature != GRID.quantize(features)
    assert different.mean() < 1e-3 and np.abs(answer.feature - GRID.quantize(features)).max() <= 1
    assert decibels(answer.samples, out) < -120


@pytest.mark.parametrize("core", CORES)
def test_agrees_with_numpy(core):
    samples, masks = noise(120, DEFAULT), masks_for(120)
    agrees(run(core, DEFAULT, samples, masks), samples, masks, DEFAULT)


@pytest.mark.parametrize("spec", FRAMINGS[1:], ids=framing)
def test_other_framings(spec):
    samples, masks = noise(40, spec), masks_for(40, spec)
    agrees(run("host", spec, samples, masks), samples, masks, spec)


@pytest.mark.qemu
@pytest.mark.parametrize("spec", [FRAMINGS[1], FRAMINGS[4], FRAMINGS[6]], ids=framing)
def test_other_framings_with_mve(spec):
    samples, masks = noise(40, spec), masks_for(40, spec)
    agrees(run("m55", spec, samples, masks), samples, masks, spec)


@pytest.mark.parametrize("core", CORES)
def test_power_is_accurate_over_all_floats(core):
    bits = np.random.default_rng(3).integers(0x00800000, 0x7f7fffff, (200, 256), dtype=np.uint32)
    bits[0, :8] = np.float32([1, 2, 0.5, 4, np.sqrt(0.5), np.sqrt(2), 1e-30, 1e30]).view(np.uint32)
    values = bits.view(np.float32)
    got = run(core, DEFAULT, values, masks_for(1), POWER).samples
    exact = values.astype(float) ** float(np.float32(0.3))
    assert np.abs(got / exact - 1).max() < 3e-7
    assert got[0, 0] == 1
    tiny = np.zeros((1, 256), np.float32)
    tiny[0, 1:] = np.linspace(1e-45, 1.1e-38, 255)
    assert not run(core, DEFAULT, tiny, masks_for(1), POWER).samples.any()


@pytest.mark.parametrize("core", CORES)
def test_int16_is_the_rounded_float_path(core):
    rng = np.random.default_rng(5)
    samples = rng.integers(-32768, 32768, (30, 256)).astype(np.int16)
    samples[10:20] = np.where(rng.random((10, 256)) < 0.5, -32768, 32767)  # also leaves full scale: Gibbs
    masks = np.full((30, 128), 127, np.int8)
    masks[:, ::3] = rng.integers(-128, 128, (30, 43))
    floats = run(core, DEFAULT, samples.astype(np.float32) / 32768, masks)
    answer = run(core, DEFAULT, samples, masks, INTEGERS)
    wanted = np.rint(floats.samples * np.float32(32768))
    assert wanted.max() > 32767
    np.testing.assert_array_equal(answer.samples, np.clip(wanted, -32768, 32767))
    np.testing.assert_array_equal(answer.feature, floats.feature)


@pytest.mark.parametrize("core", CORES)
def test_in_place_and_reset_change_nothing(core):
    samples, masks = noise(20, DEFAULT), masks_for(20)
    fresh = run(core, DEFAULT, samples, masks)
    np.testing.assert_array_equal(run(core, DEFAULT, samples, masks, IN_PLACE).samples, fresh.samples)
    twice = run(core, DEFAULT, np.concatenate([samples[::-1], samples]), masks_for(40, seed=1), reset_at=20)
    again = run(core, DEFAULT, samples, masks_for(40, seed=1))
    np.testing.assert_array_equal(twice.samples[20:], again.samples)
    np.testing.assert_array_equal(twice.feature[20:], again.feature)


@pytest.mark.parametrize("core", CORES)
def test_silence_is_exact(core):
    for silence in (0.0, -0.0):
        answer = run(core, DEFAULT, np.full((4, 256), silence, np.float32), masks_for(4))
        assert not answer.bands.any() and not answer.samples.any()
        assert (answer.feature == INPUT.zero_point).all()


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, 2.0**40, -3e38])
def test_unusable_samples_are_taken_as_zero(core, bad):
    samples, masks = noise(8, DEFAULT), masks_for(8)
    places = np.random.default_rng(7).random(samples.shape) < 0.02
    clean, dirty = np.where(places, np.float32(0), samples), np.where(places, np.float32(bad), samples)
    np.testing.assert_array_equal(run(core, DEFAULT, dirty, masks).samples, run(core, DEFAULT, clean, masks).samples)


@pytest.mark.parametrize("core", CORES)
def test_extremes_stay_finite(core):
    """A single sample, full scale, 2^39 and subnormals: within -90 dB of NumPy where its arithmetic reaches."""
    masks = masks_for(6)
    impulse = np.zeros((6, 256), np.float32)
    impulse[2, 17] = 1
    square = np.sign(np.sin(np.arange(6 * 256) / 9)).reshape(6, 256).astype(np.float32)
    for samples in (impulse, square, square * np.float32(2.0**39), square * np.float32(1e-12)):
        answer = run(core, DEFAULT, samples, masks)
        assert np.isfinite(answer.samples).all() and np.isfinite(answer.bands).all()
        assert decibels(answer.samples, reference(samples, masks, DEFAULT)[1]) < -90
    tiny = run(core, DEFAULT, square * np.float32(1e-40), masks)
    assert np.abs(tiny.samples).max() < 1e-38 and not tiny.bands.any()


@pytest.mark.parametrize("core", CORES)
def test_a_failed_network_gives_silence_and_goes_on(core):
    samples, masks = noise(12, DEFAULT), masks_for(12)
    answer = run(core, DEFAULT, samples, masks, fail_at=6)
    closed = masks.copy()
    closed[5] = -128
    _, wanted = reference(samples, closed, DEFAULT)
    assert answer.status.tolist() == [0] * 5 + [3] + [0] * 6
    assert not answer.samples[5].any()
    wanted[5] = 0
    assert decibels(answer.samples, wanted) < -120


@pytest.mark.parametrize("core", CORES)
def test_arguments_are_checked(core):
    line = run(core, DEFAULT, noise(1, DEFAULT), masks_for(4), CONTRACT).status[0]
    assert line == 0, f"tests/firmware_frontend/driver.c:{line}"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), hops=st.integers(1, 24), level=st.floats(-160, 60),
       sparse=st.booleans(), mode=st.sampled_from([FLOATS, IN_PLACE]),
       spec=st.sampled_from(FRAMINGS[:3]), masks=st.sampled_from([-128, 127, None]))
def test_any_signal(seed, hops, level, sparse, mode, spec, masks):
    rng = np.random.default_rng(seed)
    samples = (rng.laplace(0, 10 ** (level / 20), (hops, spec.framing.hop))).astype(np.float32)
    if sparse:
        samples *= rng.random(samples.shape) < 0.01
    answers = (masks_for(hops, spec, seed) if masks is None else np.full((hops, spec.outputs), masks, np.int8))
    answer = run("host", spec, samples, answers, mode)
    features, out = reference(samples, answers, spec)
    assert not answer.status.any()
    # A weak band next to strong ones carries the rounding of the strong ones.
    exponent = 1 / np.float32(spec.feature.power)
    size, wanted = answer.bands.astype(float) ** exponent, features.astype(float) ** exponent
    loudest = np.abs(wanted).max(axis=1, keepdims=True)
    assert (np.abs(size - wanted) <= 4e-5 * wanted + 2e-6 * loudest + 1e-16).all()
    assert (np.abs(answer.samples - out) <= 4e-6 * np.abs(samples).max()).all()
    np.testing.assert_array_equal(answer.feature, GRID.quantize(answer.bands))


@pytest.mark.qemu
@pytest.mark.parametrize("core, limit", [("m55", 40_000), ("m55-portable", 65_000), ("m7", 115_000)])
def test_instructions_are_the_same_twice_and_few(core, limit, record_property):
    samples, masks = noise(20, DEFAULT), masks_for(20)
    first, second = (run(core, DEFAULT, samples, masks).instructions for _ in range(2))
    np.testing.assert_array_equal(first, second)
    worst = dict(zip(STAGES, first.max(axis=0), strict=True))
    record_property("instructions", {name: int(value) for name, value in worst.items()})
    assert all(value > 0 for value in worst.values())
    assert worst["call"] - worst["network"] < limit, worst


@pytest.mark.parametrize("core", ["host", pytest.param("m7", marks=pytest.mark.qemu)])
def test_no_double_and_no_unused_tables(core):
    folder = library(core, DEFAULT)
    tool = "nm" if core == "host" else "arm-none-eabi-nm"
    names = subprocess.run([tool, str(folder / "driver")], capture_output=True, text=True, check=True).stdout
    assert not re.findall(r"__aeabi_(d\w+|f2d)\b|malloc", names) or core == "host"
    if core == "m7":
        tables = set(re.findall(r" (twiddleCoef\w+)", names))
        assert tables == {"twiddleCoef_256", "twiddleCoef_rfft_512"}


@pytest.mark.skipif(not shutil.which("g++"), reason="g++ is missing: apt-get install g++")
def test_the_header_is_cpp_too(tmp_path):
    folder = library("host", DEFAULT)
    (tmp_path / "user.cc").write_text('#include "tinyse.h"\nalignas(TINYSE_ARENA_ALIGNMENT) unsigned char arena['
                                      "TINYSE_NETWORK_BYTES];\nstatic_assert(TINYSE_STATE_ALIGNMENT == 16);\n")
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT}/include",
                    f"-I{folder}", "-c", str(tmp_path / "user.cc"), "-o", str(tmp_path / "user.o")], check=True)


@pytest.mark.parametrize("core", CORES)
def test_quantization_is_the_engines_to_the_bit(core):
    """Around every half step, where a reciprocal, or rounding to even, would differ by one; and far outside."""
    scale = np.float32(INPUT.scale)
    halves = ((np.arange(-20, 260) + np.float32(0.5)) * scale).astype(np.float32)
    near = [halves]
    for direction in (-np.inf, np.inf):
        step = halves
        for _ in range(3):
            step = np.nextafter(step, np.float32(direction))
            near.append(step)
    values = np.concatenate([*near, scale * np.float32([0.49999997, 0, 1, -1]), np.float32([1e30, -1e30, 1e-40])])
    padded = np.zeros((16, 256), np.float32)
    padded[:, :128].flat[: len(values)] = values
    answer = run(core, DEFAULT, padded, masks_for(1), QUANTIZE)
    np.testing.assert_array_equal(answer.feature, GRID.quantize(padded[:, :128]))
    exact = (halves / scale) % 1 == 0.5
    assert exact.sum() > 100 and (np.rint(halves / scale) != np.trunc(halves / scale + 0.5))[exact].any()


def test_quantization_rule_at_the_halves():
    """Adding a half would carry 0.49999997 over to 1."""
    ratios = np.float32([0.49999997, 0.5, 0.50000006, 1.5, 2.5, 8388607.5, 0])
    unit = Grid(1.0, -128)
    assert unit.quantize(ratios).tolist() == [-128, -127, -127, -126, -125, 127, -128]

