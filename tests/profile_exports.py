"""A small real export for the profile's tests, compiled once a session, and a hand-made profile."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from tiny_models import tiny_tflite

from tinyse.core.artifacts import write_manifest
from tinyse.core.origin import Origin, Source
from tinyse.export.hostarena import HostArena
from tinyse.export.targets import load_target
from tinyse.export.vela import compile_model
from tinyse.measure.costs.budget import frame_budget
from tinyse.measure.costs.firmware import (
    SKIPPED,
    STAGE_NAMES,
    FirmwareMemory,
    FirmwareRun,
    MemoryBudget,
    Placement,
    RunnerRun,
    StageCost,
)
from tinyse.measure.costs.results import (
    Bound,
    Bounds,
    LayerCost,
    MemoryUse,
    NpuEstimate,
    OperatorCost,
    Profile,
    Region,
    SimulatedCost,
    Simulation,
    Sizes,
    Traffic,
)
from tinyse.measure.costs.skipping import skip_cost


@lru_cache(maxsize=1)
def _export() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tinyse-test-")) / "run" / "export"
    folder.mkdir(parents=True)
    model = folder / "model_int8.tflite"
    model.write_bytes(tiny_tflite())
    compiled = compile_model(model, load_target("ethos-u55-128"), folder / "vela")
    shutil.move(compiled.path, folder / "model_vela.tflite")
    files = {name: folder / name for name in ("model_int8.tflite", "model_vela.tflite")}
    write_manifest(folder, "export", files, {"target": "ethos-u55-128"})
    return folder


def export_into(folder: Path) -> Path:
    """A copy of a tiny export, in ``folder``/run/export."""
    shutil.copytree(_export().parent, folder / "run")
    return folder / "run" / "export"


def hand_made(name: str = "hand", scale: int = 1) -> Profile:
    """Round numbers, one layer, every group present."""
    estimated = Origin(Source.ESTIMATED, "Vela 5.2.0")
    bounds = Bounds(flash=4000.0 * scale, sram=10, decode=1000, macs=100, output=50)
    operator = OperatorCost(7, 256, "lstm_0", "FullyConnected", "a/gate", 5000 * scale, 1200, 8000, 8000, 3500, 500,
                            4000 * scale, 80, bounds)
    layer = LayerCost("lstm_0", 1, 5000 * scale, 1200, 4000 * scale, 4000 * scale, 10, 8000, 8000, 3500, 500,
                      8000 / (5000 * scale * 128), Bound.FLASH, {"flash": 5000 * scale})
    npu = NpuEstimate(
        estimated, "ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram", 500.0, 5000 * scale, 1200, 8000,
        0.01 * scale, 0.000625 * scale, 312500.0 * scale, (layer,), (operator,),
        (Traffic("off_chip_flash", 0, 0, 3500, 0, 4000 * scale, 4000 * scale),),
        (MemoryUse("ddr", "model", 4096, 8192), MemoryUse("sram", "arena", 80, 1024)),
        (Region("Sram", 0, 80, 0, 3, "state"),))
    cost = SimulatedCost("lstm_0", 1, 8000, 2000, 4000, 80)
    return Profile(
        name, "ethos-u55-128", {"model_int8.tflite": "00"}, npu,
        HostArena(Origin(Source.MEASURED, "tflite-micro 1", "host"), 900, 300, 600, (("states", 100),)),
        Sizes(Origin(Source.EXACT, "counted in the files"), 8000, 6000, 6000, 7000, 3500, 4096, 9000, 7000 * scale),
        Simulation(Origin(Source.SIMULATED, "tinyse.npu 1"), (cost,), SimulatedCost("total", 1, 8000, 2000, 4000, 80)),
        ())


def with_firmware(profile: Profile, scale: int = 1) -> Profile:
    """The same with round numbers of an emulated processor path, Arm's runner beside it."""
    tool = "QEMU 1 mps3-an547"
    means = dict(zip(STAGE_NAMES, (8000, 7000, 1000, 100_000 * scale, 4000, 8000), strict=True))
    stages = tuple(StageCost(name, 10.0 * mean, mean, mean + 10) for name, mean in means.items())
    whole = sum(means.values())
    run = FirmwareRun(
        Origin(Source.EMULATED, tool), "corstone300", "cortex-m55", "cpu", "mve", "instructions", 10, 10, (10,),
        "a signal",
        stages, StageCost("frame", 10.0 * whole, whole, whole + 60), False, None, None, None, 5120, 8000, 16384, 640)
    memory = FirmwareMemory(
        Origin(Source.EXACT, "read from the ELF file"), "corstone300", "cpu", 16_000, 9_000, 0, 29_504,
        (Placement("model", 0x70000000, 8000, "ddr", "ddr", True),
         Placement("stack", 0x31000000, 16384, "sram", "dtcm", False)),
        (MemoryBudget("ddr", "flash", 8000, 32000),), ("stack is in sram, ethos-u55-128 wants it in dtcm",))
    runner = RunnerRun(Origin(Source.EMULATED, "QEMU 1, patched Arm runner: TFLM + CMSIS-NN"), "00", 1,
                       ("UNIDIRECTIONAL_SEQUENCE_LSTM", "LOGISTIC"), 25_092, 250_000.5, None, "")
    return replace(profile, firmware=run, memory=memory, runner=runner,
                   budget=frame_budget(run, load_target("ethos-u55-128")))


def with_skipping(profile: Profile, updates: int = 4) -> Profile:
    """The same as a Skip RNN whose network ran on ``updates`` of the ten frames; an update costs what it did."""
    assert profile.firmware is not None
    stages = tuple(replace(each, total=each.total * updates / 10, mean=each.mean * updates / 10)
                   if each.stage in SKIPPED else each for each in profile.firmware.stages)
    whole = sum(each.mean for each in stages)
    run = replace(profile.firmware, updates=updates, stages=stages,
                  frame=replace(profile.firmware.frame, total=10 * whole, mean=whole))
    return replace(profile, firmware=run, budget=frame_budget(run, load_target("ethos-u55-128"), True),
                   skip=skip_cost(run, profile.npu, profile.simulation))
