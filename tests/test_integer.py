"""The NumPy integer reference against the tflite-micro interpreter and against scalar arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from export_models import frames, integers, random_model, streamed, written
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.core.errors import ModelError
from tinyse.engines.integer import IntegerEngine
from tinyse.export.flatfile import tensor_infos, unpack
from tinyse.export.reader import read
from tinyse.graph.fixedpoint import (
    divide_by_power,
    high_mul,
    quantize_multiplier,
    rescale,
    rescaler,
    rescaler16,
    sigmoid8_table,
    sigmoid16,
    tanh8_table,
    tanh16,
)
from tinyse.graph.reference import Reference


def tflm(data: bytes):
    from tflite_micro.python.tflite_micro import runtime

    return runtime.Interpreter.from_bytes(
        data, intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors)


def noise(count: int, bands: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (count, bands)).astype(np.int8)


@pytest.fixture(scope="module")
def small():
    return random_model((24, 16), (16,), 16)


@pytest.fixture(scope="module")
def small_bytes(small) -> bytes:
    return written(small)


def test_thousands_of_random_frames_are_bit_identical(small_bytes):
    inputs = noise(4000, 16)
    np.testing.assert_array_equal(integers(small_bytes, inputs), streamed(small_bytes, inputs))


def test_states_are_bit_identical_after_every_frame(small_bytes):
    graph, interpreter = read(small_bytes), tflm(small_bytes)
    reference, x = Reference(graph), graph.inputs[0]
    places = {info.name: info.index for info in tensor_infos(unpack(small_bytes))}
    for frame in noise(1500, 16, 3):
        reference.run({x.name: frame.reshape(x.shape)})
        interpreter.set_input(frame.reshape(1, 1, -1), 0)
        interpreter.invoke()
        for op in graph.lstms:
            for tap, name in ((op.out.name, f"{op.out.name}.h"), (f"{op.out.name}.c", f"{op.out.name}.c")):
                np.testing.assert_array_equal(reference.taps[tap].ravel(),
                                              interpreter.GetTensor(places[name], 0)["tensor_data"].ravel())


def test_real_looking_frames_through_three_uneven_layers():
    data = written(random_model((9, 33, 5), (7, 11), 10, seed=4, gain=2.0, zeros=0.8))
    inputs = read(data).inputs[0].grid.quantize(frames(2000, 10, 9))
    np.testing.assert_array_equal(integers(data, inputs), streamed(data, inputs))


@pytest.mark.slow
def test_full_size_network_is_bit_identical():
    data = written(random_model((256, 256), (128,), 128, seed=3))
    inputs = noise(1000, 128)
    np.testing.assert_array_equal(integers(data, inputs), streamed(data, inputs))


size = st.floats(-3.0, 3.0).map(lambda power: 2.0**power)


@settings(max_examples=30, deadline=None)
@given(size, size, size, st.floats(-6.0, 5.0).map(lambda power: 2.0**power), size, size, st.integers(0, 99))
def test_any_ranges_are_bit_identical(small, features, h_low, h_high, cell, hidden, logits, seed):
    """Cells from 2^-21 to 2^-10 reach both branches of the tanh scaling and the clip at 10."""
    ranges = {"features": (0.0, features), "lstm_0.h": (-h_low, h_high), "lstm_0.c": (-cell, cell / 3),
              "lstm_1.h": (-h_high, 0.0), "lstm_1.c": (0.0, 1 / cell), "dense_0.out": (0.0, hidden),
              "dense_1.out": (-logits, logits * 3)}
    data = written(replace(small, ranges=ranges))
    inputs = noise(60, 16, seed)
    np.testing.assert_array_equal(integers(data, inputs), streamed(data, inputs))


def test_reset_restores_the_first_frame(small):
    engine, inputs = IntegerEngine(small.plan(), small.ends), noise(20, 16)
    first = [engine.step(frame) for frame in inputs]
    assert not np.array_equal([engine.step(frame) for frame in inputs], first)
    engine.reset()
    np.testing.assert_array_equal([engine.step(frame) for frame in inputs], first)


def test_a_wrong_frame_is_refused(small, small_bytes):
    with pytest.raises(ModelError, match=r"a frame of int8 \[1, 1, 15\] is not int8 \[1, 1, 16\]"):
        Reference(small.plan().graphs[0]).run({"features": np.zeros((1, 1, 15), np.int8)})
    with pytest.raises(ModelError, match="not a TFLite file"):
        read(b"nonsense" * 10)
    with pytest.raises(ModelError):
        read(small_bytes[:200])


def rounded(numerator: int, denominator: int) -> int:
    """Nearest integer of a ratio, ties away from zero, in exact integers."""
    size = (2 * abs(numerator) + denominator) // (2 * denominator)
    return size if numerator >= 0 else -size


int32 = st.integers(-(2**31), 2**31 - 1)


@given(int32, st.integers(0, 2**31 - 1))
def test_high_mul_rounds_like_exact_integers(a, b):
    exact = rounded(a * b, 2**31)
    # gemmlowp nudges negative products by 1 - 2^30: exact halves go towards zero there.
    assert int(high_mul(np.array(a), b)) in ({exact, exact + 1} if a * b < 0 else {exact})


@given(int32, st.integers(0, 31))
def test_divide_by_power_rounds_ties_away(value, exponent):
    assert int(divide_by_power(np.array(value), exponent)) == rounded(value, 2**exponent)


@given(st.floats(1e-8, 100.0), st.integers(-(2**20), 2**20))
def test_rescale_is_within_one_of_the_real_product(real, value):
    mantissa, shift = quantize_multiplier(real)
    if abs(value * 2.0 ** max(shift, 0)) < 2**31:
        assert abs(int(rescale(np.array(value), mantissa, shift)) - real * value) <= 1.01


@given(st.lists(st.floats(1e-8, 2.0), min_size=1, max_size=4), st.integers(-(2**29), 2**29))
def test_a_rescaler_with_its_constants_worked_out_is_the_same(reals, value):
    pairs = np.array([quantize_multiplier(real) for real in reals])
    np.testing.assert_array_equal(rescaler(reals)(np.full(len(reals), value)), rescale(value, *pairs.T))


@given(st.floats(1e-6, 0.9999), st.integers(-(2**40), 2**40))
def test_rescaler16_rounds_the_multiplier_to_15_bits_and_the_product_once(real, value):
    mantissa, shift = quantize_multiplier(real)
    reduced = min((mantissa + 2**15) >> 16, 2**15 - 1)
    exact = (2 * value * reduced + 2 ** (15 - shift)) // 2 ** (16 - shift)
    assert int(rescaler16(real)(np.array([value]))[0]) == exact


@given(st.floats(1e-4, 1.0), st.integers(-128, 127))
def test_int8_tanh_is_within_one_step(scale, zero_point):
    expected = np.clip(128 * np.tanh((np.arange(-128, 128) - zero_point) * scale), -128, 127)
    assert np.abs(tanh8_table(scale, zero_point) - expected).max() <= 1.0


def test_int16_tables_follow_sigmoid_and_tanh():
    value = np.arange(-32768, 32768)
    real = value / 4096.0
    assert np.abs(sigmoid16(value) / 32768 - 1 / (1 + np.exp(-real))).max() < 1e-4
    assert np.abs(tanh16(value) / 32768 - np.tanh(real)).max() < 2e-4
    assert np.all(np.diff(sigmoid16(value)) >= 0)
    for power in (9, 12, 14, 15):
        assert np.abs(tanh16(value, power) / 32768 - np.tanh(value * 2.0**-power)).max() < 3e-4


@given(st.floats(1e-4, 1.0), st.integers(-128, 127))
def test_int8_sigmoid_is_within_one_step(scale, zero_point):
    real = (np.arange(-128, 128) - zero_point) * scale
    expected = np.clip(256 / (1 + np.exp(-real)) - 128, -128, 127)
    assert np.abs(sigmoid8_table(scale, zero_point) - expected).max() <= 1.0
