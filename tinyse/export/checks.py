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
from tinyse.export.capture import captured_stderr
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


def interpreter(data: bytes, name: str = "model") -> Any:
    """TFLM's interpreter on the host for a .tflite file's bytes; ``name`` opens error messages.

    Raises:
        ToolError: tflite-micro is not installed.
        ExportError: TFLM refuses the file.
    """
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError as error:
        raise ToolError("tflite-micro is not installed", "pip install --pre tflite-micro") from error
    try:
        with captured_stderr() as said:
            return runtime.Interpreter.from_bytes(data)
    except RuntimeError as error:
        raise ExportError(f"{name}: TFLM refuses it: {tflm_reason(said.text + str(error))}",
                          "export it with tinyse") from error


def tflm_reason(said: str) -> str:
    """The line of TFLM's messages that names the operator at fault, else the last one."""
    lines = [line for line in map(str.strip, said.splitlines()) if line and not line.startswith(
        ("Traceback", "File", "^", "~"))]
    named = [line for line in lines if line.startswith(("Node ", "Didn't find op", "Failed to get"))]
    return (named or lines or ["no message"])[0 if named else -1]


def stream(tflm: Any, frames: NDArray[np.int8]) -> NDArray[np.int8]:
    """Run int8 [count, bands] through TFLM one by one, from the present state."""
    masks, shape = [], tflm.get_input_details(0)["shape"]
    for frame in frames:
        tflm.set_input(frame.reshape(shape), 0)
        tflm.invoke()
        masks.append(tflm.get_output(0).reshape(-1).copy())
    return np.stack(masks)


def check_stream(data: bytes, features: NDArray, name: str = "model") -> StreamProof:
    """Prove on TFLM that states persist between frames, that reset restores them, and that the integer
    reference agrees to the bit.

    Args:
        data: the int8 .tflite.
        features: float32 [frames, bands] in order; the first ``FRAMES`` are streamed.
        name: opens error messages.

    Raises:
        ExportError: a frame's mask does not depend on the frames before it, reset does not restore the start,
            or ``tinyse.export.integer`` computes another mask.
    """
    from tinyse.export.integer import IntegerNetwork

    network = parse(data, name)
    frames = network.features.quantize(np.asarray(features, np.float32)[:FRAMES])
    tflm = interpreter(data, name)
    first = stream(tflm, frames)
    alone = np.empty_like(first)
    for number, frame in enumerate(frames):
        tflm.reset()
        alone[number] = stream(tflm, frame[None])[0]
    remembered = int(np.sum(first != alone))
    if not remembered:
        raise ExportError(f"{name}: no mask depends on earlier frames: {', '.join(network.operators)} keep no "
                          "state between invocations", "the file is not a streaming model")
    tflm.reset()
    if not np.array_equal(stream(tflm, frames), first):
        raise ExportError(f"{name}: reset does not restore the first frame's states in TFLM")
    if not np.array_equal(IntegerNetwork(data, name).run(frames), first):
        raise ExportError(f"{name}: TFLM and the integer reference disagree",
                          "the installed tflite-micro computes by other rules; see tinyse doctor")
    return StreamProof(len(frames), remembered)
