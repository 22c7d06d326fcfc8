"""The weight decoder and traversal against Vela's own codec; the scaling rules against plain integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.npu import NpuError, activation, codec, weights
from tinyse.npu.operations import Rounding
from tinyse.npu.scaling import divide_by_power, rescale, rescale_wide

mlw = pytest.importorskip("ethosu.mlw_codec", reason="pip install ethos-u-vela")


@st.composite
def volumes(draw):
    """A weight volume of any make, and the traversal it is encoded with."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["conv", "depthwise", "part"]))
    kernel = draw(st.sampled_from([(1, 1), (1, 1), (3, 3), (1, 7), (9, 2), (8, 10)]))
    shape = (draw(st.integers(1, 50)), *kernel, 1 if kind == "depthwise" else draw(st.integers(1, 50)))
    style = draw(st.sampled_from(["laplace", "wide", "palette", "zeros", "one"]))
    if style == "palette":
        values = rng.choice(np.array([0, 1, -7, 100, 33, -255], np.int16), shape)
    elif style == "zeros":
        values = rng.integers(-128, 128, shape) * (rng.random(shape) < 0.05)
    elif style == "one":
        values = np.full(shape, draw(st.integers(-255, 255)))
    else:
        values = np.clip(np.round(rng.laplace(size=shape) * (4 if style == "laplace" else 90)), -255, 255)
    micro = draw(st.sampled_from([4, 8]))
    return (values.astype(np.int16), kind, draw(st.sampled_from([8, 16])), micro,
            draw(st.sampled_from([micro * 2, 16, 32, 64])), draw(st.sampled_from([8, 4])))


@settings(max_examples=150, deadline=None)
@given(volumes())
def test_decodes_and_orders_what_velas_codec_encodes(case):
    volume, kind, bits, micro, block, sub = case
    encoded, _ = mlw.reorder_encode(8, micro, volume, block, kind == "depthwise", kind == "part", bits, sub, sub)
    place = weights.order(volume.shape, min(block, volume.shape[0]), kind == "depthwise", kind == "part", bits,
                          micro, 8, (sub, sub))
    values = codec.decode(bytes(encoded), place.size)
    assert np.array_equal(values, np.array(mlw.decode(bytearray(encoded)), np.int16))
    back = np.zeros(volume.size, np.int16)
    back[place[place >= 0]] = values[place >= 0]
    assert np.array_equal(back.reshape(volume.shape), volume)
    assert not values[place < 0].any()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6))
def test_a_damaged_weight_stream_is_an_error_or_other_weights(seed, changes):
    rng = np.random.default_rng(seed)
    volume = np.round(rng.laplace(size=(24, 1, 1, 40)) * 6).astype(np.int16)
    damaged = bytearray(mlw.reorder_encode(8, 8, volume, 16, False, False, 8, 8, 8)[0])
    for _ in range(changes):
        damaged[rng.integers(len(damaged))] = rng.integers(256)
    data = bytes(damaged[: rng.integers(len(damaged) + 1)] if rng.random() < 0.5 else damaged)
    try:
        values = codec.decode(data, 4096)
    except NpuError as error:
        assert "weight stream" in str(error)
    else:
        assert values.dtype == np.int16
        assert values.size <= 4096
        assert np.abs(values).max(initial=0) < 512


def test_a_stream_may_not_decode_to_more_than_its_operation_holds():
    encoded, count = mlw.reorder_encode(8, 8, np.zeros((64, 1, 1, 64), np.int16), 32, False, False, 8, 8, 8)
    with pytest.raises(NpuError, match="more than the 100 weights"):
        codec.decode(bytes(encoded), 100)
    assert codec.decode(bytes(encoded), count).size == count


WIDE = st.integers(-(2**40), 2**40)


@settings(max_examples=300, deadline=None)
@given(st.lists(WIDE, min_size=1, max_size=20), st.integers(0, 2**21), st.integers(0, 62), st.sampled_from(Rounding))
def test_rescale_is_exact_integer_arithmetic(values, scale, shift, rounding):
    array = np.array(values, np.int64)
    assert rescale(array, scale, shift, rounding).tolist() == rescale_wide(array, scale, shift, rounding).tolist()


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**31), 2**31 - 1), st.integers(2**30, 2**31 - 1), st.integers(0, 62))
def test_tfl_rounding_is_tflites_multiplier(value, scale, shift):
    """SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT, as gemmlowp defines them."""
    left, right = max(31 - shift, 0), max(shift - 31, 0)
    product = (value << left) * scale
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    high = abs(product + nudge) >> 31
    high = high if product + nudge >= 0 else -high
    mask = (1 << right) - 1
    expected = (high >> right) + int((high & mask) > (mask >> 1) + (high < 0))
    assert rescale_wide(np.array([value]), scale, shift, Rounding.TFL).tolist() == [expected]


@given(st.integers(-(2**40), 2**40), st.integers(0, 40))
def test_divide_by_power_rounds_ties_away_from_zero(value, exponent):
    size = (abs(value) + ((1 << exponent) >> 1)) >> exponent
    assert int(divide_by_power(np.array([value]), exponent)[0]) == (size if value >= 0 else -size)


def test_rounding_modes_differ_on_ties_and_signs():
    values = np.array([-6, -5, -3, -2, 2, 3, 5, 6])
    assert rescale(values, 1, 2, Rounding.NATURAL).tolist() == [-1, -1, -1, 0, 1, 1, 1, 2]
    assert rescale(values, 1, 2, Rounding.TRUNCATE).tolist() == [-1, -1, 0, 0, 0, 0, 1, 1]
    assert divide_by_power(values, 2).tolist() == [-2, -1, -1, -1, 1, 1, 1, 2]
    far = values << 31
    assert rescale(far, 1, 33, Rounding.TFL).tolist() == [-2, -1, -1, -1, 1, 1, 1, 2]


def test_sigmoid_table_has_the_published_numbers():
    table = activation.sigmoid_table()
    assert table.shape == (257,)
    published = {0: 32768, 1: 33451, 22: 46817, 29: 50464, 100: 64536, 118: 65060, 254: 65534, 255: 65535}
    assert {place: int(table[place]) for place in published} == published
    assert int(table[:256].sum()) == 15670629
    assert (np.diff(table) >= 0).all()


def test_tanh_and_sigmoid_are_close_to_the_functions_and_symmetric():
    line = np.arange(-140000, 140001, 40)
    real = line / 12288.0
    sigmoid, tanh = activation.sigmoid(line), activation.tanh(line)
    assert np.abs(sigmoid / 32768 - 1 / (1 + np.exp(-real))).max() < 1.2e-4
    assert np.abs(tanh / 32768 - np.tanh(real)).max() < 1.2e-4
    assert np.abs(tanh + tanh[::-1]).max() <= 1
    assert sigmoid.min() >= 0
    assert sigmoid.max() <= 32767


def test_16_bit_table_interpolates_between_entries():
    samples = np.round(20000 * np.sin(np.arange(513) / 100)).astype(np.int64)
    entries = ((np.diff(samples) & 0xFFFF) << 16 | samples[:-1] & 0xFFFF).astype(np.uint32)
    values = np.arange(-32768, 32768, 13)
    out = activation.lookup16(values, entries)
    expected = np.interp((values + 32768) / 128, np.arange(513), samples)
    assert np.abs(out - expected).max() <= 0.51
