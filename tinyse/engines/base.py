"""What every engine offers, and how one is found from a path."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ModelError
from tinyse.export.bundle import COMPILED, INT8, lost_part, model_of
from tinyse.graph.grid import Grid
from tinyse.graph.plan import Plan, Policy
from tinyse.graph.runner import Runner, run_all
from tinyse.graph.skip import SkipGate
from tinyse.sound import Ends, Real

KINDS = ("keras", "tflm", "npu")
"""keras: the trained network in float or quantization-aware form; tflm: the int8 file under TensorFlow Lite
Micro's own interpreter; npu: the Vela-compiled file on the simulator."""

CANDIDATES = {
    "keras": ("model.npz", "float.npz"),
    "tflm": (INT8,),
    "npu": (COMPILED,),
}
"""File names searched in a run or export folder, in this order, by engine."""
LOUDEST = 1.01
"""Largest size of a gain's grid: 16-bit sigmoids and tanh have room for -1."""
Array = NDArray[Any]


class Engine(ABC):
    """A streaming network: parts that can be run, states inside, and the plan that says when.

    Attributes:
        name: one of ``KINDS``. label: names the model in errors.
        plan: parts and policy. ends: those that it was trained between. runner: obeys the plan.
    """

    name = ""

    def __init__(self, plan: Plan, ends: Ends, label: str, fitting: bool = True) -> None:
        """Take a plan; check that it fits the ends, unless not ``fitting``: then it has ``step``, and no sound.

        Raises:
            ModelError: not one input, another width than the ends', or a result that cannot be theirs.
        """
        self.plan, self.ends, self.label = plan, ends, label
        self.runner, inputs = Runner(plan), plan.inputs
        if len(inputs) != 1:
            raise ModelError(f"{label}: {len(inputs)} inputs ({', '.join(t.name for t in inputs)}) where a "
                             "streaming model has one", "export a streaming model, one frame an invocation")
        if fitting:
            self.check_ends()

    def check_ends(self) -> None:
        """Hold it to its ends.

        Raises:
            ModelError: another width than theirs, or a result that cannot be theirs.
        """
        ends = self.ends
        wanted = ends.outputs + (self.gate is not None)
        if self.bands != ends.inputs or self.outputs != wanted:
            raise ModelError(f"{self.label}: {self.bands} values to {self.outputs}, its ends are {ends.inputs} to "
                             f"{wanted}", "export it again, so that the manifest names its ends")
        low, high = self.plan.result.grid.low, self.plan.result.grid.high
        if ends.result.kind == "gains" and not self.real and (low < -LOUDEST or high > LOUDEST):
            raise ModelError(f"{self.label}: its outputs reach from {low:.3g} to {high:.3g}, where a mask is 0 to 1",
                             "export a model that ends in a sigmoid")

    @abstractmethod
    def run(self, part: int, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One invocation of a part: its inputs by name to its outputs; states stay inside and move on."""

    @abstractmethod
    def rewind(self) -> None:
        """Every state to its zero point."""

    @property
    def real(self) -> bool:
        """Whether it runs in real numbers, without grids."""
        return False

    @property
    def bands(self) -> int:
        """Values of a frame's feature."""
        return self.plan.inputs[0].size

    @property
    def outputs(self) -> int:
        """Values of the result, a Skip RNN's p~ included."""
        return self.plan.result.size

    @property
    def input(self) -> Grid:
        """Grid of the feature."""
        return self.plan.inputs[0].grid

    @property
    def output(self) -> Grid:
        """Grid of the result."""
        return self.plan.result.grid

    @property
    def gate(self) -> SkipGate | None:
        """A Skip RNN's; None where there is none."""
        return self.runner.gate

    @property
    def update_rate(self) -> float | None:
        """Share of the frames since ``reset`` that ran a Skip RNN; None for other networks."""
        return None if self.gate is None else self.gate.rate

    @property
    def part_rates(self) -> tuple[float, ...]:
        """Share of the frames since ``reset`` that ran each part; empty where there is one."""
        return self.runner.rates if len(self.plan.parts) > 1 else ()

    @property
    def exit_rates(self) -> tuple[float, ...]:
        """Share of the frames since ``reset`` that stopped at each exit; empty where there is one."""
        stops, frames = self.runner.stops, max(self.runner.frames, 1)
        return tuple(stops[at] / frames for at in self.plan.exits) if len(self.plan.exits) > 1 else ()

    def under(self, policy: Policy) -> None:
        """Obey another policy from now on; ``reset`` comes with it."""
        self.plan = self.plan.under(policy)
        self.runner = Runner(self.plan)
        self.reset()

    def reset(self) -> None:
        """Return to the state before the first frame."""
        self.rewind()
        self.runner.reset()

    def mask(self, feature: Real) -> Real:
        """Advance one frame as the plan says: float32 [bands] to the result, float32 [ends.outputs]."""
        values: Array = np.asarray(feature, np.float32) if self.real else self.input.quantize(feature)
        source = self.plan.inputs[0]
        result = self.runner.step(self.run, {source.name: values.reshape(source.shape)}).reshape(-1)
        return self._real(result)[: self.ends.outputs]

    def step(self, quantized: Array) -> Array:
        """Run every part on one frame, whatever the policy says: [bands] on the input's grid to [outputs]."""
        source = self.plan.inputs[0]
        return run_all(self.plan, self.run, {source.name: np.asarray(quantized).reshape(source.shape)}).reshape(-1)

    def _real(self, values: Array) -> Real:
        return np.asarray(values, np.float32) if self.real else self.output.dequantize(values)


def load_engine(path: Path | str, kind: str | None = None) -> Engine:
    """Load the model at ``path`` into an engine.

    Args:
        path: a model file, a run folder or an export folder.
        kind: one of ``KINDS``; None chooses from the file: .npz keras, compiled .tflite npu, else tflm.

    Raises:
        ModelError: nothing suitable at ``path``, a damaged file, or an unknown kind.
    """
    kind, file = find_model(path, kind)
    if kind == "keras":
        from tinyse.engines.keras import KerasEngine

        return KerasEngine.load(file)
    if kind == "npu":
        from tinyse.engines.npu import NpuEngine

        return NpuEngine.load(file)
    from tinyse.engines.tflm import TflmEngine

    return TflmEngine.load(file)


def find_model(path: Path | str, kind: str | None = None) -> tuple[str, Path]:
    """Resolve ``path`` to (engine kind, model file, or the folder of several parts).

    A folder is searched for ``CANDIDATES``, and the export in it; with no kind given, tflm comes before keras and npu,
    because the int8 file is what the device runs.

    Raises:
        ModelError: see ``load_engine``.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise ModelError(f"no engine named {kind}", f"engines are {', '.join(KINDS)}")
    if path.is_dir():
        for candidate in (kind,) if kind else ("tflm", "keras", "npu"):
            for folder in (path, path / "export"):
                for name in CANDIDATES[candidate]:
                    if model := model_of(folder, name):
                        return candidate, model
                    if candidate != "keras" and (lost := lost_part(folder, name)):
                        raise ModelError(f"{lost}: is missing, and the other parts of its network are here",
                                         "export the model again")
        wanted = CANDIDATES[kind][:1] if kind else (INT8, "model.npz")
        raise ModelError(f"{path}: no {' or '.join(wanted)} in this folder",
                         "give a run folder of `tinyse train` or an export folder of `tinyse export`")
    if not path.is_file():
        raise ModelError(f"{path}: no such model", "give a run folder, an export folder, a .npz or a .tflite")
    found = _kind_of(path)
    kind = kind or found
    if (kind == "keras") != (found == "keras"):
        suited = "a .npz model" if kind == "keras" else "a .tflite file"
        raise ModelError(f"{path}: the {kind} engine needs {suited}", f"drop --engine, or use {found}")
    if kind != found:
        state = "compiled by Vela" if found == "npu" else "not compiled by Vela"
        raise ModelError(f"{path}: is {state}; the {kind} engine cannot run it", f"use the {found} engine")
    return kind, path


def _kind_of(file: Path) -> str:
    if file.suffix == ".npz":
        return "keras"
    # Vela leaves one custom operator of this name; no other tool writes it.
    return "npu" if b"ethos-u\0" in file.read_bytes() else "tflm"
