"""Units in another order: the same bytes out of TFLM, fewer bytes out of Vela's codec."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from export_models import frames, random_model
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.cli import main
from tinyse.export.checks import interpreter, stream
from tinyse.export.integer import IntegerNetwork
from tinyse.export.network import parse
from tinyse.export.tflite import to_int8
from tinyse.graph.order import densest_first
from tinyse.graph.order import reorder as reordered
from tinyse.model import LayerWeights, TrainedModel


def reorder(model: TrainedModel) -> TrainedModel:
    return TrainedModel.of(reordered(model.model))


def sparse(model: TrainedModel, seed: int, spread: float) -> TrainedModel:
    """The model with zeros that are rarer in some units than in others."""
    rng = np.random.default_rng(seed)
    layers, before = [], np.ones(model.layers[0].inputs)
    for layer in model.layers:
        own = np.exp(spread * rng.normal(size=layer.units))
        arrays = dict(layer.arrays)
        for name, rows in (("kernel", before), ("recurrent_kernel", own)):
            if name in arrays:
                likely = 0.1 * np.outer(rows, np.tile(own, arrays[name].shape[1] // layer.units))
                arrays[name] = (arrays[name] * (rng.random(likely.shape) < likely)).astype(np.float32)
                arrays[name][0] += 0.01  # no gate without weights
        layers.append(replace(layer, arrays=arrays))
        before = own
    return replace(model, layers=tuple(layers))


def test_the_reordered_file_gives_the_same_bytes(seed=1):
    model = sparse(random_model(lstm=(24, 19), dense=(13,), seed=seed), seed, 1.0)
    files = [to_int8(model), to_int8(reorder(model))]
    assert files[0] != files[1]
    inputs = np.concatenate([parse(files[0]).features.quantize(frames(100, 16, seed)),
                             np.random.default_rng(seed).integers(-128, 128, (40, 16)).astype(np.int8)])
    out = [stream(interpreter(data), inputs) for data in files]
    np.testing.assert_array_equal(*out)
    np.testing.assert_array_equal(IntegerNetwork(files[1]).run(inputs), out[0])
    assert out[0].std() > 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 2))
def test_the_densest_unit_comes_first_and_none_is_lost(seed, spread):
    model = sparse(random_model(lstm=(9, 7), dense=(5,), seed=1), seed, spread)
    ordered = reorder(model)
    assert ordered.parameters == model.parameters
    for before, after in zip(model.layers, ordered.layers, strict=True):
        for name, array in before.arrays.items():
            np.testing.assert_array_equal(np.sort(array, axis=None), np.sort(after.arrays[name], axis=None))
    orders = densest_first(ordered.model)
    assert [(name, order.size) for name, order in orders.items()] == [("lstm_0", 9), ("lstm_1", 7), ("dense_0", 5)]
    for order in orders.values():
        np.testing.assert_array_equal(order, np.arange(order.size))
    np.testing.assert_array_equal(reorder(ordered).layers[0].arrays["kernel"], ordered.layers[0].arrays["kernel"])


def integers(layer: LayerWeights, name: str) -> list[np.ndarray]:
    """The int8 tensors [out, in] of one kernel, by export's rule."""
    if layer.kind == "dense":
        kernel = layer.arrays[name]
        return [np.rint(kernel / (np.abs(kernel).max(axis=0) / np.float32(127))).astype(np.int16).T]
    gates = np.split(layer.arrays[name], 4, axis=1)
    return [np.rint(gate / (np.abs(gate).max() / np.float32(127))).astype(np.int16).T for gate in gates]


def test_vela_s_codec_needs_fewer_bytes():
    codec = pytest.importorskip("ethosu.mlw_codec", reason="pip install ethos-u-vela")
    model = sparse(random_model(lstm=(128,), dense=(64,), seed=4, quantized=False), 4, 0.6)

    def size(model: TrainedModel) -> int:
        tensors = [w for layer in model.layers for name in layer.arrays if name != "bias"
                   for w in integers(layer, name)]
        return sum(len(codec.reorder_encode(8, 8, np.ascontiguousarray(w).reshape(len(w), 1, 1, -1), 64, False, False,
                                            8, 8, 8)[0]) for w in tensors)

    assert size(reorder(model)) < 0.98 * size(model)


def test_the_command_orders_weights_but_neither_tiles_nor_int8_files(tmp_path):
    model = sparse(random_model(seed=5), 5, 1.0)

    def export(structure: str, *words: str):
        run = tmp_path / structure
        run.mkdir(exist_ok=True)
        replace(model, meta={**model.meta, "structure": structure}).save(run / "model.npz")
        return CliRunner().invoke(main, ["export", str(run), "--target", "cortex-m55", *words])

    done = export("weight", "--reorder")
    assert done.exit_code == 0, done.output
    file = tmp_path / "weight" / "export" / "model_int8.tflite"
    first = parse(file.read_bytes()).layers[0]
    order = densest_first(model.model)["lstm_0"]
    assert not np.array_equal(order, np.arange(order.size))
    for gate, before in zip(first.gates, integers(model.layers[0], "kernel"), strict=True):
        np.testing.assert_array_equal(before[order], gate.kernel)
    torn = export("block", "--reorder")
    assert torn.exit_code == 1 and torn.stderr.endswith("would tear its tiles (export it without --reorder)\n")
    done = CliRunner().invoke(main, ["export", str(file), "--reorder", "--target", "cortex-m55", "--out",
                                     str(tmp_path / "out")])
    assert done.exit_code == 1 and "keeps its order of units" in done.stderr
