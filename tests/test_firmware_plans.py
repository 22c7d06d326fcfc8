"""Plans of several compiled parts, and states as pairs, in firmware: simulator, driver, co-simulation, QEMU agree."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from firmware_images import needs_compiler, needs_qemu, scratch
from npu_plans import DRIVER, Exported, demonstration_plan, expected, export, random_plan, run
from scipy.io import wavfile
from test_firmware_graphs import POLICIES, plan_case

from tinyse.core.errors import ExportError
from tinyse.engines.npu import NpuEngine
from tinyse.engines.tflm import TflmEngine
from tinyse.export.cheader import header
from tinyse.export.simulated import Machines
from tinyse.export.targets import load_target
from tinyse.firmware import qemu
from tinyse.firmware.build import build
from tinyse.firmware.project import write_project
from tinyse.graph.build import Build
from tinyse.graph.plan import Budget, Exit, Plan, Skip
from tinyse.graph.runner import Carried, Runner
from tinyse.npu.payload import load
from tinyse.sound import Bands, Ends, Feature, Framing, Result

ENDS = Ends(bands=Bands(count=16), layout="width")
SCORES = Ends(Framing(16000, 12, 12, 12, window="none"), feature=Feature("samples"), result=Result("score", count=5))
"""Ends of the drawn plans: 12 values in, 5 out."""
U65 = "ethos-u65-256"


@lru_cache
def demonstration(policy=None, target: str = "ethos-u55-128") -> Exported:
    plan = demonstration_plan()
    plan = plan.under(policy) if policy else plan
    name = f"plan-{type(plan.policy).__name__}-{getattr(plan.policy, 'exit', '')}-{target}"
    return export(plan, ENDS, scratch() / name, target)


def machines(exported: Exported) -> Machines:
    files = [path.read_bytes() for path in exported.compiled]
    return Machines(exported.plan, files, ["part"] * len(files))


def frames(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (count, size)).astype(np.int8)


def same(got, wanted) -> None:
    assert [each[:2] for each in got] == [each[:2] for each in wanted]
    np.testing.assert_array_equal(np.stack([each[2] for each in got]), np.stack([each[2] for each in wanted]))


@pytest.mark.parametrize("options", [(), DRIVER], ids=["simulator", "driver"])
def test_exits_on_the_host_are_the_engines_bytes(options) -> None:
    exported, given = demonstration(), frames(200, 16)
    got = run(exported, "sanitized", given, options=options)
    for engine in (NpuEngine.load(exported.folder), TflmEngine.load(exported.folder)):
        found, runner = [], Runner(engine.plan)
        for _ in range(2):
            engine.rewind()
            runner.reset()
            for frame in given:
                values = {engine.plan.inputs[0].name: frame.reshape(engine.plan.inputs[0].shape)}
                answer = runner.step(engine.run, values).copy()
                found.append((0, runner.ran, answer))
        same(got, found)
    lengths = [len(ran) for _, ran, _ in got]
    assert 0.1 < np.mean(np.array(lengths) == 1) < 0.95, "both exits are taken"
    assert len(np.unique([each[2] for each in got], axis=0)) > 150


@needs_compiler
@needs_qemu
@pytest.mark.qemu
def test_exits_on_qemu_are_the_engines_bytes() -> None:
    exported, given = demonstration(), frames(200, 16, 1)
    same(run(exported, "mve", given), expected(exported.plan, machines(exported), given))


@pytest.mark.parametrize("options", [(), DRIVER], ids=["simulator", "driver"])
def test_fast_scratch_behind_the_block(options) -> None:
    exported, given = demonstration(None, U65), frames(60, 16, 2)
    assert exported.c.memory.fast_bytes and exported.c.memory.block_bytes
    same(run(exported, "sanitized", given, options=options), expected(exported.plan, machines(exported), given))


@pytest.mark.parametrize("exit_at", [1, 2])
def test_an_exit_set_at_run_time_is_a_budget(exit_at) -> None:
    exported, given = demonstration(), frames(40, 16, 3)
    plan = exported.plan.under(Budget(exit_at))
    same(run(exported, "sanitized", given, exit_at=exit_at), expected(plan, machines(exported), given))


@pytest.mark.parametrize("policy", ["route", "nested", "always"])
def test_an_exit_set_at_run_time_needs_no_router(policy, tmp_path) -> None:
    case = plan_case(2, policy, 8)
    exported, given = export(case.plan, SCORES, tmp_path), np.stack([each["x"].ravel() for each in case.frames])
    for exit_at in (1, 2):
        plan = exported.plan.under(Budget(exit_at))
        wanted = expected(plan, machines(exported), given)
        assert {each[1] for each in wanted} == {tuple(range(exit_at + 1)) if policy == "nested" else (exit_at,)}
        same(run(exported, "sanitized", given, exit_at=exit_at), wanted)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(3))
def test_plans_run_what_the_runner_runs(policy, seed, tmp_path) -> None:
    """Three parts that share a state; the first gives a result or none."""
    case = plan_case(seed, policy, 12)
    exported, given = export(case.plan, SCORES, tmp_path), np.stack([each["x"].ravel() for each in case.frames])
    wanted = expected(exported.plan, machines(exported), given)
    for options in ((), DRIVER):
        same(run(exported, "sanitized", given, options=options), wanted)
    np.testing.assert_array_equal([each[2] for each in wanted], [each[-1] for each in case.expected()])


def test_a_lone_part_keeps_its_lstm_in_the_arena_and_pairs_beside_it(tmp_path) -> None:
    b = Build((1, 1, 16))
    net = b.done(mask=b.dense(b.lstm(b.gru(b.x, 16), 8), 16, "sigmoid"))
    exported, given = export(random_plan(net), ENDS16, tmp_path), frames(60, 16, 4)
    memory = exported.c.memory
    assert [place.offset >= memory.arena_bytes for place in memory.states] == [False, False, True]
    assert memory.block_bytes == 32 and [len(part.before) for part in memory.parts] == [1]
    for options in ((), DRIVER):
        same(run(exported, "sanitized", given, options=options), expected(exported.plan, machines(exported), given))


ENDS16 = replace(ENDS, layout="channels")


@pytest.mark.parametrize("options", [(), DRIVER], ids=["simulator", "driver"])
@pytest.mark.parametrize("fails", [1, 7, 30, 61])
def test_a_part_that_fails_leaves_what_it_writes_as_it_was(fails, options) -> None:
    """The frame is lost; its earlier parts have run, and the next frame goes on from there."""
    exported, given = demonstration(), frames(40, 16, 5)
    plan, engine = exported.plan, machines(exported)
    got = run(exported, "sanitized", given, fail=fails, options=options)

    class Failed(Exception):
        pass

    class Failing:
        runs = 0

        def reset(self) -> None:
            engine.reset()

        def invoke(self, part, values):
            self.runs += 1
            if self.runs == fails:
                raise Failed
            return engine.invoke(part, values)

    failing, wanted = Failing(), []
    runner, carried = Runner(plan), Carried(plan, failing.invoke)
    answer = None
    for _ in range(2):
        runner.reset(), carried.reset(), engine.reset()
        for frame in given:
            try:
                answer, status = runner.step(carried.run, {plan.inputs[0].name: frame.reshape(1, 1, 16, 1)}).copy(), 0
            except Failed:
                status = 3
            wanted.append((status, runner.ran, answer if answer is not None else np.zeros((1, 1, 16, 1), np.int8)))
    assert [each[0] for each in got].count(3) == 1
    same(got, wanted)


def test_the_layout_copies_nothing_from_arena_to_arena() -> None:
    memory = demonstration().c.memory
    top, taken = memory.arena_bytes, []
    for part, path in zip(memory.parts, demonstration().compiled, strict=True):
        assert part.arena_bytes >= load(path).arena_bytes
        for move in (*part.before, *part.after):
            assert 0 <= move.arena <= part.arena_bytes - move.bytes
            assert top <= move.block <= top + memory.block_bytes - move.bytes and move.block % 16 == 0
    for place in (*memory.states, *memory.held, memory.input, memory.output):
        taken.append(range(place.offset, place.offset + place.bytes))
    ordered = sorted(taken, key=lambda each: each.start)
    assert all(one.stop <= other.start for one, other in zip(ordered, ordered[1:], strict=False))
    assert memory.peak_bytes == memory.arena_bytes + memory.block_bytes + memory.fast_bytes
    assert "kept beside it" in memory.to_text() and memory.to_json()["peak_bytes"] == memory.peak_bytes


@pytest.mark.parametrize(("plan", "message"), [
    (lambda plan: plan.under(Skip(plan.results[0], 3)), "values for 16 bands"),
    (lambda plan: Plan(plan.parts * 17, plan.results * 17), "a plan of 34 parts"),
])
def test_what_the_library_cannot_do_is_one_line(plan, message) -> None:
    exported = demonstration()
    files = [path.read_bytes() for path in exported.compiled]
    with pytest.raises(ExportError, match=message):
        header(files, plan(exported.plan), ENDS, exported.c.memory, load_target("ethos-u55-128"), "0" * 64)


# The whole firmware


@lru_cache
def sound() -> Path:
    rng, path = np.random.default_rng(5), scratch() / "plans.wav"
    signal = 0.4 * np.sin(np.cumsum(rng.uniform(0.05, 0.6, 16000 * 4))) * np.repeat(rng.uniform(0, 1, 64), 1000)
    wavfile.write(path, 16000, np.round(32767 * signal).astype(np.int16))
    return path


TARGETS = {"corstone300": "ethos-u55-128", "corstone300-u65": U65}


@lru_cache
def project(board: str = "corstone300") -> Path:
    folder = scratch() / f"plans-{board}-project"
    write_project(demonstration(None, TARGETS[board]).folder, folder)
    return folder


@lru_cache
def emulated(backend: str, exit_at: int = 0, board: str = "corstone300") -> qemu.Run:
    built, exported = build(project(board), board, backend), demonstration(None, TARGETS[board])
    return qemu.run(built.elf, board, sound(), scratch() / f"plans-{backend}-{exit_at}.wav", network=True,
                    npu_models=exported.compiled if backend == "npu" else [], exit_at=exit_at)


@needs_compiler
@needs_qemu
@pytest.mark.qemu
@pytest.mark.parametrize("exit_at", [0, 1, 2])
def test_firmware_on_qemu_obeys_the_plan(exit_at) -> None:
    done = {backend: emulated(backend, exit_at) for backend in ("npu", "cpu")}
    record = np.dtype([("in", np.int8, 16), ("out", np.int8, 16), ("ran", "<u4")])
    given = np.frombuffer(done["npu"].network, record)
    plan = demonstration().plan
    wanted = expected(plan.under(Budget(exit_at)) if exit_at else plan, machines(demonstration()), given["in"])
    wanted = wanted[:len(given)]
    assert len(given) > 200
    np.testing.assert_array_equal(given["out"], np.stack([each[2].ravel() for each in wanted]))
    assert given["ran"].tolist() == [sum(1 << part for part in each[1]) for each in wanted]
    assert done["npu"].network == done["cpu"].network
    for run_ in done.values():
        assert run_.results.parts == tuple(sum(part in each[1] for each in wanted) for part in (0, 1))
    assert done["npu"].results.npu.runs == sum(done["npu"].results.parts)
    one, other = (scratch() / f"plans-{backend}-{exit_at}.wav" for backend in ("npu", "cpu"))
    assert one.read_bytes() == other.read_bytes()


@needs_compiler
@needs_qemu
@pytest.mark.qemu
def test_firmware_with_fast_scratch_apart_is_the_same() -> None:
    done = emulated("npu", 0, "corstone300-u65")
    assert done.network == emulated("npu").network
    assert done.results.parts == emulated("npu").results.parts and done.results.npu.name == "simulator"


@needs_compiler
@needs_qemu
@pytest.mark.qemu
def test_firmware_without_such_a_part_says_so() -> None:
    with pytest.raises(Exception, match="the network has no such exit"):
        emulated("cpu", 3)


@needs_compiler
@needs_qemu
@pytest.mark.qemu
def test_an_image_refuses_parts_in_another_order() -> None:
    built = build(project(), "corstone300", "npu")
    with pytest.raises(Exception, match="is not the model that the image was made from"):
        qemu.run(built.elf, "corstone300", sound(), npu_models=demonstration().compiled[::-1])


def test_model_h_states_the_parts() -> None:
    text = (demonstration().folder / "model.h").read_text()
    values = dict(re.findall(r"#define TINYSE_(\w+) +(\S+)", text))
    found = [values[key] for key in ("PARTS", "EXIT", "ROUTE", "PLANNED", "PAIRS", "SKIP")]
    assert found == ["2", "1", "0", "3u", "3", "0"]
    assert len(re.findall("model    sha256", text)) == 2
    assert isinstance(demonstration().plan.policy, Exit)


# Costs


@lru_cache
def profiled():
    """Profile of the demonstration as an export leaves it: with Vela's reports."""
    from tinyse.export.vela import compile_model
    from tinyse.measure.costs.execution import Options
    from tinyse.measure.costs.pipeline import profile

    folder = scratch() / "plans-export"
    exported = export(demonstration_plan(), ENDS, folder)
    target = load_target("ethos-u55-128")
    for path in folder.glob("part_*_model_int8.tflite"):
        compile_model(path, target, folder / "vela")
    return exported, profile(folder, firmware=Options(on="qemu", wav=sound()))


@needs_compiler
@needs_qemu
@pytest.mark.qemu
def test_costs_of_parts_at_their_rates() -> None:
    from tinyse.core.origin import Source
    from tinyse.measure.costs.render import tables, to_json
    from tinyse.measure.costs.table import plain
    from tinyse.npu.account import account

    exported, found = profiled()
    parts = found.parts
    ran = emulated("npu").results
    rates = np.array(ran.parts) / ran.frames
    assert parts.rates.shares == tuple(rates)
    by_name = {"cycles": parts.of("cycles", Source.ESTIMATED), "MACs": parts.of("MACs", Source.SIMULATED)}
    macs = [sum(each.macs for each in account(path)) for path in exported.compiled]
    assert [each.once for each in by_name["MACs"]] == [*macs, sum(macs)]
    assert by_name["MACs"][-1].mean == pytest.approx(rates @ macs) and 0 < by_name["MACs"][-1].mean < sum(macs)
    cycles = [each.once for each in by_name["cycles"]]
    assert cycles[-1] == sum(cycles[:-1]) == found.npu.cycles == sum(layer.cycles for layer in found.npu.layers)
    assert sum(layer.macs for layer in found.simulation.layers) == found.simulation.total.macs == sum(macs)
    text = "\n".join(plain(each) for each in tables(found))
    assert "parts of the network, estimated" in text and "parts of the network, simulated" in text
    assert f"{100 * rates[1]:.1f} %" in text and f"{ran.frames:,} frames, emulated" in text
    assert to_json(found)["parts"]["rates"]["shares"] == parts.rates.shares
    from tinyse.measure.costs.compare import compare

    rows = {row.name: row for row in compare(found, found)}
    assert rows["NPU cycles, mean of a frame"].first == pytest.approx(rates @ cycles[:-1])
    assert rows["frames that run part 1"].first == pytest.approx(100 * rates[1])
    assert len(found.sha256) == 4 and found.sizes.vela_file == sum(p.stat().st_size for p in exported.compiled)
