"""The one door to TensorFlow: the legacy Keras stack, quiet, imported only when a command needs it.

TF-MOT and the converter's LSTM fusion need ``tf_keras`` (Keras 2), so the switch is set here, before
the first import of TensorFlow anywhere in tinyse.
"""

from __future__ import annotations

import os

from tinyse.core.capture import quiet_stderr

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

with quiet_stderr():  # the log level does not hold back what is written before absl starts
    import tensorflow as tf
    import tf_keras

tf.get_logger().setLevel("ERROR")
tf.config.experimental.enable_tensor_float_32_execution(False)  # a GPU's: sums of integers would not be exact

__all__ = ["tf", "tf_keras"]
