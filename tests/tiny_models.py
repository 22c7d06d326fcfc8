"""Small models shared by the engine and enhance tests; made once a session."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tinyse.export.writer import write
from tinyse.graph.floating import calibrate
from tinyse.graph.model import Model, tinylstm
from tinyse.sound import Ends

BANDS = 128


@lru_cache(maxsize=1)
def tiny_tflite() -> bytes:
    """Two LSTM-16 and a sigmoid layer as a streaming int8 file: states persist between invocations."""
    model = _drawn(3, (16, 16), ())
    frames = np.random.default_rng(0).uniform(0, 4, (30, BANDS)).astype(np.float32)
    return write(model.plan(calibrate(model, frames)).graphs[0])


@lru_cache(maxsize=1)
def float_tflite() -> bytes:
    """A float model that TFLM would run, but that is not an export."""
    from tinyse.train.keras import tf, tf_keras

    frame = tf_keras.Input((1, BANDS), batch_size=1)
    model = tf_keras.Model(frame, tf_keras.layers.Dense(BANDS)(frame))
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def tiny_trained() -> Model:
    """LSTM-16, FC-8 ReLU, FC-128 sigmoid with random weights."""
    return _drawn(5, (16,), (8,))


def _drawn(seed: int, lstm: tuple[int, ...], dense: tuple[int, ...]) -> Model:
    rng, net = np.random.default_rng(seed), tinylstm(BANDS, lstm, dense, BANDS)
    arrays = {name: (rng.normal(size=array.shape) / np.sqrt(array.shape[0])).astype(np.float32)
              for name, array in net.arrays.items()}
    return Model(net, arrays, Ends())
