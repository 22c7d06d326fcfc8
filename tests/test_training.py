"""A training run on a synthetic corpus: it learns, resumes to the same curve, keeps its zeros, reaches the grids."""

import csv
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from tinyse.cli import main
from tinyse.core.artifacts import sha256
from tinyse.core.errors import RecipeError, TinyseError, TrainingError
from tinyse.core.lock import alone
from tinyse.engines import load_engine
from tinyse.graph.grid import Grid
from tinyse.graph.model import Model, tinylstm
from tinyse.sound import Ends, features, stft
from tinyse.sound.corpus.store import Corpus
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import train
from tinyse.train.checkpoint import save_checkpoint
from tinyse.train.keras import tf_keras
from tinyse.train.lanes import Lanes
from tinyse.train.mixer import Mixer, spectra
from tinyse.train.network import Network
from tinyse.train.recipe import load_recipe
from tinyse.train.validation import Validation

TINY = {
    "network.lstm": "[24, 16]", "network.dense": "[16]", "mixing.seconds": "0.5", "mixing.batch": "4",
    "train.float_steps": "12", "train.compress_steps": "12", "train.validate_every": "4",
    "train.validate_count": "6", "train.warmup": "2", "prune.every": "2", "train.float_rate": "0.005",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    return folder


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return train(load_recipe("quick", TINY), folder, corpus)


def losses(folder):
    with open(folder / "log.csv") as stream:
        return [(row["step"], row["phase"], row["loss"], row["val_si_sdr"]) for row in csv.DictReader(stream)]


def test_a_run_leaves_everything_it_promises(whole):
    names = {path.name for path in whole.folder.iterdir()}
    assert names == {"recipe.yaml", "manifest.json", "log.csv", "tb", "curves.png", "checkpoints", "float.npz",
                     "model.npz", "calibration.npy"}
    manifest = json.loads((whole.folder / "manifest.json").read_text())
    model = Model.load(whole.model)
    assert manifest["parameters"] == model.parameters
    assert manifest["val_si_sdr_db"] == pytest.approx(whole.score)
    assert set(model.ranges) == {"features", "lstm_0.h", "lstm_0.c", "lstm_1.h", "lstm_1.c", "dense_0.out",
                                 "dense_1.out"}
    assert Model.load(whole.float_model).ranges is None
    assert set(whole.frames_per_second) == {"float", "compress"}


def test_pruned_weights_are_zeros_in_the_model(whole):
    model = Model.load(whole.model)
    assert len(model.matrices) == 6
    for name in model.matrices:
        assert np.mean(model.arrays[name] == 0) == pytest.approx(0.5, abs=0.02)


def test_an_interrupted_run_resumes_to_the_same_curve(whole, corpus, tmp_path):
    recipe = load_recipe("quick", TINY)
    for stop in (7, 15):  # once in each phase

        def halt(step, stop=stop):
            done = step.done + (12 if step.task == "train compress" else 0)
            if step.task.startswith("train") and done == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path, corpus, halt, resume=True)
    again = train(recipe, tmp_path, corpus, resume=True)
    assert losses(tmp_path) == losses(whole.folder)
    assert again.model.read_bytes() == whole.model.read_bytes()


def test_the_plain_step_goes_on_from_the_lanes_checkpoint(whole, corpus, tmp_path, monkeypatch):
    """As a run does that moves to a machine with a GPU; here the step is asked for, or a GPU pretended."""
    monkeypatch.setattr("tinyse.train.lanes.sees_gpu", lambda: True)

    def halt(step):
        if step.task == "train compress" and step.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(load_recipe("quick", TINY), tmp_path, corpus, halt, whole=False)
    assert losses(tmp_path) == losses(whole.folder)[:len(losses(tmp_path))] and losses(tmp_path)
    train(load_recipe("quick", TINY), tmp_path, corpus, resume=True)
    for one, other in zip(losses(whole.folder), losses(tmp_path), strict=True):
        assert one[:2] == other[:2]
        assert not one[2] or float(other[2]) == pytest.approx(float(one[2]), rel=0.02)
        assert not one[3] or float(other[3]) == pytest.approx(float(one[3]), abs=0.2)


def test_a_second_run_in_the_same_folder_is_refused(whole, corpus):
    with pytest.raises(TrainingError, match="holds a run already"):
        train(load_recipe("quick", TINY), whole.folder, corpus)
    with pytest.raises(TrainingError, match="another recipe or corpus"):
        train(load_recipe("quick", {**TINY, "seed": "9"}), whole.folder, corpus, resume=True)

def test_one_process_trains_in_a_folder(corpus, tmp_path):
    with alone(tmp_path / "run", "training"), pytest.raises(TinyseError) as caught:
        train(load_recipe("quick", TINY), tmp_path / "run", corpus, resume=True)
    assert caught.value.line() == (
        f"{tmp_path / 'run'}: another training runs there (wait for it, stop it, or give another --out)")
    assert list((tmp_path / "run").rglob("*")) == []


def test_a_damaged_checkpoint_is_one_line(whole, corpus, tmp_path):
    path = tmp_path / "checkpoints" / "last.npz"
    path.parent.mkdir()
    path.write_bytes((whole.folder / "checkpoints" / "last.npz").read_bytes()[:500])
    with pytest.raises(TrainingError, match="damaged checkpoint"):
        train(load_recipe("quick", TINY), tmp_path, corpus, resume=True)


def test_a_checkpoint_that_lacks_its_state_is_one_line(corpus, tmp_path):
    save_checkpoint(tmp_path / "checkpoints" / "last.npz", {"step": 3}, {})
    with pytest.raises(TrainingError, match="damaged checkpoint: no best, corpus"):
        train(load_recipe("quick", TINY), tmp_path, corpus, resume=True)


def test_a_full_disk_under_the_event_log_is_one_line(corpus, tmp_path, monkeypatch):
    from tinyse.train.keras import tf
    from tinyse.train.records import Records

    def full(self, **row):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nstack")

    monkeypatch.setattr(Records, "add", full)
    with pytest.raises(TrainingError) as caught:
        train(load_recipe("quick", TINY), tmp_path, corpus)
    assert caught.value.line() == (f"{tmp_path}: No space left on device "
                                   "(free some disk space or memory, then go on with --resume)")


def test_training_lowers_the_loss(corpus, tmp_path):
    steps = {**TINY, "train.float_steps": "60", "train.compress_steps": "0", "train.validate_every": "60"}
    train(load_recipe("quick", steps), tmp_path, corpus)
    values = [float(loss) for _, _, loss, _ in losses(tmp_path) if loss]
    assert values[-1] < 0.85 * values[0]


@pytest.mark.parametrize("loss", ["compressed", "si_sdr", "mixed", "levelled"])
def test_either_loss_falls_on_a_batch_that_is_shown_again_and_again(corpus, loss):
    mixer = Mixer(Corpus.open(corpus), load_recipe("quick", TINY).mixing, Ends(), 1)
    network = Network(tinylstm(128, (16,), (16,), 128), 0.5, 0.4)
    optimizer = tf_keras.optimizers.Adam(0.01)
    lanes = Lanes(network, mixer, loss, 4)
    values = []
    for _ in range(25):
        value, gradients = lanes.gradient_step(0)
        values.append(value)
        optimizer.apply_gradients(zip(gradients, network.trainable_weights, strict=True))
    lanes.close()
    assert values[-1] < min(values[:3])
    assert values[0] - values[-1] > (0.01 if loss == "compressed" else 1.0)


def test_the_spectrum_weighs_as_the_recipe_has_it_beside_si_sdr(corpus):
    mixer = Mixer(Corpus.open(corpus), load_recipe("quick", TINY).mixing, Ends(), 1)
    network = Network(tinylstm(128, (16,), (16,), 128), 0.5, 0.4)

    def loss(name: str, **weight: float) -> float:
        lanes = Lanes(network, mixer, name, 4, **weight)
        value = lanes.gradient_step(0)[0]
        lanes.close()
        return value

    spectrum, ratio = loss("compressed"), loss("si_sdr")
    assert loss("mixed") == pytest.approx(200.0 * spectrum + ratio, rel=1e-4)
    assert loss("mixed", spectral=50.0) == pytest.approx(50.0 * spectrum + ratio, rel=1e-4)


def test_a_weight_of_a_loss_without_it_is_said_before_training(corpus, tmp_path):
    with pytest.raises(RecipeError, match="train.spectral: 50: is of a spectrum beside SI-SDR, and train.loss is comp"):
        train(load_recipe("quick", {**TINY, "train.spectral": "50"}), tmp_path / "run", corpus)
    assert not (tmp_path / "run").exists()


def test_batches_depend_on_seed_and_number_alone(corpus):
    part = load_recipe("quick", TINY).mixing
    one, other = (Mixer(Corpus.open(corpus), part, Ends(), 5) for _ in range(2))
    one.batch(3, 0, 2)
    np.testing.assert_array_equal(one.batch(8, 1, 2).waves, other.batch(8, 1, 2).waves)
    assert not np.array_equal(one.batch(8, 1, 2).waves, one.batch(8, 0, 2).waves)


def test_a_batch_holds_what_the_front_end_gives():

    rng = np.random.default_rng(0)
    noisy, clean = rng.normal(size=(2, 3, 2048)).astype(np.float32) * 0.1
    batch = spectra(noisy, clean, Ends())
    for row in range(3):
        spectrum = stft(noisy[row])
        np.testing.assert_allclose(batch.features[:, row], features(spectrum), rtol=2e-4, atol=1e-5)
        np.testing.assert_allclose(batch.noisy[:, row], np.abs(spectrum) ** 0.3, rtol=2e-4, atol=1e-5)


def test_mixtures_have_the_snr_that_was_drawn(corpus):
    part = load_recipe("quick", {**TINY, "mixing.snr_db": "[3, 3]", "mixing.seconds": "2"}).mixing
    mixer = Mixer(Corpus.open(corpus), part, Ends(), 1)
    for seed in range(5):
        mixed, clean = mixer.mixture(np.random.default_rng(seed))
        loud = np.abs(clean) > 0.02 * np.abs(clean).max()
        ratio = np.mean(clean[loud] ** 2) / np.mean((mixed - clean) ** 2)
        assert 10 * np.log10(ratio) == pytest.approx(3.0, abs=0.1)
        assert np.abs(mixed).max() <= 1.0


def test_quiet_mixtures_have_next_to_nothing_to_take_away(corpus):
    part = load_recipe("quick", {**TINY, "mixing.quiet": "1", "mixing.seconds": "2"}).mixing
    mixer = Mixer(Corpus.open(corpus), part, Ends(), 1)
    for seed in range(5):
        mixed, clean = mixer.mixture(np.random.default_rng(seed))
        assert np.mean(np.square(mixed - clean)) < 10**-1.9 * np.mean(np.square(clean[np.abs(clean) > 0]))


def test_validation_mixtures_apart_share_no_noise(corpus):
    one, other = (Validation(Corpus.open(corpus), 12, 1, Ends(), apart) for apart in (False, True))
    assert one.clean.shape == other.clean.shape

    def distinct(validation):  # a pair at another SNR has the same clean speech, times a gain
        waves = validation.clean / np.abs(validation.clean).max(1, keepdims=True)
        return len(np.unique(waves.round(3), axis=0))

    assert distinct(one) == 2 < distinct(other)


def test_train_command(corpus, tmp_path):
    words = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    out = tmp_path / "run"
    result = CliRunner().invoke(main, ["train", "quick", "--corpus", str(corpus), "--out", str(out), *words,
                                  "--step", "plain"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("validation SI-SDR ") and lines[0].endswith("dB enhanced (measured)")
    assert lines[-1] == f"wrote {out}: model.npz, float.npz, log.csv, curves.png"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nope"], "Error: nope: no such recipe (a YAML file, or a built-in name: demo, demucs, demucs-paper, "
          "demucs-routed, fsenet, fsenet-gated, fsenet-narrow, full, nsnet2-exits, nsnet2-routed, nsnet2-static, "
          "quality, quick, subband, voice)\n"),
        (["quick", "--set", "seed"], "Error: --set seed: no value (section.key=value)\n"),
    ],
)
def test_train_command_errors_are_one_line(words, line):
    result = CliRunner().invoke(main, ["train", *words])
    assert result.exit_code == 1 and result.stderr == line


def test_release_writes_a_model_folder_with_its_card(whole, corpus, tmp_path):
    from tinyse.studies.release import release

    run = tmp_path / "run"
    shutil.copytree(whole.folder, run)
    old = tmp_path / "models" / "tiny"
    old.mkdir(parents=True)
    (old / "stale").write_text("from before")
    done = release(run, "tiny", corpus, tmp_path / "models", count=1, metrics=("si_sdr",))
    assert {path.name for path in done.folder.iterdir()} == {
        "model_int8.tflite", "model_vela.tflite", "recipe.yaml", "log.csv", "curves.png", "evaluation.json",
        "evaluation.csv", "evaluation.png", "profile.json", "parity.json", "README.md", "manifest.json"}
    assert done.parity.streamed_max == 0
    engines = [load_engine(done.folder / name, kind)
               for name, kind in (("model_int8.tflite", "tflm"), ("model_vela.tflite", "npu"))]
    for frame in Mixer(Corpus.open(corpus), load_recipe("quick", TINY).mixing, Ends(), 1).batch(
            0, 0, 4).features.reshape(-1, 128):
        np.testing.assert_array_equal(*(engine.mask(frame) for engine in engines))
    text = (done.folder / "README.md").read_text()
    assert "# tiny\n" in text and "| SI-SDR | noisy |" in text and "estimated (Vela)" in text
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["tiny"]
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert (manifest["start"], manifest["float"]) == (None, sha256(run / "float.npz"))


def test_release_refuses_an_unfinished_run(corpus, tmp_path):
    from tinyse.core.errors import ModelError
    from tinyse.studies.release import release

    with pytest.raises(ModelError, match="no model.npz"):
        release(tmp_path, "tiny", corpus, tmp_path / "models")


def test_logit_range_is_cut_at_the_limit(whole):
    low, high = Model.load(whole.model).ranges["dense_1.out"]
    assert -6.05 <= low <= 0.0 <= high <= 6.05
    assert Grid.of_range(low, high).scale <= 12.0 / 255 * 1.001
