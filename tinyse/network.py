"""TinyLSTMs' network in tf_keras: mel features -> LSTM x 2 -> FC ReLU -> FC sigmoid -> mel mask.

Papers: TinyLSTMs, section 3 (968,960 parameters at the default widths). One class serves training (sequences,
time-major, any batch) and streaming (one frame, explicit states); ``quantize`` puts it on the integer grids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.errors import ModelError
from tinyse.graph.fixedpoint import sigmoid8_table
from tinyse.graph.grid import MASK_SCALE, Grid, cell_power, nearest
from tinyse.keras import tf, tf_keras
from tinyse.train.layers.lstm import LstmGrids, Rescale, SequenceLSTM, product_gradient, ste, to_grid
from tinyse.model import LayerWeights, TrainedModel
from tinyse.sound import Ends

Ranges = Mapping[str, tuple[float, float]]
GATE_BIAS = 1.0
"""Where the bias of p~ starts (Skip RNN, section 4): p~ is 0.73, and above 1/2 every frame is an update."""


@dataclass(frozen=True)
class NetworkSpec:
    """Widths of the network.

    Attributes:
        bands: width of the feature and of the mask.
        lstm: units of each LSTM.
        dense: units of each hidden ReLU layer; the sigmoid layer of ``outputs`` units follows.
        skip: whether the last output is a Skip RNN's p~ (``tinyse.skip``).
    """

    bands: int = 128
    lstm: tuple[int, ...] = (256, 256)
    dense: tuple[int, ...] = (128,)
    skip: bool = False

    @property
    def outputs(self) -> int:
        """Width of the last layer: the bands, and p~ where there is one."""
        return self.bands + self.skip


class Dense(tf_keras.layers.Layer):
    """A fully connected layer on [..., in], in float or with int8 weights per output channel.

    Attributes:
        x: grid of the input, or None in float.
        out: grid of the output (after ReLU; before sigmoid), or None in float.
    """

    def __init__(self, units: int, activation: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation
        self.x: Grid | None = None
        self.out: Grid | None = None

    def build(self, input_shape: Any) -> None:
        """Make kernel [in, units] and bias [units]."""
        self.kernel = self.add_weight("kernel", (input_shape[-1], self.units), initializer="glorot_uniform")
        self.bias = self.add_weight("bias", (self.units,), initializer="zeros")
        self.built = True

    def get_prunable_weights(self) -> list[Any]:
        """The matrix that TF-MOT may prune."""
        return [self.kernel]

    def call(self, x: Any) -> Any:
        """x [rows, in] -> [rows, units]; the sigmoid layer gives logits."""
        if self.x is None or self.out is None:
            y = tf.matmul(x, self.kernel) + self.bias
            return tf.nn.relu(y) if self.activation == "relu" else y
        scale = tf.stop_gradient(tf.maximum(tf.reduce_max(tf.abs(self.kernel), axis=0), 1e-8)) / 127.0
        kernel = ste(tf.round(self.kernel / scale) * scale, self.kernel)
        unit = scale * self.x.scale
        counts = tf.matmul(tf.round(x / self.x.scale), tf.round(kernel / scale)) + tf.round(self.bias / unit)
        relu = self.activation == "relu"
        low = -128.0 - self.out.zero_point if not relu else max(-128.0 - self.out.zero_point, 0.0)
        steps = tf.clip_by_value(Rescale.of(unit / self.out.scale)(counts), low, 127.0 - self.out.zero_point)
        real = product_gradient(counts * unit, x, kernel, self.bias)
        return ste(steps * self.out.scale, tf.clip_by_value(real, low * self.out.scale, self.out.high))

    def get_config(self) -> dict[str, Any]:
        """What ``from_config`` needs."""
        return {**super().get_config(), "units": self.units, "activation": self.activation}


class EnhancerNetwork(tf_keras.Model):
    """Mel features in, mel mask out.

    Call it on batch-major features [B, T, bands]; the mask has the same shape, in (0, 1). A Skip RNN's has p~ as its
    last output, and here every frame is an update: ``tinyse.gated`` says which are.
    """

    def __init__(self, spec: NetworkSpec, shift: float = 0.0, scale: float = 1.0) -> None:
        """Make the layers; features enter as (feature - shift) / scale until ``fold_normalizer``."""
        super().__init__(name="tinylstm")
        self.spec = spec
        self.shift, self.scale = shift, scale
        self.lstms = [SequenceLSTM(units, name=f"lstm_{n}") for n, units in enumerate(spec.lstm)]
        widths = [(units, "relu") for units in spec.dense] + [(spec.outputs, "sigmoid")]
        self.denses = [Dense(units, kind, name=f"dense_{n}") for n, (units, kind) in enumerate(widths)]
        self.input_grid: Grid | None = None
        width = spec.bands
        for layer in self.stack:
            layer.build((None, width))
            width = layer.units
        if spec.skip:
            open_gate(self.denses[-1])
        self.built = True

    @property
    def stack(self) -> list[Any]:
        """All layers from input to mask."""
        return [*self.lstms, *self.denses]

    def zero_states(self, batch: int) -> list[tuple[Any, Any]]:
        """States of zeros for every LSTM."""
        return [lstm.zero_state(batch) for lstm in self.lstms]

    def run(self, features: Any, states: list[tuple[Any, Any]], observe: dict[str, Any] | None = None) -> Any:
        """features [T, B, bands] and states -> mask [T, B, outputs], states after the last frame.

        ``observe``, where given, receives every activation tensor under the name of its range.
        """
        frames, batch, _ = features.shape
        grid = self.input_grid
        x = (features - self.shift) / self.scale if grid is None else to_grid(features, grid) * grid.scale
        seen = observe if observe is not None else {}
        seen["features"] = features
        after = []
        for lstm, state in zip(self.lstms, states, strict=True):
            x, state, seen[f"{lstm.name}.c"] = lstm.run(x, state)
            seen[f"{lstm.name}.h"] = x
            after.append(state)
        rows = tf.reshape(x, (frames * batch, x.shape[-1]))
        for dense in self.denses:
            rows = dense(rows)
            seen[f"{dense.name}.out"] = rows
        mask = tf.sigmoid(rows)
        out = self.denses[-1].out
        if out is not None:
            # TFLM's int8 LOGISTIC, entry by entry.
            table = tf.constant((sigmoid8_table(out.scale, out.zero_point).astype(np.float32) + 128.0) * MASK_SCALE)
            index = tf.cast(tf.round(rows / out.scale), tf.int32) + (out.zero_point + 128)
            mask = ste(tf.gather(table, tf.clip_by_value(index, 0, 255)), mask)
        return tf.reshape(mask, (frames, batch, self.spec.outputs)), after

    def call(self, features: Any) -> Any:
        """features [B, T, bands] -> mask [B, T, bands], from zero states."""
        mask, _ = self.run(tf.transpose(features, (1, 0, 2)), self.zero_states(features.shape[0]))
        return tf.transpose(mask, (1, 0, 2))

    def fold_normalizer(self) -> None:
        """Move (feature - shift) / scale into the first layer, which then takes raw features."""
        first = self.lstms[0]
        kernel = first.kernel.numpy() / self.scale
        first.bias.assign_sub(self.shift * kernel.sum(axis=0))
        first.kernel.assign(kernel)
        self.shift, self.scale = 0.0, 1.0

    def quantize(self, ranges: Ranges, exact: bool = False) -> None:
        """Put every tensor on its integer grid.

        Args:
            ranges: (minimum, maximum) of "features", "<lstm>.h", "<lstm>.c", "<dense>.out".
            exact: TFLM's own table arithmetic, for parity and streaming rather than training.

        Raises:
            ModelError: a range is missing, or the normalizer was not folded.
        """
        if (self.shift, self.scale) != (0.0, 1.0):
            raise ModelError("the feature normalizer is not folded", "call fold_normalizer() first")
        try:
            before = self.input_grid = Grid.of_range(*ranges["features"])
            for lstm in self.lstms:
                h = Grid.of_range(*ranges[f"{lstm.name}.h"])
                lstm.grids = LstmGrids(before, h, cell_power(*ranges[f"{lstm.name}.c"]), exact)
                before = h
            for dense in self.denses:
                dense.x, dense.out = before, Grid.of_range(*ranges[f"{dense.name}.out"])
                before = dense.out
        except KeyError as error:
            raise ModelError(f"no quantization range for {error}", "train or calibrate it") from error

    def export(self, ends: Ends, ranges: Ranges | None, meta: Mapping[str, Any]) -> TrainedModel:
        """The weights as a framework-free model that takes raw features."""
        layers = []
        for layer in self.stack:
            arrays = {v.name.split("/")[-1].split(":")[0]: v.numpy().astype(np.float32) for v in layer.weights}
            if layer is self.lstms[0] and (self.shift, self.scale) != (0.0, 1.0):
                kernel = arrays["kernel"] / np.float32(self.scale)
                arrays["bias"] = (arrays["bias"] - self.shift * kernel.sum(axis=0)).astype(np.float32)
                arrays["kernel"] = kernel.astype(np.float32)
            kind = "lstm" if isinstance(layer, SequenceLSTM) else "dense"
            layers.append(LayerWeights(kind, layer.name, arrays, getattr(layer, "activation", "linear")))
        return TrainedModel(tuple(layers), ends, ranges, meta)


def open_gate(layer: Dense) -> None:
    """Let the last output of the mask layer be a p~ that makes every frame an update, whatever the input."""
    kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
    kernel[:, -1], bias[-1] = 0.0, GATE_BIAS
    layer.kernel.assign(kernel)
    layer.bias.assign(bias)


def spec_of(model: TrainedModel) -> NetworkSpec:
    """The widths of a trained model.

    Raises:
        ModelError: its layers are not LSTMs followed by ReLU layers and one sigmoid layer.
    """
    lstm = tuple(layer.units for layer in model.layers if layer.kind == "lstm")
    dense = [layer for layer in model.layers if layer.kind == "dense"]
    kinds = [layer.kind for layer in model.layers]
    acts = [layer.activation for layer in dense]
    if kinds != ["lstm"] * len(lstm) + ["dense"] * len(dense) or acts != ["relu"] * (len(dense) - 1) + ["sigmoid"]:
        raise ModelError(f"layers {list(zip(kinds, acts, strict=False))} are not a TinyLSTM")
    bands = dense[-1].units - model.skip
    return NetworkSpec(bands, lstm, tuple(layer.units for layer in dense[:-1]), model.skip)


def restore(model: TrainedModel, exact: bool = False) -> EnhancerNetwork:
    """The tf_keras network of a trained model, on its grids where it has ranges."""
    network = EnhancerNetwork(spec_of(model))
    for layer, weights in zip(network.stack, model.layers, strict=True):
        for variable in layer.weights:
            value: NDArray[np.float32] = weights.arrays[variable.name.split("/")[-1].split(":")[0]]
            if tuple(variable.shape) != value.shape:
                raise ModelError(f"{weights.name}: shape {value.shape}, expected {tuple(variable.shape)}")
            variable.assign(value)
    if model.ranges is not None:
        network.quantize(model.ranges, exact)
    return network


class StreamingNetwork:
    """A trained model, one frame at a time: the Keras engine's inside.

    A quantized model runs with TFLM's exact tables, so its mask follows the exported file's.
    """

    def __init__(self, model: TrainedModel) -> None:
        self.network = restore(model, exact=True)
        self.bands = self.network.spec.bands
        self._grid = Grid.of_range(*model.ranges["features"]) if model.ranges is not None else None
        self._step = tf.function(self._run)
        self.reset()

    def _run(self, feature: Any, states: Any) -> Any:
        return self.network.run(feature, states)

    def reset(self) -> None:
        """Back to zero states."""
        self._states = self.network.zero_states(1)

    def step(self, feature: NDArray[np.float32]) -> NDArray[np.float32]:
        """feature [bands] -> mask [outputs]; the states move on by one frame."""
        if self._grid is not None:  # TensorFlow multiplies by 1 / scale, which takes a feature on a boundary across it
            feature = nearest(feature, self._grid.scale) * np.float32(self._grid.scale)
        mask, self._states = self._step(tf.constant(feature.reshape(1, 1, -1), tf.float32), self._states)
        return mask.numpy().reshape(-1)
