"""What every export must prove before it is kept: its operators, its work, its memory of the past.

A converter may fold the recurrence away silently, or a state may fail to persist; both leave a file that runs
and enhances badly. These checks fail instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.errors import ExportError, ToolError
from tinyse.export.capture import quiet_stderr
from tinyse.export.network import Network, parse
from tinyse.model import TrainedModel

FRAMES = 64
"""Frames of the streaming proof: one second of sound."""


@dataclass(frozen=True)
class StreamProof:
    """What the streaming test saw: ``frames`` streamed, ``remembered`` bytes that depend on earlier frames."""

    frames: int
    remembered: int


def check_operators(data: bytes, model: TrainedModel) -> Network:
    """Compare the file's operators and multiply-accumulates with the trained model's.

    Raises:
        ExportError: another operator list, or other work per frame.
    """
    network = parse(data)
    names = {"lstm": "UNIDIRECTIONAL_SEQUENCE_LSTM", "dense": "FULLY_CONNECTED"}
    expected = (*(names[layer.kind] for layer in model.layers), "LOGISTIC")
    if network.operators != expected:
        raise ExportError(f"the file runs {', '.join(network.operators)} where {', '.join(expected)} was trained",
                          "the installed TensorFlow converts LSTMs differently; see tinyse doctor")
    if network.macs_per_frame != model.macs_per_frame:
        raise ExportError(f"the file does {network.macs_per_frame} multiply-accumulates a frame, the trained "
                          f"model {model.macs_per_frame}", "the recurrence was folded away")
    return network


def check_zeros(data: bytes, model: TrainedModel) -> int:
    """Count the zero weights of the file; every zero of the trained model must be among them.

    Raises:
        ExportError: a weight tensor has fewer zeros than its trained matrix.
    """
    from tinyse.export.verify import zero_counts

    found = zero_counts(data)
    for layer in model.layers:
        trained = sum(int((array == 0).sum()) for name, array in layer.arrays.items() if name != "bias")
        kept = sum(zeros for name, (zeros, _) in found.items() if name.startswith(f"{layer.name}."))
        if kept < trained:
            raise ExportError(f"{layer.name}: {trained} zeros were trained, {kept} are in the file",
                              "weights moved after pruning; train again")
    return sum(zeros for zeros, _ in found.values())


def interpreter(data: bytes) -> Any:
    """TFLM's interpreter on the host for a .tflite file's bytes.

    Raises:
        ToolError: tflite-micro is not installed.
        ExportError: TFLM refuses the file.
    """
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError as error:
        raise ToolError("tflite-micro is not installed", "pip install --pre tflite-micro") from error
    try:
        with quiet_stderr():
            return runtime.Interpreter.from_bytes(data)
    except RuntimeError as error:
        raise ExportError(f"TFLM refuses the file: {error}", "see the lines above") from error


def stream(tflm: Any, frames: NDArray[np.int8]) -> NDArray[np.int8]:
    """Run int8 [count, bands] through TFLM one by one, from the present state."""
    masks = []
    for frame in frames:
        tflm.set_input(frame.reshape(1, 1, -1), 0)
        tflm.invoke()
        masks.append(tflm.get_output(0).reshape(-1).copy())
    return np.stack(masks)


def check_stream(data: bytes, features: NDArray) -> StreamProof:
    """Prove on TFLM that states persist between frames, that reset restores them, and that the integer
    reference agrees to the bit.

    Args:
        data: the int8 .tflite.
        features: float32 [frames, bands] in order; the first ``FRAMES`` are streamed.

    Raises:
        ExportError: a frame's mask does not depend on the frames before it, reset does not restore the start,
            or ``tinyse.export.integer`` computes another mask.
    """
    from tinyse.export.integer import IntegerNetwork

    frames = parse(data).features.quantize(np.asarray(features, np.float32)[:FRAMES])
    tflm = interpreter(data)
    first = stream(tflm, frames)
    alone = np.empty_like(first)
    for number, frame in enumerate(frames):
        tflm.reset()
        alone[number] = stream(tflm, frame[None])[0]
    remembered = int(np.sum(first != alone))
    if not remembered:
        raise ExportError("no mask depends on earlier frames: the LSTM states do not persist between invocations",
                          "the file is not a streaming model")
    tflm.reset()
    if not np.array_equal(stream(tflm, frames), first):
        raise ExportError("reset does not restore the first frame's states in TFLM")
    if not np.array_equal(IntegerNetwork(data).run(frames), first):
        raise ExportError("TFLM and the integer reference disagree on this model",
                          "the installed tflite-micro computes by other rules; see tinyse doctor")
    return StreamProof(len(frames), remembered)
