"""Plans exported for an NPU, small, and their C on the simulator: on the host under sanitizers, or on QEMU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from firmware_network import MACHINES, SOURCES, TESTS, Program, compiled
from npu_models import compile_model, compile_u65

from tinyse.core.artifacts import sha256, write_json
from tinyse.export.bundle import COMPILED, INT8, part_file, plan_json
from tinyse.export.csources import CSources, write_c
from tinyse.export.targets import load_target
from tinyse.export.writer import write
from tinyse.firmware import cosim
from tinyse.graph.build import Build
from tinyse.graph.grid import Grid, snap_scale
from tinyse.graph.lowering import lower
from tinyse.graph.net import Net
from tinyse.graph.plan import Plan
from tinyse.graph.runner import Carried, Runner
from tinyse.sound import Ends

HARNESS = TESTS / "firmware_npu"
DRIVER = ("-DSTANDIN", "-include", str(HARNESS / "mock.h"))


@dataclass(frozen=True)
class Exported:
    """A folder with the int8 files, Vela's and the C of a plan."""

    folder: Path
    plan: Plan
    c: CSources

    @property
    def compiled(self) -> list[Path]:
        return [self.folder / part_file(COMPILED, part, len(self.plan.parts)) for part in range(len(self.plan.parts))]


def export(plan: Plan, ends: Ends, folder: Path, target: str = "ethos-u55-128") -> Exported:
    """What a pipeline leaves behind, but for what Vela reports; Vela runs in this process."""
    vela: Callable[[bytes], bytes] = compile_u65 if "u65" in target else compile_model
    count = len(plan.parts)
    folder.mkdir(parents=True, exist_ok=True)
    int8 = [folder / part_file(INT8, part, count) for part in range(count)]
    made = [folder / part_file(COMPILED, part, count) for part in range(count)]
    for graph, file, other in zip(plan.graphs, int8, made, strict=True):
        file.write_bytes(write(graph))
        other.write_bytes(vela(file.read_bytes()))
    c = write_c(plan, folder, int8, made, ends, load_target(target), "0" * 64)
    write_json(folder / "manifest.json", {
        "target": target, "ends": ends.as_dict(), "plan": plan_json(plan),
        "sha256": {file.name: sha256(file) for file in (*int8, *made)}})
    return Exported(folder, plan, c)


def run(exported: Exported, machine: str, frames: np.ndarray, exit_at: int = 0, fail: int = 0,
        options: tuple[str, ...] = ()) -> list[tuple[int, tuple[int, ...], np.ndarray]]:
    """Per frame status, parts that ran and answer; ``frames`` twice, with a reset between."""
    folder = exported.folder / f"{machine}-{len(options)}"
    folder.mkdir(exist_ok=True)
    program = folder / f"{machine}.elf"
    if not program.exists():
        for name in ("model.h", "model.c", "packed.h"):
            shutil.copyfile(exported.folder / name, folder / name)
        # The sources get at files and pipes as the firmware does, or by POSIX.
        here = HARNESS / "semihosting_posix.c"
        semihosting = SOURCES.parent / "app" / "semihosting.c" if MACHINES[machine].run else here
        sources = [HARNESS / "parts_main.c", folder / "model.c", semihosting,
                   *(SOURCES / f"{name}.c" for name in ("network_npu", "cosim", "payload")),
                   *([SOURCES / "ethosu.c"] if options else [])]
        compiled(machine, folder, sources,
                 ("-UTINYSE_BACKEND", "-DTINYSE_BACKEND=1", f"-I{TESTS}", f"-I{HARNESS}", *options))
    head = np.array([exit_at, fail, len(frames)], "<u4").tobytes()
    with cosim.serve(exported.compiled, folder):
        answer = Program(MACHINES[machine], program, 1).pipe(head + frames.tobytes() + frames.tobytes())
    result = exported.plan.result
    size, found = 8 + result.bytes, []
    assert len(answer) == 2 * len(frames) * size
    for at in range(0, len(answer), size):
        status, ran = np.frombuffer(answer, "<u4", 2, at)
        which = tuple(part for part in range(32) if int(ran) >> part & 1)
        values = np.frombuffer(answer, result.grid.dtype, result.size, at + 8)
        found.append((int(status), which, values.reshape(result.shape)))
    return found


def expected(plan: Plan, engine, frames: np.ndarray) -> list[tuple[int, tuple[int, ...], np.ndarray]]:
    """What an engine's parts answer by the runner, in the form of ``run``; the engine has ``reset`` and ``invoke``."""
    runner, carried, found = Runner(plan), Carried(plan, engine.invoke), []
    for _ in range(2):
        runner.reset()
        carried.reset()
        engine.reset()
        for frame in frames:
            values = frame.reshape(plan.inputs[0].shape)
            answer = runner.step(carried.run, {plan.inputs[0].name: values}).copy()
            found.append((0, runner.ran, answer))
    return found


def random_plan(net: Net, seed: int = 0) -> Plan:
    """Lowered with random weights, on ranges that keep values moving."""
    rng, arrays = np.random.default_rng(seed), {}
    for name, array in net.arrays.items():
        values = rng.normal(size=array.shape) * (1 / np.sqrt(max(1, array.fan[0])) if array.scale is not None else 0.1)
        arrays[name] = values.astype(np.float32)
        if array.scale is not None:
            axes = tuple(i for i, axis in enumerate(array.axes) if axis not in array.scale)
            values = arrays[name].reshape(array.dims)
            step = snap_scale((np.abs(values).max(axis=axes, keepdims=True) / 127).astype(np.float32)).astype(float)
            snapped = np.clip(np.rint(values / step), -127, 127) * step
            arrays[name] = snapped.astype(np.float32).reshape(array.shape)

    def span(low: float, high: float) -> tuple[float, float]:
        grid = Grid.of_range(low, high)
        grid = Grid(float(snap_scale(grid.scale)), grid.zero_point)
        return grid.low, grid.high

    return lower(net, arrays, {name: span(0.0, 3.0) if name == "features" else span(-3.0, 3.0) for name in net.ranges})


def demonstration(bands: int = 16, channels: int = 4) -> Net:
    """Two parts with a score: past rows, a GRU of 16 bits in one, an LSTM in the other; tensors that cross."""
    b = Build((1, bands, 1))
    early = b.conv(b.x, channels, (2, 5), (1, 2), "relu")
    x = b.gate(early, b.pool(early, (0, 0)))
    x = b.gru(x, channels, reset="none", bits=16)
    b.exit(b.upsample(x, 1, (1, 2), (1, 3), "sigmoid"), b.dense(b.reshape(x, (1, 1, bands * channels // 2)), 1))
    x = b.prelu(b.depthwise(x, (3, 3), dilation=(2, 1)))
    held = b.dense(b.lstm(b.reshape(x, (1, 1, bands * channels // 2)), 8), bands * channels // 2)
    x = b.join("add", b.glu(x, channels), b.reshape(held, (1, bands // 2, channels)))
    return b.done(mask=b.upsample(b.join("concat", x, early), 1, (1, 2), (1, 3), "sigmoid"))


@lru_cache
def demonstration_plan() -> Plan:
    return random_plan(demonstration())
