"""Networks of others' shapes, int8: what they cost on a device depends on the shape, little on the training.

Nothing here is trained and nothing enhances. Weights are random, of one seed, with the spread of trained ones: Vela
stores few large and many small values in fewer bytes than evenly spread ones. Biases are there and not zero, since the
converter drops zeros. Quantization is the converter's own after training, on frames in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from tinyse.export.flatfile import operator_names, unpack

Real = NDArray[np.float32]
Weights = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]
Frames = list[dict[str, Real]]

SEED = 2018
FRAMES = 64
"""Frames that the ranges of activations are found on."""
LIMIT = 0.499
"""RNNoise's training keeps every weight within this."""
BANDS, FEATURES = 22, 42
VAD, NOISE, DENOISE, FIRST = 24, 48, 96, 24
BLOCK, BASIS, UNITS = 512, 256, 128


@dataclass(frozen=True)
class Shape:
    """A network of another project's shape.

    Attributes:
        name: in tables.
        about: what was built, in one sentence.
        frames_per_second: how often it runs.
        build: its int8 .tflite files, bytes; all of them run every frame.
    """

    name: str
    about: str
    frames_per_second: float
    build: Callable[[], tuple[bytes, ...]]


def laplace(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Laplace-distributed [inputs, outputs] of variance 1 / inputs, as trained weights are spread."""
    return rng.laplace(0.0, np.sqrt(0.5 / shape[0]), shape)


def uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Evenly spread over what RNNoise's training allows: the most bytes after Vela."""
    return rng.uniform(-LIMIT, LIMIT, shape)


def rnnoise(weights: Weights = laplace) -> tuple[bytes, ...]:
    """RNNoise of 2018 as Arm's port has it: one step, the three GRUs' states as inputs and outputs.

    42 features; dense 24, tanh; GRU 24 with a dense 1 for voice activity; GRU 48 (ReLU) on the dense layer, the first
    GRU and the features; GRU 96 on both GRUs and the features; dense 22, sigmoid.

    Raises:
        ExportError: TensorFlow's converter fails.
    """
    from tinyse.train.keras import tf, tf_keras

    layers = tf_keras.layers
    features = tf_keras.Input(batch_shape=(1, 1, FEATURES), name="features")
    units = {"vad": VAD, "noise": NOISE, "denoise": DENOISE}
    states = {name: tf_keras.Input(batch_shape=(1, size), name=f"{name}_state") for name, size in units.items()}

    def gru(name: str, inputs: Any, activation: str = "tanh") -> Any:
        # Unrolled: TFLite has no GRU, one step of it is products, gates and sums.
        layer = layers.GRU(units[name], activation=activation, return_sequences=True, unroll=True, name=name)
        return layer(inputs, initial_state=states[name])

    first = layers.Dense(FIRST, activation="tanh", name="first")(features)
    vad = gru("vad", first)
    noise = gru("noise", layers.Concatenate(name="to_noise")([first, vad, features]), "relu")
    denoise = gru("denoise", layers.Concatenate(name="to_denoise")([vad, noise, features]))
    gains = layers.Dense(BANDS, activation="sigmoid", name="gains")(denoise)
    voice = layers.Dense(1, activation="sigmoid", name="voice")(vad)
    model = tf_keras.Model([features, *states.values()], [gains, voice, vad, noise, denoise], name="rnnoise")
    rng = _randomize(model, weights)

    step, frames = tf.function(model), []
    now = {f"{name}_state": np.zeros((1, size), np.float32) for name, size in units.items()}
    for _ in range(FRAMES):
        frame = {"features": rng.standard_normal((1, 1, FEATURES)).astype(np.float32), **now}
        frames.append(frame)
        after = step(list(frame.values()))[2:]
        now = {name: np.asarray(state)[:, 0] for name, state in zip(now, after, strict=True)}
    return (_int8(model, frames),)


def dtln(weights: Weights = laplace) -> tuple[bytes, ...]:
    """DTLN's two stages, each two LSTMs of 128 and a sigmoid mask; states persist in the file.

    257 magnitudes to a mask on them; 512 samples to a learned basis of 256, its layer norm, LSTMs, a mask on the
    basis, and back to 512 samples.

    Raises:
        ExportError: TensorFlow's converter fails.
    """
    from tinyse.train.keras import tf_keras

    layers = tf_keras.layers

    def mask(inputs: Any, size: int) -> Any:
        hidden = inputs
        for number in range(2):
            hidden = layers.LSTM(UNITS, return_sequences=True, name=f"lstm_{number}")(hidden)
        return layers.Dense(size, activation="sigmoid", name="mask")(hidden)

    bins = BLOCK // 2 + 1
    magnitudes = tf_keras.Input(batch_shape=(1, 1, bins), name="features")
    first = tf_keras.Model(magnitudes, mask(magnitudes, bins), name="dtln_1")
    samples = tf_keras.Input(batch_shape=(1, 1, BLOCK), name="features")
    basis = layers.Dense(BASIS, name="encoder")(samples)
    masked = layers.Multiply(name="masked")([basis, mask(layers.LayerNormalization(name="norm")(basis), BASIS)])
    second = tf_keras.Model(samples, layers.Dense(BLOCK, name="decoder")(masked), name="dtln_2")
    files = []
    for model, size in ((first, bins), (second, BLOCK)):
        rng = _randomize(model, weights)
        noise = rng.standard_normal((FRAMES, 1, 1, size)).astype(np.float32)
        files.append(_int8(model, [{"features": np.abs(frame) if model is first else frame} for frame in noise]))
    return tuple(files)


SHAPES = (
    Shape("DTLN-shaped", "two files, 2 x LSTM128 each, hops of 128 at 16 kHz", 125.0, dtln),
    Shape("RNNoise-shaped, Laplace", "three GRUs, hops of 480 at 48 kHz, Laplace-distributed weights", 100.0, rnnoise),
    Shape("RNNoise-shaped, uniform", f"the same, weights spread evenly within {LIMIT}", 100.0,
          lambda: rnnoise(uniform)),
)


def operators(data: bytes) -> tuple[str, ...]:
    """TFLite's names of a file's operators, in the order they run.

    Raises:
        ModelError: it is no TFLite file.
    """
    return operator_names(unpack(data))


def _randomize(model: Any, weights: Weights) -> np.random.Generator:
    """Matrices by ``weights``, biases small; the generator for what comes after."""
    rng = np.random.default_rng(SEED)
    for layer in model.layers:
        layer.set_weights([_drawn(rng, variable, weights) for variable in layer.weights])
    return rng


def _drawn(rng: np.random.Generator, variable: Any, weights: Weights) -> Real:
    shape, name = tuple(variable.shape), variable.name
    if "kernel" in name:
        return weights(rng, shape).astype(np.float32)
    return (0.1 * rng.standard_normal(shape) + ("gamma" in name)).astype(np.float32)


def _int8(model: Any, frames: Frames) -> bytes:
    from tinyse.bench.converter import converting, int8_converter

    with converting():
        tree = unpack(bytes(int8_converter(model, lambda: iter(frames)).convert()))
    return _packed(tree)


def _packed(tree: Any) -> bytes:
    """The file without what no tensor uses: initial values of states, there in some conversions and not in others."""
    used = {tensor.buffer for tensor in tree.subgraphs[0].tensors} | {entry.buffer for entry in tree.metadata or ()}
    for index, buffer in enumerate(tree.buffers):
        if index not in used:
            buffer.data = None
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
