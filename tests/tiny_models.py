"""Small models shared by the engine and enhance tests; made once a session."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tinyse.model import LayerWeights, TrainedModel
from tinyse.sound import Ends

BANDS = 128


@lru_cache(maxsize=1)
def tiny_tflite() -> bytes:
    """Two LSTM-16 and a sigmoid layer as a streaming int8 file: states persist between invocations."""
    from tinyse.train.keras import tf, tf_keras

    tf_keras.utils.set_random_seed(3)
    frame = tf_keras.Input((1, BANDS), batch_size=1)
    hidden = tf_keras.layers.LSTM(16, return_sequences=True)(frame)
    hidden = tf_keras.layers.LSTM(16, return_sequences=True)(hidden)
    mask = tf_keras.layers.Dense(BANDS, activation="sigmoid", kernel_initializer="random_normal")(hidden)
    converter = tf.lite.TFLiteConverter.from_keras_model(tf_keras.Model(frame, mask))
    frames = np.random.default_rng(0).uniform(0, 4, (30, 1, 1, BANDS)).astype(np.float32)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([frame] for frame in frames)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


@lru_cache(maxsize=1)
def float_tflite() -> bytes:
    """A float model that TFLM would run, but that is not an export."""
    from tinyse.train.keras import tf, tf_keras

    frame = tf_keras.Input((1, BANDS), batch_size=1)
    model = tf_keras.Model(frame, tf_keras.layers.Dense(BANDS)(frame))
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def tiny_trained() -> TrainedModel:
    """LSTM-16, FC-8 ReLU, FC-128 sigmoid with random weights."""
    rng = np.random.default_rng(5)

    def weights(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)

    lstm = {"kernel": weights(BANDS, 64), "recurrent_kernel": weights(16, 64), "bias": weights(64)}
    layers = (
        LayerWeights("lstm", "lstm_0", lstm),
        LayerWeights("dense", "dense_0", {"kernel": weights(16, 8), "bias": weights(8)}, "relu"),
        LayerWeights("dense", "dense_1", {"kernel": weights(8, BANDS), "bias": weights(BANDS)}, "sigmoid"),
    )
    return TrainedModel(layers, Ends())
