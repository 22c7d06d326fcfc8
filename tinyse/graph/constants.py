"""The constants of a Graph as arrays with named axes, in real units and Keras' layout, by "tensor/array"; and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.graph import ops
from tinyse.graph.graph import Graph
from tinyse.graph.layers import Array
from tinyse.graph.tensor import Gate

Real = NDArray[np.float32]
Int8 = NDArray[np.int8]
AXES: dict[type[ops.Op], tuple[str, ...]] = {
    ops.MatMul: ("in", "unit"), ops.Conv: ("kt", "kf", "in", "unit"), ops.Depthwise: ("kt", "kf", "unit")}


def arrays_of(graph: Graph) -> tuple[dict[str, Array], dict[str, Real]]:
    """What every array is, and its values; ``lower`` makes the same integers of them."""
    shapes: dict[str, Array] = {}
    values: dict[str, Real] = {}
    for op in graph.ops:
        for array, integers, step in constants(op):
            shapes[f"{op.out.name}/{array.name}"] = array
            values[f"{op.out.name}/{array.name}"] = np.asarray(integers * step, np.float32)
    return shapes, values


def constants(op: ops.Op) -> list[tuple[Array, NDArray[Any], Any]]:
    """An operator's arrays: what each is, its integers in Keras' layout, and the real value of a step."""
    if isinstance(op, ops.Lstm):
        steps, again = (np.repeat(np.asarray(scales, np.float32), op.units) for scales in (
            [gate.kernel_scale for gate in op.gates], [gate.recurrent_scale for gate in op.gates]))
        made: list[tuple[Array, NDArray[Any], Any]] = []
        for name, parts, first, step in (
                ("kernel", [gate.kernel.T for gate in op.gates], ("in",), steps),
                ("recurrent_kernel", [gate.recurrent.T for gate in op.gates], ("unit",), again),
                ("bias", [gate.bias for gate in op.gates], (), op.x.grid.scale * steps.astype(np.float64))):
            value = np.concatenate(parts, axis=-1)
            array = Array(name, (*first, "gate", "unit"), (*value.shape[:-1], 4, op.units),
                          ("gate",) if first else None, shape=value.shape)
            made.append((array, value, step))
        return made
    if isinstance(op, ops.Prelu):
        return [(Array("alpha", ("unit",), op.alpha.shape, ()), op.alpha, np.float32(op.alpha_scale))]
    if not isinstance(op, ops.MatMul | ops.Conv):
        return []
    kernel, bias, scales = _keras(op, op.weights.values), op.weights.bias, op.weights.scales
    return [(Array("kernel", AXES[type(op)], kernel.shape, ("unit",)), kernel, scales),
            (Array("bias", ("unit",), bias.shape), bias, op.x.grid.scale * scales.astype(np.float64))]


def _keras(op: ops.Op, values: NDArray[Any]) -> NDArray[Any]:
    return values if isinstance(op, ops.Depthwise) else np.moveaxis(values, 0, -1)


def _stored(op: ops.Op, values: NDArray[Any]) -> NDArray[Any]:
    return values if isinstance(op, ops.Depthwise) else np.moveaxis(values, -1, 0)


def masked(graph: Graph, masks: Mapping[str, Real], then: Callable[[Int8], Int8]) -> Graph:
    """The graph with zeros where a mask has them, every scale and all else as it was.

    Args:
        masks: zeros and ones by "tensor/array". then: what becomes of the remaining int8 weights of a tensor.
    """
    return replace(graph, ops=tuple(_masked(op, masks, then) for op in graph.ops))


def _masked(op: ops.Op, masks: Mapping[str, Real], then: Callable[[Int8], Int8]) -> ops.Op:
    def mask(array: str) -> NDArray[Any]:
        whole = masks.get(f"{op.out.name}/{array}")
        return np.ones((), np.int8) if whole is None else whole.astype(np.int8)

    if isinstance(op, ops.Lstm):
        def gate(array: str, number: int) -> NDArray[Any]:
            whole = mask(array)
            return np.split(whole, 4, axis=-1)[number].T if whole.ndim else whole

        gates: Any = tuple(
            Gate(then(g.kernel * gate("kernel", n)), g.kernel_scale, then(g.recurrent * gate("recurrent_kernel", n)),
                 g.recurrent_scale, g.bias * gate("bias", n)) for n, g in enumerate(op.gates))
        return replace(op, gates=gates)
    if isinstance(op, ops.Prelu):
        return replace(op, alpha=op.alpha * mask("alpha"))
    if not isinstance(op, ops.MatMul | ops.Conv):
        return op
    kernel = mask("kernel")
    values = op.weights.values * (_stored(op, kernel) if kernel.ndim else kernel)
    made = replace(op.weights, values=np.ascontiguousarray(then(values)), bias=op.weights.bias * mask("bias"))
    return replace(op, weights=made)
