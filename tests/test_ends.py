"""Ends: against tf.signal, whole signals against streams, NumPy against TensorFlow, bands, JSON of old models."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse import sound
from tinyse.core.errors import ModelError, RecipeError
from tinyse.sound import Analysis, Bands, Ends, Feature, Framing, Meter, Result, StreamingEnhancer, Synthesis
from tinyse.train.recipe import load_recipe

SPEC = Framing()
FRAMINGS = pytest.mark.parametrize("spec", [
    SPEC, Framing(frame=400, hop=100), Framing(frame=320, hop=160, fft=320), Framing(frame=320, hop=160),
    Framing(window="sqrt_hann"), Framing(frame=480, hop=300, window="sqrt_hann"),
    Framing(frame=256, fft=256, window="none"),
], ids=lambda f: f"{f.frame}/{f.hop}/{f.fft} {f.window}")
HANN = pytest.mark.parametrize("spec", [SPEC, Framing(frame=400, hop=100)], ids=["512/256", "400/100"])
BANDS = [Bands(), Bands("erb", 64), Bands("erb", 96, fine_hz=2000.0), Bands("none")]
SPECTRAL = ("magnitude", "log_power", "complex")
MEAN = Ends(bands=Bands("erb", 64), feature=Feature("log_power", mean=0.32))
ENDS = [MEAN, *(Ends(framing, bands, Feature(kind), Result(result), layout)
          for framing, layout in ((SPEC, "channels"), (Framing(frame=320, hop=160), "width")) for bands in BANDS
          for kind in SPECTRAL for result in ("gains", "complex_gains"))]
# float32 rounding of a 512-point transform of samples in -1..1: |X| reaches 256, its ulp is 1.5e-5.
SPECTRUM = 2e-5
WAVE = 1e-6


def named(ends: Ends) -> str:
    feature = f"{ends.feature.kind}{ends.mean_frames or ''}"
    return f"{ends.framing.frame} {ends.bands.kind}{ends.width} {feature}-{ends.result.kind}"


@pytest.fixture(scope="module")
def tf():
    from tinyse.train.keras import tf

    return tf


@pytest.fixture(scope="module")
def twin():
    from tinyse.train import ends as sound_tf

    return sound_tf


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


class Smoothing:
    """A network with memory: its answer follows the features slowly, and turns where the result does."""

    name = "smoothing"

    def __init__(self, ends: Ends, memory: float = 0.7):
        self.ends, self.memory = ends, memory
        self.places = np.arange(ends.outputs) % ends.inputs
        self.reset()

    def reset(self) -> None:
        self.state = np.zeros(self.ends.outputs, np.float32)

    def mask(self, feature: np.ndarray) -> np.ndarray:
        assert feature.shape == (self.ends.inputs,) and feature.dtype == np.float32
        self.state = self.memory * self.state + (1 - self.memory) * feature[self.places]
        return (self.state / (1 + np.abs(self.state))).astype(np.float32)


def whole(engine, wave: np.ndarray, ends: Ends) -> np.ndarray:
    """The definition a stream is held to: one transform over the padded signal, trimmed to its length."""
    engine.reset()
    framing = ends.framing
    padded = np.concatenate([np.zeros(ends.delay), wave, np.zeros(ends.delay + framing.hop + -len(wave) % framing.hop)])
    spectrum = sound.stft(padded, framing)
    answers = np.stack([engine.mask(f) for f in sound.rows(padded, spectrum, ends)])
    return sound.istft(sound.applied(spectrum, answers, ends), framing)[ends.delay : ends.delay + len(wave)]


def streamed(engine, wave: np.ndarray, ends: Ends) -> np.ndarray:
    stream, hop = StreamingEnhancer(engine, ends), ends.framing.hop
    padded = np.concatenate([wave, np.zeros(-len(wave) % hop, np.float32)]).reshape(-1, hop)
    out = np.concatenate([*(stream.push(part) for part in padded), stream.flush()])
    return out[ends.delay : ends.delay + len(wave)]


@HANN
def test_windows_are_tf_signals(tf, spec):
    window = tf.signal.hann_window(spec.frame, dtype=tf.float64).numpy()
    inverse = tf.signal.inverse_stft_window_fn(spec.hop)(spec.frame, dtype=tf.float64).numpy()
    np.testing.assert_allclose(sound.analysis_window(spec), window, atol=1e-7, rtol=0)
    np.testing.assert_allclose(sound.synthesis_window(spec), inverse, atol=1e-7, rtol=0)


@FRAMINGS
def test_overlapped_windows_add_up_to_one(spec):
    product = sound.analysis_window(spec).astype(float) * sound.synthesis_window(spec)
    padded = np.pad(product, (0, -len(product) % spec.hop))
    np.testing.assert_allclose(padded.reshape(-1, spec.hop).sum(0), 1.0, atol=2e-7)
    if spec.window == "sqrt_hann" and spec.frame % spec.hop == 0:
        ratio = sound.synthesis_window(spec)[1:] / sound.analysis_window(spec)[1:]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)


@pytest.mark.parametrize("bands", [Bands(), Bands(count=32, low_hz=0, high_hz=8000)])
def test_mel_matrix_is_tf_signals(tf, bands):
    arguments = (bands.count, SPEC.bins, SPEC.rate, bands.low_hz, bands.high_hz)
    exact = tf.signal.linear_to_mel_weight_matrix(*arguments, dtype=tf.float64).numpy()
    single = tf.signal.linear_to_mel_weight_matrix(*arguments).numpy()
    mel = sound.band_matrix(bands, SPEC)
    np.testing.assert_array_max_ulp(mel, exact.astype(np.float32), maxulp=1)
    np.testing.assert_allclose(mel, single, atol=3e-5, rtol=0)
    assert mel.shape == (SPEC.bins, bands.count) and mel.sum(1).max() <= 1 + 1e-6 and not mel[0].any()


def test_every_default_band_has_a_bin():
    assert sound.band_matrix(Bands(), SPEC).sum(0).min() > 0


def test_tables_cannot_be_changed():
    with pytest.raises(ValueError):
        sound.band_matrix(Bands(), SPEC)[0, 0] = 1


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_erb_bands_share_out_every_bin_once(data):
    framing = data.draw(st.sampled_from([SPEC, Framing(frame=400, hop=100), Framing(48000, 960, 480, 960)]))
    fine = data.draw(st.floats(0, framing.rate / 2 - 2 * framing.rate / framing.fft))
    singles = int(fine * framing.fft // framing.rate) + 1
    bands = Bands("erb", data.draw(st.integers(singles + 1, framing.bins)), fine_hz=fine)
    matrix = sound.band_matrix(bands, framing)
    bands.check(framing)
    np.testing.assert_allclose(matrix.sum(1, dtype=float), 1, atol=1e-7)
    assert (matrix.max(0) == 1).all() and (matrix >= 0).all()
    np.testing.assert_array_equal(matrix[:singles, :singles], np.eye(singles))
    centres = matrix.argmax(0)
    assert centres[0] == 0 and centres[-1] == framing.bins - 1 and (np.diff(centres) > 0).all()
    widths = np.diff(centres[singles - 1 :])
    assert (np.diff(widths) >= -1).all()  # wider and wider, to the rounding of centres


@pytest.mark.parametrize("bands", BANDS[1:], ids=lambda b: f"{b.kind}{b.count}")
@pytest.mark.parametrize("kind", ["gains", "complex_gains"])
def test_gains_of_one_give_the_input_back(bands, kind):
    ends = Ends(SPEC, bands, result=Result(kind, limit=2.0))
    answer = np.zeros((1, ends.outputs), np.float32)
    answer[:, :: 2 if kind == "complex_gains" else 1] = 0.5
    wave = noise(8192)
    spectrum = sound.stft(wave)
    back = sound.istft(sound.applied(spectrum, np.repeat(answer, len(spectrum), 0), ends))[256:-256]
    error = np.sum((back - wave[256 : 256 + len(back)]) ** 2) / np.sum(back**2)
    assert 10 * np.log10(error) < -90


def test_complex_gains_turn_the_phase():
    ends = Ends(bands=Bands("none"), result=Result("complex_gains"))
    spectrum = sound.stft(noise(2048))
    quarter = np.tile(np.float32([0, 1]), (len(spectrum), 257))
    np.testing.assert_array_equal(sound.applied(spectrum, quarter, ends), spectrum * np.complex64(1j))


@HANN
@settings(max_examples=20, deadline=None)
@given(samples=st.integers(0, 4000), seed=st.integers(0, 99))
def test_stft_and_istft_are_tf_signals(tf, spec, samples, seed):
    wave = noise(samples, seed)
    ours = sound.stft(wave, spec)
    assert ours.shape == (max(0, (samples - spec.frame) // spec.hop + 1), spec.bins)
    assert ours.dtype == np.complex64
    if len(ours):  # tf.signal itself fails on zero frames
        theirs = tf.signal.stft(wave, spec.frame, spec.hop, spec.fft).numpy()
        np.testing.assert_allclose(ours, theirs, atol=SPECTRUM, rtol=0)
        back = tf.signal.inverse_stft(theirs, spec.frame, spec.hop, spec.fft,
                                      tf.signal.inverse_stft_window_fn(spec.hop)).numpy()
        np.testing.assert_allclose(sound.istft(ours, spec), back, atol=WAVE, rtol=0)


@FRAMINGS
@settings(max_examples=12, deadline=None)
@given(samples=st.integers(1, 4000), seed=st.integers(0, 99))
def test_twin_transforms_equal_numpy(twin, spec, samples, seed):
    waves = np.stack([noise(samples, seed), 0.01 * noise(samples, seed + 1)])
    reference = np.stack([sound.stft(wave, spec) for wave in waves])
    np.testing.assert_allclose(twin.stft(waves, spec), reference, atol=SPECTRUM, rtol=0)
    if reference.shape[1]:
        expected = np.stack([sound.istft(s, spec) for s in reference])
        np.testing.assert_allclose(twin.istft(reference, spec), expected, atol=WAVE, rtol=0)


def test_features_by_their_definitions():
    spectrum = sound.stft(noise(4000)).astype(complex)
    for bands in BANDS:
        matrix = sound.band_matrix(bands, SPEC).astype(float)
        summed = spectrum @ matrix
        wanted = {"magnitude": (np.abs(spectrum) @ matrix) ** 0.3,
                  "log_power": 0.25 * np.log(np.abs(spectrum) ** 2 @ matrix + 1e-6) + 1,
                  "complex": np.stack([(z := summed * np.abs(summed) ** -0.7).real, z.imag], -1).reshape(len(z), -1)}
        for kind, expected in wanted.items():
            ends = Ends(bands=bands, feature=Feature(kind))
            found = sound.features(spectrum, ends)
            assert found.shape == (len(spectrum), ends.inputs) and found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_a_running_mean_by_its_definition():
    spectrum = sound.stft(noise(20_000))
    power = sound.features(spectrum, MEAN).astype(float)
    given = sound.rows(noise(20_000), spectrum, MEAN)
    assert MEAN.mean_frames == 20 and given.dtype == np.float32 and given.shape == power.shape
    mean = power[0]
    np.testing.assert_array_equal(given[0], 0)
    for frame in range(1, len(power)):
        share = 1 / min(frame + 1, 20)
        mean = (1 - share) * mean + share * power[frame]
        np.testing.assert_allclose(given[frame], power[frame] - mean, atol=2e-6)
    np.testing.assert_allclose(given[19], power[19] - power[:20].mean(0), atol=2e-6)


def test_a_running_mean_hears_no_level_and_no_microphone():
    loud, soft = noise(30_000), 0.1 * noise(30_000)
    given = [sound.rows(wave, sound.stft(wave), MEAN) for wave in (loud, soft)]
    np.testing.assert_allclose(*given, atol=2e-2)  # but for the floor under the power
    assert np.abs(sound.features(sound.stft(loud), MEAN) - sound.features(sound.stft(soft), MEAN)).min() > 1


def test_what_is_no_number_does_not_stay_in_a_running_mean():
    from tinyse.sound.features import RunningMean

    running, row = RunningMean(MEAN), np.ones(64, np.float32)
    found = [running.less(each) for each in (row, row * np.nan, row * np.inf, row)]
    assert not found[0].any() and not np.isfinite(found[1:3]).any() and not found[3].any()


def test_a_running_mean_starts_anew():
    stream, heard = StreamingEnhancer(Smoothing(MEAN), MEAN), []
    for _ in range(2):
        heard.append([stream.push(hop) for hop in noise(8 * 256).reshape(-1, 256)])
        stream.reset()
    np.testing.assert_array_equal(*heard)


def test_the_twin_has_the_same_running_mean(tf, twin):
    waves = np.stack([noise(9000, 1), 1e-3 * noise(9000, 2)])
    spectrum = np.stack([sound.stft(wave) for wave in waves])
    found = twin.less_mean(twin.features(spectrum, MEAN), MEAN)
    np.testing.assert_allclose(found, sound.rows(waves, spectrum, MEAN), rtol=2e-5, atol=2e-5)
    batch = np.moveaxis(sound.less_mean(np.moveaxis(sound.features(spectrum, MEAN), 1, 0), MEAN), 0, 1)
    np.testing.assert_array_equal(batch, sound.rows(waves, spectrum, MEAN))


@pytest.mark.parametrize(("made", "message"), [
    (lambda: Feature(mean=1.0), "mean: magnitude has no running mean"),
    (lambda: Feature("log_power", mean=-1.0), "mean -1 s is outside"),
    (lambda: Ends(feature=Feature("log_power", mean=1e-5)), "mean: 1e-05 s is less than two frames"),
    (lambda: Ends(feature=Feature("log_power", mean=1.0), result=Result("score"), layout="width", rows=4),
     "for sound and voice")])
def test_running_means_that_cannot_be(made, message):
    with pytest.raises(RecipeError, match=message):
        made()


@pytest.mark.parametrize("ends", ENDS, ids=named)
def test_twin_features_and_gains_equal_numpy(tf, twin, ends):
    reference = np.stack([sound.stft(noise(3000, 1), ends.framing), sound.stft(1e-3 * noise(3000, 2), ends.framing)])
    reference[0, 2] = 0
    expected = sound.features(reference, ends)
    run = tf.function(lambda s: twin.features(s, ends), jit_compile=True)
    for found in (twin.features(reference, ends), run(reference)):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)
    answer = np.random.default_rng(3).uniform(-1, 1, (*reference.shape[:2], ends.outputs)).astype(np.float32)
    wanted = sound.applied(reference, answer, ends)
    np.testing.assert_allclose(twin.applied(reference, answer, ends), wanted, rtol=1e-5, atol=1e-4)
    back = np.stack([sound.istft(s, ends.framing) for s in wanted])
    np.testing.assert_allclose(twin.istft(wanted, ends.framing), back, atol=2 * WAVE, rtol=0)


@FRAMINGS
def test_frame_by_frame_spectra_equal_the_whole(spec):
    wave = noise(20 * spec.hop)
    analysis = Analysis(spec)
    parts = np.stack([analysis.push(hop) for hop in wave.reshape(-1, spec.hop)])
    padded = np.concatenate([np.zeros(spec.delay, np.float32), wave])
    np.testing.assert_array_equal(parts, sound.stft(padded, spec))
    analysis.reset()
    np.testing.assert_array_equal(analysis.push(wave[: spec.hop]), parts[0])


@FRAMINGS
def test_analysis_then_synthesis_is_a_pure_delay(spec):
    wave = noise(20 * spec.hop)
    analysis, synthesis = Analysis(spec), Synthesis(spec)
    out = np.concatenate([synthesis.push(analysis.push(hop)) for hop in wave.reshape(-1, spec.hop)])
    np.testing.assert_allclose(out[spec.delay :], wave[: len(wave) - spec.delay], atol=WAVE, rtol=0)
    np.testing.assert_allclose(out[: spec.delay], 0, atol=WAVE)


@pytest.mark.parametrize("ends", [*ENDS[::5], Ends(Framing(frame=480, hop=300)), Ends(Framing(frame=400, hop=100))],
                         ids=named)
@settings(max_examples=8, deadline=None)
@given(samples=st.integers(1, 3000), seed=st.integers(0, 99))
def test_stream_equals_whole_file(ends, samples, seed):
    wave = noise(samples, seed)
    engine = Smoothing(ends)
    np.testing.assert_allclose(streamed(engine, wave, ends), whole(engine, wave, ends), atol=2 * WAVE, rtol=0)


def test_samples_go_straight_through():
    ends = Ends(Framing(frame=256, fft=256, window="none"), feature=Feature("samples"), result=Result("samples", 2.0),
                layout="rows")
    assert (ends.shape, ends.result_shape, ends.delay) == ((256, 1, 1), (256, 1, 1), 0)
    wave = noise(1000)
    expected = 2 * wave / (1 + np.abs(wave))
    np.testing.assert_allclose(streamed(Smoothing(ends, 0.0), wave, ends), expected, rtol=1e-6)


@pytest.mark.parametrize("kind, result, delay", [("samples", "gains", 256), ("magnitude", "samples", 0)])
def test_samples_on_one_end_only(kind, result, delay):
    ends = Ends(bands=Bands("none"), feature=Feature(kind), result=Result(result))
    assert ends.delay == delay and (ends.inputs, ends.outputs) == ((256, 257) if delay else (257, 256))
    out = streamed(Smoothing(ends), noise(1000), ends)
    assert len(out) == 1000 and out.any()


def test_a_meter_scores_every_rows_frames():
    ends = Ends(feature=Feature("log_power"), result=Result("score", 2.0, 3), layout="width", rows=4)
    assert (ends.shape, ends.result_shape, ends.inputs) == ((4, 128, 1), (1, 1, 3), 512)
    wave = noise(10 * 256).reshape(-1, 256)
    seen = []

    class Listening(Smoothing):
        def mask(self, feature):
            seen.append(feature)
            return super().mask(feature)

    meter = Meter(Listening(ends, 0.0), ends)
    scores = [meter.push(hop) for hop in wave]
    spectrum = sound.stft(np.concatenate([np.zeros(256), wave.reshape(-1)]))
    np.testing.assert_allclose(np.array(seen), sound.features(spectrum, ends)[:8].reshape(2, -1), rtol=1e-6)
    assert scores[:3] == [None] * 3 and all(s is scores[3] for s in scores[3:7]) and scores[7] is scores[9]
    np.testing.assert_allclose(scores[9], 2 * seen[1][:3] / (1 + np.abs(seen[1][:3])), rtol=1e-6)
    meter.reset()
    assert meter.score is None
    with pytest.raises(ModelError, match="no sound"):
        StreamingEnhancer(Smoothing(ends), ends)
    with pytest.raises(ModelError, match="no scores"):
        Meter(Smoothing(Ends()), Ends())


def test_reset_makes_a_stream_new():
    wave = noise(10 * SPEC.hop).reshape(-1, SPEC.hop)
    stream = StreamingEnhancer(Smoothing(Ends()))
    first = [stream.push(hop) for hop in wave]
    dirty = [stream.push(hop) for hop in wave]
    stream.reset()
    np.testing.assert_array_equal(first, [stream.push(hop) for hop in wave])
    assert not np.array_equal(first, dirty)


@pytest.mark.parametrize("kind", SPECTRAL)
@pytest.mark.parametrize("bands", [BANDS[0], BANDS[3]], ids=["mel", "none"])
@pytest.mark.parametrize("level", [0.0, 1e-30, 1e-12, 1e-3])
def test_quiet_sound_has_finite_gradients(tf, twin, kind, bands, level):
    ends = Ends(bands=bands, feature=Feature(kind))
    waves = tf.Variable(level * noise(4096).reshape(2, 2048))
    with tf.GradientTape() as tape:
        spectrum = twin.stft(waves)
        feature = twin.features(spectrum, ends)
        loss = tf.reduce_sum(feature) + tf.reduce_sum(twin.istft(spectrum))
    gradient = tape.gradient(loss, waves).numpy()
    assert np.isfinite(feature).all() and np.isfinite(gradient).all() and np.abs(gradient).max() < 1e9
    if level == 0:
        silence = 0.25 * np.log(np.float32(1e-6)) + 1 if kind == "log_power" else 0
        np.testing.assert_allclose(feature, silence, rtol=1e-6)
        np.testing.assert_allclose(sound.features(np.zeros((3, 257)), ends), silence, rtol=1e-6)


@pytest.mark.parametrize("ends", [ENDS[n] for n in (2, 3, 16, 17, 25, 40)], ids=named)
def test_gradients_are_the_slopes(tf, twin, ends):
    """Along random directions, against differences of the float64 definition."""
    spectrum = sound.stft(noise(1500), ends.framing)
    rng = np.random.default_rng(5)
    answer, weight = rng.uniform(0.1, 1, (len(spectrum), ends.outputs)), rng.normal(size=(len(spectrum), ends.inputs))
    toward = rng.normal(size=(2, *spectrum.shape)) @ np.eye(spectrum.shape[1])

    def loss(x):
        applied = twin.applied(x, tf.constant(answer, tf.float32), ends)
        return tf.reduce_sum(twin.features(x, ends) * tf.constant(weight, tf.float32)) + tf.reduce_sum(
            tf.square(tf.math.real(applied)) + tf.math.imag(applied)) * 1e-3

    def exact(x):
        matrix = sound.band_matrix(ends.bands, ends.framing).astype(float)
        summed = x @ matrix
        feature = {"magnitude": lambda: (np.abs(x) @ matrix) ** 0.3,
                   "log_power": lambda: 0.25 * np.log(np.abs(x) ** 2 @ matrix + 1e-6) + 1,
                   "complex": lambda: (summed * np.abs(summed) ** -0.7).view(float)}[ends.feature.kind]()
        values = answer.astype(np.float32).astype(float)
        turned = x * ((values if ends.result.kind == "gains" else values.view(complex)) @ matrix.T)
        return np.sum(feature * weight) + 1e-3 * np.sum(turned.real**2 + turned.imag)

    x = tf.constant(spectrum)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    gradient = tape.gradient(value, x).numpy()
    step, direction = 1e-6, toward[0] + 1j * toward[1]
    start = spectrum.astype(complex)
    slope = (exact(start + step * direction) - exact(start - step * direction)) / (2 * step)
    found = np.sum(gradient.real * toward[0] + gradient.imag * toward[1])
    assert found == pytest.approx(slope, rel=2e-3, abs=float(2e-3 * np.linalg.norm(gradient)))


@HANN
@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
def test_gradients_equal_tf_signals(tf, twin, spec, compiled):
    waves = tf.constant(np.stack([noise(3000, 1), noise(3000, 2)]))
    ends = Ends(spec)
    mel = tf.constant(sound.band_matrix(ends.bands, spec))

    def ours(x):
        spectrum = twin.stft(x, spec)
        return tf.reduce_sum(twin.istft(twin.applied(spectrum, 0.1 * twin.features(spectrum, ends), ends), spec) ** 2)

    def theirs(x):
        spectrum = tf.signal.stft(x, spec.frame, spec.hop, spec.fft)
        gains = tf.matmul(0.1 * tf.matmul(tf.abs(spectrum), mel) ** 0.3, mel, transpose_b=True)
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


@FRAMINGS
def test_twin_takes_unknown_lengths(tf, twin, spec):
    traced = tf.function(lambda x: twin.istft(twin.stft(x, spec), spec),
                         input_signature=[tf.TensorSpec([None, None], tf.float32)])
    wave = noise(2000)[None]
    np.testing.assert_allclose(traced(wave), twin.istft(twin.stft(wave, spec), spec), atol=WAVE)


def test_shapes_of_the_families():
    none = Bands("none")
    for ends, shape, result in (
            (Ends(), (1, 1, 128), (1, 1, 128)),
            (Ends(layout="width"), (1, 128, 1), (1, 128, 1)),
            (Ends(bands=none, feature=Feature("log_power")), (1, 1, 257), (1, 1, 257)),
            (Ends(bands=none, feature=Feature("complex"), result=Result("complex_gains"), layout="width"),
             (1, 257, 2), (1, 257, 2)),
            (Ends(bands=none, feature=Feature("complex")), (1, 1, 514), (1, 1, 257)),
            (Ends(bands=Bands(count=120), feature=Feature("log_power"), result=Result("score"), layout="width",
                  rows=16), (16, 120, 1), (1, 1, 1))):
        assert (ends.shape, ends.result_shape) == (shape, result)
        assert (ends.inputs, ends.outputs) == (np.prod(shape), np.prod(result))
        assert Ends.read(json.loads(json.dumps(ends.as_dict()))) == ends
    framing = Framing(frame=400, hop=100)
    assert Ends().period == 0.016 and Ends().frames_per_second == 62.5 and Ends(framing).frames_per_second == 160
    assert not Ends().device_reason and "fft 400" in Ends(Framing(frame=400, hop=200, fft=400)).device_reason


def test_ends_of_older_models_are_read():
    old = {"sample_rate": 16000, "frame": 400, "hop": 100, "fft": 512, "bands": 64, "low_hz": 50.0, "high_hz": 7000.0,
           "power": 0.5}
    ends = Ends(Framing(frame=400, hop=100), Bands(count=64, low_hz=50.0, high_hz=7000.0), Feature(power=0.5))
    assert Ends.read(old) == ends and Ends.read({}) == Ends.read({"bands": 128}) == Ends()
    for bad, word in (({"bands": "many"}, "whole number"), ({"power": 0.3, "colour": 1}, "colour"), ([], "mapping"),
                      ({"framing": {"hop": 256.5}}, "whole number"), ({"feature": {"kind": "mfcc"}}, "not known"),
                      ({"bands": {"low_hz": float("nan")}}, "out of range"), ({"frame": 300}, "put together")):
        with pytest.raises(RecipeError, match=word):
            Ends.read(bad)


def test_a_recipe_chooses_its_ends(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\nends:\n  framing: {frame: 400, hop: 100}\n  bands: {kind: erb, count: 64, fine_hz: 1e3}\n"
                    "  feature: {kind: log_power}\n  layout: width\n")
    recipe = load_recipe(path, {"ends.result.limit": "2"})
    assert recipe.ends == Ends(Framing(frame=400, hop=100), Bands("erb", 64, fine_hz=1000.0), Feature("log_power"),
                               Result(limit=2.0), "width")
    assert load_recipe("quick").ends == Ends()
    (tmp_path / "again.yaml").write_text(recipe.as_yaml())
    assert load_recipe(tmp_path / "again.yaml") == recipe
    for key, value, line in (
            ("framing.hop", "512", "ends: framing: hop 512 does not fit frame 400"),
            ("bands.count", "9", "ends: bands: 9 erb"),
            ("bands.kind", "bark", "ends: bands: kind: 'bark' is not known (one of: mel, erb, none)"),
            ("rows", "2", "ends: rows: 2 frames at once are for scores")):
        with pytest.raises(RecipeError) as caught:
            load_recipe(path, {f"ends.{key}": value})
        assert caught.value.line().startswith(f"{path}: {line}")


@pytest.mark.parametrize("ends, word", [
    (Ends(Framing(rate=8000), Bands(high_hz=4000.0)), "the corpus has 16000 Hz"),
    (Ends(Framing(frame=320, hop=160, fft=320)), "fft 320"),
    (Ends(result=Result("score")), "score: losses are known for sound"),
])
def test_what_cannot_be_trained_is_refused_before_training(ends, word):
    from tinyse.train.start import check_ends

    check_ends(Ends(Framing(frame=320, hop=160), Bands("none"), Feature("log_power"), layout="width"))
    with pytest.raises(RecipeError, match=word):
        check_ends(ends)


@pytest.mark.parametrize("change, word", [
    ({"hop": 512}, "put together"), ({"hop": 460}, "put together"), ({"hop": 513}, "hop 513"), ({"hop": 0}, "hop 0"),
    ({"fft": 500}, "fft"), ({"fft": 513}, "fft"), ({"window": "kaiser"}, "window"),
])
def test_impossible_framings_are_refused(change, word):
    with pytest.raises(RecipeError, match=word):
        Framing(**change)


@pytest.mark.parametrize("parts, word", [
    ({"bands": Bands(high_hz=9000.0)}, "bands"), ({"bands": Bands(low_hz=7600.0)}, "bands"),
    ({"bands": Bands(count=0)}, "bands"), ({"bands": Bands("erb", 258)}, "258 erb"), ({"bands": Bands("bark")}, "bark"),
    ({"bands": Bands("erb", 64, fine_hz=2000.0)}, "up to 2000.0 Hz, do not fit 257 bins"),
    ({"layout": "rows"}, "rows are time"),
    ({"layout": "depth"}, "layout"), ({"rows": 2}, "scores"), ({"rows": 0}, "rows"),
    ({"feature": Feature("samples"), "result": Result("samples")}, "overlaps no frames"),
])
def test_parts_that_do_not_go_together_are_refused(parts, word):
    with pytest.raises(RecipeError, match=word):
        Ends(**parts)


@pytest.mark.parametrize("make, word", [
    (lambda: Feature(power=0.0), "power"), (lambda: Feature("mfcc"), "mfcc"), (lambda: Feature(floor=0.0), "floor"),
    (lambda: Result("phase"), "phase"), (lambda: Result(limit=0.0), "limit"),
    (lambda: Result("score", count=0), "count"),
])
def test_impossible_features_and_results_are_refused(make, word):
    with pytest.raises(RecipeError, match=word):
        make()
