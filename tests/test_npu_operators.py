"""Every operator that Vela puts on the NPU for speech networks, with drawn shapes, against TFLM."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from npu_models import Graph, Tflm, compile_legacy, compile_model, random_values, scales_of
from npu_operators import (
    concatenation,
    convolution,
    convolution_stack,
    elementwise,
    fully_connected,
    gru,
    mean,
    pooling,
    reciprocal_table,
    resize,
    separable_tcn,
    softmax,
    transpose_convolution,
    unary,
)

from tinyse.npu import Machine

SIZE, DEEP = st.integers(1, 11), st.integers(1, 40)
SHAPES = st.tuples(SIZE, SIZE, DEEP)
BROADCAST = st.tuples(st.booleans(), st.booleans(), st.booleans())
SEEDS = st.integers(0, 2**20)
TYPES = ["int8", "int16"]
drawn = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
Q15 = {"dtype": "int16", "scale": 1 / 32768, "zero": 0}


def worst_difference(data: bytes, compiled: bytes, seed: int = 0, runs: int = 3) -> int:
    machine, tflm, rng = Machine.parse(compiled), Tflm(data), np.random.default_rng(seed)
    worst = 0
    for _ in range(runs):
        values = [random_values(rng, view.shape, view.dtype.name) for view in machine.inputs]
        ours, theirs = machine.run(*values).ravel().astype(int), tflm.run(*values).ravel()
        worst = max(worst, int(np.abs(ours - theirs).max()))
    return worst


def assert_same(data: bytes, seed: int = 0, macs: int = 128) -> None:
    assert worst_difference(data, compile_model(data, macs), seed) == 0


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("depthwise", [False, True])
@drawn
@given(SEEDS, SHAPES, DEEP, st.tuples(st.integers(1, 5), st.integers(1, 5)),
       st.tuples(st.integers(1, 3), st.integers(1, 3)),
       st.sampled_from(["none", "relu", "relu6"]), st.sampled_from([32, 64, 128, 256]))
def test_convolution(dtype, depthwise, seed, shape, out, kernel, stride, activation, macs):
    rng = np.random.default_rng(seed)
    stride = (stride[0], stride[0]) if depthwise else stride
    assert_same(convolution(rng, shape, out, kernel, stride, activation=activation, dtype=dtype, depthwise=depthwise),
                seed, macs)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("depthwise", [False, True])
@drawn
@given(SEEDS, st.integers(10, 30), DEEP, st.integers(1, 20), st.sampled_from([1, 2, 4]),
       st.sampled_from(["same", "valid"]))
def test_dilated_convolution_over_time(dtype, depthwise, seed, frames, deep, out, dilation, padding):
    rng = np.random.default_rng(seed)
    assert_same(convolution(rng, (1, frames, deep), out, (1, 3), (1, 1), (1, dilation), padding, dtype=dtype,
                            depthwise=depthwise), seed)


@drawn
@given(SEEDS, st.integers(1, 8), st.tuples(st.integers(7, 12), st.integers(7, 12)))
def test_kernel_larger_than_a_sub_kernel(seed, out, kernel):
    assert_same(convolution(np.random.default_rng(seed), (14, 13, 3), out, kernel), seed)


@pytest.mark.parametrize("dtype", TYPES)
@drawn
@given(SEEDS, st.tuples(st.integers(1, 6), st.integers(1, 6), DEEP), st.integers(1, 20),
       st.sampled_from([(2, 2), (3, 3), (2, 3)]),
       st.sampled_from(["same", "valid"]))
def test_transpose_convolution(dtype, seed, shape, out, kernel, padding):
    assert_same(transpose_convolution(np.random.default_rng(seed), shape, out, kernel, padding, dtype), seed)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["AVERAGE", "MAX"])
@drawn
@given(SEEDS, st.tuples(st.integers(4, 11), st.integers(4, 11), DEEP), st.tuples(st.integers(1, 4), st.integers(1, 4)),
       st.tuples(st.integers(1, 3), st.integers(1, 3)), st.sampled_from(["same", "valid"]),
       st.sampled_from(["none", "relu"]))
def test_pooling(dtype, kind, seed, shape, kernel, stride, padding, activation):
    assert_same(pooling(np.random.default_rng(seed), shape, kind, kernel, stride, padding, activation, dtype), seed)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["ADD", "SUB", "MINIMUM", "MAXIMUM"])
@drawn
@given(SEEDS, SHAPES, BROADCAST, st.booleans(), st.booleans(), st.booleans())
def test_elementwise_with_broadcast_constants_and_scalars(dtype, kind, seed, shape, broadcast, constant, swap, same):
    other = tuple(1 if once else size for once, size in zip(broadcast, shape, strict=True))
    rng = np.random.default_rng(seed)
    assert_same(elementwise(rng, kind, shape, other, constant, swap, dtype=dtype, same=same), seed)


@pytest.mark.parametrize("dtype", TYPES)
@drawn
@given(SEEDS, SHAPES, BROADCAST, st.booleans(), st.booleans(), st.booleans())
@example(80898, (5, 10, 10), (True, True, False), True, False, False)
def test_multiplication_with_broadcast_constants_and_scalars(dtype, seed, shape, broadcast, constant, swap, same):
    """Vela computes the multiplier in float32, TFLM in double: at most one LSB, and none with TFLM's multiplier."""
    other = tuple(1 if once else size for once, size in zip(broadcast, shape, strict=True))
    data = elementwise(np.random.default_rng(seed), "MUL", shape, other, constant, swap, dtype=dtype, same=same)
    compiled = compile_model(data)
    assert worst_difference(data, compiled, seed) <= 1
    first, second, result = scales_of(data)
    tflms = round(math.frexp(first * second / result)[0] * 2**31)
    velas = next(op.scale[0] for op in Machine.parse(compiled).operations if op.mode == "MUL")
    assert abs(velas / tflms - 1) < 2**-22
    velas, tflms = (number.to_bytes(4, "little") for number in (velas, tflms))
    assert compiled.count(velas) == 1
    assert worst_difference(data, compiled.replace(velas, tflms), seed) == 0


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["TANH", "LOGISTIC"])
@drawn
@given(SEEDS, SHAPES)
def test_saturating_activation(dtype, kind, seed, shape):
    eight = {"scale": 1 / 128, "zero": 0} if kind == "TANH" else {"scale": 1 / 256, "zero": -128}
    assert_same(unary(np.random.default_rng(seed), kind, shape, dtype, result=Q15 if dtype == "int16" else eight), seed)


@pytest.mark.parametrize("kind", ["RELU", "ABS", "HARD_SWISH", "LEAKY_RELU", "RELU6"])
@drawn
@given(SEEDS, SHAPES)
def test_table_activation_8_bit(kind, seed, shape):
    options = {"options": "LeakyReluOptions", "alpha": seed % 90 / 100} if kind == "LEAKY_RELU" else {}
    assert_same(unary(np.random.default_rng(seed), kind, shape, same=kind == "RELU6", **options), seed)


def with_tflms_multipliers(compiled: bytes, *ratios: float) -> bytes:
    """The compiled file, its multipliers of ``ratios``, which Vela works out in float32, those of doubles."""
    for ratio in ratios:
        tflms = round(math.frexp(ratio)[0] * 2**31)
        for op in Machine.parse(compiled).operations:
            if tflms and abs(op.scale[0] / tflms - 1) < 2**-22:
                compiled = compiled.replace(op.scale[0].to_bytes(4, "little"), tflms.to_bytes(4, "little"))
    return compiled


@pytest.mark.parametrize("kind", ["RELU", "LEAKY_RELU", "ABS"])
@drawn
@given(SEEDS, SHAPES)
def test_rescaling_activation_16_bit(kind, seed, shape):
    """Vela divides input by output scale in float32, TFLM in double: at most one LSB, none with TFLM's multiplier."""
    alpha = seed % 90 / 100
    options = {"options": "LeakyReluOptions", "alpha": alpha} if kind == "LEAKY_RELU" else {}
    data = unary(np.random.default_rng(seed), kind, shape, "int16", **options)
    compiled, ratio = compile_model(data), scales_of(data)[0] / scales_of(data)[1]
    assert worst_difference(data, compiled, seed) <= 1
    mended = with_tflms_multipliers(compiled, ratio, ratio * float(np.float32(alpha)))
    assert worst_difference(data, mended, seed) == 0


@pytest.mark.parametrize("core", [compile_model, compile_legacy])
def test_where_a_16_bit_leaky_relu_parts_from_tflm(core):
    """The scales of a published streaming codec, over all 65,536 inputs: 24 lie beside a rounding boundary."""
    first, second, alpha = (float(np.float32(number)) for number in (0.00050811685, 0.0004564788, 0.3))
    graph = Graph()
    x = graph.tensor((1, 256, 256), "int16", first)
    y = graph.tensor((1, 256, 256), "int16", second)
    graph.op("LEAKY_RELU", [x], [y], "LeakyReluOptions", alpha=alpha)
    data = graph.build([x], [y])
    line = np.arange(-32768, 32768).astype(np.int16).reshape(1, 256, 256)
    theirs = Tflm(data).run(line).astype(int)
    exact = line * np.where(line < 0, first * alpha, first) / second
    compiled = core(data)
    ours = Machine.parse(compiled).run(line).astype(int)
    assert np.count_nonzero(ours != theirs) == 24 and np.abs(ours - theirs).max() == 1
    quarters = 4 * np.abs(exact[ours != theirs])  # negative values are rounded twice, first to halves
    assert (np.abs(quarters - np.round(quarters)) < quarters * 2.0**-23).all()
    mended = with_tflms_multipliers(compiled, first / second, first * alpha / second)
    np.testing.assert_array_equal(Machine.parse(mended).run(line), theirs)


def test_a_shape_operand_has_no_place_and_needs_none():
    """A streaming codec's transposed convolution whose shape is an input of the file: no command reads it."""
    data = transpose_convolution(np.random.default_rng(3), (1, 40, 8), 4, (4, 4), "valid", "int16", given_shape=True)
    machine, tflm, rng = Machine.parse(compile_model(data)), Tflm(data), np.random.default_rng(4)
    assert [view.shape for view in machine.inputs] == [(1, 1, 40, 8)] and machine.outputs[0].shape == (1, 4, 82, 4)
    for _ in range(20):
        x = random_values(rng, machine.inputs[0].shape, "int16")
        np.testing.assert_array_equal(machine.run(x), tflm.run(np.array([1, 4, 82, 4], np.int32), x))


@drawn
@given(SEEDS, SHAPES, st.integers(-3, 3))
def test_rescaling_by_a_power_of_two_is_exact_16_bit(seed, shape, power):
    rng = np.random.default_rng(seed)
    scale = float(np.float32(rng.uniform(1e-4, 4e-4)))
    rng = np.random.default_rng(seed)
    data = unary(rng, "RELU", shape, "int16", result={"dtype": "int16", "scale": scale * 2.0**power, "zero": 0})
    assert_same(data, seed)


@drawn
@given(SEEDS, st.integers(1, 6), st.integers(2, 60))
def test_softmax_8_bit(seed, rows, deep):
    assert_same(softmax(np.random.default_rng(seed), rows, deep), seed)


@drawn
@given(SEEDS, st.integers(1, 6), st.integers(2, 60))
@example(614866, 3, 37)
def test_softmax_16_bit(seed, rows, deep):
    """Vela computes the table of 1 / (1 + x) in double, TFLM in float32: two of 513 samples differ by one.

    A reciprocal that is off by one moves a result, exp * reciprocal >> 15 or more, by at most one. With TFLM's
    table in the place of Vela's nothing differs.
    """
    data = softmax(np.random.default_rng(seed), rows, deep, "int16")
    compiled = compile_model(data)
    assert worst_difference(data, compiled, seed) <= 1
    velas, tflms = (reciprocal_table(kind).tobytes() for kind in (np.float64, np.float32))
    assert compiled.count(velas) == 1
    assert worst_difference(data, compiled.replace(velas, tflms), seed) == 0


def test_the_tables_of_16_bit_softmax_differ_in_two_samples():
    """The example above does meet one of them; a Vela or TFLM that agrees would make the bound of one moot."""
    double, single = (reciprocal_table(kind) & 0xFFFF for kind in (np.float64, np.float32))
    places = np.flatnonzero(double != single)
    assert [(i, int(single[i]) - int(double[i])) for i in places] == [(160, -1), (294, 1)]
    data = softmax(np.random.default_rng(614866), 3, 37, "int16")
    assert worst_difference(data, compile_model(data), 614866) == 1


@pytest.mark.parametrize("dtype", TYPES)
@drawn
@given(SEEDS, st.tuples(SIZE, SIZE), st.lists(DEEP, min_size=2, max_size=4))
def test_concatenation(dtype, seed, shape, widths):
    assert_same(concatenation(np.random.default_rng(seed), shape, widths, dtype), seed)


@pytest.mark.parametrize("dtype", TYPES)
@drawn
@given(SEEDS, SHAPES)
def test_mean(dtype, seed, shape):
    assert_same(mean(np.random.default_rng(seed), shape, dtype=dtype), seed)


@pytest.mark.parametrize("dtype", TYPES)
@drawn
@given(SEEDS, st.integers(1, 300), st.integers(1, 80), st.booleans(), st.sampled_from(["none", "relu"]), st.booleans())
def test_fully_connected(dtype, seed, width, units, per_channel, activation, snap):
    """Vela multiplies the scales of this operator in float32, TFLM in double: equal where that is exact."""
    rng = np.random.default_rng(seed)
    data = fully_connected(rng, width, units, activation, dtype, per_channel and dtype == "int8", snap)
    assert worst_difference(data, compile_model(data), seed) <= (0 if snap else 2)


@pytest.mark.parametrize("kind", ["NEAREST_NEIGHBOR", "BILINEAR"])
@pytest.mark.parametrize("fields", [{}, {"halfPixelCenters": True}])
@drawn
@given(SEEDS, st.tuples(st.integers(1, 6), st.integers(1, 6), DEEP))
def test_resize(kind, fields, seed, shape):
    assert_same(resize(np.random.default_rng(seed), shape, kind, **fields), seed)


@pytest.mark.parametrize("target", [("int8", "int16"), ("int16", "int8"), ("int8", "int8"), ("int16", "int16")])
@drawn
@given(SEEDS, SHAPES)
def test_quantize(target, seed, shape):
    from npu_operators import grid

    rng = np.random.default_rng(seed)
    result = grid(rng, target[1])
    rng = np.random.default_rng(seed + 1)
    assert_same(unary(rng, "QUANTIZE", shape, target[0], "QuantizeOptions", result=result), seed)


@pytest.mark.parametrize("macs", [32, 64, 128, 256])
@pytest.mark.parametrize("core", [compile_model, compile_legacy])
@pytest.mark.parametrize("build", [separable_tcn, convolution_stack])
def test_whole_networks_on_every_size_and_core(build, core, macs):
    data = build(np.random.default_rng(macs))
    assert worst_difference(data, core(data, macs), macs, runs=8) == 0


def test_gru_with_explicit_state():
    """The state goes round outside: out of one step, into the next, over 100 steps."""
    data = gru(np.random.default_rng(0))
    machine, tflm, rng = Machine.parse(compile_model(data)), Tflm(data), np.random.default_rng(1)
    ours = theirs = np.zeros((1, 16), np.int8)
    for _ in range(100):
        x = random_values(rng, (1, 12), "int8")
        ours, theirs = machine.run(x, ours), tflm.run(x, theirs)
        assert np.array_equal(ours, theirs)


def test_large_maps_are_cut_into_stripes_and_tiles():
    """Under Size, Vela splits maps and rolls buffers; the result may not change."""
    rng = np.random.default_rng(0)
    data = convolution(rng, (60, 40, 16), 24, (3, 3))
    for optimise in ("Size", "Performance"):
        compiled = compile_model(data, optimise=optimise)
        assert worst_difference(data, compiled) == 0
