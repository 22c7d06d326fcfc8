"""Ranges for post-training quantization: run the float network over frames in order and note the extremes.

Order matters: a cell state grows over seconds, and shuffled or few frames give it half its range.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ExportError
from tinyse.model import TrainedModel


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return (0.5 + 0.5 * np.tanh(0.5 * x)).astype(np.float32)


def calibrate(model: TrainedModel, features: NDArray) -> dict[str, tuple[float, float]]:
    """Minimum and maximum of every activation and state over ``features`` [frames, bands], in order.

    Returns the keys that ``TrainedModel.ranges`` documents; a dense layer's range is taken after its ReLU,
    before its sigmoid. States start at zero, which every range includes.

    Raises:
        ExportError: the frames are of another width, or not finite.
    """
    frames = np.asarray(features, np.float32)
    if frames.ndim != 2 or frames.shape[1] != model.layers[0].inputs or not np.isfinite(frames).all():
        raise ExportError(f"calibration frames of shape {frames.shape} do not fit the model",
                          f"expected finite [frames, {model.layers[0].inputs}]")
    ranges: dict[str, tuple[float, float]] = {}

    def note(name: str, values: NDArray) -> None:
        ranges[name] = (min(0.0, float(values.min())), max(0.0, float(values.max())))

    note("features", frames)
    for layer in model.layers:
        kernel, bias = layer.arrays["kernel"], layer.arrays["bias"]
        projected = frames @ kernel + bias
        if layer.kind == "dense":
            frames = np.maximum(projected, 0) if layer.activation == "relu" else projected
            note(f"{layer.name}.out", frames)
            continue
        recurrent = np.asarray(layer.arrays["recurrent_kernel"], np.float32)
        hidden = np.zeros(layer.units, np.float32)
        cell = np.zeros(layer.units, np.float32)
        outputs = np.empty((len(frames), layer.units), np.float32)
        low = high = 0.0
        for time, row in enumerate(projected):
            i, f, g, o = np.split(row + hidden @ recurrent, 4)
            cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
            hidden = outputs[time] = _sigmoid(o) * np.tanh(cell)
            low, high = min(low, float(cell.min())), max(high, float(cell.max()))
        ranges[f"{layer.name}.c"] = (low, high)
        note(f"{layer.name}.h", outputs)
        frames = outputs
    return ranges
