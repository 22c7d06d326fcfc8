"""What sub-bands ask of grids: ranges that end where gates are flat, steps on the state's grid, free concats."""

from __future__ import annotations

import numpy as np
import pytest

from tinyse import families
from tinyse.graph.build import Build
from tinyse.graph.layers.recurrent import HIDDEN_RANGE
from tinyse.graph.lowering import lower
from tinyse.graph.net import Net
from tinyse.graph.ops import Add, Concat, Mul, Requantize
from tinyse.graph.snap import snap_ranges
from tinyse.sound import band_matrix, istft, stft
from tinyse.train.calibration import GATE_LIMIT, NEW_LIMIT, learn_ranges
from tinyse.train.network import Network


def small_net(bits: int) -> Net:
    b = Build((1, 8, 1))
    x = b.conv(b.x, 4, (1, 3), (1, 1), "tanh")
    h = b.gru(x, 4, reset="none", bits=bits, joint=True)
    x = b.join("concat", h, b.dense(h, 2, "tanh"))
    return b.done(mask=b.dense(x, 1, "sigmoid"))


class Batches:
    """In place of a mixer: loud features."""

    def batch(self, step: int, lane: int, size: int) -> object:
        rng = np.random.default_rng([step, lane])
        return type("Batch", (), {"features": rng.normal(0, 20, (6, size, 8)).astype(np.float32)})


@pytest.mark.parametrize("bits", [8, 16])
def test_gates_of_8_bits_have_ranges_that_end_where_they_are_flat(bits: int) -> None:
    network = Network(small_net(bits))
    network.twin("gru_0").array("kernel").assign(30.0 * network.twin("gru_0").array("kernel"))
    network.fold_normalizer()
    ranges = learn_ranges(network, Batches(), 2, 0)  # type: ignore[arg-type]
    if bits == 16:
        assert not any(name.startswith("gru_0") for name in ranges)
        return
    for gate, limit in (("z", GATE_LIMIT), ("n", NEW_LIMIT)):
        low, high = ranges[f"gru_0.{gate}"]
        assert limit <= max(-low, high) < 1.02 * limit, gate  # the kernel is so large that they would reach far beyond
    network.quantize(ranges)


def test_maps_of_one_grid_are_not_requantized_into_a_concat_and_a_step_lies_on_its_state_s_grid() -> None:
    net = small_net(8)
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(0, 0.3, array.shape).astype(np.float32) for name, array in net.arrays.items()}
    ranges = snap_ranges(net, {name: (-2.0, 2.0) for name in net.ranges})
    assert ranges["join_0.out"] == HIDDEN_RANGE
    graph = lower(net, arrays, ranges).parts[0]
    assert not any(isinstance(op, Requantize) for op in graph.ops)
    assert any(isinstance(op, Concat) and op.out.name == "join_0" for op in graph.ops)
    step = next(op for op in graph.ops if isinstance(op, Mul))
    added = next(op for op in graph.ops if type(op) is Add and step.out in op.ins)
    assert len({tensor.grid for tensor in (*added.ins, added.out)}) == 1


def test_one_product_over_x_and_h_saves_three_operators_a_gru(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/npu.md counts them, of the recipe's widths."""
    def operators() -> int:
        net = families.load("subband").net({"wide": 48}, families.load("subband").ends)
        arrays = {name: np.full(array.shape, 0.1, np.float32) for name, array in net.arrays.items()}
        return len(lower(net, arrays, snap_ranges(net, {name: (-2.0, 2.0) for name in net.ranges})).parts[0].ops)

    apart = Build.gru
    found = operators()
    monkeypatch.setattr(Build, "gru", lambda *given, **options: apart(*given, **options | {"joint": False}))
    assert (found, operators()) == (45, 54)


def test_gains_of_one_give_the_input_back() -> None:
    ends = families.load("subband").ends
    wave = np.random.default_rng(1).normal(0, 0.1, 16000).astype(np.float32)
    ones = np.ones(ends.outputs, np.float32) @ band_matrix(ends.bands, ends.framing).T
    back = istft(stft(wave, ends.framing) * ones, ends.framing)
    inside = slice(ends.framing.hop, back.size - ends.framing.hop)
    error = back[inside] - wave[: back.size][inside]
    assert 10 * np.log10(np.mean(np.square(error)) / np.mean(np.square(wave))) < -90
