"""Ways to train: tinyse, mixing on the fly, and plain tf_keras ``model.fit`` on arrays mixed beforehand.

All see one shape: the quick recipe's batch and frames, 128 features, a network of the same size. The plain ones
have less to do a step: nothing to mix, and a mean squared error on masks.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tinyse.bench.pace.race import Lap, Run
from tinyse.core.errors import ToolError

STEPS = 6
"""Steps a round; what a step of tinyse costs includes the mixing of one batch."""


BANDS, CHANNELS, FIRST, WIDE, NARROW = 32, 32, 16, 32, 2
"""Of the sub-band network: sub-bands, their channels, those of the first convolution, units of the one GRU over all
bands, and channels a band that go into it and come out of it."""


def net(kind: str) -> Any:
    """The default network, with "lstm"; with "gru", tf_keras' kind, in its place; GRUs over time, "subband", of one
    set of weights for all sub-bands, between convolutions over frequency."""
    from tinyse.families import load
    from tinyse.graph.build import Build
    from tinyse.sound import Ends

    if kind == "lstm":
        return load("tinylstm").net({}, Ends())
    if kind == "gru":
        b = Build((1, 1, 128))
        x = b.gru(b.gru(b.x, 256), 256)
        return b.done(mask=b.dense(b.dense(x, 128, "relu"), 128, "sigmoid"))
    b = Build((1, 128, 1))
    first = b.conv(b.x, FIRST, (1, 5), (1, 2), "relu")
    h = b.gru(b.conv(first, CHANNELS, (1, 5), (1, 2), "tanh"), CHANNELS)
    wide = b.gru(b.reshape(b.dense(h, NARROW, "tanh"), (1, 1, 0)), WIDE)
    wide = b.reshape(b.dense(wide, NARROW * BANDS, "tanh"), (1, BANDS, NARROW))
    x = b.dense(b.depthwise(b.join("concat", h, wide), (1, 9)), CHANNELS, "tanh")
    x = b.dense(b.depthwise(b.gru(x, CHANNELS), (1, 9)), CHANNELS, "relu")
    up = b.join("add", b.upsample(x, FIRST, (1, 2), (1, 3), "relu"), first)
    return b.done(mask=b.upsample(up, 1, (1, 2), (1, 3), "sigmoid"))


def keras_subband(frames: int) -> Any:
    """``net("subband")`` of tf_keras' layers; six taps of a transposed convolution are three to twice the channels."""
    from tinyse.train.keras import tf, tf_keras

    make = tf_keras.layers

    def bands_gru(x: Any) -> Any:
        rows = make.Lambda(lambda x: tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (-1, frames, CHANNELS)))(x)
        h = make.GRU(CHANNELS, return_sequences=True)(rows)
        return make.Permute((2, 1, 3))(make.Lambda(lambda h: tf.reshape(h, (-1, BANDS, frames, CHANNELS)))(h))

    def conv(layer: Any, taps: int, units: int, activation: str) -> Any:
        return layer(units, (1, taps), (1, 2), padding="same", activation=activation)

    given = tf_keras.Input((frames, 128))
    first = conv(make.Conv2D, 5, FIRST, "relu")(make.Reshape((frames, 128, 1))(given))
    h = bands_gru(conv(make.Conv2D, 5, CHANNELS, "tanh")(first))
    wide = make.Reshape((frames, BANDS * NARROW))(make.Dense(NARROW, activation="tanh")(h))
    wide = make.Dense(BANDS * NARROW, activation="tanh")(make.GRU(WIDE, return_sequences=True)(wide))
    x = make.Concatenate()([h, make.Reshape((frames, BANDS, NARROW))(wide)])
    x = make.Dense(CHANNELS, activation="tanh")(make.DepthwiseConv2D((1, 9), padding="same")(x))
    x = make.Dense(CHANNELS, activation="relu")(make.DepthwiseConv2D((1, 9), padding="same")(bands_gru(x)))
    up = make.Add()([conv(make.Conv2DTranspose, 6, FIRST, "relu")(x), first])
    mask = conv(make.Conv2DTranspose, 6, 1, "sigmoid")(up)
    return tf_keras.Model(given, make.Reshape((frames, 128))(mask))


def ours(folder: Path, quantized: bool, kind: str = "lstm", steps: int = STEPS) -> Run:
    """tinyse's own step, compiled as in every phase of 100 steps or more.

    Args:
        folder: an empty one, for a synthetic corpus; it must outlive what is returned.
        quantized: on the integer grids, there with GRUs' states of 16 bits. kind: as ``net`` has it.
        steps: timed a round, after one that is not.
    """
    from tinyse.train.lanes import Lanes, use_lanes

    use_lanes(net(kind), compiled=True)
    from tinyse.sound import Ends
    from tinyse.sound.corpus.synthetic import synthetic_corpus
    from tinyse.train.calibration import learn_ranges
    from tinyse.train.keras import tf_keras
    from tinyse.train.mixer import Mixer
    from tinyse.train.network import Network
    from tinyse.train.recipe import load_recipe

    mixing = load_recipe("quick").mixing
    mixer = Mixer(synthetic_corpus(folder, 1), mixing, Ends(), 1)
    network = Network(net(kind), 0.5, 0.4)
    if quantized:
        network.fold_normalizer()
        network.quantize(learn_ranges(network, mixer, 4, 0))
    optimizer = tf_keras.optimizers.Adam(1e-4)
    lanes = Lanes(network, mixer, "compressed", mixing.batch, compiled=True)
    weights = network.trainable_weights
    parameters = _weights(weights)
    step = 0

    def run() -> Lap:
        nonlocal step
        started = 0.0
        for number in range(steps + 1):
            if number == 1:  # by now the next batch is being mixed, as it is at the end
                started = time.perf_counter()
            _, gradients = lanes.gradient_step(step)
            optimizer.apply_gradients(zip(gradients, weights, strict=True))
            step += 1
        seconds = time.perf_counter() - started
        lanes.settle()
        return Lap(lanes.batch * mixer.frames * steps, seconds, parameters)

    return run


def _weights(variables: Any) -> int:
    """Elements of all matrices; tf_keras' GRU has biases that do nothing another does not do."""
    return sum(int(variable.shape.num_elements()) for variable in variables if "bias" not in variable.name)


def plain(quantized: bool, kind: str = "lstm", steps: int = STEPS) -> Run:
    """``model.fit`` on ``steps`` batches; with fake quantization where ``quantized``; ``kind`` as ``net`` has it."""
    import numpy as np

    from tinyse.sound import Ends
    from tinyse.train.keras import tf_keras
    from tinyse.train.recipe import load_recipe

    mixing = load_recipe("quick").mixing
    frames = int(mixing.seconds * Ends().frames_per_second) - 1
    rng = np.random.default_rng(0)
    x, y = (rng.random((mixing.batch * steps, frames, 128), np.float32) for _ in range(2))
    if quantized:
        from tinyse.bench.pace.fakequant import FakeQuantDense as Dense
        from tinyse.bench.pace.fakequant import FakeQuantLstm as Lstm

        layers: list[Any] = [Lstm(256), Lstm(256), Dense(128, "relu"), Dense(128, "sigmoid")]
    else:
        make = tf_keras.layers
        recurrent = make.GRU if kind == "gru" else make.LSTM
        layers = [recurrent(256, return_sequences=True), recurrent(256, return_sequences=True),
                  make.Dense(128, activation="relu"), make.Dense(128, activation="sigmoid")]
    model = keras_subband(frames) if kind == "subband" else tf_keras.Sequential(
        [tf_keras.Input((frames, 128)), *layers])
    model.compile("adam", "mse")

    def run() -> Lap:
        started = time.perf_counter()
        model.fit(x, y, batch_size=mixing.batch, verbose=0)
        return Lap(len(x) * frames, time.perf_counter() - started, _weights(model.trainable_weights))

    return run


def same_parameters(ours: int, plain: int) -> str:
    """Both networks are of one size.

    Raises:
        ToolError: they are not.
    """
    if ours != plain:
        raise ToolError(f"the two networks differ: {ours:,} and {plain:,} weights")
    return f"both have {ours:,} weights"
