"""Magnitude pruning of a finished int8 .tflite, in the integer domain, without retraining: the papers' baseline.

::

    pruned = prune_offline(Path("model_int8.tflite").read_bytes(), 0.9, Structure.WEIGHT)
    pruned.data         # the file with more zero bytes: every scale, shape and surviving integer as before

Groups and norms are those of training (``tinyse.groups``); the weakest of every layer go, so that each layer reaches
the same share of zeros (units: the same share of units goes from every layer). Zeros that are in the file count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.cluster import cluster_integers
from tinyse.core.errors import ModelError, RecipeError
from tinyse.export.network import DenseLayer, LstmLayer, Network, parse
from tinyse.export.structure import schema
from tinyse.groups import DEFAULT_BLOCK, Groups, Structure, array_scales, is_matrix, masks, sparsity, structure_groups

Keep = list[NDArray[np.bool_]]


@dataclass(frozen=True)
class Pruned:
    """A pruned file: its bytes, the share of zeros of every matrix by name, and over all ``weights`` of them."""

    data: bytes
    zeros: Mapping[str, float]
    sparsity: float
    weights: int


def prune_offline(data: bytes, target: float, structure: Structure | str = Structure.WEIGHT,
                  block: tuple[int, int] = DEFAULT_BLOCK, name: str = "model", values: int = 0) -> Pruned:
    """Zero the groups of least norm in a streaming int8 file.

    Args:
        data: an exported model_int8.tflite. target: share of zeros over all weights, 0..0.999.
        structure: what is zeroed as a whole. block: inputs and outputs of a tile.
        name: opens error messages. values: non-zero values that a weight tensor may hold; 0 for any (tinyse.cluster).

    Raises:
        ModelError: ``data`` is no streaming int8 network.
        RecipeError: ``target``, ``block`` or ``values`` is out of range.
    """
    if not 0.0 <= target <= 0.999:
        raise RecipeError(f"sparsity: {target!r} is out of range", "0 to 0.999")
    if min(block) < 1:
        raise RecipeError(f"block: {list(block)} is out of range", "whole numbers from 1 on")
    if values % 2 or not 0 <= values <= 32:
        raise RecipeError(f"clusters: {values!r} is out of range", "an even number up to 32; half are negative")
    network = parse(data, name)
    arrays = _real_arrays(network)
    groups = structure_groups({key: array.shape for key, array in arrays.items()}, Structure(structure), block)
    scales = array_scales(arrays)
    norms = [part.norms(arrays, scales) for part in groups]
    kept = _units(groups, norms, arrays, target) if structure == Structure.UNIT else [
        _weakest(part, n, target) for part, n in zip(groups, norms, strict=True)]
    found = masks(groups, kept)
    written = _patched(data, network, found, values // 2)
    pruned = _real_arrays(parse(written, name))
    matrices = {key: array for key, array in pruned.items() if is_matrix(key)}
    return Pruned(written, {key: float(np.mean(a == 0)) for key, a in matrices.items()},
                  sparsity(pruned), sum(a.size for a in matrices.values()))


def _real_arrays(network: Network) -> dict[str, NDArray[np.float32]]:
    """Weights and biases in real units, in Keras' layout."""
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


def _weakest(part: Groups, norms: NDArray[np.float64], target: float) -> NDArray[np.bool_]:
    """Keep all but the fewest weakest groups that make ``target`` of the layer's weights zero."""
    sizes = part.sizes()
    order = np.argsort(norms, kind="stable")
    gone = int(np.searchsorted(np.cumsum(sizes[order]), target * sizes.sum() - 1e-6)) + 1 if target > 0 else 0
    kept = np.ones(part.count, bool)
    kept[order[:gone]] = False
    return kept | part.strongest(norms)


def _units(groups: list[Groups], norms: list[NDArray[np.float64]], arrays: dict[str, NDArray[np.float32]],
           target: float) -> Keep:
    """The least share of every layer's units, weakest first, that makes ``target`` of all weights zero."""
    ranks = []
    for n in norms:
        rank = np.empty(n.size)
        rank[np.argsort(n, kind="stable")] = (np.arange(n.size) + 1.0) / n.size
        ranks.append(rank)

    def kept(share: float) -> Keep:
        return [(rank > share) | part.strongest(n) for part, n, rank in zip(groups, norms, ranks, strict=True)]

    steps = np.unique(np.concatenate([[0.0], *ranks]))
    low, high = 0, steps.size - 1
    while low < high:
        middle = (low + high) // 2
        found = masks(groups, kept(float(steps[middle])))
        zeros = sparsity({key: array * found.get(key, np.float32(1)) for key, array in arrays.items()})
        low, high = (low, middle) if zeros >= target else (middle + 1, high)
    return kept(float(steps[low]))


def _patched(data: bytes, network: Network, found: Mapping[str, NDArray[np.float32]], levels: int) -> bytes:
    """``data`` with the masks multiplied into its weight and bias buffers, what remains of weights on few levels."""
    model = schema().Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    out, patched = bytearray(data), dict[int, bytes]()

    def write(tensor: int, values: NDArray[Any]) -> None:
        index = graph.Tensors(tensor).Buffer()
        buffer, new = model.Buffers(index), np.ascontiguousarray(values).tobytes()
        start = buffer._tab.Vector(buffer._tab.Offset(4))
        if patched.setdefault(index, new) != new:
            raise ModelError("two weight tensors share one buffer", "export the model again")
        out[start:start + len(new)] = new

    for number, layer in enumerate(network.layers):
        inputs = graph.Operators(number).InputsAsNumpy()

        def mask(array: str, gate: int = 0, gates: int = 1, name: str = layer.name) -> Any:
            whole = found.get(f"{name}/{array}")
            return 1 if whole is None else np.split(whole, gates, axis=-1)[gate].T.astype(np.int8)

        def few(weights: NDArray[np.int8]) -> NDArray[np.int8]:
            return cluster_integers(weights, levels) if levels else weights

        if isinstance(layer, LstmLayer):
            for gate, weights in enumerate(layer.gates):
                write(int(inputs[1 + gate]), few(weights.kernel * mask("kernel", gate, 4)))
                write(int(inputs[5 + gate]), few(weights.recurrent * mask("recurrent_kernel", gate, 4)))
                write(int(inputs[12 + gate]), weights.bias * mask("bias", gate, 4))
        elif isinstance(layer, DenseLayer):
            write(int(inputs[1]), few(layer.weights * mask("kernel")))
            if len(inputs) > 2 and inputs[2] >= 0:
                write(int(inputs[2]), layer.bias * mask("bias"))
    return bytes(out)
