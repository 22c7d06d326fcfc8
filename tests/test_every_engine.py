"""The test at the heart: one network, the same bytes wherever it runs.

Float streams equal float sequences; the exact Keras stream, the integer reference, TFLM, the Ethos-U simulator, C on a
host, MVE and DSP kernels on QEMU give every byte alike, 200 frames, twice with a reset between, and the plan decides
alike on each. Over every layer, every family, and networks that use everything at once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from firmware_graphs import Case, run
from npu_models import compile_model
from twin_nets import NETS, frames, random_model

from tinyse import families
from tinyse.engines.integer import IntegerEngine
from tinyse.engines.keras import KerasEngine
from tinyse.export import limits
from tinyse.export.interpreted import Interpreters
from tinyse.export.reader import read
from tinyse.export.simulated import Machines
from tinyse.export.writer import write
from tinyse.graph.model import Model
from tinyse.graph.plan import Budget, Plan
from tinyse.graph.runner import Carried, Run, Runner
from tinyse.train.keras import tf
from tinyse.train.network import restore
from tinyse.train.streaming import StreamingNetwork

FRAMES, QUICK = 200, 30
"""Of a host's and of an emulated run."""
SMALL = {"tinylstm": {"lstm": (7, 5), "dense": (6,)},
         "fsenet": {"channels": 12, "hidden": 21, "stacks": 1, "gates": True},
         "demucs": {"width": 4, "groups": 2, "utilization": 0.4},
         "nsnet2": {"first": 6, "gru": (5, 4), "dense": (6, 5), "exits": (1, 3), "topology": "split"}}
"""Options that make a family small enough for a test; a family that is not here is taken as it is."""
FIRST, ROUTED, SLIM = "everything, first exit", "nsnet2, routed", "demucs, routed"
ROUTERS = {ROUTED: {"first": 5, "gru": (6, 4), "dense": (5, 6), "exits": (1, 2), "router": 3},
           SLIM: {"width": 6, "groups": 2, "widths": (0.25, 0.5, 1.0), "router": 5}}
FAMILIES = [name for name in families.names() if name not in NETS]
SEEDS = {"quality": 1}  # of the draw 0 hardly any bit of its maps ever changes
EVERY = [*NETS, *FAMILIES, FIRST, *ROUTERS]
MACHINES = ["sanitized", *(pytest.param(name, marks=pytest.mark.qemu) for name in ("mve", "m55-portable", "dsp"))]


class Keras(KerasEngine):
    """Of networks whose frames are no sound."""

    def check_ends(self) -> None:
        pass


class Integer(IntegerEngine):
    """The same."""

    def check_ends(self) -> None:
        pass


@lru_cache
def model(name: str) -> Model:
    """A network with random weights on its grids."""
    if name in NETS or name == FIRST:
        return random_model(NETS[name.split(",")[0]]())
    family = families.load(name.split(",")[0])
    made = random_model(family.net(ROUTERS.get(name) or SMALL.get(name, {}), family.ends), SEEDS.get(name, 0))
    assert name not in ROUTERS or len({each[-1] for each in decisions(made)}) == 3, "all exits are taken"
    return made


def decisions(made: Model) -> list[tuple[int, ...]]:
    """Which parts each frame ran."""
    plan, decided = made.plan(), []
    walk(plan, Integer(plan, made.ends).run, plan.inputs[0].grid.quantize(frames(made.net, FRAMES, 5)), decided)
    return decided


@lru_cache
def given(name: str) -> tuple[Plan, np.ndarray]:
    """The plan, and frames on its input's grid."""
    plan = model(name).plan()
    plan = plan.under(Budget(1)) if name == FIRST else plan
    return plan, plan.inputs[0].grid.quantize(frames(model(name).net, FRAMES, 5))


def walk(plan: Plan, step: Run, frames_: np.ndarray, decided: list | None = None) -> np.ndarray:
    """What the plan gives, integers [T, outputs]; notes which parts each frame ran."""
    runner, source, made = Runner(plan), plan.inputs[0], []
    for frame in frames_:
        made.append(runner.step(step, {source.name: frame.reshape(source.shape)}).reshape(-1).copy())
        if decided is not None:
            decided.append(runner.ran)
    return np.stack(made)


@lru_cache
def wanted(name: str) -> tuple[np.ndarray, list]:
    """The reference's results and decisions."""
    plan, frames_ = given(name)
    decided: list = []
    return walk(plan, Integer(plan, model(name).ends).run, frames_, decided), decided


@pytest.mark.parametrize("name", [*NETS, *FAMILIES, SLIM])
def test_a_float_stream_is_the_float_sequence(name: str) -> None:
    made = model(name)
    # At half the weights: a chaotic recurrence would make much of the last bit of a sum.
    real = Model(made.net, {name: array / 2 for name, array in made.arrays.items()}, made.ends, None)
    features, network, stream = frames(made.net, 20), restore(real), StreamingNetwork(real)
    whole = network.run(tf.constant(features[:, None]), network.zero_states(1))[0][-1].numpy()[:, 0]
    np.testing.assert_allclose(np.stack([stream.step(frame) for frame in features]), whole, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_host_engines_give_the_references_bytes(name: str) -> None:
    plan, frames_ = given(name)
    expected, decisions = wanted(name)
    assert len(np.unique(expected)) > 2
    files = [write(graph) for graph in plan.graphs]
    assert tuple(map(read, files)) == plan.graphs
    labels = [graph.name for graph in plan.graphs]
    keras, tflm = Keras(model(name)), Interpreters(plan, files, labels, trusted=True)
    npu = Machines(plan, [compile_model(data) for data in files], labels)
    assert not [limits.rounds(op) for graph in plan.graphs for op in graph.ops if limits.rounds(op)]
    for engine, inner in (("tflm", tflm), ("npu", npu)):
        step = Carried(plan, inner.invoke)
        for _ in range(2):
            decided: list = []
            np.testing.assert_array_equal(walk(plan, step.run, frames_, decided), expected, f"{engine}: {name}")
            assert decided == decisions
            step.reset()
            inner.reset()
    np.testing.assert_array_equal(walk(plan, keras.run, frames_[:QUICK]), expected[:QUICK], f"keras: {name}")


@pytest.mark.parametrize("machine", MACHINES)
def test_c_gives_the_references_bytes(machine: str, tmp_path) -> None:
    """All networks in one program."""
    cases = []
    for name in EVERY:
        plan, frames_ = given(name)
        source, count = plan.inputs[0], FRAMES if machine == "sanitized" else QUICK
        cases.append(Case(plan, [{source.name: frame.reshape(source.shape)} for frame in frames_[:count]]))
    for name, case, found in zip(EVERY, cases, run(cases, machine, tmp_path), strict=True):
        expected, count = wanted(name)[0], len(case.frames)
        for turn in range(2):
            answers = np.stack([frame[-1].reshape(-1) for frame in found[turn * count: (turn + 1) * count]])
            np.testing.assert_array_equal(answers, expected[:count], f"{machine}: {name}, turn {turn}")
