"""A trained model to a streaming int8 .tflite whose every scale is the trained one.

``to_int8`` builds the network as a batch-1, one-frame ``tf_keras`` model, lets TFLite's calibrator lay out
the tensors, writes the learned ranges over the calibrated ones, and runs TFLite's quantizer. Then it reads the
file back and refuses it unless every scale, zero point and weight is what ``tinyse.export.quantization`` says
and every zero weight is a zero byte. LSTM states become variable tensors that persist between invocations, so
the one-frame model is a streaming one.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ExportError
from tinyse.core.capture import quiet_stderr
from tinyse.export.network import unpack
from tinyse.export.quantization import asymmetric, cell_scale, on_grid, weight_scale
from tinyse.export.structure import schema
from tinyse.model import LayerWeights, TrainedModel

Ranges = Mapping[str, tuple[float, float]]


def to_int8(model: TrainedModel, calibration: NDArray | None = None) -> bytes:
    """Convert to a streaming int8 flatbuffer.

    Args:
        model: LSTM layers, then dense layers, the last with a sigmoid.
        calibration: float32 [frames, bands] features in order; used only where ``model.ranges`` is None,
            to find the ranges of post-training quantization.

    Raises:
        ExportError: the layers are not of that form, a range is missing, or the produced file differs from
            what the ranges and weights demand; the message names the tensor.
    """
    from tinyse.export.verify import verify
    from tinyse.graph.floating import calibrate

    _check_layers(model)
    if model.ranges is None:
        if calibration is None or not len(calibration):
            raise ExportError("the model has no quantization ranges and there are no calibration frames",
                              "export a quantization-aware model, or keep the run's calibration.npy")
        ranges: Ranges = calibrate(model.model, calibration)
    else:
        ranges = model.ranges
    _check_ranges(model, ranges)
    data = _without_garbage(_quantize(_with_ranges(_calibrated(model), model, ranges)))
    verify(data, model, ranges)
    return data


@contextlib.contextmanager
def converting() -> Iterator[None]:
    """Hold back the converter's chatter and warnings; its failures become one line."""
    from tensorflow.lite.python.convert import ConverterError

    try:
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of statistics that this module overwrites anyway
            yield
    except (ConverterError, RuntimeError, ValueError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(f"TensorFlow's converter: {first}", "see tinyse doctor for the tested versions") from error


def _check_layers(model: TrainedModel) -> None:
    kinds = [layer.kind for layer in model.layers]
    dense = kinds.count("dense")
    if not dense or len(kinds) == dense or kinds != ["lstm"] * (len(kinds) - dense) + ["dense"] * dense:
        raise ExportError(f"layers {', '.join(kinds) or 'none'} cannot be exported",
                          "LSTM layers followed by dense layers can")
    if model.layers[-1].activation != "sigmoid" or any(
            layer.activation not in ("relu", "linear") for layer in model.layers[:-1]):
        raise ExportError("only the last dense layer may be, and must be, a sigmoid")
    width = model.layers[0].inputs
    for layer in model.layers:
        if layer.inputs != width:
            raise ExportError(f"{layer.name} takes {layer.inputs} values, but {width} arrive")
        if not all(np.isfinite(array).all() for array in layer.arrays.values()):
            raise ExportError(f"{layer.name} holds weights that are not finite", "train it again")
        width = layer.units


def _check_ranges(model: TrainedModel, ranges: Ranges) -> None:
    """Every range is there and makes a grid, before the slow part begins."""
    asymmetric(*_named_range(ranges, "features"), "features")
    for layer in model.layers:
        if layer.kind == "dense":
            asymmetric(*_named_range(ranges, f"{layer.name}.out"), f"{layer.name}.out")
        else:
            asymmetric(*_named_range(ranges, f"{layer.name}.h"), f"{layer.name}.h")
            cell_scale(*_named_range(ranges, f"{layer.name}.c"), f"{layer.name}.c")


def _keras_weights(layer: LayerWeights) -> list[NDArray[np.float32]]:
    """Arrays on the int8 grid, so that what the converter rounds is already whole."""
    kernel = np.asarray(layer.arrays["kernel"], np.float32)
    bias = np.asarray(layer.arrays["bias"], np.float32)
    if layer.kind == "dense":
        return [on_grid(kernel, weight_scale(kernel, axis=0)), bias]
    recurrent = np.asarray(layer.arrays["recurrent_kernel"], np.float32)

    def gates(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([on_grid(g, weight_scale(g)) for g in np.split(matrix, 4, axis=1)], axis=1)

    return [gates(kernel), gates(recurrent), bias]


def int8_converter(network: Any, frames: Callable[[], Iterator[Any]]) -> Any:
    """TensorFlow's converter of a tf_keras model to int8 alone, inputs and outputs too; ``frames`` calibrate it."""
    from tinyse.train.keras import tf

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = frames
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter


def _calibrated(model: TrainedModel) -> Any:
    """The float flatbuffer with calibration results, as an object tree."""
    with quiet_stderr():  # TensorFlow greets on import
        from tinyse.train.keras import tf_keras

    bands = model.layers[0].inputs
    tensor = source = tf_keras.Input(batch_shape=(1, 1, bands), name="features")
    for layer in model.layers:
        if layer.kind == "lstm":
            made = tf_keras.layers.LSTM(layer.units, return_sequences=True, name=layer.name)
        else:
            made = tf_keras.layers.Dense(layer.units, activation=layer.activation, name=layer.name)
        tensor = made(tensor)
        made.set_weights(_keras_weights(layer))

    def one_frame() -> Iterator[list[NDArray[np.float32]]]:
        yield [np.linspace(0.0, 1.0, bands, dtype=np.float32).reshape(1, 1, bands)]

    converter = int8_converter(tf_keras.Model(source, tensor, name="tinyse"), one_frame)
    converter._experimental_calibrate_only = True
    with converting():
        return unpack(bytes(converter.convert()), "calibrated model")


def _named_range(ranges: Ranges, name: str) -> tuple[float, float]:
    try:
        low, high = ranges[name]
    except KeyError:
        raise ExportError(f"the model has no range for {name}", "train it quantization-aware again") from None
    return float(low), float(high)


def _with_ranges(tree: Any, model: TrainedModel, ranges: Ranges) -> bytes:
    """Write the ranges over the calibrated ones and give activations and weights readable names."""
    graph = tree.subgraphs[0]

    def bound(index: int, name: str) -> None:
        low, high = _named_range(ranges, name)
        # The quantizer stretches ranges to hold zero, but not that of the effective hidden scale.
        low, high = min(low, 0.0), max(high, 0.0)
        grid = graph.tensors[index].quantization
        if grid is None:
            grid = graph.tensors[index].quantization = schema().QuantizationParametersT()
        grid.min, grid.max = np.array([low], np.float32), np.array([high], np.float32)

    operators = graph.operators
    if len(operators) != len(model.layers) + 1:
        raise ExportError(f"the converter made {len(operators)} operators of {len(model.layers)} layers",
                          "the installed TensorFlow folds or splits layers; see tinyse doctor")
    bound(graph.inputs[0], "features")
    graph.tensors[graph.inputs[0]].name = b"features"
    for op, layer in zip(operators, model.layers, strict=False):
        output = int(op.outputs[0])
        graph.tensors[output].name = layer.name.encode()
        if layer.kind == "lstm":
            for index in (int(op.inputs[18]), int(op.intermediates[4]), output):
                bound(index, f"{layer.name}.h")
            bound(int(op.inputs[19]), f"{layer.name}.c")
            for slot, role in (*enumerate("ifgo", 1), *enumerate("ifgo", 5)):
                part = "kernel" if slot < 5 else "recurrent"
                graph.tensors[int(op.inputs[slot])].name = f"{layer.name}.{part}_{role}".encode()
        else:
            bound(output, f"{layer.name}.out")
            graph.tensors[int(op.inputs[1])].name = f"{layer.name}.kernel".encode()
    graph.tensors[int(operators[-1].outputs[0])].name = b"mask"
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _quantize(calibrated: bytes) -> bytes:
    from tensorflow.lite.python.convert import mlir_quantize

    from tinyse.train.keras import tf

    with converting():
        return bytes(mlir_quantize(calibrated, input_data_type=tf.int8, output_data_type=tf.int8))


def _without_garbage(data: bytes) -> bytes:
    """Zero the buffers that no tensor uses.

    The quantizer leaves uninitialised memory there where the LSTM states' initial values were; the same model
    must give the same bytes.
    """
    patched = bytearray(data)
    raw = schema().Model.GetRootAsModel(data, 0)
    graph = raw.Subgraphs(0)
    used = {graph.Tensors(index).Buffer() for index in range(graph.TensorsLength())}
    used |= {raw.Metadata(index).Buffer() for index in range(raw.MetadataLength())}
    for index in set(range(raw.BuffersLength())) - used:
        buffer = raw.Buffers(index)
        if length := buffer.DataLength():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            patched[start:start + length] = bytes(length)
    return bytes(patched)
