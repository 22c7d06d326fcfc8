"""Maps of steps with a bit a value in C: the reference's bits on every machine, and what they cost."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from firmware_graphs import Case, run
from graph_draws import Draw, draw_frames, short

from tinyse.export.bitmap import BitMap
from tinyse.export.cbits import as_bits
from tinyse.export.cnetwork import c_network
from tinyse.export.packing import pack_matrix
from tinyse.export.reader import read
from tinyse.graph.graph import Graph
from tinyse.graph.grid import STEP, Grid
from tinyse.graph.ops import Concat, Conv, MatMul, Reshape, Slice, window
from tinyse.graph.plan import Plan
from tinyse.graph.reference import Reference
from tinyse.graph.tensor import Fused, Tensor, Weights

MODELS = Path(__file__).parent.parent / "models"
MACHINES = ["sanitized", *(pytest.param(name, marks=pytest.mark.qemu) for name in ("mve", "m55-portable", "dsp"))]


class Bits(Draw):
    """Draws networks of steps."""

    def steps(self, x: Tensor, channels: int, **fields) -> Tensor:
        return self.over(x, channels, STEP, Fused.RELU, **fields)

    def over(self, x: Tensor, channels: int, grid: Grid, fused: Fused, kernel=None, weight: int = 0,
             bias: float = 0.0, pad=None) -> Tensor:
        drawn = self.window(x)
        kernel, stride, dilation, pad = (kernel, (1, 1), (1, 1), pad or (0, 0)) if kernel else drawn
        fan = kernel[0] * kernel[1] * x.channels
        values = np.clip(np.round(self.rng.laplace(size=(channels, fan)) * 30), -127, 127)
        values[:, 0] = 127  # of 8 bits, or the matrix is stored in fewer
        values = np.full_like(values, weight) if weight else values
        spread = 40.0 if x.grid == STEP else 1200.0 * x.grid.scale
        scales = short(self.rng.uniform(0.5, 1.5, channels) / np.sqrt(fan) / spread)
        offset = np.round(self.rng.normal(bias, 0.5, channels) / (x.grid.scale * scales.astype(np.float64)))
        values = values.reshape(channels, *kernel, x.channels).astype(np.int8)
        weights = Weights(values, scales, offset.astype(np.int64))
        return self.put(Conv, [x], window(x.shape, kernel, stride, dilation, pad, channels), grid, weights=weights,
                        fused=fused, stride=stride, dilation=dilation, pad=pad)

    def tail(self, x: Tensor) -> Tensor:
        return self.over(x, 5, Grid(0.046875, -20), Fused.NONE, kernel=x.shape[1:3])

    def any_of(self, x: Tensor) -> Tensor:
        kind = self.rng.choice(["conv", "past", "pool", "rows", "beside", "flat"])
        if kind == "past":
            return self.past(x)
        if kind == "pool":
            return self.maxpool(x)
        if kind == "rows":
            taken = (1, max(1, x.shape[1] - 1), *x.shape[2:])
            return self.put(Slice, [x], taken, STEP, begin=(0, x.shape[1] - taken[1], 0, 0))
        if kind == "beside":
            low = self.put(Slice, [x], (*x.shape[:3], 8), STEP, begin=(0, 0, 0, x.channels - 8))
            return self.put(Concat, [x, low], (*x.shape[:3], x.channels + 8), STEP, axis=3)
        if kind == "flat":
            return self.put(Reshape, [x], (1, 1, x.shape[1] * x.shape[2], x.channels), STEP)
        return self.steps(x, int(self.rng.choice([8, 16, 32, 40])))


def chain(seed: int) -> Graph:
    draw = Bits(np.random.default_rng(seed), "int8")
    x = draw.steps(draw.input((1, *(int(n) for n in draw.rng.integers((3, 5, 1), (7, 14, 6))))), 8 * (1 + seed % 3))
    seen = [x]
    for _ in range(5):
        seen.append(x := draw.any_of(x))
    # Now and then a map that something else reads or sees is no map of bits, nor is one of odd channels.
    shown = (seen[2],) if seed % 4 == 0 and any(op.out is seen[2] for op in draw.ops) else ()
    if seed % 5 == 0:
        x = draw.steps(x, 5, kernel=(1, 1))
    return draw.done(draw.tail(x), f"chain {seed}", shown)


def extreme(sign: int, channels: int, bias: float) -> Graph:
    """Every bit of 0s or 1s under weights that are all the largest: 576 columns and more."""
    draw = Bits(np.random.default_rng(channels), "int8")
    x = draw.steps(draw.input((1, 3, 3, 2)), channels, kernel=(1, 1), bias=bias)
    x = draw.steps(x, 16, kernel=(3, 3), weight=127 * sign, bias=-bias * sign)
    return draw.done(draw.tail(x), "extreme")


def thin() -> Graph:
    """Sixteen positions of one byte, read one by one as they lie: the last at the end of its map."""
    draw = Bits(np.random.default_rng(5), "int8")
    x = draw.steps(draw.input((1, 1, 16, 3)), 8, kernel=(1, 1))
    return draw.done(draw.over(x, 3, Grid(0.046875, 4), Fused.RELU6, kernel=(1, 1)), "thin")


@lru_cache
def cases() -> tuple[Case, ...]:
    graphs = [*map(chain, range(30)), thin(), *(extreme(sign, channels, bias) for sign in (1, -1)
                                                for channels in (64, 120, 448) for bias in (50.0, -50.0))]
    return tuple(Case(graph, draw_frames(np.random.default_rng(seed), graph, 4), None if seed % 10 else 4)
                 for seed, graph in enumerate(graphs))


@pytest.mark.parametrize("machine", MACHINES)
def test_networks_of_bits_have_the_references_values(machine: str, tmp_path) -> None:
    for one, answers in zip(cases(), run(list(cases()), machine, tmp_path), strict=True):
        for got, wanted in zip(answers, one.expected(), strict=True):
            for found, expected in zip(got, wanted, strict=True):
                np.testing.assert_array_equal(found, expected, one.plan.parts[0].name)


def test_the_cases_use_every_call_and_are_no_constants() -> None:
    called = {call.split("(")[0] for one in cases() for made in c_network(one.what).parts[0] for call in made.calls}
    assert called >= {f"tinyse_product_{way}" for way in ("8_1", "1_1", "1_8")} | {
        "tinyse_maxpool1", "tinyse_product8", "tinyse_maxpool8", "memcpy", "tinyse_copy_blocks"}
    shares = []
    for one in cases()[:30]:
        reference = Reference(one.what)
        for values in one.frames:
            reference.run(values)
        shares += [np.mean(reference.taps[op.out.name] == 127) for op in one.what.ops if op.out.grid == STEP]
    assert 0.2 < np.mean(shares) < 0.8 and np.mean([0.02 < share < 0.98 for share in shares]) > 0.8


def laid(graph: Graph) -> dict[str, bool]:
    """Of every map of steps, whether C keeps it as bits."""
    found = {t.name: isinstance(t, BitMap) for t in as_bits(Plan((graph,), (graph.outputs[0].name,)),
                                                           pack_matrix).graphs[0].tensors}
    return {tensor.name: found[tensor.name] for tensor in graph.tensors if tensor.grid == STEP}


def test_a_map_is_bits_where_all_that_touch_it_can() -> None:
    def two(between, channels: int = 16, **fields) -> list[bool]:
        draw = Bits(np.random.default_rng(1), "int8")
        first = draw.steps(draw.input((1, 2, 6, 3)), channels, kernel=(1, 1), **fields)
        return list(laid(draw.done(draw.tail(between(draw, first)), "two")).values())

    assert two(lambda draw, x: draw.maxpool(x)) == [True, True]
    assert two(lambda draw, x: x, channels=12) == [False]  # no whole bytes
    assert two(lambda draw, x: draw.sigmoid(x)) == [False]
    assert two(lambda draw, x: draw.put(Reshape, [x], (1, 2, 48, 2), STEP)) == [False, False]
    assert two(lambda draw, x: draw.put(Slice, [x], (1, 2, 6, 8), STEP, begin=(0, 0, 0, 4))) == [False, False]
    assert two(lambda draw, x: draw.put(Slice, [x], (1, 2, 6, 8), STEP, begin=(0, 0, 0, 8))) == [True, True]
    assert two(lambda draw, x: draw.over(x, 8, STEP, Fused.NONE, kernel=(1, 1))) == [True, False]  # no step
    assert two(lambda draw, x: draw.over(x, 8, STEP, Fused.RELU, kernel=(1, 1), weight=3)) == [False, True]  # 3 bits

    def product(draw: Bits, x: Tensor) -> Tensor:
        return draw.put(MatMul, [x], (1, 2, 6, 4), Grid(0.046875), weights=draw.weights((4, 16), 4, 16, x))

    assert two(product) == [False]


def test_networks_without_such_maps_are_as_they_were() -> None:
    """Bytes of arena, states and constants of released models; the predictor's arena was 53,824, its states 11,344."""
    expected = {"quality": (7168, 1648, 48102), "subband-mixed": (11616, 2096, 29427),
                "subband-small": (8704, 2096, 40459), "tinylstm-small": (3152, 480, 145792)}
    for name, numbers in expected.items():
        graph = read((MODELS / name / "model_int8.tflite").read_bytes())
        network, plan = c_network(graph), Plan((graph,), (graph.outputs[0].name,))
        assert (network.arena.bytes, network.arena.state_bytes, network.flash) == numbers
        assert (as_bits(plan, pack_matrix) is plan) == (name != "quality")


@pytest.mark.parametrize(("machine", "most"), [pytest.param("mve", 0.86, marks=pytest.mark.qemu),
                                               pytest.param("dsp", 0.50, marks=pytest.mark.qemu)])
def test_the_predictor_takes_fewer_instructions_than_with_bytes(machine: str, most: float, tmp_path,
                                                                monkeypatch) -> None:
    graph = read((MODELS / "quality" / "model_int8.tflite").read_bytes())
    case = Case(graph, draw_frames(np.random.default_rng(1), graph, 1))
    spent = []
    for bits in (True, False):
        if not bits:
            monkeypatch.setattr("tinyse.export.cnetwork.as_bits", lambda plan, pack: plan)
        (tmp_path / str(bits)).mkdir()
        found = run([case], machine, tmp_path / str(bits))[0]
        np.testing.assert_array_equal(np.array([answer[-1] for answer in found]),
                                      np.array([answer[-1] for answer in case.expected()]))
        spent.append(np.fromfile(tmp_path / str(bits) / "ticks.bin", np.uint32)[0] & 0xFFFFFF)
    assert spent[0] / spent[1] < most
