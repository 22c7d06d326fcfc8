"""What networks answer beside masks: complex gains and samples, from their losses to the int8 stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyse import sound
from tinyse.core.errors import RecipeError
from tinyse.engines import load_engine
from tinyse.export.pipeline import export_run
from tinyse.measure.parity import measure_parity
from tinyse.measure.scores.scoring import stream
from tinyse.sound import Bands, Ends, Feature, Framing, Result, rows, sounded, stft
from tinyse.sound.corpus.store import Corpus
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import ends as twin
from tinyse.train import train
from tinyse.train.keras import tf, tf_keras
from tinyse.train.lanes import Lanes
from tinyse.train.loss import COMPLEX_WEIGHT, EXPONENT, complex_spectral, compressed_error
from tinyse.train.mixer import Mixer
from tinyse.train.network import Network
from tinyse.train.recipe import recipe_of

HEAD = """
from tinyse.graph.build import Build
from tinyse.graph.net import Net
from tinyse.graph.plan import Exit, Route
from tinyse.sound import Bands, Ends, Feature, Framing, Result


def net() -> Net:
    b = Build(ENDS.shape)
"""
FAMILIES = {
    "complex_gains": HEAD + """    x = b.gru(b.conv(b.x, 6, (2, 3), (1, 1), "relu"), 6)
    return b.done(gains=b.dense(x, 2, "tanh"))


ENDS = Ends(bands=Bands("erb", 16), feature=Feature("complex"), result=Result("complex_gains", limit=2.0),
            layout="width")
""",
    "samples": HEAD + """    x = b.lstm(b.dense(b.x, 24, "tanh"), 16)
    return b.done(wave=b.dense(x, 128))


ENDS = Ends(Framing(frame=128, hop=128, fft=128, window="none"), feature=Feature("samples"), result=Result("samples"))
""",
    "bands_to_samples": HEAD + """    return b.done(wave=b.dense(b.dense(b.x, 24, "relu"), 256, "tanh"))


ENDS = Ends(result=Result("samples", limit=0.5))
"""}
FEW = {"mixing": {"seconds": 0.5, "batch": 4, "generated": 0}, "train": {
    "float_steps": 8, "compress_steps": 8, "validate_every": 8, "validate_count": 6, "warmup": 2}}
HOP_ENDS = Ends(Framing(frame=128, hop=128, fft=128, window="none"), feature=Feature("samples"),
                result=Result("samples", limit=0.5))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3, minutes=0.5)
    return folder


def recipe(folder: Path, text: str, **changes: object) -> object:
    (folder / "mine.py").write_text(text)
    return recipe_of({"name": "a", "family": str(folder / "mine.py"), **FEW, **changes}, "a")


@pytest.mark.parametrize("loss", ["compressed", "si_sdr", "mixed", "levelled"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_few_steps_lower_the_loss(kind: str, loss: str, corpus: Path, tmp_path: Path) -> None:
    plan = recipe(tmp_path, FAMILIES[kind])
    mixer = Mixer(Corpus.open(corpus), plan.mixing, plan.ends, 1)
    features = mixer.batch(0, 999, 4).features
    tf_keras.utils.set_random_seed(1)
    network = Network(plan.net(), float(features.mean()), float(features.std()))
    lanes, optimizer = Lanes(network, mixer, loss, 4), tf_keras.optimizers.Adam(0.01)
    batch, losses = lanes._draw(0, 0), []
    for _ in range(12):
        value, gradients, _ = lanes._gradient(*batch)
        assert all(np.isfinite(each).all() for each in gradients)
        losses.append(float(value))
        optimizer.apply_gradients(zip(gradients, network.trainable_weights, strict=True))
    lanes.close()
    assert losses[-1] < losses[0] - 0.03 * abs(losses[0]), losses


@pytest.mark.parametrize("kind", ["complex_gains", "samples"])
def test_trained_it_streams_on_integers_as_it_ran_whole(kind: str, corpus: Path, tmp_path: Path) -> None:
    plan = recipe(tmp_path, FAMILIES[kind])
    done = train(plan, tmp_path / "run", corpus)
    assert np.isfinite(done.score)
    exported = export_run(tmp_path / "run", "cortex-m55").folder
    parity = measure_parity(done.model, exported, Corpus.open(corpus), frames=60)
    assert parity.streamed_max == 0 and parity.trained_mean < 1, parity
    wave = np.random.default_rng(0).normal(0, 0.1, 60 * plan.ends.framing.hop).astype(np.float32)
    engine, ends = load_engine(exported), plan.ends
    streamed = stream(engine, wave)
    history = ends.framing.frame - ends.framing.hop
    padded = np.concatenate([np.zeros(history, np.float32), wave, np.zeros(ends.delay, np.float32)])
    spectrum = stft(padded, ends.framing)
    engine.reset()
    answers = np.stack([engine.mask(row) for row in rows(padded, spectrum, ends)])
    np.testing.assert_allclose(sounded(spectrum, answers, ends)[history:][:len(wave)], streamed, rtol=0, atol=2e-6)
    assert np.abs(streamed).max() > 0


@pytest.mark.parametrize("ends", [Ends(bands=Bands("erb", 16), result=Result("complex_gains")), HOP_ENDS,
                                  Ends(result=Result("samples", limit=0.5)), Ends()])
def test_the_twin_sounds_as_the_host(ends: Ends) -> None:
    rng = np.random.default_rng(1)
    wave = rng.normal(0, 0.1, 12 * ends.framing.hop + ends.framing.frame).astype(np.float32)
    spectrum = stft(wave, ends.framing)
    answers = rng.uniform(-1, 1, (len(spectrum), ends.outputs)).astype(np.float32)
    wanted = sounded(spectrum, answers, ends)
    assert wanted.shape == wave.shape
    found = twin.sounded(tf.constant(spectrum[None]), tf.constant(answers[None]), ends)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5, atol=1e-5)


def test_complex_spectra_on_the_noisy_phase_give_the_paper_s_loss() -> None:
    """With the noisy phase the general loss is the one on magnitudes and a cosine."""
    rng = np.random.default_rng(2)
    noisy, clean = (rng.normal(size=(5, 9)) + 1j * rng.normal(size=(5, 9)) for _ in range(2))
    enhanced = noisy * rng.uniform(0.1, 1, noisy.shape)
    cosine = np.cos(np.angle(clean) - np.angle(noisy))
    wanted = compressed_error(np.abs(enhanced) ** EXPONENT, np.abs(clean) ** EXPONENT, cosine).numpy().mean()
    found = complex_spectral(tf.constant(enhanced, tf.complex64), tf.constant(clean, tf.complex64))
    assert float(found) == pytest.approx(float(wanted), rel=1e-5) and COMPLEX_WEIGHT > 0
    silent = tf.Variable(tf.zeros((5, 9)))
    with tf.GradientTape() as tape:
        value = complex_spectral(tf.complex(silent, silent), tf.constant(clean, tf.complex64))
    assert np.isfinite(tape.gradient(value, silent)).all()


def test_hops_are_the_rows_of_samples() -> None:
    wave = np.arange(1024, dtype=np.float32)
    found = rows(wave, stft(wave, HOP_ENDS.framing), HOP_ENDS)
    np.testing.assert_array_equal(found, wave.reshape(8, 128))
    framing = Framing()
    newest = Ends(framing, feature=Feature("samples"), result=Result("gains"))
    np.testing.assert_array_equal(rows(wave, stft(wave, framing), newest), wave[256:].reshape(3, 256))
    assert sound.rows is rows


@pytest.mark.parametrize(("text", "changes", "line"), [
    (FAMILIES["samples"], {"train": {"distill": 0.5, "start": "x"}}, "train.distill: 0.5: known for gains only, and "
     "ends.result is samples (leave train.distill out)"),
    (HEAD + """    b.exit(b.dense(b.x, 128, "sigmoid"), b.dense(b.x, 1))
    return b.done(mask=b.dense(b.dense(b.x, 8), 128, "sigmoid"))


ENDS = Ends()
""", {}, "the scores of exits have no loss (exits without scores)"),
    (HEAD + """    x = b.dense(b.x, 3)
    return b.done(score=x)


ENDS = Ends(result=Result("score", count=3))
""", {}, "ends.result: score: losses are known for sound and voice only (gains, complex_gains, samples or voice)")])
def test_what_has_no_loss_is_one_line_before_training(text: str, changes: dict, line: str, corpus: Path,
                                                      tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        train(recipe(tmp_path, text, **changes), tmp_path / "run", corpus)
    assert line in caught.value.line() and not (tmp_path / "run").exists()
