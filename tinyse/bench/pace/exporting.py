"""Ways from a trained network to a file for the NPU."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyse.bench.pace.race import Lap, Run
from tinyse.core.capture import quiet_stderr
from tinyse.core.errors import ModelError, ToolError
from tinyse.export.bundle import COMPILED, INT8

if TYPE_CHECKING:
    from tinyse.graph.model import Model

TARGET = "ethos-u55-128"
CALIBRATION = 100
"""Frames that post-training quantization sees."""


@dataclass(frozen=True)
class Made:
    """The int8 .tflite, and bytes of the compiled one."""

    int8: bytes
    compiled: int


def ours(model: Path, folder: Path) -> Run:
    """``tinyse export``: two runs of Vela, every check, the memory report and the C files included.

    Args:
        model: a trained .npz.
        folder: where the export goes.
    """
    from tinyse.export.pipeline import export_run

    def run() -> Lap:
        started = time.perf_counter()
        made = export_run(model, TARGET, folder)
        seconds = time.perf_counter() - started
        return Lap(1, seconds, Made(made.files[INT8].read_bytes(), made.files[COMPILED].stat().st_size))

    return run


def plain(model: Path, folder: Path) -> Run:
    """TensorFlow's converter with post-training quantization, then the ``vela`` command; nothing is checked."""
    from tinyse.export.origin import synthetic_frames
    from tinyse.export.targets import load_target
    from tinyse.graph.model import Model

    trained = Model.load(model)
    low, high = trained.ranges["features"] if trained.ranges else (0.0, 1.0)
    frames = synthetic_frames(trained.ends.inputs, low, high, CALIBRATION)
    options = load_target(TARGET).vela_arguments()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.tflite"

    def run() -> Lap:
        started = time.perf_counter()
        file.write_bytes(_converted(keras_model(trained), frames))
        done = subprocess.run([sys.executable, "-m", "ethosu.vela", str(file), "--output-dir", str(folder), *options],
                              capture_output=True, text=True, errors="replace", check=False)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise ToolError(f"Vela failed on the plain way's file: {(done.stdout + done.stderr).strip()[-200:]}")
        return Lap(1, seconds, Made(file.read_bytes(), (folder / COMPILED).stat().st_size))

    return run


def keras_model(trained: Model, stateful: bool = False) -> Any:
    """A TinyLSTM from tf_keras' own layers, one frame a call: [1, 1, bands] to [1, 1, outputs].

    Raises:
        ModelError: it holds other layers.
    """
    from tinyse.graph.layers import DenseLayer, LstmLayer
    from tinyse.train.keras import tf_keras

    tensor = source = tf_keras.Input(batch_shape=(1, 1, trained.ends.inputs), name=trained.net.input.name)
    for node in trained.net.nodes[1:]:
        layer = node.layer
        if isinstance(layer, LstmLayer):
            made = tf_keras.layers.LSTM(layer.units, return_sequences=True, stateful=stateful, name=node.name)
        elif isinstance(layer, DenseLayer):
            made = tf_keras.layers.Dense(layer.units, activation=layer.activation, name=node.name)
        else:
            raise ModelError(f"{node.name}: {layer.kind}, which the plain way has not", "give a TinyLSTM")
        tensor = made(tensor)
        made.set_weights([trained.arrays[f"{node.name}/{array.name}"]
                          for array in layer.arrays(*trained.net.shapes_in(node))])
    return tf_keras.Model(source, tensor)


def _converted(network: Any, frames: Any) -> bytes:
    from tinyse.bench.converter import int8_converter

    converter = int8_converter(network, lambda: ([frame.reshape(1, 1, -1)] for frame in frames))
    with quiet_stderr():
        return bytes(converter.convert())


def same_weights(ours: Made, plain: Made) -> str:
    """Both files hold the same network; its activations' scales are trained in one and calibrated in the other.

    Raises:
        ToolError: they hold other networks.
    """
    import numpy as np

    from tinyse.export.reader import read

    first, second = (np.concatenate([matrix.ravel() for matrix in read(made.int8).matrices])
                     for made in (ours, plain))
    if first.shape != second.shape:
        raise ToolError(f"the two files differ: {first.size:,} and {second.size:,} weights")
    return (f"{int(np.sum(first == second)):,} of the {first.size:,} int8 weights are the same; compiled "
            f"{ours.compiled:,} and {plain.compiled:,} bytes")
