"""Images and projects that tests share; each is made once a session."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from export_models import frames, random_model

from tinyse.firmware.build import Built, build
from tinyse.firmware.project import write_project
from tinyse.graph.floating import calibrate
from tinyse.graph.model import Model
from tinyse.graph.snap import snap

NPU = "ethos-u55-128"
TARGETS = {"corstone300": "cortex-m55", "corstone300-u65": "cortex-m55", "mps2-an500": "cortex-m7",
           "stm32f746g-disco": "cortex-m7", "stm32h743zi": "cortex-m7"}
"""What a model is exported for where the board's CPU runs it."""


def restless(model: Model) -> Model:
    """A Skip RNN whose gate moves: p~ follows the sound."""
    last = model.net.nodes[-1].name
    kernel, bias = model.arrays[f"{last}/kernel"].copy(), model.arrays[f"{last}/bias"].copy()
    kernel[:, -1] *= 6
    bias[-1] = 0.65
    moved = replace(model, arrays={**model.arrays, f"{last}/kernel": kernel, f"{last}/bias": bias})
    return replace(moved, ranges=calibrate(moved, frames(200, model.ends.inputs)))


MODELS = {
    "small": lambda: random_model(zeros=0.5),
    "wide": lambda: random_model(lstm=(64, 48), dense=(32,), bands=128, zeros=0.5, seed=1),
    "skipping": lambda: restless(random_model(lstm=(32, 24), dense=(24,), bands=128, zeros=0.3, seed=5, skip=True)),
    "snapped": lambda: snap(random_model(lstm=(32, 24), dense=(24,), bands=128, gain=0.6, zeros=0.3, seed=2)),
}
"""Models by name; a path to a run, a .npz or an int8 .tflite serves as well."""

needs_compiler = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason=(
    "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi"))
needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="apt-get install qemu-system-arm")


@lru_cache
def scratch() -> Path:
    """A folder that lasts as long as the session."""
    folder = Path(tempfile.mkdtemp(prefix="tinyse-firmware-"))
    atexit.register(shutil.rmtree, folder, True)
    return folder


@lru_cache
def export(model: str, target: str) -> Path:
    """Folder of a model exported for ``target``."""
    from tinyse.export.pipeline import export_run

    run = scratch() / model if model in MODELS else Path(model)
    if model in MODELS and not run.is_dir():
        run.mkdir()
        MODELS[model]().save(run / "model.npz")
    folder = scratch() / f"{Path(model).name}-{target}"
    export_run(run, target, folder)
    return folder


@lru_cache
def project(model: str, target: str) -> Path:
    """Project folder of a model exported for ``target``; all boards can be built in it."""
    folder = scratch() / f"{Path(model).name}-{target}-project"
    write_project(export(model, target), folder)
    return folder


@lru_cache
def image(board: str, backend: str = "cpu", kernels: str = "auto", model: str = "small",
          target: str | None = None) -> Built:
    """An image; for the NPU of a U55-128 where ``backend`` is "npu"."""
    target = target or (NPU if backend == "npu" else TARGETS[board])
    return build(project(model, target), board, backend, kernels)


def npu_model(model: str = "small", target: str = NPU) -> Path:
    """The compiled model for the simulator behind an image whose backend is "npu"."""
    return export(model, target) / "model_vela.tflite"
