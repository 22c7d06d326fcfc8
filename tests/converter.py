"""TensorFlow's converter as the oracle of lowering: a TinyLSTM by its LSTM and FULLY_CONNECTED, every scale as trained.

The network becomes a batch-1, one-frame ``tf_keras`` model; TFLite's calibrator lays out the tensors, the learnt ranges
are written over the calibrated ones, and TFLite's quantizer makes the integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from tinyse.bench.converter import converting, int8_converter
from tinyse.bench.pace.exporting import keras_model
from tinyse.export.flatfile import schema, unpack
from tinyse.graph.floating import calibrate
from tinyse.graph.grid import quantize_weights, weight_scale
from tinyse.graph.model import Model

Ranges = Mapping[str, tuple[float, float]]


def to_int8(model: Model, calibration: NDArray | None = None) -> bytes:
    """The converter's streaming int8 flatbuffer of a TinyLSTM; ``calibration`` frames where it has no ranges."""
    ranges = calibrate(model, calibration) if model.ranges is None else model.ranges
    return _quantize(_with_ranges(_calibrated(model), model, ranges))


def on_grid(weights: NDArray, scale: NDArray | float) -> NDArray[np.float32]:
    """The float32 weights that the integers stand for; those at +-127 keep every bit.

    The converter derives its scale from the largest weight, so that one must not move.
    """
    integers = quantize_weights(weights, scale)
    return np.where(np.abs(integers) == 127, weights, integers * np.asarray(scale, np.float64)).astype(np.float32)


def _gates(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([on_grid(gate, weight_scale(gate)) for gate in np.split(matrix, 4, axis=1)], axis=1)


def _calibrated(model: Model) -> Any:
    """The float flatbuffer with calibration results, as an object tree."""
    arrays = {name: _gates(array) if "kernel" in name and name.startswith("lstm")
              else on_grid(array, weight_scale(array, axis=0)) if "kernel" in name else array
              for name, array in model.arrays.items()}
    bands = model.ends.inputs

    def one_frame() -> Iterator[list[NDArray[np.float32]]]:
        yield [np.linspace(0.0, 1.0, bands, dtype=np.float32).reshape(1, 1, bands)]

    converter = int8_converter(keras_model(Model(model.net, arrays, model.ends)), one_frame)
    converter._experimental_calibrate_only = True
    with converting():
        return unpack(bytes(converter.convert()), "calibrated model")


def _with_ranges(tree: Any, model: Model, ranges: Ranges) -> bytes:
    """Write the ranges over the calibrated ones and give activations and weights readable names."""
    graph, nodes = tree.subgraphs[0], model.net.nodes[1:]

    def bound(index: int, name: str) -> None:
        low, high = ranges[name]
        # The quantizer stretches ranges to hold zero, but not that of the effective hidden scale.
        low, high = min(low, 0.0), max(high, 0.0)
        grid = graph.tensors[index].quantization
        if grid is None:
            grid = graph.tensors[index].quantization = schema().QuantizationParametersT()
        grid.min, grid.max = np.array([low], np.float32), np.array([high], np.float32)

    operators = graph.operators
    assert len(operators) == len(nodes) + 1, "the converter folds or splits layers"
    bound(graph.inputs[0], "features")
    graph.tensors[graph.inputs[0]].name = b"features"
    for op, node in zip(operators, nodes, strict=False):
        output = int(op.outputs[0])
        graph.tensors[output].name = node.name.encode()
        if node.layer.kind == "lstm":
            for index in (int(op.inputs[18]), int(op.intermediates[4]), output):
                bound(index, f"{node.name}.h")
            bound(int(op.inputs[19]), f"{node.name}.c")
        else:
            bound(output, f"{node.name}.out")
    graph.tensors[int(operators[-1].outputs[0])].name = b"mask"
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _quantize(calibrated: bytes) -> bytes:
    from tensorflow.lite.python.convert import mlir_quantize

    from tinyse.train.keras import tf

    with converting():
        return bytes(mlir_quantize(calibrated, input_data_type=tf.int8, output_data_type=tf.int8))
