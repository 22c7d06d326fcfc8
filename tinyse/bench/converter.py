"""TensorFlow's own way from a Keras model to an int8 .tflite, which ``tinyse export`` goes without."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from tinyse.core.capture import quiet_stderr
from tinyse.core.errors import ExportError


@contextlib.contextmanager
def converting() -> Iterator[None]:
    """Hold back the converter's chatter and warnings; its failures become one line."""
    from tensorflow.lite.python.convert import ConverterError

    try:
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ConverterError, RuntimeError, ValueError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(f"TensorFlow's converter: {first}", "see tinyse doctor for the tested versions") from error


def int8_converter(network: Any, frames: Callable[[], Iterator[Any]]) -> Any:
    """TensorFlow's converter of a tf_keras model to int8 alone, inputs and outputs too; ``frames`` calibrate it."""
    from tinyse.train.keras import tf

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = frames
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter
