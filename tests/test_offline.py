"""Pruning a finished file: the weakest groups and nothing else become zero; TFLM runs what remains."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from export_models import exported, frames, integers, random_model, streamed
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import float_tflite, tiny_tflite

from tinyse.cli import main
from tinyse.core.errors import ModelError, RecipeError
from tinyse.export.reader import read
from tinyse.export.writer import write
from tinyse.graph.groups import Structure
from tinyse.graph.offline import Pruned
from tinyse.graph.offline import prune_offline as prune
from tinyse.graph.ops import Lstm, MatMul


@pytest.fixture(scope="module")
def data() -> bytes:
    return (exported("cortex-m55") / "model_int8.tflite").read_bytes()


def prune_offline(data: bytes, *given, **more) -> Pruned:
    """The pruned Graph of a file, with its file as ``data``."""
    made = prune(read(data, "tiny"), *given, **more)
    object.__setattr__(made, "data", write(made.graph))
    return made


def weights(data: bytes) -> dict[str, np.ndarray]:
    found = {}
    for op in read(data).ops:
        name = op.out.name
        if isinstance(op, Lstm):
            for letter, gate in zip("ifgo", op.gates, strict=True):
                found |= {f"{name}.kernel_{letter}": gate.kernel, f"{name}.recurrent_{letter}": gate.recurrent,
                          f"{name}.bias_{letter}": gate.bias}
        elif isinstance(op, MatMul):
            found |= {f"{name}.kernel": op.weights.values, f"{name}.bias": op.weights.bias}
    return found


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(Structure)), st.floats(0, 0.98))
def test_the_target_is_met_and_survivors_stay(data, structure, target):
    pruned = prune_offline(data, target, structure, (4, 4))
    before, after = weights(data), weights(pruned.data)
    for name, old in before.items():
        new = after[name]
        assert np.all((new == old) | (new == 0)), name
        if structure is not Structure.UNIT and "bias" in name:
            np.testing.assert_array_equal(new, old)
    zeros, total = pruned.graph.zeros, pruned.graph.weights
    assert zeros / total == pytest.approx(pruned.sparsity) and total == pruned.weights
    # The strongest weight or tile of every gate stays.
    assert pruned.sparsity >= target - {"weight": 16 / total, "block": 18 * 16 / total, "unit": 0}[structure]
    start = zero_share(data)
    most = max(target, start) if structure is Structure.WEIGHT else start + (1 - start) * target
    assert pruned.sparsity <= most + {"weight": 0.02, "block": 0.05, "unit": 0.08}[structure]
    assert read(pruned.data) == pruned.graph and pruned.graph.tensors == read(data).tensors


def zero_share(data: bytes) -> float:
    graph = read(data)
    return graph.zeros / graph.weights


def test_each_layer_loses_its_weakest_weights_in_real_units(data):
    pruned = prune_offline(data, 0.9, "weight")
    before, after = (graph.ops[2].weights for graph in (read(data), pruned.graph))
    real = np.abs(before.values * before.scales[:, None])
    gone = (after.values == 0) & (before.values != 0)
    assert gone.any() and real[gone].max() <= real[after.values != 0].min()
    assert np.mean(after.values == 0) == pytest.approx(0.9, abs=0.01)


def test_blocks_and_units_are_zero_as_a_whole(data):
    tiles = prune_offline(data, 0.8, "block", (4, 4)).graph
    old = read(data).ops[0].gates[1].recurrent
    new = tiles.ops[0].gates[1].recurrent
    cut = ((new != 0) | (old == 0)).reshape(6, 4, 6, 4).all(axis=(1, 3))
    empty = (new == 0).reshape(6, 4, 6, 4).all(axis=(1, 3))
    assert np.all(cut | empty) and empty.any()
    units = prune_offline(data, 0.7, "unit").graph.ops
    gates = units[0].gates
    dead = np.all([~gate.kernel.any(axis=1) & ~gate.recurrent.any(axis=1) & (gate.bias == 0) for gate in gates], axis=0)
    assert 0 < dead.sum() < 24
    assert not any(gate.recurrent[:, dead].any() for gate in gates)
    assert not any(gate.kernel[:, dead].any() for gate in units[1].gates)
    assert np.array_equal(units[3].weights.bias, read(data).ops[3].weights.bias), "the mask's bands all stay"


@pytest.mark.parametrize("structure", list(Structure))
def test_tflm_runs_the_pruned_file(data, structure):
    pruned = prune_offline(data, 0.8, structure, (4, 4)).data
    inputs = read(data).inputs[0].grid.quantize(frames(40, 16))
    np.testing.assert_array_equal(streamed(pruned, inputs), integers(pruned, inputs))


def test_a_converter_made_file_can_be_pruned():
    from converter import to_int8

    assert prune_offline(to_int8(random_model()), 0.9, "weight").sparsity == pytest.approx(0.9, abs=0.01)


def test_pruning_twice_is_pruning_once(data):
    once = prune_offline(data, 0.8, "weight")
    assert prune_offline(once.data, 0.8, "weight").data == once.data
    assert prune_offline(data, 0.0, "unit").graph == read(data)


def test_what_is_refused():
    with pytest.raises(ModelError, match="tiny: "):
        prune_offline(float_tflite(), 0.5)
    with pytest.raises(RecipeError, match=r"sparsity: 1\.2 is out of range"):
        prune_offline(tiny_tflite(), 1.2)
    with pytest.raises(RecipeError, match=r"block: \[0, 4\]"):
        prune_offline(tiny_tflite(), 0.5, "block", (0, 4))


def test_the_command(tmp_path):
    model, out = exported("cortex-m55") / "model_int8.tflite", tmp_path / "pruned.tflite"
    result = CliRunner().invoke(main, ["prune-offline", str(model), "--sparsity", "0.9", "--out", str(out)])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["lstm_0/kernel", lines[0].split()[1], "zeros"]
    assert lines[-2:] == [f"{zero_share(out.read_bytes()):.1%} of 6,912 weights are zero (exact)", f"wrote {out}"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--sparsity", "2"], "Error: sparsity: 2.0 is out of range (0 to 0.999)\n"),
        (["--sparsity", "0.5", "--structure", "block", "--block", "0", "4"],
         "Error: block: [0, 4] is out of range (whole numbers from 1 on)\n"),
    ],
)
def test_command_errors_are_one_line(words, line, tmp_path):
    model, out = exported("cortex-m55") / "model_int8.tflite", tmp_path / "x.tflite"
    result = CliRunner().invoke(main, ["prune-offline", str(model), "--out", str(out), *words])
    assert result.exit_code == 1 and result.stderr == line and not out.exists()


def test_nothing_that_is_there_is_lost(tmp_path):
    model = tmp_path / "model_int8.tflite"
    shutil.copyfile(exported("cortex-m55") / "model_int8.tflite", model)
    (tmp_path / "again.tflite").symlink_to(model)
    before = model.read_bytes()
    for out, code, line in ((model, 1, "is the input as well"), (tmp_path / "again.tflite", 1, "is the input as well"),
                            (tmp_path / "a.wav", 1, "what is written here is .tflite")):
        result = CliRunner().invoke(main, ["prune-offline", str(model), "--sparsity", "0.5", "--out", str(out)])
        assert (result.exit_code, len(result.stderr.splitlines())) == (code, 1) and line in result.stderr
    result = CliRunner().invoke(main, ["prune-offline", str(model), "--sparsity", "0.5", "--block", "9", "9",
                                       "--out", str(tmp_path / "b.tflite")])
    assert result.exit_code == 2 and "--block is of --structure block, not of weight" in result.stderr
    assert model.read_bytes() == before and sorted(path.name for path in tmp_path.iterdir()) == [
        "again.tflite", "model_int8.tflite"]


def test_a_file_that_vela_compiled_is_named_so(tmp_path):
    model = exported("ethos-u55-128") / "model_vela.tflite"
    out = str(tmp_path / "o.tflite")
    result = CliRunner().invoke(main, ["prune-offline", str(model), "--sparsity", "0.5", "--out", out])
    assert (result.exit_code, result.stderr) == (1, f"Error: {model}: was compiled by Vela, and an int8 file is wanted "
                                                    "(the export's model_int8.tflite)\n")


def test_a_missing_or_foreign_file_is_one_line(tmp_path):
    for file, line in ((tmp_path / "none.tflite", "No such file"), (tmp_path / "text", "not a TFLite file")):
        if file.name == "text":
            file.write_text("hello")
        words = ["prune-offline", str(file), "--sparsity", "0.5", "--out", str(tmp_path / "o.tflite")]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 1 and line in result.stderr and len(result.stderr.splitlines()) == 1
