"""Stream equals sequence, from the quantization-aware network to the exported file under TFLM."""

from dataclasses import replace

import numpy as np
import pytest
from export_models import integers, written

from tinyse.engines.integer import IntegerEngine
from tinyse.engines.keras import KerasEngine
from tinyse.engines.tflm import TflmEngine
from tinyse.graph.grid import Grid
from tinyse.graph.model import tinylstm
from tinyse.graph.snap import snap
from tinyse.sound import Bands, Ends
from tinyse.train.keras import tf
from tinyse.train.network import Network, restore

FRAMES = 400


def features(seed, bands):
    """Speech-like feature frames: bursts over a floor, 0..2.5."""
    rng = np.random.default_rng(seed)
    envelope = np.clip(np.sin(np.arange(FRAMES) / 7.0 + rng.uniform(0, 6, (1, bands)).T).T, 0, 1)
    return (0.2 + 1.8 * envelope * rng.uniform(0.3, 1, bands) + 0.2 * rng.random((FRAMES, bands))).astype(np.float32)


def quantized(scale, seed=0):
    """A network with Laplace weights and the ranges that it shows on its features."""
    network = Network(tinylstm(32, (48, 40), (24,), 32))
    rng = np.random.default_rng(seed)
    for variable in network.weights:
        if "kernel" in variable.name:
            variable.assign(rng.laplace(size=variable.shape) * scale)
    seen = {}
    frames = features(seed, 32)
    network.run(tf.constant(frames[:, None]), network.zero_states(1), seen)
    ranges = {name: (min(0.0, float(tf.reduce_min(t))), float(tf.reduce_max(t))) for name, t in seen.items()}
    ranges |= {name: (-high, high) for name, (_, high) in ranges.items() if name.endswith(".c")}
    return network.export(Ends(bands=Bands(count=32)), ranges, {}), frames


@pytest.fixture(scope="module", params=[0.08, 0.3], ids=["mild", "wild"])
def case(request):
    model, frames = quantized(request.param)
    data = written(model)
    return model, frames, data


def mask_steps(mask):
    return np.round(np.asarray(mask) * 256).astype(int)


def test_the_streamed_keras_network_equals_tflm_bit_for_bit(case):
    model, frames, data = case
    tflm, keras = TflmEngine.of_bytes(data, ends=model.ends), KerasEngine(model)
    worst = 0
    for frame in frames:
        worst = max(worst, np.abs(mask_steps(tflm.mask(frame)) - mask_steps(keras.mask(frame))).max())
    assert worst == 0


def test_features_on_boundaries_fall_the_same_way(case):
    """A step's half, and the float32 beside it on either side; multiplied by 1 / scale some would cross it."""
    scale = np.float32(0.0128173828125)  # of a trained model in which one of 128,000 features crossed
    moved = replace(case[0], ranges={**case[0].ranges, "features": (0.0, 255 * float(scale))})
    model = snap(moved)
    assert Grid.of_range(*model.ranges["features"]).scale == scale
    tflm, keras = TflmEngine.of_bytes(written(model), ends=model.ends), KerasEngine(model)
    rng = np.random.default_rng(0)
    halves = ((rng.integers(0, 200, (150, 32)) + np.float32(0.5)) * scale).astype(np.float32)
    beside = rng.choice(np.float32([-np.inf, 0.0, np.inf]), halves.shape)
    close = np.where(beside == 0.0, halves, np.nextafter(halves, beside))
    assert (np.rint(close / scale) != np.rint(close * (np.float32(1) / scale))).any()
    for frame in close:
        assert np.array_equal(mask_steps(tflm.mask(frame)), mask_steps(keras.mask(frame)))


def test_training_s_forward_pass_stays_within_two_steps_of_the_export():
    """The fast pass rounds in float32; a network that is not chaotic forgets the odd step it is apart."""
    model, frames = quantized(0.08)
    data = written(model)
    network = restore(model)
    trained = mask_steps(network.run(tf.constant(frames[:, None]), network.zero_states(1))[0][-1].numpy()[:, 0])
    exported = integers(data, Grid.of_range(*model.ranges["features"]).quantize(frames)).astype(int) + 128
    apart = np.abs(trained - exported)
    assert apart.max() <= 2 and apart.mean() <= 0.2


def test_reset_returns_to_the_first_frame(case):
    model, frames, _ = case
    stream = KerasEngine(model)
    first = [stream.mask(frame) for frame in frames[:5]]
    stream.reset()
    np.testing.assert_array_equal(first, [stream.mask(frame) for frame in frames[:5]])


def test_the_cell_clip_is_obeyed():
    """A cell that wants past 10 stops there in the network as it does in TFLM."""
    model, frames = quantized(0.08, seed=2)
    bias = model.arrays["lstm_0/bias"].copy()
    bias[: 3 * 48] = 6.0  # input and forget gates open, candidate at one: the cell only grows
    ranges = {**model.ranges, "lstm_0.c": (-15.0, 15.0)}
    model = replace(model, arrays={**model.arrays, "lstm_0/bias": bias}, ranges=ranges)
    integer, keras = IntegerEngine(model.plan(), model.ends), KerasEngine(model)
    for frame in frames[:60]:
        np.testing.assert_array_equal(integer.mask(frame), keras.mask(frame))
    assert integer.references[0].taps["lstm_0.c"].max() == 10 * 2**11


def test_a_full_size_network_has_the_papers_parameter_and_mac_count():
    network = Network(tinylstm(128, (256, 256), (128,), 128))
    model = network.export(Ends(), None, {})
    assert model.parameters == 968_960
    assert model.macs_per_frame == 966_656
