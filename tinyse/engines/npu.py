"""The compiled file on the Ethos-U simulator: what the device's NPU will output, frame after frame.

Features are quantized as in ``tinyse.engines.tflm``, so the two engines differ only where TFLM and the
command stream differ. See docs/npu.md for where that is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.engines.base import Masking, exported_ends
from tinyse.engines.tflm import Affine
from tinyse.errors import ModelError
from tinyse.npu.machine import Machine
from tinyse.npu.payload import TensorInfo
from tinyse.sound import DEFAULT, Ends, Real

Integers = NDArray[Any]


class NpuEngine(Masking):
    """One compiled streaming model; LSTM states live in the simulated arena and persist between frames.

    Attributes:
        name: "npu".
        bands: width of feature and mask. outputs: bands, or one more in a Skip RNN, whose ``gate`` this has.
        ends: from the manifest beside the file, else TinyLSTMs'.
        input, output: the grids of feature and mask.
        machine: the loaded simulator.
        accelerator: what the file was compiled for, such as "ethos-u55-128".
    """

    name = "npu"

    def __init__(self, machine: Machine, label: str = "model", ends: Ends = DEFAULT) -> None:
        """Wrap a loaded machine; ``label`` names it in errors.

        Raises:
            ModelError: the network is not one int8 or int16 frame to one mask.
        """
        self.machine = machine
        self.ends = ends
        if len(machine.inputs) != 1 or not machine.outputs:
            raise ModelError(f"{label}: {len(machine.inputs)} inputs where a streaming model has one",
                             "export a model whose states are inside, one frame an invocation")
        self.input = _grid(machine.payload.inputs[0], f"{label}: input")
        self.output = _grid(machine.payload.outputs[0], f"{label}: output")
        self.bands = machine.inputs[0].size
        self.accelerator = machine.payload.accelerator.name
        self.set_outputs(machine.outputs[0].size, label)

    @staticmethod
    def load(path: Path | str) -> NpuEngine:
        """Read a ``*_vela.tflite`` file, checked against the manifest beside it where there is one.

        Raises:
            ModelError: a damaged or unsupported file, or not the one that the manifest hashed.
        """
        path = Path(path)
        machine = Machine.load(path)
        return NpuEngine(machine, str(path), exported_ends(path, path.read_bytes()))

    def reset(self) -> None:
        """Put h to its zero point and c to 0."""
        self.machine.reset()
        if self.gate is not None:
            self.gate.reset()

    def step(self, quantized: Integers) -> Integers:
        """Run one frame on the integer grids: [bands] of ``input`` to [outputs] of ``output``."""
        result: Integers = self.machine.run(np.asarray(quantized)).reshape(self.outputs)
        return result

    def infer(self, feature: Real) -> Real:
        """Run one frame: float32 [bands] to float32 [outputs], 0..1."""
        return self.output.dequantize(self.step(self.input.quantize(feature)))


def _grid(info: TensorInfo, label: str) -> Affine:
    if info.dtype not in (np.int8, np.int16) or info.scale <= 0:
        raise ModelError(f"{label} is {info.dtype}, not quantized to int8", "give an export's model_vela.tflite")
    return Affine(info.scale, info.zero_point, np.dtype(info.dtype))
