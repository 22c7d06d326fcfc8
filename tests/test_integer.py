"""The NumPy integer reference against the tflite-micro interpreter and against scalar arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from export_models import converted, frames, random_model
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.core.errors import ModelError
from tinyse.export import tflite
from tinyse.export.integer import IntegerNetwork
from tinyse.export.network import parse
from tinyse.export.writer import write
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


def stream(interpreter, inputs: np.ndarray) -> np.ndarray:
    outputs = []
    for frame in inputs:
        interpreter.set_input(frame.reshape(1, 1, -1), 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0).ravel().copy())
    return np.stack(outputs)


def noise(count: int, bands: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (count, bands)).astype(np.int8)


@pytest.fixture(scope="module")
def small():
    model = random_model((24, 16), (16,), 16)
    return model, tflite._calibrated(model)


@pytest.fixture(scope="module")
def small_bytes(small) -> bytes:
    model, tree = small
    return tflite._quantize(tflite._with_ranges(tree, model, model.ranges))


def test_thousands_of_random_frames_are_bit_identical(small_bytes):
    inputs = noise(4000, 16)
    np.testing.assert_array_equal(IntegerNetwork(small_bytes).run(inputs), stream(tflm(small_bytes), inputs))


def test_states_are_bit_identical_after_every_frame(small_bytes):
    network, interpreter = IntegerNetwork(small_bytes), tflm(small_bytes)
    for frame in noise(1500, 16, 3):
        network.step(frame)
        stream(interpreter, frame[None])
        for layer in network.network.layers[:2]:
            for tap, index in ((".h", layer.state_h), (".c", layer.state_c)):
                np.testing.assert_array_equal(network.taps[layer.name + tap],
                                              interpreter.GetTensor(index, 0)["tensor_data"].ravel())


def test_real_looking_frames_through_three_uneven_layers():
    model = random_model((9, 33, 5), (7, 11), 10, seed=4, gain=2.0, zeros=0.8)
    data = tflite.to_int8(model)
    inputs = parse(data).features.quantize(frames(2000, 10, 9))
    np.testing.assert_array_equal(IntegerNetwork(data).run(inputs), stream(tflm(data), inputs))


@pytest.mark.slow
def test_full_size_network_is_bit_identical():
    data = tflite.to_int8(random_model((256, 256), (128,), 128, seed=3))
    inputs = noise(1000, 128)
    np.testing.assert_array_equal(IntegerNetwork(data).run(inputs), stream(tflm(data), inputs))


size = st.floats(-3.0, 3.0).map(lambda power: 2.0**power)


@settings(max_examples=30, deadline=None)
@given(size, size, size, st.floats(-6.0, 5.0).map(lambda power: 2.0**power), size, size, st.integers(0, 99))
def test_any_ranges_are_bit_identical(small, features, h_low, h_high, cell, hidden, logits, seed):
    """Cells from 2^-21 to 2^-10 reach both branches of the tanh scaling and the clip at 10."""
    model, tree = small
    ranges = {"features": (0.0, features), "lstm_0.h": (-h_low, h_high), "lstm_0.c": (-cell, cell / 3),
              "lstm_1.h": (-h_high, 0.0), "lstm_1.c": (0.0, 1 / cell), "dense_0.out": (0.0, hidden),
              "dense_1.out": (-logits, logits * 3)}
    data = tflite._quantize(tflite._with_ranges(tree, model, ranges))
    inputs = noise(60, 16, seed)
    np.testing.assert_array_equal(IntegerNetwork(data).run(inputs), stream(tflm(data), inputs))


def test_reset_restores_the_first_frame(small_bytes):
    network, inputs = IntegerNetwork(small_bytes), noise(20, 16)
    first = network.run(inputs)
    assert not np.array_equal(network.run(inputs), first)
    network.reset()
    np.testing.assert_array_equal(network.run(inputs), first)


def test_a_wrong_frame_is_refused(small_bytes):
    with pytest.raises(ModelError, match=r"not int8 \(16,\)"):
        IntegerNetwork(small_bytes).step(np.zeros(15, np.int8))
    with pytest.raises(ModelError, match="not a TFLite file"):
        IntegerNetwork(b"nonsense" * 10)
    with pytest.raises(ModelError):
        IntegerNetwork(small_bytes[:200])


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


def test_what_the_converter_makes_is_read_to_the_last_integer():
    model, graph = converted()
    network = IntegerNetwork(write(graph))
    reference, x = Reference(graph), graph.inputs[0]
    assert [op.kind for op in graph.ops] == ["lstm", "lstm", "matmul", "matmul", "sigmoid"]
    assert graph.parameters == sum(array.size for layer in model.layers for array in layer.arrays.values())
    for frame in x.grid.quantize(frames(100, x.channels)):
        ours = reference.run({x.name: frame.reshape(x.shape)})[graph.outputs[0].name]
        np.testing.assert_array_equal(network.step(frame), ours.ravel())
        for name, values in network.taps.items():
            if not name.endswith(".h"):
                np.testing.assert_array_equal(reference.taps[name].ravel(), values, name)
