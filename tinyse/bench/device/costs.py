"""What one int8 network costs on a device: counted, through Vela, through Arm's TFLM firmware, through ours."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tinyse.core.errors import ExportError, ModelError, TinyseError
from tinyse.export.targets import Target, load_target

TARGET = "ethos-u55-128"
CORE = "cortex-m55"
SHARED, SRAM = "Shared_Sram", "Sram_Only"
MODES = (SHARED, SRAM)
"""Vela's memory modes: weights in flash at 0.5 GB/s, or everything in SRAM."""
CONV, DEPTHWISE, FULLY_CONNECTED, LSTM = 3, 4, 9, 44
MATRICES = {CONV: slice(1, 2), DEPTHWISE: slice(1, 2), FULLY_CONNECTED: slice(1, 2), LSTM: slice(1, 9)}
BIASES = {CONV: slice(2, 3), DEPTHWISE: slice(2, 3), FULLY_CONNECTED: slice(2, 3), LSTM: slice(12, 16)}


@dataclass(frozen=True)
class Npu:
    """Vela's figures of all files of a network, a frame.

    Attributes:
        encoded: bytes of encoded weights, exact.
        constants: these, scales and tables: what is read from flash, exact.
        flash: bytes of the compiled files, exact.
        arena: bytes, estimated.
        cycles: estimated, by memory mode.
    """

    encoded: int
    constants: int
    flash: int
    arena: int
    cycles: Mapping[str, int]


@dataclass(frozen=True)
class Tflm:
    """Arm's runner on the emulated Cortex-M55, patched: instructions of a frame, bytes of TFLM's arena in use."""

    instructions: float
    arena: int


@dataclass(frozen=True)
class Cost:
    """One network; everything is of a frame that runs it.

    Attributes:
        name: in tables. ours: a model of tinyse.
        frames_per_second: how often it runs at most.
        files: int8 files that all run every frame.
        parameters, macs: of matrices and biases; multiply-accumulates of the matrices. int8_bytes: of the files.
        npu: None where it does not compile to the NPU alone.
        tflm: None where Arm's runner could not run.
        packed: instructions of our own kernels; None where they could not run, or for others' shapes.
        update_rate: share of the frames on which a Skip RNN runs, measured on the test mixtures; None for others.
    """

    name: str
    ours: bool
    frames_per_second: float
    files: int
    parameters: int
    macs: int
    int8_bytes: int
    npu: Npu | None
    tflm: Tflm | None
    packed: float | None = None
    update_rate: float | None = None

    def second(self, per_frame: float) -> float:
        """A frame's cost a second of audio, the network running on every frame."""
        return per_frame * self.frames_per_second

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; costs a second of audio beside those of a frame."""
        per_second: dict[str, Any] = {"macs": self.second(self.macs)}
        if self.npu:
            per_second["cycles"] = {mode: self.second(cycles) for mode, cycles in self.npu.cycles.items()}
        if self.tflm:
            per_second["tflm_instructions"] = self.second(self.tflm.instructions)
        if self.packed is not None:
            per_second["packed_instructions"] = self.second(self.packed)
        return {**asdict(self), "per_second": per_second}


@dataclass(frozen=True)
class Counted:
    """Parameters and multiply-accumulates of a file's matrices, exact."""

    parameters: int
    macs: int


def count(data: bytes, name: str) -> Counted:
    """Count matrices and biases of a .tflite file's dense layers, convolutions and LSTMs, and their uses in a frame.

    Raises:
        ModelError: the file is damaged.
    """
    from tinyse.export.flatfile import tensor_infos, unpack

    model = unpack(data, name)
    weights = biases = macs = 0
    try:
        shapes = [info.shape for info in tensor_infos(model)]
        sizes = [math.prod(shape) for shape in shapes]
        for op in model.subgraphs[0].operators:
            code = model.operatorCodes[op.opcodeIndex]
            kind = max(code.builtinCode, code.deprecatedBuiltinCode)
            used = sum(sizes[index] for index in op.inputs[MATRICES.get(kind, slice(0))] if index >= 0)
            weights += used
            macs += used * (math.prod(shapes[op.outputs[0]][1:3]) if kind in (CONV, DEPTHWISE) else 1)
            biases += sum(sizes[index] for index in op.inputs[BIASES.get(kind, slice(0))] if index >= 0)
    except (IndexError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(f"{name}: damaged TFLite file: {error}", "export it again") from error
    return Counted(weights + biases, macs)


def npu_cost(files: Sequence[Path], target: Target | None = None) -> Npu:
    """Compile every file in both memory modes and add up what Vela says.

    Stages run one after the other, but each keeps its states, so their arenas are added too.

    Raises:
        ExportError: Vela leaves an operator to the CPU; the message names it.
        ToolError: Vela is missing or fails.
    """
    chosen = target or load_target(TARGET)
    found = [{mode: _compiled(file, chosen, mode) for mode in MODES} for file in files]
    flashed = [each[SHARED] for each in found]
    return Npu(sum(each.encoded for each in flashed), sum(each.constants for each in flashed),
               sum(each.flash for each in flashed), sum(each.arena for each in flashed),
               {mode: sum(each[mode].cycles[mode] for each in found) for mode in MODES})


def tflm_cost(files: Sequence[Path]) -> Tflm:
    """Run every file once, from its reset states on zeros, in Arm's patched runner on QEMU.

    Raises:
        ModelError: the runner refuses a file. ToolError: QEMU or the runner is not to be had.
    """
    from tinyse.measure.costs.runner import run_on_qemu

    runs = [run_on_qemu(file) for file in files]
    return Tflm(sum(run.instructions or 0.0 for run in runs), sum(run.arena for run in runs))


def packed_cost(model: Path) -> float:
    """Instructions of our firmware's network stage in a frame that runs it, on QEMU's Cortex-M55.

    Raises:
        ModelError: the model is damaged. ToolError: QEMU or the cross compiler is missing.
    """
    from tinyse.measure.costs.execution import Options
    from tinyse.measure.costs.pipeline import profile

    run = profile(model, CORE, Options(on="qemu")).firmware
    assert run is not None  # what was asked for by name is there or raises
    return run.updating("network")


def measure(name: str, files: Sequence[Path], frames_per_second: float, model: Path | None = None,
            update_rate: float | None = None) -> tuple[Cost, dict[str, str]]:
    """All costs of one network, and why one of them is not there, by what it is.

    Args:
        name: in tables.
        files: int8 .tflite files, all run every frame.
        frames_per_second: of the network.
        model: the same as a released model of ours, for our own kernels; None for others' shapes.
        update_rate: of a Skip RNN, measured.

    Raises:
        ModelError: a file is damaged. ToolError: Vela is missing or fails.
    """
    data = [file.read_bytes() for file in files]
    counted = [count(each, str(file)) for each, file in zip(data, files, strict=True)]
    missing: dict[str, str] = {}
    cost = Cost(name, model is not None, frames_per_second, len(files), sum(each.parameters for each in counted),
                sum(each.macs for each in counted), sum(map(len, data)), None, None, None, update_rate)
    try:
        cost = replace(cost, npu=npu_cost(files))
    except ExportError as error:
        missing["NPU"] = f"does not compile to the NPU: {error.line()}"
    try:
        cost = replace(cost, tflm=tflm_cost(files))
    except TinyseError as error:
        missing["TFLM"] = error.line()
    if model is not None:
        try:
            cost = replace(cost, packed=packed_cost(model))
        except TinyseError as error:
            missing["tinyse's kernels"] = error.line()
    return cost, missing


def _compiled(file: Path, target: Target, mode: str) -> Npu:
    from tinyse.export.vela import compile_model
    from tinyse.measure.costs.layers import constant_bytes
    from tinyse.measure.costs.vela import read_reports

    assert target.npu is not None
    chosen = replace(target, npu=replace(target.npu, memory_mode=mode))
    with tempfile.TemporaryDirectory(prefix="tinyse-device-") as name:
        made = compile_model(file, chosen, Path(name))
        reports = read_reports(Path(name))
        return Npu(int(reports.number("total_npu_encoded_weights")), constant_bytes(reports),
                   made.path.stat().st_size, round(1024 * reports.number("sram_memory_used")), {mode: made.cycles})
