"""Channel gates in C: the reference's bits at every share of open channels, and what closed ones save."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from firmware_graphs import Case, run
from twin_nets import channel_gates, frames, random_arrays

from tinyse.export.cnetwork import c_network
from tinyse.export.csource import integers
from tinyse.graph.build import Build
from tinyse.graph.floating import Floating, calibrate
from tinyse.graph.gates import gates, is_open
from tinyse.graph.graph import Graph
from tinyse.graph.model import Model
from tinyse.graph.net import Net
from tinyse.graph.reference import Reference
from tinyse.graph.snap import snap
from tinyse.sound import Ends

MACHINES = ["sanitized", *(pytest.param(name, marks=pytest.mark.qemu) for name in ("mve", "m55-portable", "dsp"))]
SIZES = ((256, 128, 0), (255, 7, 0), (1, 1, 0), (17, 16, 0), (100, 33, 4), (130, 24, 0), (48, 8, 3))
SHARES = (0.0, 0.05, 0.25, 0.5, 0.9, 1.0)


def gated(net: Net, share: float, seed: int) -> Model:
    """A network whose gates open this share of their channels, on the mean over frames."""
    arrays, features = random_arrays(net, seed), frames(net, 150, seed + 1)
    name = next(node.name for node in net.nodes if getattr(node.layer, "activation", "") == "step")
    kernel, bias = arrays[f"{name}/kernel"], np.zeros_like(arrays[f"{name}/bias"])
    arrays |= {f"{name}/bias": bias, f"{name}/kernel": np.where(kernel < 0, kernel - 0.2, kernel + 0.2)}
    seen: dict = {}
    linear = net.with_layers({name: replace(net[name].layer, activation="linear")})
    Floating(linear, arrays).run(features.reshape(150, *net.shapes[net.input.name]), seen)
    beyond = {0.0: -50, 1.0: 50}.get(share, 0)
    arrays[f"{name}/bias"] = bias + 0.5 + beyond - np.quantile(seen[f"{name}.out"], 1 - share).astype(np.float32)
    model = Model(net, arrays, Ends())
    return snap(replace(model, ranges=calibrate(model, features)))


def case(size: tuple[int, int, int], share: float, seed: int, count: int = 5) -> Case:
    net = channel_gates(*size, dilation=1 + seed % 3)
    graph = gated(net, share, seed).plan().graphs[0]
    given = graph.inputs[0].grid.quantize(frames(net, count, seed + 7))
    return Case(graph, [{graph.inputs[0].name: frame.reshape(graph.inputs[0].shape)} for frame in given])


def shares(one: Case) -> list[float]:
    """Of every frame, by the reference."""
    assert isinstance(one.what, Graph)
    reference, found = Reference(one.what), []
    for values in one.frames:
        reference.run(values)
        found.append(float(np.mean([is_open(reference.taps[gate.opened.name]).mean() for gate in gates(one.what)])))
    return found


@lru_cache
def cases() -> tuple[Case, ...]:
    return tuple(case(size, share, seed) for seed, size in enumerate(SIZES) for share in SHARES)


@pytest.mark.parametrize("machine", MACHINES)
def test_gated_networks_have_the_references_bits(machine: str, tmp_path) -> None:
    found = run(list(cases()), machine, tmp_path)
    for one, answers in zip(cases(), found, strict=True):
        for got, wanted in zip(answers, one.expected(), strict=True):
            np.testing.assert_array_equal(got[-1], wanted[-1], str(one.what)[:200])


def test_the_cases_open_none_some_and_all() -> None:
    found = np.array([np.mean(shares(one)) for one in cases()]).reshape(len(SIZES), len(SHARES))
    assert (found[:, 0] == 0).all() and (found[:, -1] == 1).all()
    assert ((found[0, 1:-1] > 0.01) & (found[0, 1:-1] < 0.99)).all() and np.ptp(found[0, 1:-1]) > 0.5


def test_a_closed_channel_s_operators_are_one_call() -> None:
    network = c_network(cases()[2].what)
    calls = [[call.split("(")[0] for call in made.calls] for made in network.parts[0]]
    assert calls == [["tinyse_product8"], ["tinyse_step8"], [], [], [], [], ["tinyse_gated8"]]
    matrix = network.matrices[-1]
    assert (matrix.rows, matrix.columns, matrix.present) == (128, 16, 2048) and integers(matrix.start)


def test_a_gate_that_the_kernel_does_not_take_is_computed_whole(tmp_path) -> None:
    wide = case((257, 5, 0), 0.25, 1)
    sparse = replace(cases()[2], block=4)
    for one in (wide, sparse):
        found = [call.split("(")[0] for made in c_network(one.what).parts[0] for call in made.calls]
        assert ("tinyse_gated8" in found) == (one is sparse)
    for one, answers in zip((wide, sparse), run([wide, sparse], "sanitized", tmp_path), strict=True):
        for got, wanted in zip(answers, one.expected(), strict=True):
            np.testing.assert_array_equal(got[-1], wanted[-1])


@pytest.mark.parametrize(("machine", "quarter", "whole"), [
    pytest.param("mve", 0.69, 1.05, marks=pytest.mark.qemu), pytest.param("dsp", 0.69, 1.10, marks=pytest.mark.qemu)])
def test_instructions_fall_with_the_open_channels(machine: str, quarter: float, whole: float, tmp_path) -> None:
    """Of one block at the paper's size: with no gates, and with a quarter and all of the channels open."""
    def block(share: float | None) -> Case:
        b = Build((1, 1, 128))
        x = b.dense(b.x, 256, "relu")
        over = b.depthwise(x, (3, 1), activation="relu")
        net = b.done(result=b.dense(over if share is None else b.join("mul", over, b.threshold(x)), 128))
        arrays, features = random_arrays(net), frames(net, 40)
        if share is not None:
            opens = np.random.default_rng(0).permutation(256) < 256 * share
            arrays |= {"depthwise_1/bias": np.where(opens, 50, -50).astype(np.float32),
                       "depthwise_1/kernel": np.full((1, 1, 256), 0.2, np.float32)}
        model = Model(net, arrays, Ends())
        graph = snap(replace(model, ranges=calibrate(model, features))).plan().graphs[0]
        given = graph.inputs[0].grid.quantize(features[:1])
        return Case(graph, [{graph.inputs[0].name: given.reshape(graph.inputs[0].shape)}])

    blocks = [block(share) for share in (None, 0.25, 1.0)]
    assert [np.mean(shares(one)) for one in blocks[1:]] == [0.25, 1.0]
    run(blocks, machine, tmp_path)
    plain, some, every = np.fromfile(tmp_path / "ticks.bin", np.uint32)[::2].astype(float)
    assert some / plain < quarter and every / plain < whole
