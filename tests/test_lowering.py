"""Lowering against TensorFlow's converter: for a TinyLSTM every tensor of the Graph equals the converter's file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from converter import to_int8
from export_models import changed, converted, frames, random_model, written

from tinyse.core.errors import ExportError
from tinyse.export.reader import read
from tinyse.graph.floating import calibrate
from tinyse.graph.graph import Graph
from tinyse.graph.grid import Grid
from tinyse.graph.model import Model
from tinyse.graph.ops import Lstm, MatMul


def plain(graph: Graph) -> Graph:
    """Without what the converter calls its graph and its states."""
    ops = tuple(replace(op, state_names=()) if isinstance(op, Lstm) else op for op in graph.ops)
    return Graph("main", graph.inputs, ops, graph.outputs, graph.states)


def check_same(ours: Graph, theirs: Graph) -> None:
    """Grids, shapes and names, weights, biases, scales, cell scale and clip."""
    for mine, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert mine == other
    for op, other in zip(ours.ops, theirs.ops, strict=True):
        assert type(op) is type(other)
        if isinstance(op, Lstm):
            assert (op.cell_scale, op.cell_clip) == (other.cell_scale, other.cell_clip)
            for gate, found in zip(op.gates, other.gates, strict=True):
                for name in ("kernel", "kernel_scale", "recurrent", "recurrent_scale", "bias"):
                    np.testing.assert_array_equal(getattr(gate, name), getattr(found, name), f"{op.out.name} {name}")
        elif isinstance(op, MatMul):
            mine, found = op.weights, other.weights
            used = found.values.any(axis=1)
            np.testing.assert_array_equal(mine.values, found.values, op.out.name)
            for name in ("scales", "bias"):
                np.testing.assert_array_equal(getattr(mine, name)[used], getattr(found, name)[used],
                                              f"{op.out.name} {name}")
            # A row of zeros has no scale of its own: only what its bias stands for counts.
            np.testing.assert_allclose(mine.bias * mine.scales.astype(float), found.bias * found.scales.astype(float),
                                       rtol=1e-6)
            assert op.fused == other.fused
    if all(op.weights.values.any(axis=1).all() for op in ours.ops if isinstance(op, MatMul)):
        assert plain(ours) == plain(theirs), "and whatever else there is"


def test_a_pruned_model_on_trained_ranges():
    model, theirs = converted()
    check_same(model.plan().graphs[0], theirs)


@pytest.mark.parametrize("ranges", [
    {"features": (-0.236, 0.236), "lstm_0.h": (-1.5, 253.5), "lstm_0.c": (-0.5, 0.124), "dense_0.out": (0.25, 3.0)},
    {"features": (-0.5, 254.5), "lstm_0.h": (-4.0, 0.0), "lstm_0.c": (-10.0, 20.0), "dense_0.out": (0.0, 0.3)},
    {"features": (0.25, 3.0), "lstm_0.h": (-8.0, 8.0), "lstm_0.c": (-1.001, 0.0), "dense_1.out": (-8.0, 8.0)}])
def test_ties_and_one_sided_ranges_on_odd_widths(ranges):
    """Where rounding rules differ, the converter's file decides."""
    model = random_model((9, 33, 5), (7, 11), 10, seed=4, gain=2.0, zeros=0.8)
    model = replace(model, ranges={**model.ranges, **ranges})
    check_same(model.plan().graphs[0], read(to_int8(model)))


def test_a_float_model_calibrated_on_frames():
    model = random_model((7,), (5,), 6, seed=2, quantized=False)
    seen = frames(300, 6, 5)
    ours = model.plan(calibrate(model, seen)).graphs[0]
    check_same(ours, read(to_int8(model, seen)))
    assert ours.inputs[0].grid.scale == pytest.approx(seen.max() / 255, rel=1e-6)


def test_a_skip_rnn_of_one_output_more():
    model = random_model((6,), (), 5, seed=3, skip=True)
    check_same(model.plan().graphs[0], read(to_int8(model)))
    assert model.plan().policy.at == 5


def test_weights_and_ranges_by_hand():
    """Without the oracle: rounded weights, and grids of the ranges."""
    model = random_model(zeros=0.5)
    graph = read(written(model))
    lstm, dense = graph.ops[0], graph.ops[2]
    kernel = np.split(model.arrays["lstm_0/kernel"], 4, axis=1)[2]
    np.testing.assert_array_equal(lstm.gates[2].kernel, np.rint(kernel.T / (np.abs(kernel).max() / 127)))
    whole = model.arrays["dense_0/kernel"]
    np.testing.assert_array_equal(dense.weights.values, np.rint((whole / (np.abs(whole).max(axis=0) / 127)).T))
    low, high = model.ranges["lstm_0.h"]
    assert lstm.out.grid.scale == (np.float32(high) - np.float32(low)) / np.float32(255)
    bound = max(map(abs, model.ranges["lstm_1.c"]))
    assert bound <= graph.ops[1].cell_scale * 2**15 < 2 * bound
    assert graph.outputs[0].grid == Grid(1 / 256, -128)
    assert graph.inputs[0].grid.zero_point == -128, "features are never negative"


@pytest.mark.parametrize("bound, power", [(1.0, 15), (1.001, 14), (0.124, 18), (8.0, 12), (20.0, 10)])
def test_cell_scales_are_powers_of_two(bound, power):
    model = random_model((6,), (), 5)
    moved = replace(model, ranges={**model.ranges, "lstm_0.c": (-bound, bound / 2)})
    assert moved.plan().graphs[0].ops[0].cell_scale == 2.0**-power


def test_models_that_cannot_be_lowered_say_why():
    model = random_model()

    def ranged(**ranges: tuple[float, float]) -> Model:
        return replace(model, ranges={**model.ranges, **ranges})

    with pytest.raises(ExportError, match=r"^lstm_0: the model has no range for lstm_0.h"):
        replace(model, ranges={k: v for k, v in model.ranges.items() if k != "lstm_0.h"}).plan()
    with pytest.raises(ExportError, match="features: range 0.0..nan"):
        ranged(features=(0.0, float("nan"))).plan()
    with pytest.raises(ExportError, match=r"lstm_0: .*bias"):
        changed(model, lstm_0__kernel=model.arrays["lstm_0/kernel"] * 1e-12).plan()
