"""The front end against tf.signal, whole files against streams, NumPy against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse import frontend
from tinyse.core.errors import RecipeError
from tinyse.frontend import Analysis, FrontEndSpec, StreamingEnhancer, Synthesis

SPEC = FrontEndSpec()
SKIP = FrontEndSpec(frame=400, hop=100)
SPECS = pytest.mark.parametrize("spec", [SPEC, SKIP], ids=["512/256", "400/100"])
# float32 rounding of a 512-point transform of samples in -1..1: |X| reaches 256, its ulp is 1.5e-5.
SPECTRUM = 2e-5
WAVE = 1e-6


@pytest.fixture(scope="module")
def tf():
    from tinyse.train.keras import tf

    return tf


@pytest.fixture(scope="module")
def twin():
    from tinyse import frontend_tf

    return frontend_tf


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


class Constant:
    """An engine that always gives the same mask."""

    name = "constant"
    bands = 128

    def __init__(self, value: float = 1.0):
        self.value = value

    def reset(self) -> None:
        pass

    def mask(self, feature: np.ndarray) -> np.ndarray:
        return np.full(self.bands, self.value, np.float32)


class Smoothing:
    """An engine with memory: its mask follows the features slowly."""

    name = "smoothing"
    bands = 128

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        self.state = np.zeros(self.bands, np.float32)

    def mask(self, feature: np.ndarray) -> np.ndarray:
        self.state = 0.7 * self.state + 0.3 * feature
        return self.state / (1 + self.state)


def whole(engine, wave: np.ndarray, spec: FrontEndSpec) -> np.ndarray:
    """The definition a stream is held to: one transform over the padded signal, trimmed to its length."""
    engine.reset()
    padded = np.concatenate([np.zeros(spec.delay), wave, np.zeros(spec.delay + -len(wave) % spec.hop)])
    spectrum = frontend.stft(padded, spec)
    masks = np.stack([engine.mask(f) for f in frontend.features(spectrum, spec)])
    return frontend.istft(spectrum * frontend.lift(masks, spec), spec)[spec.delay : spec.delay + len(wave)]


def streamed(engine, wave: np.ndarray, spec: FrontEndSpec) -> np.ndarray:
    stream = StreamingEnhancer(engine, spec)
    padded = np.concatenate([wave, np.zeros(-len(wave) % spec.hop, np.float32)]).reshape(-1, spec.hop)
    out = np.concatenate([*(stream.push(hop) for hop in padded), stream.flush()])
    return out[spec.delay : spec.delay + len(wave)]


@SPECS
def test_windows_are_tf_signals(tf, spec):
    window = tf.signal.hann_window(spec.frame, dtype=tf.float64).numpy()
    inverse = tf.signal.inverse_stft_window_fn(spec.hop)(spec.frame, dtype=tf.float64).numpy()
    np.testing.assert_allclose(frontend.analysis_window(spec), window, atol=1e-7, rtol=0)
    np.testing.assert_allclose(frontend.synthesis_window(spec), inverse, atol=1e-7, rtol=0)


@SPECS
def test_overlapped_windows_add_up_to_one(spec):
    product = frontend.analysis_window(spec).astype(float) * frontend.synthesis_window(spec)
    np.testing.assert_allclose(product.reshape(-1, spec.hop).sum(0), 1.0, atol=1e-7)


@pytest.mark.parametrize("spec", [SPEC, SKIP, FrontEndSpec(bands=32, low_hz=0, high_hz=8000)])
def test_mel_matrix_is_tf_signals(tf, spec):
    arguments = (spec.bands, spec.bins, spec.sample_rate, spec.low_hz, spec.high_hz)
    exact = tf.signal.linear_to_mel_weight_matrix(*arguments, dtype=tf.float64).numpy()
    single = tf.signal.linear_to_mel_weight_matrix(*arguments).numpy()
    mel = frontend.mel_matrix(spec)
    np.testing.assert_array_max_ulp(mel, exact.astype(np.float32), maxulp=1)
    np.testing.assert_allclose(mel, single, atol=3e-5, rtol=0)
    assert mel.shape == (spec.bins, spec.bands) and mel.sum(1).max() <= 1 + 1e-6 and not mel[0].any()


def test_every_default_band_has_a_bin():
    assert frontend.mel_matrix(SPEC).sum(0).min() > 0


def test_tables_cannot_be_changed():
    with pytest.raises(ValueError):
        frontend.mel_matrix(SPEC)[0, 0] = 1


@SPECS
@settings(max_examples=20, deadline=None)
@given(samples=st.integers(0, 4000), seed=st.integers(0, 99))
def test_stft_and_istft_are_tf_signals(tf, spec, samples, seed):
    wave = noise(samples, seed)
    ours = frontend.stft(wave, spec)
    assert ours.shape == (max(0, (samples - spec.frame) // spec.hop + 1), spec.bins)
    assert ours.dtype == np.complex64
    if len(ours):  # tf.signal itself fails on zero frames
        theirs = tf.signal.stft(wave, spec.frame, spec.hop, spec.fft).numpy()
        np.testing.assert_allclose(ours, theirs, atol=SPECTRUM, rtol=0)
        back = tf.signal.inverse_stft(theirs, spec.frame, spec.hop, spec.fft,
                                      tf.signal.inverse_stft_window_fn(spec.hop)).numpy()
        np.testing.assert_allclose(frontend.istft(ours, spec), back, atol=WAVE, rtol=0)


@SPECS
@settings(max_examples=20, deadline=None)
@given(samples=st.integers(1, 4000), seed=st.integers(0, 99))
def test_twin_equals_reference(twin, spec, samples, seed):
    waves = np.stack([noise(samples, seed), 0.01 * noise(samples, seed + 1)])
    spectrum = twin.stft(waves, spec)
    reference = np.stack([frontend.stft(wave, spec) for wave in waves])
    np.testing.assert_allclose(spectrum, reference, atol=SPECTRUM, rtol=0)
    if reference.shape[1]:
        feature = twin.features(spectrum, spec)
        np.testing.assert_allclose(feature, frontend.features(reference, spec), rtol=2e-5, atol=1e-5)
        gains = frontend.lift(feature, spec)
        np.testing.assert_allclose(twin.lift(feature, spec), gains, atol=1e-5, rtol=1e-5)
        expected = np.stack([frontend.istft(s, spec) for s in reference])
        np.testing.assert_allclose(twin.istft(spectrum, spec), expected, atol=WAVE, rtol=0)


@SPECS
def test_frame_by_frame_spectra_equal_tf_signal(tf, spec):
    wave = noise(20 * spec.hop)
    analysis = Analysis(spec)
    streamed_ = np.stack([analysis.push(hop) for hop in wave.reshape(-1, spec.hop)])
    padded = np.concatenate([np.zeros(spec.delay, np.float32), wave])
    theirs = tf.signal.stft(padded, spec.frame, spec.hop, spec.fft).numpy()
    np.testing.assert_allclose(streamed_, theirs, atol=SPECTRUM, rtol=0)
    analysis.reset()
    np.testing.assert_array_equal(analysis.push(wave[: spec.hop]), streamed_[0])


@SPECS
def test_analysis_then_synthesis_is_a_pure_delay(spec):
    wave = noise(20 * spec.hop)
    analysis, synthesis = Analysis(spec), Synthesis(spec)
    out = np.concatenate([synthesis.push(analysis.push(hop)) for hop in wave.reshape(-1, spec.hop)])
    np.testing.assert_allclose(out[spec.delay :], wave[: -spec.delay], atol=WAVE, rtol=0)
    np.testing.assert_allclose(out[: spec.delay], 0, atol=WAVE)


@SPECS
@pytest.mark.parametrize("engine", [Constant(0.5), Smoothing()], ids=lambda e: e.name)
@settings(max_examples=15, deadline=None)
@given(samples=st.integers(1, 3000), seed=st.integers(0, 99))
def test_stream_equals_whole_file(spec, engine, samples, seed):
    wave = noise(samples, seed)
    np.testing.assert_allclose(streamed(engine, wave, spec), whole(engine, wave, spec), atol=WAVE, rtol=0)


def test_reset_makes_a_stream_new():
    wave = noise(10 * SPEC.hop).reshape(-1, SPEC.hop)
    stream = StreamingEnhancer(Smoothing(), SPEC)
    first = [stream.push(hop) for hop in wave]
    dirty = [stream.push(hop) for hop in wave]
    stream.reset()
    np.testing.assert_array_equal(first, [stream.push(hop) for hop in wave])
    assert not np.array_equal(first, dirty)


def test_silence_gives_zero_features_and_finite_gradients(tf, twin):
    assert not frontend.features(np.zeros((3, SPEC.bins))).any()
    waves = tf.Variable(tf.zeros([2, 2048]))
    with tf.GradientTape() as tape:
        spectrum = twin.stft(waves)
        feature = twin.features(spectrum)
        loss = tf.reduce_sum(feature) + tf.reduce_sum(twin.istft(spectrum))
    assert not feature.numpy().any()
    assert np.isfinite(tape.gradient(loss, waves).numpy()).all()


@SPECS
@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
def test_gradients_equal_tf_signals(tf, twin, spec, compiled):
    waves = tf.constant(np.stack([noise(3000, 1), noise(3000, 2)]))
    mel = tf.constant(frontend.mel_matrix(spec))

    def ours(x):
        spectrum = twin.stft(x, spec)
        gains = twin.lift(0.1 * twin.features(spectrum, spec), spec)
        return tf.reduce_sum(twin.istft(spectrum * tf.cast(gains, tf.complex64), spec) ** 2)

    def theirs(x):
        spectrum = tf.signal.stft(x, spec.frame, spec.hop, spec.fft)
        gains = tf.matmul(0.1 * tf.matmul(tf.abs(spectrum), mel) ** spec.power, mel, transpose_b=True)
        window = tf.signal.inverse_stft_window_fn(spec.hop)
        masked = spectrum * tf.cast(gains, tf.complex64)
        return tf.reduce_sum(tf.signal.inverse_stft(masked, spec.frame, spec.hop, spec.fft, window) ** 2)

    def gradient(loss):
        def step(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = loss(x)
            return tape.gradient(value, x)
        return tf.function(step, jit_compile=compiled)(waves).numpy()

    reference = gradient(theirs)
    np.testing.assert_allclose(gradient(ours), reference, atol=1e-5 * np.abs(reference).max(), rtol=0)


def test_twin_takes_unknown_lengths(tf, twin):
    traced = tf.function(lambda x: twin.istft(twin.stft(x)),
                         input_signature=[tf.TensorSpec([None, None], tf.float32)])
    wave = noise(2000)[None]
    np.testing.assert_allclose(traced(wave), twin.istft(twin.stft(wave)), atol=WAVE)


@pytest.mark.parametrize("change, word", [
    ({"hop": 200}, "multiple"), ({"hop": 512}, "multiple"), ({"fft": 500}, "fft"), ({"fft": 513}, "fft"),
    ({"high_hz": 9000.0}, "bands"), ({"low_hz": 7600.0}, "bands"), ({"bands": 0}, "bands"),
    ({"power": 0.0}, "power"),
])
def test_impossible_front_ends_are_refused(change, word):
    with pytest.raises(RecipeError, match=word):
        FrontEndSpec(**change)
