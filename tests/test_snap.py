"""Snapped scales: 11 bits, upwards, and products that float32 holds exactly."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinyse.graph.grid import Grid, snap_scale
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.snap import snap, snap_ranges
from tinyse.sound import Ends

NET = tinylstm(6, (4,), (), 6)

SCALES = st.floats(2.0**-20, 100, width=32)


@given(SCALES, SCALES)
def test_products_of_snapped_scales_are_exact_in_float32(a, b):
    one, other = snap_scale(a), snap_scale(b)
    assert a <= one <= np.float32(a) * np.float32(1 + 2.0**-10)
    assert float(one * other) == float(one) * float(other)
    assert snap_scale(one) == one


@given(st.floats(-30, 0), st.floats(0.01, 30))
def test_snapped_ranges_give_snapped_grids_that_cover_them(low, high):
    ranges = snap_ranges(NET, {"features": (low, high), "lstm_0.c": (-3.0, 3.0), "lstm_0.h": (-0.9, 0.8)})
    before, after = Grid.of_range(low, high), Grid.of_range(*ranges["features"])
    assert after.scale == snap_scale(before.scale) and after.zero_point == before.zero_point
    assert ranges["lstm_0.c"] == (-3.0, 3.0)
    assert Grid.of_range(*ranges["lstm_0.h"]) == Grid(2.0**-7, 0)


def test_a_snapped_model_lies_on_its_grids_and_keeps_its_zeros():
    rng = np.random.default_rng(0)
    kernel = (rng.laplace(size=(6, 16)) * (rng.random((6, 16)) < 0.7)).astype(np.float32)
    whole = {name: rng.laplace(size=array.shape).astype(np.float32) for name, array in NET.arrays.items()}
    ranges = {"features": (0.0, 3.0), "lstm_0.h": (-0.5, 0.5), "lstm_0.c": (-2.0, 2.0), "dense_0.out": (-4.0, 4.0)}
    snapped = snap(Model(NET, {**whole, "lstm_0/kernel": kernel}, Ends(), ranges))
    found = {name: snapped.arrays[f"lstm_0/{name}"] for name in ("kernel", "recurrent_kernel", "bias")}
    bias = whole["lstm_0/bias"]
    scale = np.abs(found["kernel"].reshape(6, 4, 4)).max(axis=(0, 2)) / np.float32(127)  # of every gate
    np.testing.assert_array_equal(scale, snap_scale(scale))
    steps = found["kernel"] / np.repeat(scale, 4)
    np.testing.assert_array_equal(steps, np.round(steps))
    assert np.all(found["kernel"][kernel == 0] == 0)
    np.testing.assert_array_equal(np.round(kernel / np.repeat(scale, 4)), steps)
    unit = np.repeat(scale, 4) * Grid.of_range(*snapped.ranges["features"]).scale
    whole = found["bias"] / unit
    np.testing.assert_allclose(whole, np.round(bias / unit), atol=1e-3)
    again = {name: snap(snapped).arrays[f"lstm_0/{name}"] for name in found}
    for name, array in found.items():
        np.testing.assert_array_equal(array, again[name])


def test_a_float_model_is_left_alone():
    model = Model(NET, {name: np.ones(array.shape, np.float32) for name, array in NET.arrays.items()}, Ends())
    assert snap(model) is model
