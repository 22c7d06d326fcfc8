"""Refuses a produced file that is not the trained model: every scale, zero point, weight and zero is compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ExportError
from tinyse.export.network import DenseLayer, LogisticLayer, LstmLayer, Network, parse
from tinyse.export.quantization import Affine, asymmetric, cell_scale, quantize_weights, weight_scale
from tinyse.graph.grid import MASK_SCALE, MASK_ZERO_POINT
from tinyse.model import LayerWeights, TrainedModel

HINT = "the installed TensorFlow quantizes by other rules; see docs/export.md"


def verify(data: bytes, model: TrainedModel, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Check the int8 file ``data`` against the trained model and its ranges.

    Raises:
        ExportError: a tensor differs; the message names it.
    """
    network = parse(data)
    if len(network.layers) != len(model.layers) + 1 or not isinstance(network.layers[-1], LogisticLayer):
        raise ExportError(f"the file runs {', '.join(network.operators)}", HINT)
    expected = asymmetric(*ranges["features"], "features")
    _same_grid("features", network.features, expected)
    for trained, layer in zip(model.layers, network.layers, strict=False):
        _same_grid(f"{trained.name} input", layer.x, expected)
        if isinstance(layer, LstmLayer) and trained.kind == "lstm":
            expected = _lstm(layer, trained, ranges)
        elif isinstance(layer, DenseLayer) and trained.kind == "dense":
            expected = _dense(layer, trained, ranges)
        else:
            raise ExportError(f"{trained.name} became another operator", HINT)
    logistic = network.layers[-1]
    _same_grid("logits", logistic.x, expected)
    _same_grid("mask", logistic.y, Affine(MASK_SCALE, MASK_ZERO_POINT))
    _hidden_scales(data, network)


def zero_counts(data: bytes) -> dict[str, tuple[int, int]]:
    """(zeros, weights) of every weight tensor in the int8 file, by its name."""
    counts: dict[str, tuple[int, int]] = {}
    for layer in parse(data).layers:
        if isinstance(layer, LstmLayer):
            for gate, letter in zip(layer.gates, "ifgo", strict=True):
                for part, matrix in (("kernel", gate.kernel), ("recurrent", gate.recurrent)):
                    counts[f"{layer.name}.{part}_{letter}"] = (int((matrix == 0).sum()), int(matrix.size))
        elif isinstance(layer, DenseLayer):
            counts[f"{layer.name}.kernel"] = (int((layer.weights == 0).sum()), int(layer.weights.size))
    return counts


def _same_grid(name: str, found: Affine, expected: Affine) -> None:
    if np.float32(found.scale) != np.float32(expected.scale) or found.zero_point != expected.zero_point:
        raise ExportError(f"{name}: scale {found.scale:.9g}, zero point {found.zero_point} in the file, but "
                          f"{expected.scale:.9g}, {expected.zero_point} by the trained range", HINT)


def _same_weights(name: str, found: NDArray[np.int8], scale: NDArray | float, trained: NDArray,
                  expected_scale: NDArray | float) -> None:
    used = np.any(trained != 0, axis=-1) if np.ndim(scale) else np.any(trained != 0)
    if np.any((np.float32(scale) != np.float32(expected_scale)) & used):
        raise ExportError(f"{name}: scale differs from max|w| / 127", HINT)
    column = np.reshape(expected_scale, (-1, 1)) if np.ndim(scale) else expected_scale
    wrong = int(np.sum(found != quantize_weights(trained, column)))
    if wrong:
        raise ExportError(f"{name}: {wrong} of {found.size} weights are not round(w / scale)", HINT)
    lost = int(np.sum((trained == 0) & (found != 0)))
    if lost:
        raise ExportError(f"{name}: {lost} pruned zeros are not zero in the file", HINT)


def _same_bias(name: str, found: NDArray[np.int32], trained: NDArray, scale: NDArray | float) -> None:
    exact = np.asarray(trained, np.float64) / np.asarray(scale, np.float64)
    # The float32 rounding of the product of two scales moves large biases by a few parts in 2^24.
    slack = 0.51 + np.abs(exact) * 2.0**-22
    if np.any(np.abs(found - exact) > slack):
        raise ExportError(f"{name}: bias is not round(b / (input scale * weight scale))",
                          "a bias far larger than its weights overflows int32; " + HINT)


def _lstm(layer: LstmLayer, trained: LayerWeights, ranges: Mapping[str, tuple[float, float]]) -> Affine:
    hidden = asymmetric(*ranges[f"{trained.name}.h"], f"{trained.name}.h")
    _same_grid(f"{trained.name}.h", layer.h, hidden)
    cell = cell_scale(*ranges[f"{trained.name}.c"], f"{trained.name}.c")
    _same_grid(f"{trained.name}.c", Affine(layer.cell_scale), Affine(cell))
    parts = {name: np.split(np.asarray(trained.arrays[name], np.float32), 4, axis=-1)
             for name in ("kernel", "recurrent_kernel", "bias")}
    for number, (gate, letter) in enumerate(zip(layer.gates, "ifgo", strict=True)):
        for part, found, scale in (("kernel", gate.kernel, gate.kernel_scale),
                                   ("recurrent_kernel", gate.recurrent, gate.recurrent_scale)):
            matrix = parts[part][number]
            _same_weights(f"{trained.name}.{part}_{letter}", found, scale, matrix.T, float(weight_scale(matrix)))
        _same_bias(f"{trained.name}.bias_{letter}", gate.bias, parts["bias"][number],
                   layer.x.scale * gate.kernel_scale)
    return hidden


def _dense(layer: DenseLayer, trained: LayerWeights, ranges: Mapping[str, tuple[float, float]]) -> Affine:
    out = asymmetric(*ranges[f"{trained.name}.out"], f"{trained.name}.out")
    _same_grid(f"{trained.name}.out", layer.y, out)
    kernel = np.asarray(trained.arrays["kernel"], np.float32)
    _same_weights(f"{trained.name}.kernel", layer.weights, layer.scales, kernel.T, weight_scale(kernel, axis=0))
    _same_bias(f"{trained.name}.bias", layer.bias, trained.arrays["bias"],
               layer.x.scale * layer.scales.astype(np.float64))
    return out


def _hidden_scales(data: bytes, network: Network) -> None:
    """The state, the output and the fifth intermediate of an LSTM must share one grid."""
    from tinyse.export.network import tensor_infos, unpack

    tree = unpack(data)
    infos = tensor_infos(tree)
    for op, layer in zip(tree.subgraphs[0].operators, network.layers, strict=True):
        if isinstance(layer, LstmLayer):
            for role, index in (("output", op.outputs[0]), ("effective hidden scale", op.intermediates[4])):
                info = infos[int(index)]
                _same_grid(f"{layer.name} {role}", Affine(info.scales[0], info.zero_point), layer.h)
