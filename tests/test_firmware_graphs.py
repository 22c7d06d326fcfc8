"""Every operator and plan in C against the reference: the host under sanitizers, Cortex-M7 and M55 on QEMU."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from firmware_graphs import Case, run
from graph_draws import INT8_ONLY, KINDS, Draw, draw_chain, draw_frames, draw_op

from tinyse.core.errors import ModelError
from tinyse.export.cnetwork import c_network
from tinyse.export.coperators import check_c
from tinyse.export.reader import read
from tinyse.graph.graph import SIGMOID8, SIGMOID16, Graph
from tinyse.graph.grid import Grid
from tinyse.graph.ops import Concat, Conv, MatMul, Requantize, Reshape, Sigmoid, Slice
from tinyse.graph.plan import Always, Budget, Exit, Plan, Route
from tinyse.graph.tensor import State, Tensor, Weights

ROOT = Path(__file__).parent.parent
EMULATED = ("mve", "m55-portable", "dsp")
EVERY = ["sanitized", *(pytest.param(name, marks=pytest.mark.qemu) for name in EMULATED)]


def case(seed: int, kind: str, dtype: str, frames: int = 3) -> Case:
    rng = np.random.default_rng(seed)
    graph = draw_chain(rng, dtype) if kind == "chain" else draw_op(rng, kind, dtype)
    return Case(graph, draw_frames(rng, graph, frames), (None, 4, 1)[seed % 3])


@lru_cache
def operators() -> tuple[Case, ...]:
    return tuple(case(seed, kind, dtype) for kind in KINDS for dtype in ("int8", "int16")
                 if dtype == "int8" or kind not in INT8_ONLY for seed in range(6))


@lru_cache
def chains() -> tuple[Case, ...]:
    return tuple(case(seed, "chain", dtype, 6) for dtype in ("int8", "int16") for seed in range(12))


def check(cases: tuple[Case, ...], machine: str, folder) -> None:
    for one, frames in zip(cases, run(list(cases), machine, folder), strict=True):
        label = f"{one.plan.parts[0].name}: {one.plan}"[:4000]
        for found, expected in zip(frames, one.expected(), strict=True):
            for got, wanted in zip(found, expected, strict=True):
                np.testing.assert_array_equal(got, wanted, label)


@pytest.mark.parametrize("machine", EVERY)
def test_operators_have_the_references_bits(machine, tmp_path):
    check(operators(), machine, tmp_path)


@pytest.mark.parametrize("machine", EVERY)
def test_chains_have_the_references_bits(machine, tmp_path):
    check(chains(), machine, tmp_path)


GRID = Grid(0.046875, -7)
POLICIES = {
    "always": Always(), "budget": Budget(2), "exit": Exit(("score_0", "score_1", "score_2"), 10),
    "route": Route("choice"), "nested": Route("choice")}


def part(rng: np.random.Generator, number: int, extra: str, units: int, reads: tuple[Tensor, ...],
         memory: Tensor) -> Graph:
    """x and what the part before wrote -> result_N and a second output; one state, ``memory``, shared with others."""
    draw = Draw(rng, "int8")
    draw.inputs, draw.count = list(reads), 1000 * number  # states of parts are apart, but for memory
    x = draw.put(Concat, reads, (1, 1, 4, 3 * len(reads)), GRID) if len(reads) > 1 else reads[0]
    whole = draw.put(Concat, [memory, x], (1, 3, *x.shape[2:]), GRID, axis=1) if len(reads) == 1 else x
    if len(reads) == 1:
        draw.states.append(State(memory, draw.put(Slice, [whole], memory.shape, GRID, begin=(0, 1, 0, 0))))

    def product(inner: Tensor, count: int) -> Tensor:
        kernel = inner.shape[1:3]
        weights = draw.weights((count, *kernel, inner.channels), count, inner.size, inner)
        # A name that is another part's output, but not here.
        name = "result_0" if number == 2 and count > 1 else f"{number}.{count}"
        made = Tensor(name, (1, 1, 1, count), Grid(0.046875, 3))
        draw.ops.append(Conv((inner,), made, weights=weights))
        return made

    outputs = []
    for name, count in ((f"result_{number}", 5), (extra, units)):
        curve = draw.put(Sigmoid, [product(draw.leak(whole), count)], (1, 1, 1, count), SIGMOID8)
        flat = Tensor(name, (1, 1, 1, count), SIGMOID8)
        draw.ops.append(Reshape((curve,), flat))
        outputs.append(flat)
    hidden = Tensor(f"hidden_{number}", (1, 1, 4, 3), GRID)
    draw.ops.append(Conv((whole,), hidden, weights=draw.weights((3, whole.shape[1], 1, whole.channels), 3, 9, whole)))
    return Graph(f"part {number}", tuple(draw.inputs), tuple(draw.ops), (*outputs, hidden), tuple(draw.states))


def plan_case(seed: int, policy: str, frames: int = 12) -> Case:
    """Three parts, of which the first gives no result where another always follows."""
    rng = np.random.default_rng(seed)
    x, memory = Tensor("x", (1, 1, 4, 3), GRID), Tensor("memory", (1, 2, 4, 3), GRID)
    route = policy in ("route", "nested")
    parts = [part(rng, 0, "choice" if route else "score_0", 2 if route else 1, (x,), memory)]
    for number in (1, 2):
        before = parts[-1 if policy == "nested" else 0].outputs[-1]
        reads = (x, before) if seed % 2 or policy == "nested" else (x,)
        parts.append(part(rng, number, f"score_{number}", 1, reads, memory))
    plan = Plan(tuple(parts), ("" if seed % 3 else "result_0", "result_1", "result_2"), POLICIES[policy])
    return Case(plan, [{"x": rng.integers(-128, 128, x.shape).astype(np.int8)} for _ in range(frames)])


@pytest.mark.parametrize("machine", EVERY)
def test_plans_run_what_the_runner_runs(machine, tmp_path):
    check(tuple(plan_case(seed, policy) for policy in POLICIES for seed in range(4)), machine,
          tmp_path)


def test_a_past_costs_one_move_and_views_cost_nothing():
    rng = np.random.default_rng(0)
    draw = Draw(rng, "int8")
    x = draw.input((1, 1, 6, 4), GRID)
    past = Tensor("past", (1, 3, 6, 4), GRID)
    made = draw.put(Requantize, [x], x.shape, GRID)
    whole = draw.put(Concat, [past, made], (1, 4, 6, 4), GRID, axis=1)
    draw.states.append(State(past, draw.put(Slice, [whole], past.shape, GRID, begin=(0, 1, 0, 0))))
    tail = draw.put(Slice, [whole], (1, 1, 6, 4), GRID, begin=(0, 3, 0, 0))
    flat = draw.put(Reshape, [tail], (1, 1, 1, 24), GRID)
    network = c_network(draw.done(draw.put(Requantize, [flat], flat.shape, Grid(0.03125, 0)), "past"))
    assert [len(made.calls) for made in network.parts[0]] == [1, 0, 0, 0, 0, 1]
    assert network.arena.moves == (((0, 24, 72),),)
    assert (network.arena.state_bytes, network.arena.bytes) == (96, 128)  # x and the result share a place
    assert "memmove(arena + 0, arena + 24, 72);" in network.source(b"")


def test_released_models_keep_their_arena():
    network = c_network(read((ROOT / "models" / "tinylstm-dense" / "model_int8.tflite").read_bytes()))
    assert (network.arena.bytes, network.arena.state_bytes) == (5120, 1536)


def test_what_c_cannot_do_is_one_line():
    rng = np.random.default_rng(0)
    draw = Draw(rng, "int16")
    x = draw.input((1, 1, 1, 8), Grid(8.0, 0, 16))
    graph = draw.done(draw.put(Sigmoid, [x], x.shape, SIGMOID16), "wide")
    with pytest.raises(ModelError, match=r"^wide: sigmoid t2: t1 has scale 8$"):
        check_c(graph)
    draw = Draw(rng, "int8")
    x = draw.input((1, 1, 1, 2), GRID)
    weights = Weights(np.ones((1, 2), np.int8), np.float32([2.0**-20]), np.array([2**31 - 100]))
    graph = draw.done(draw.put(MatMul, [x], (1, 1, 1, 1), GRID, weights=weights), "tiny")
    with pytest.raises(ModelError, match=r"^tiny: matmul t2: its sums leave 31 bits"):
        check_c(graph)
