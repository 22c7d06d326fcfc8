"""Units in another order: the same bytes out of TFLM, fewer bytes out of Vela's codec."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from export_models import frames, integers, random_model, streamed, written
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.cli import main
from tinyse.export.reader import read
from tinyse.graph.model import Model
from tinyse.graph.order import densest_first, reorder


def sparse(model: Model, seed: int, spread: float) -> Model:
    """The model with zeros that are rarer in some units than in others."""
    rng = np.random.default_rng(seed)
    arrays, before = dict(model.arrays), np.ones(model.ends.inputs)
    for node in model.net.nodes[1:]:
        units = model.net.shapes[node.name][-1]
        own = np.exp(spread * rng.normal(size=units))
        for name, rows in ((f"{node.name}/kernel", before), (f"{node.name}/recurrent_kernel", own)):
            if name in arrays:
                likely = 0.1 * np.outer(rows, np.tile(own, arrays[name].shape[1] // units))
                arrays[name] = (arrays[name] * (rng.random(likely.shape) < likely)).astype(np.float32)
                arrays[name][0] += 0.01  # no gate without weights
        before = own
    return replace(model, arrays=arrays)


def test_the_reordered_file_gives_the_same_bytes(seed=1):
    model = sparse(random_model(lstm=(24, 19), dense=(13,), seed=seed), seed, 1.0)
    files = [written(model), written(reorder(model))]
    assert files[0] != files[1]
    inputs = np.concatenate([read(files[0]).inputs[0].grid.quantize(frames(100, 16, seed)),
                             np.random.default_rng(seed).integers(-128, 128, (40, 16)).astype(np.int8)])
    out = [streamed(data, inputs) for data in files]
    np.testing.assert_array_equal(*out)
    np.testing.assert_array_equal(integers(files[1], inputs), out[0])
    assert out[0].std() > 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 2))
def test_the_densest_unit_comes_first_and_none_is_lost(seed, spread):
    model = sparse(random_model(lstm=(9, 7), dense=(5,), seed=1), seed, spread)
    ordered = reorder(model)
    assert ordered.parameters == model.parameters
    for name, array in model.arrays.items():
        np.testing.assert_array_equal(np.sort(array, axis=None), np.sort(ordered.arrays[name], axis=None))
    orders = densest_first(ordered)
    assert [(name, order.size) for name, order in orders.items()] == [("lstm_0", 9), ("lstm_1", 7), ("dense_0", 5)]
    for order in orders.values():
        np.testing.assert_array_equal(order, np.arange(order.size))
    np.testing.assert_array_equal(reorder(ordered).arrays["lstm_0/kernel"], ordered.arrays["lstm_0/kernel"])


def rounded(name: str, kernel: np.ndarray) -> list[np.ndarray]:
    """The int8 tensors [out, in] of one kernel, by export's rule."""
    if name.startswith("dense"):
        return [np.rint(kernel / (np.abs(kernel).max(axis=0) / np.float32(127))).astype(np.int16).T]
    return [np.rint(gate / (np.abs(gate).max() / np.float32(127))).astype(np.int16).T
            for gate in np.split(kernel, 4, axis=1)]


def test_vela_s_codec_needs_fewer_bytes():
    codec = pytest.importorskip("ethosu.mlw_codec", reason="pip install ethos-u-vela")
    model = sparse(random_model(lstm=(128,), dense=(64,), seed=4, quantized=False), 4, 0.6)

    def size(model: Model) -> int:
        tensors = [w for name in model.matrices for w in rounded(name, model.arrays[name])]
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
    first = read(file.read_bytes()).lstms[0]
    order = densest_first(model)["lstm_0"]
    assert not np.array_equal(order, np.arange(order.size))
    for gate, before in zip(first.gates, rounded("lstm_0/kernel", model.arrays["lstm_0/kernel"]), strict=True):
        np.testing.assert_array_equal(before[order], gate.kernel)
    torn = export("block", "--reorder")
    assert torn.exit_code == 1 and torn.stderr.endswith("would tear its tiles (export it without --reorder)\n")
    done = CliRunner().invoke(main, ["export", str(file), "--reorder", "--target", "cortex-m55", "--out",
                                     str(tmp_path / "out")])
    assert done.exit_code == 1 and "keeps its order of units" in done.stderr
