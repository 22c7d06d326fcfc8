"""An int8 file back in real units: what a released model, whose float weights nobody kept, is fine-tuned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinyse.export.network import DenseLayer, LstmLayer, Network, parse
from tinyse.export.quantization import Affine
from tinyse.model import LayerWeights, TrainedModel
from tinyse.sound import Ends


def dequantized(data: bytes, ends: Ends, name: str = "model") -> TrainedModel:
    """The weights and ranges of an int8 file; exporting them again gives the same integers.

    Args:
        data: an int8 .tflite that `tinyse export` wrote, not compiled by Vela.
        ends: what its features are.
        name: of the file, for errors.

    Raises:
        ExportError: not such a file.
    """
    network = parse(data, name)
    arrays, layers = real_arrays(network), []
    ranges = {"features": _range(network.features)}
    for layer in network.layers:
        own = {key.split("/")[1]: array for key, array in arrays.items() if key.startswith(f"{layer.name}/")}
        if isinstance(layer, LstmLayer):
            layers.append(LayerWeights("lstm", layer.name, own))
            peak = 32767 * layer.cell_scale
            ranges |= {f"{layer.name}.h": _range(layer.h), f"{layer.name}.c": (-peak, peak)}
        elif isinstance(layer, DenseLayer):
            layers.append(LayerWeights("dense", layer.name, own, "relu" if layer.relu else "sigmoid"))
            ranges[f"{layer.name}.out"] = _range(layer.y)
    return TrainedModel(tuple(layers), ends, ranges)


def floating(model: TrainedModel) -> TrainedModel:
    """The same weights without a grid for activations."""
    return replace(model, ranges=None)


def real_arrays(network: Network) -> dict[str, NDArray[np.float32]]:
    """Weights and biases in real units, in Keras' layout, by "layer/array"."""
    found: dict[str, NDArray[np.float32]] = {}
    for layer in network.layers:
        if isinstance(layer, LstmLayer):
            kernels = [gate.kernel.T * np.float32(gate.kernel_scale) for gate in layer.gates]
            recurrent = [gate.recurrent.T * np.float32(gate.recurrent_scale) for gate in layer.gates]
            biases = [gate.bias * (layer.x.scale * gate.kernel_scale) for gate in layer.gates]
            found[f"{layer.name}/kernel"] = np.concatenate(kernels, axis=1, dtype=np.float32)
            found[f"{layer.name}/recurrent_kernel"] = np.concatenate(recurrent, axis=1, dtype=np.float32)
            found[f"{layer.name}/bias"] = np.concatenate(biases, dtype=np.float32)
        elif isinstance(layer, DenseLayer):
            found[f"{layer.name}/kernel"] = layer.weights.T * layer.scales
            found[f"{layer.name}/bias"] = (layer.bias * layer.x.scale * layer.scales).astype(np.float32)
    return found


def _range(grid: Affine) -> tuple[float, float]:
    return (-128 - grid.zero_point) * grid.scale, (127 - grid.zero_point) * grid.scale
