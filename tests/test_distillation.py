"""A dense model teaches the compressed one: the term's value, its pull, runs that resume, one-line errors."""

import csv
import json
import shutil

import numpy as np
import pytest

from tinyse.core.artifacts import sha256
from tinyse.core.errors import RecipeError, TrainingError
from tinyse.graph.model import tinylstm
from tinyse.sound import Ends, gains
from tinyse.sound.corpus.store import Corpus
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import train
from tinyse.train.calibration import learn_ranges
from tinyse.train.distillation import Teacher
from tinyse.train.keras import tf, tf_keras
from tinyse.train.lanes import Lanes
from tinyse.train.loss import MASK_FLOOR
from tinyse.train.mixer import Mixer
from tinyse.train.network import Network
from tinyse.train.recipe import load_recipe
from tinyse.train.start import Start, take_weights

SPEC = Ends()
WIDTHS = tinylstm(128, (12,), (8,), 128)
TINY = {
    "network.lstm": "[12]", "network.dense": "[8]", "mixing.seconds": "0.3", "mixing.batch": "4",
    "mixing.generated": "0", "train.float_steps": "0", "train.compress_steps": "8", "train.validate_every": "4",
    "train.validate_count": "6", "train.warmup": "2", "prune.method": "threshold", "prune.every": "2",
    "prune.sparsity": "0.6",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    return folder


@pytest.fixture(scope="module")
def start():
    tf_keras.utils.set_random_seed(5)
    return Start(Network(WIDTHS).export(SPEC, None, {}), "hash")


def recipe(folder, **changes):
    return load_recipe("quick", {**TINY, "train.start": json.dumps(str(folder)), **changes})


@pytest.fixture
def dense(start, tmp_path):
    folder = tmp_path / "dense"
    folder.mkdir()
    start.model.save(folder / "float.npz")
    return folder


def losses(folder):
    with open(folder / "log.csv") as stream:
        return [(row["step"], row["loss"], row["val_si_sdr"]) for row in csv.DictReader(stream)]


def test_the_term_is_the_distance_of_compressed_spectra(start):
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 2, (4, 3, 128)).astype(np.float32)
    noisy = rng.uniform(0, 2, (4, 3, SPEC.framing.bins)).astype(np.float32)
    mask = rng.uniform(0.05, 1, (4, 3, 128)).astype(np.float32)
    teacher = Teacher(start, 0.5, SPEC)
    network = Network(WIDTHS)
    take_weights(network, start.model)
    own = network(tf.constant(features.transpose(1, 0, 2))).numpy().transpose(1, 0, 2)
    target = teacher.enhanced(tf.constant(features), tf.constant(noisy))
    expected = [(gains(m, SPEC) + MASK_FLOOR) ** 0.3 * noisy for m in (own, mask)]
    np.testing.assert_allclose(target, expected[0], rtol=1e-3, atol=1e-4)
    assert float(teacher.loss(tf.constant(mask), target, tf.constant(noisy))) == pytest.approx(
        0.5 * np.mean((expected[0] - expected[1]) ** 2), rel=1e-3)
    assert float(teacher.loss(tf.constant(own), target, tf.constant(noisy))) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("loss", ["compressed", "si_sdr"])
def test_the_term_comes_on_top_of_either_loss(corpus, start, loss):
    mixer = Mixer(Corpus.open(corpus), recipe("x").mixing, SPEC, 1)
    teacher, network = Teacher(start, 1000.0, SPEC), Network(WIDTHS)
    lanes = [Lanes(network, mixer, loss, 4, teacher=who) for who in (None, teacher)]
    alone, taught = (one.gradient_step(0)[0] for one in lanes)
    for one in lanes:
        one.close()
    terms = []
    for lane in range(2):
        batch = mixer.batch(0, lane, 2)
        features, noisy = tf.constant(batch.features), tf.constant(batch.noisy)
        results, _ = network.run(features, network.zero_states(2))
        terms.append(float(teacher.loss(results[-1], teacher.enhanced(features, noisy), noisy)))
    assert taught - alone == pytest.approx(np.mean(terms), rel=1e-2) and min(terms) > 0.01


def test_a_quantized_student_comes_closer_to_its_teacher(corpus, start):
    mixer = Mixer(Corpus.open(corpus), recipe("x").mixing, SPEC, 1)
    teacher = Teacher(start, 1000.0, SPEC)
    network = Network(WIDTHS)
    network.quantize(learn_ranges(network, mixer, 4, 0))
    lanes = Lanes(network, mixer, "compressed", 4, teacher=teacher)
    optimizer = tf_keras.optimizers.Adam(0.01)
    batch = mixer.batch(0, 0, 2)
    features, noisy = tf.constant(batch.features), tf.constant(batch.noisy)
    target = teacher.enhanced(features, noisy)

    def distance():
        return float(teacher.loss(network.run(features, network.zero_states(2))[0][-1], target, noisy))

    before = distance()
    for _ in range(20):
        _, gradients = lanes.gradient_step(0)
        optimizer.apply_gradients(zip(gradients, network.trainable_weights, strict=True))
    lanes.close()
    assert distance() < 0.75 * before


def test_a_distilled_run_resumes_to_the_same_curve_and_says_so(corpus, dense, tmp_path):
    asked = recipe(dense, **{"train.distill": "2"})
    whole = train(asked, tmp_path / "whole", corpus)

    def halt(step):
        if step.task == "train compress" and step.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(asked, tmp_path / "parts", corpus, halt)
    again = train(asked, tmp_path / "parts", corpus, resume=True)
    assert losses(again.folder) == losses(whole.folder)
    assert again.model.read_bytes() == whole.model.read_bytes()
    manifest = json.loads((again.folder / "manifest.json").read_text())
    assert manifest["distill"] == 2.0 and manifest["start_sha256"] == sha256(dense / "float.npz")
    alone = train(recipe(dense), tmp_path / "alone", corpus)
    assert alone.model.read_bytes() != whole.model.read_bytes()
    assert json.loads((alone.folder / "manifest.json").read_text())["distill"] == 0.0


def test_another_teacher_is_no_teacher_to_resume_with(corpus, dense, tmp_path):
    asked = recipe(dense, **{"train.distill": "1"})
    out = tmp_path / "run"

    def halt(step):
        if step.task == "train compress" and step.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(asked, out, corpus, halt)
    tf_keras.utils.set_random_seed(9)
    Network(WIDTHS).export(SPEC, None, {}).save(dense / "float.npz")
    with pytest.raises(TrainingError) as caught:
        train(asked, out, corpus, resume=True)
    assert f"train.start: {dense} is not the model that this run began with" in caught.value.line()
    shutil.rmtree(dense)
    with pytest.raises(Exception, match="train.start: .* no model there"):
        train(asked, out, corpus, resume=True)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"train.distill": "0.5"}, "train.distill: 0.5 needs a teacher, and there is no train.start "
                                   "(train.start: the dense run that teaches, or train.distill: 0)"),
        ({"train.distill": "-1"}, "train: distill: -1.0 is out of range (0 to 1000)"),
    ],
)
def test_errors_name_the_file_and_the_key(changes, line):
    with pytest.raises(RecipeError) as caught:
        load_recipe("quick", changes)
    assert caught.value.line().startswith("/") or "quick.yaml" in caught.value.line()
    assert caught.value.line().endswith(line)
