"""The float network in NumPy, over frames in order: what calibration notes, and what integers are held against.

Ranges for post-training quantization are the extremes over frames in order: a cell state grows over seconds, and
shuffled or few frames give it half its range. ::

    results = Floating(model.net, model.arrays).run(frames)        # {"mask": [frames, rows, width, channels]}
    ranges = calibrate(model, frames)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ExportError, ModelError
from tinyse.graph.layers import (
    ActivationLayer,
    ConvLayer,
    DenseLayer,
    DepthwiseLayer,
    GruLayer,
    InputLayer,
    JoinLayer,
    LstmLayer,
    NormLayer,
    PastLayer,
    PoolLayer,
    ReshapeLayer,
    UpsampleLayer,
)
from tinyse.graph.layers.plain import EPSILON
from tinyse.graph.layers.recurrent import CELL_LIMIT
from tinyse.graph.model import Model
from tinyse.graph.net import Net, Node

Real = NDArray[np.float32]
Note = Callable[[str, Real], None]


def sigmoid(x: Real) -> Real:
    """1 / (1 + e^-x), without overflow."""
    return (0.5 + 0.5 * np.tanh(0.5 * x)).astype(np.float32)


ACTIVATIONS: dict[str, Callable[[Real], Real]] = {
    "linear": lambda x: x, "relu": lambda x: np.maximum(x, 0), "sigmoid": sigmoid, "tanh": np.tanh,
    "step": lambda x: (x >= 0.5).astype(np.float32)}


class Floating:
    """A network over a sequence, every part on every frame, from zero states."""

    def __init__(self, net: Net, arrays: Mapping[str, Real]) -> None:
        self.net = net
        self._arrays = {name: np.asarray(arrays[name], np.float32).reshape(a.dims) for name, a in net.arrays.items()}

    def run(self, frames: Real, seen: dict[str, Real] | None = None) -> dict[str, Real]:
        """Results and extra outputs by tensor name, [frames, rows, width, channels].

        Args:
            frames: float32 [frames, rows, width, channels]. seen: receives what every range is of, by its name.
        """
        notes: dict[str, Real] = {} if seen is None else seen
        made: dict[str, Real] = {}
        for node in self.net.nodes:
            ins = [made[name] for name in node.ins] or [frames]

            def note(suffix: str, values: Real, name: str = node.name) -> None:
                notes[f"{name}.{suffix}" if suffix else name] = values

            made[node.name] = self._forward(node, ins, note)
        return {each.tensor: made[each.node] for each in (*self.net.results, *self.net.extra) if each.node}

    def _forward(self, node: Node, ins: list[Real], note: Note) -> Real:
        arrays = {array.name: self._arrays[f"{node.owner}/{array.name}"][tuple(map(slice, array.dims))]
                  for array in node.layer.arrays(*self.net.shapes_in(node))}
        try:
            return FORWARD[type(node.layer)](node.layer, arrays, ins, note)
        except KeyError as error:
            raise ModelError(f"{node.name}: no float forward pass for a {node.layer.kind}") from error


def calibrate(model: Model, features: NDArray[Any]) -> dict[str, tuple[float, float]]:
    """Minimum and maximum of every range over ``features`` in order, [frames, ...] of the input's elements.

    A product's range is taken after its ReLU, before its sigmoid. States start at zero, which every range includes.

    Raises:
        ExportError: the frames are of another size, or not finite.
    """
    frames, shape = np.asarray(features, np.float32), model.net.shapes[model.net.input.name]
    size = int(np.prod(shape))
    if frames.ndim < 2 or not len(frames) or frames[0].size != size or not np.isfinite(frames).all():
        raise ExportError(f"calibration frames of shape {frames.shape} do not fit the model",
                          f"expected finite [frames, {size}]")
    seen: dict[str, Real] = {}
    Floating(model.net, model.arrays).run(frames.reshape(len(frames), *shape), seen)
    return {name: (min(0.0, float(seen[name].min())), max(0.0, float(seen[name].max()))) for name in model.net.ranges}


def _input(layer: InputLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    note("", ins[0])
    return ins[0]


def _activated(activation: str, x: Real, note: Note) -> Real:
    y = ACTIVATIONS[activation](x)
    note("out", y if activation == "relu" else x)
    return y


def _product(x: Real, kernel: Real) -> Real:
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[1])


def _dense(layer: DenseLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    return _activated(layer.activation, _product(ins[0], arrays["kernel"]) + arrays["bias"], note)


def _taps(layer: ConvLayer, x: Real, weigh: Callable[[Real, int, int], Real]) -> Real:
    """The sum over a kernel's taps of what ``weigh`` makes of the positions that each sees."""
    before, after = layer.pad(x.shape[2])
    x = np.pad(x, ((0, 0), (0, 0), (before, after), (0, 0)))
    spans = [(k - 1) * d + 1 for k, d in zip(layer.kernel, layer.dilation, strict=True)]
    rows, width = x.shape[1] - spans[0] + 1, x.shape[2] - spans[1] + 1
    total: Any = 0.0
    for t in range(layer.kernel[0]):
        for f in range(layer.kernel[1]):
            row, place = t * layer.dilation[0], f * layer.dilation[1]
            seen = x[:, row : row + rows : layer.stride[0], place : place + width : layer.stride[1]]
            total = total + weigh(seen, t, f)
    return np.asarray(total, np.float32)


def _conv(layer: ConvLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    kernel = arrays["kernel"]
    made = _taps(layer, ins[0], lambda x, t, f: _product(x, kernel[t, f]))
    return _activated(layer.activation, made + arrays["bias"], note)


def _depthwise(layer: DepthwiseLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    kernel = arrays["kernel"]
    return _activated(layer.activation, _taps(layer, ins[0], lambda x, t, f: x * kernel[t, f]) + arrays["bias"], note)


def _upsample(layer: UpsampleLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    kernel = arrays["kernel"].reshape(*arrays["kernel"].shape[:3], -1)
    coarse = _taps(ConvLayer(kernel.shape[-1], layer.kernel), ins[0], lambda x, t, f: _product(x, kernel[t, f]))
    frames, rows, width, _ = coarse.shape
    fine = _activated(layer.activation, coarse + np.tile(arrays["bias"], layer.steps), note)
    return fine.reshape(frames, rows * layer.factor[0], width * layer.factor[1], layer.units)


def _lstm(layer: LstmLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    kernel, recurrent = (arrays[name].reshape(len(arrays[name]), -1) for name in ("kernel", "recurrent_kernel"))
    projected = ins[0].reshape(-1, ins[0].shape[-1]) @ kernel + arrays["bias"].reshape(-1)
    hidden = np.zeros(layer.units, np.float32)
    cell = np.zeros(layer.units, np.float32)
    outputs, cells = (np.empty((len(projected), layer.units), np.float32) for _ in range(2))
    for time, row in enumerate(projected):
        i, f, g, o = np.split(row + hidden @ recurrent, 4)
        cells[time] = cell = np.clip(sigmoid(f) * cell + sigmoid(i) * np.tanh(g), -CELL_LIMIT, CELL_LIMIT)
        hidden = outputs[time] = sigmoid(o) * np.tanh(cell)
    note("h", outputs)
    note("c", cells)
    return outputs.reshape(-1, 1, 1, layer.units)


def _gru(layer: GruLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    frames, _, width, inputs = ins[0].shape
    split = arrays["kernel"][:inputs], arrays["kernel"][inputs:]
    kernel, recurrent = split if layer.joint else (arrays["kernel"], arrays["recurrent_kernel"])
    bias, after = arrays["bias"], arrays.get("recurrent_bias", np.float32(0))
    sums = {gate: np.empty((3, frames, width, layer.units), np.float32) for gate in layer.gates}
    h: Real = np.zeros((width, layer.units), np.float32)
    outputs = np.empty((frames, 1, width, layer.units), np.float32)

    def total(time: int, gate: str, state: Real, scaled: Any = 1.0, shift: Any = 0.0) -> Real:
        at = layer.gates.index(gate)
        from_x = ins[0][time, 0] @ kernel[:, at] + bias[at]
        from_h = state @ recurrent[:, at] + shift
        sums[gate][:, time] = from_x + scaled * from_h, from_x, from_h
        return sums[gate][0, time]

    for time in range(frames):
        z = sigmoid(total(time, "z", h))
        if layer.reset == "none":
            n = total(time, "n", h)
        else:
            r = sigmoid(total(time, "r", h))
            n = total(time, "n", r * h) if layer.reset == "before" else total(time, "n", h, r, after)
        outputs[time, 0] = h + z * (np.tanh(n) - h)
        h = outputs[time, 0]
    for gate, values in sums.items():
        for suffix, each in zip((gate, f"{gate}x", f"{gate}h"), values, strict=True):
            note(suffix, each)
    return outputs


def _past(layer: PastLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    frames, rows, width, channels = ins[0].shape
    line = np.pad(ins[0].reshape(frames * rows, width, channels), ((layer.rows, 0), (0, 0), (0, 0)))
    whole = layer.shape((rows, width, channels))[0]
    return np.stack([line[time * rows : time * rows + whole] for time in range(frames)])


def _join(layer: JoinLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    if layer.how == "concat":
        made = np.concatenate(ins, axis=-1)
    else:
        made = ins[0]
        for other in ins[1:]:
            made = made + other if layer.how == "add" else made * other
    made = ACTIVATIONS[layer.activation](made)
    note("out", made)
    return made


def _activation(layer: ActivationLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    if layer.how != "prelu":
        return ACTIVATIONS[layer.how](ins[0])
    made = np.where(ins[0] >= 0, ins[0], arrays["alpha"] * ins[0])
    note("out", made)
    return made


def _pool(layer: PoolLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    _, rows, width, channels = ins[0].shape
    windows = np.lib.stride_tricks.sliding_window_view(ins[0], layer.whole((rows, width, channels)), (1, 2))
    return np.asarray(windows[:, :: layer.stride[0], :: layer.stride[1]].max(axis=(-2, -1)))


def _reshape(layer: ReshapeLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    frames, rows, width, channels = ins[0].shape
    return ins[0].reshape(frames, *layer.shape((rows, width, channels)))


def _norm(layer: NormLayer, arrays: dict[str, Real], ins: list[Real], note: Note) -> Real:
    scale = arrays["gamma"] / np.sqrt(arrays["variance"] + np.float32(EPSILON))
    return np.asarray(ACTIVATIONS[layer.activation]((ins[0] - arrays["mean"]) * scale + arrays["beta"]), np.float32)


FORWARD: dict[type[Any], Callable[..., Real]] = {
    InputLayer: _input, DenseLayer: _dense, ConvLayer: _conv, DepthwiseLayer: _depthwise, UpsampleLayer: _upsample,
    LstmLayer: _lstm, GruLayer: _gru, PastLayer: _past, JoinLayer: _join, ActivationLayer: _activation,
    PoolLayer: _pool, ReshapeLayer: _reshape, NormLayer: _norm}
"""One a kind of layer."""
