"""The quality predictor: its network, its fast integers, its memory, its labels and its training."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse import families
from tinyse.cli import main
from tinyse.core.errors import ModelError, RecipeError, TrainingError
from tinyse.engines.quality import Scorer
from tinyse.graph.fixedpoint import rescaler
from tinyse.graph.floating import Floating, calibrate
from tinyse.graph.graph import Graph
from tinyse.graph.model import Model
from tinyse.graph.net import Net
from tinyse.graph.reference import Reference
from tinyse.graph.tall import Tall, first_one
from tinyse.measure.footprint import FLOAT, INT8, footprint
from tinyse.measure.labels import Maker, labels_folder, make_labels
from tinyse.measure.predictors import agreements, int8_answers
from tinyse.sound import Meter
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train.labelled import LabelsPart, chunk_file, features_of, logs_of, read_labels
from tinyse.train.recipe import recipe_of

SMALL = {"channels": (4, 4, 4, 24), "dense": (8,), "window": 6}


def made(**options: object) -> Net:
    family = families.load("quality")
    return family.net(family.options(options, "x"), family.ends)


def drawn(net: Net, seed: int) -> Model:
    """Weights by which steps are 0 about as often as 1, and scores differ."""
    rng = np.random.default_rng(seed)
    arrays = {name: (rng.normal(0, 2 / np.sqrt(array.fan[0]), array.shape) if array.matrix else
                     rng.uniform(-3, 0, array.shape)).astype(np.float32) for name, array in net.arrays.items()}
    arrays |= {name: abs(array) for name, array in arrays.items() if name.startswith("dense")}
    ends = families.load("quality").ends
    frames = rng.normal(0, 1, (30, ends.inputs)).astype(np.float32)
    ranges = calibrate(Model(net, arrays, ends), frames) | {net.input.name: (-3.0, 3.0)}
    return Model(net, arrays, ends, ranges)


@lru_cache
def graph(activation: str = "step", seed: int = 0) -> Graph:
    return drawn(made(**SMALL, activation=activation), seed).plan().graphs[0]


def test_the_paper_s_network_has_its_45_697_weights() -> None:
    net, real = made(), made(activation="relu")
    kernels = 9 * 32 + 2 * 9 * 32 * 32 + 9 * 32 * 64 + 2 * 64 * 64 + 64
    assert net.parameters == real.parameters == kernels + 3 * 32 + 64 + 64 + 64 + 1 == 45_697
    assert net.shapes[net.input.name] == (8, 120, 1) and net.shapes[net.results[-1].node] == (1, 1, 1)
    assert net.macs() == real.macs() == 120 * 8 * 9 * 32 + 60 * 4 * 9216 + 30 * 2 * 9216 + 15 * 18432 + 8192 + 64
    assert net.states["past_4.past"] == (30, 1, 64) and families.load("quality").ends.frames_per_second == 6.25


@pytest.mark.parametrize(("options", "said"), [
    ({"channels": [4] * 5}, "channels: 4 halvings of 8 rows (ends: rows: a multiple of 2 for each)"),
    ({"window": 1}, "window: 1, activation: 'step' (2 steps or more; step or relu)"),
    ({"activation": "tanh"}, "window: 31, activation: 'tanh' (2 steps or more; step or relu)"),
])
def test_wrong_options_are_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        made(**options)
    assert caught.value.line().endswith(said)


@given(st.integers(0, 1000), st.sampled_from(["step", "relu"]))
@settings(max_examples=8)
def test_training_on_whole_clips_computes_what_a_stream_does(seed: int, activation: str) -> None:
    from tinyse.train.keras import tf
    from tinyse.train.maps import Maps

    model = drawn(made(**SMALL, activation=activation), seed)
    clips = np.random.default_rng(seed).normal(0, 1, (2, 9 * 8, 120)).astype(np.float32)
    whole = Maps(model.net, model.arrays).run(tf.constant(clips)).numpy()
    for clip, found in zip(clips, whole, strict=True):
        (streamed,) = Floating(model.net, model.arrays).run(clip.reshape(9, 8, 120, 1)).values()
        np.testing.assert_allclose(found[:, 0], streamed.reshape(-1), atol=1e-4)


def test_steps_start_at_1_in_half_of_the_places() -> None:
    from tinyse.train.keras import tf
    from tinyse.train.maps import Maps
    from tinyse.train.predictor import first_arrays

    net = made(**SMALL)
    maps = Maps(net, first_arrays(net, 1, 1.5))
    features = tf.constant(np.random.default_rng(0).normal(0, 1, (8, 48, 120)), tf.float32)
    maps.settle(features)
    seen = []
    maps.run(features, keep=lambda x: seen.append(float(tf.reduce_mean(x[:, x.shape[1] // 2 :]))) or x)
    assert len(seen) == 4 and all(0.4 < share < 0.6 for share in seen)


def test_a_network_that_is_none_of_convolutions_is_refused() -> None:
    from tinyse.train.maps import Maps

    family = families.load("demo")
    with pytest.raises(RecipeError, match="a score is learnt of past, conv, pool, dense in one part"):
        Maps(family.net({}, family.ends), {})


@given(st.integers(0, 5), st.sampled_from(["step", "relu"]), st.lists(st.integers(1, 9), min_size=1, max_size=4))
@settings(max_examples=15)
def test_many_frames_at_once_give_the_reference_s_integers(seed: int, activation: str, blocks: list[int]) -> None:
    one = graph(activation, seed)
    source, result = one.inputs[0], one.outputs[0]
    rng = np.random.default_rng(seed)
    frames = rng.integers(-128, 128, (sum(blocks), *source.shape[1:])).astype(np.int8)
    tall, reference = Tall(one), Reference(one)
    for _ in range(2):
        wanted = [reference.run({source.name: frame[None]})[result.name].reshape(-1) for frame in frames]
        found = [tall.run(part) for part in np.split(frames, np.cumsum(blocks)[:-1])]
        np.testing.assert_array_equal(np.concatenate(found), np.stack(wanted))
        tall.reset()
        reference.reset()


def test_the_scores_of_the_tests_differ() -> None:
    frames = np.random.default_rng(0).integers(-128, 128, (20, 8, 120, 1)).astype(np.int8)
    assert max(len(np.unique(Tall(graph("step", seed)).run(frames))) for seed in range(6)) > 3


@given(st.lists(st.floats(1e-7, 0.9), min_size=1, max_size=5))
def test_a_step_s_bound_is_where_the_rounding_turns(reals: list[float]) -> None:
    scaled = rescaler(reals)
    bound = first_one(scaled, np.array(reals))
    assert (scaled(bound) >= 1).all() and (scaled(bound - 1) < 1).all()
    np.testing.assert_allclose(bound, 0.5 / np.array(reals), rtol=1e-6, atol=1.0)


def test_what_cannot_be_run_at_once_is_one_line() -> None:
    family = families.load("subband")
    net = family.net({}, family.ends)
    arrays = {name: np.zeros(array.shape, np.float32) for name, array in net.arrays.items()}
    plan = Model(net, arrays, family.ends, {name: (-1.0, 1.0) for name in net.ranges}).plan()
    with pytest.raises(ModelError, match="is not run over many frames at once"):
        Tall(plan.graphs[0])


def test_memory_is_the_count_by_hand() -> None:
    net, real = made(), made(activation="relu")
    weights, biases = 45_408, 289
    maps = 248 * 120 * 32 + 124 * 60 * 32
    assert (whole := footprint(real, FLOAT, 31)).parameters == 4 * 45_697 and whole.values == 4 * maps
    packed = footprint(net, INT8, 31)
    assert packed.parameters == weights + 4 * biases + 8 * 129 and packed.values == maps // 8
    assert whole.total / packed.total > 25
    states = 2 * 120 * 32 + 2 * 60 * 32 * 32 + 2 * 30 * 32 * 32 + 2 * 15 * 32 * 32 + 30 * 64 * 32
    bits = 2 * 120 * 8 + 2 * 60 * 32 + 2 * 30 * 32 + 2 * 15 * 32 + 30 * 64
    assert footprint(real, FLOAT).values == (states + 32 * (8 * 120 * 32 + 4 * 60 * 32)) // 8
    assert footprint(net, INT8).values == (bits + 8 * 120 * 32 + 8 * 8 * 120) // 8


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory):
    return synthetic_corpus(tmp_path_factory.mktemp("corpus"))


WANTED = LabelsPart(train=16, validation=16, test=16, seconds=1.0, snr_db=(0.0, 20.0), enhancers=(), clean=0.5)


@pytest.fixture(scope="module")
def labels(corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_labels(corpus, WANTED, families.load("quality").ends, 3, tmp_path_factory.mktemp("labels"), 0)


def test_labels_are_pesq_of_clips_and_the_same_again(corpus, labels, tmp_path) -> None:
    from tinyse.measure.scores.metrics import METRICS, score

    clips, ends = read_labels(labels, "test", 16), families.load("quality").ends
    assert clips.logs.shape[1:] == (48, 120) and set(clips.systems) == {"noisy", "clean"}
    assert all(score > 4.5 for score, system in zip(clips.scores, clips.systems, strict=True) if system == "clean")
    noisy, clean, snr, _ = Maker(corpus, "test", WANTED, 3).mixture(0)
    assert clips.scores[0] == pytest.approx(score([METRICS["pesq"]], clean, noisy)[0]["pesq"], abs=1e-6)
    assert clips.snrs[0] == pytest.approx(snr)
    np.testing.assert_array_equal(clips.logs[0], logs_of(noisy, ends, 1.0))
    begun = make_labels(corpus, replace(WANTED, train=0, validation=0), ends, 3, tmp_path / "again", 0)
    assert chunk_file(begun, "test", 0).read_bytes() == chunk_file(labels, "test", 0).read_bytes()
    assert not chunk_file(begun, "train", 0).exists()
    before = chunk_file(labels, "train", 0).stat().st_mtime_ns
    make_labels(corpus, WANTED, ends, 3, labels, 0)
    assert chunk_file(labels, "train", 0).stat().st_mtime_ns == before


def test_kept_logs_are_the_stream_s_features(corpus) -> None:
    ends = families.load("quality").ends
    wave, _, _, _ = Maker(corpus, "test", WANTED, 3).mixture(1)
    heard: list[np.ndarray] = []

    class Listener:
        def reset(self) -> None: ...

        def mask(self, feature: np.ndarray) -> np.ndarray:
            heard.append(feature)
            return np.zeros(1, np.float32)

    for gain in (0.0, -6.0):
        heard.clear()
        meter = Meter(Listener(), ends)
        for hop in (wave * np.float32(10 ** (gain / 20)))[: 48 * 320].reshape(-1, 320):
            meter.push(hop)
        np.testing.assert_allclose(features_of(logs_of(wave, ends, 1.0), ends, gain).reshape(6, -1), heard, atol=3e-3)


def test_what_decides_labels_names_their_folder(corpus) -> None:
    ends = families.load("quality").ends
    first = labels_folder(corpus, WANTED, ends, 3)
    assert labels_folder(corpus, replace(WANTED, train=99, gain_db=1.0, dropout=0.5), ends, 3) == first
    others = [labels_folder(corpus, replace(WANTED, clean=0.4), ends, 3), labels_folder(corpus, WANTED, ends, 4),
              labels_folder(corpus, replace(WANTED, enhancers=("tinylstm-small",)), ends, 3)]
    assert len({first, *others}) == 4
    with pytest.raises(ModelError, match="labels.enhancers: nobody: no such model"):
        labels_folder(corpus, replace(WANTED, enhancers=("nobody",)), ends, 3)


def test_damaged_labels_are_one_line(labels, tmp_path) -> None:
    chunk_file(tmp_path, "test", 0).write_bytes(chunk_file(labels, "test", 0).read_bytes()[:-500])
    with pytest.raises(TrainingError, match="damaged labels"):
        read_labels(tmp_path, "test", 16)


RECIPE = {"name": "q", "family": "quality", "family_options": SMALL, "mixing": {"batch": 8},
          "labels": {"train": 16, "validation": 16, "test": 16, "seconds": 1.0, "snr_db": [0, 20], "enhancers": [],
                     "clean": 0.5},
          "train": {"float_steps": 6, "validate_every": 3, "float_rate": 1e-3}}


def test_from_a_recipe_to_a_score(corpus, tmp_path, monkeypatch) -> None:
    import yaml

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "q.yaml").write_text(yaml.safe_dump({**RECIPE, "family_options": {
        key: list(value) if isinstance(value, tuple) else value for key, value in SMALL.items()}}))

    def run(*arguments: object):
        return CliRunner().invoke(main, list(map(str, arguments)))

    given = ("train", tmp_path / "q.yaml", "--corpus", corpus.folder, "--out")
    whole, part = tmp_path / "whole", tmp_path / "part"
    result = run(*given, whole)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("validation Pearson ") and lines[0].endswith(" MOS (measured)")
    assert lines[1:] == [f"wrote {whole}: model.npz, float.npz, log.csv"]
    assert run(*given, whole).output.endswith("holds a run already (add --resume, or give another --out)\n")
    stopped = interrupted_after(2)
    assert run(*given, part).exit_code == 130
    stopped.undo()
    assert run(*given, part, "--resume").exit_code == 0
    assert (part / "model.npz").read_bytes() == (whole / "model.npz").read_bytes()
    assert (part / "log.csv").read_text() == (whole / "log.csv").read_text()
    assert run("export", whole, "--target", "cortex-m55").exit_code == 0
    clips = read_labels(next((tmp_path / "cache" / "tinyse" / "labels").iterdir()), "validation", 16)
    found = int8_answers(whole / "export", clips)
    from tinyse.engines import load_engine

    engine = load_engine(whole / "export", "tflm")
    for logs, score in zip(clips.logs[:3], found, strict=False):
        engine.reset()
        steps = [engine.mask(step) for step in features_of(logs, engine.ends).reshape(6, -1)]
        assert steps[-1] == score
    assert agreements(found, clips)["unprocessed"].clips == 16
    assert Scorer.load(whole / "export").seconds == pytest.approx(0.96)


def interrupted_after(steps: int) -> pytest.MonkeyPatch:
    """Let training be asked to stop after so many steps, as by Ctrl-C."""
    import signal

    from tinyse.train.predictor import Training

    inner, learn = pytest.MonkeyPatch(), Training.learn

    def stopping(self: Training) -> float:
        loss = learn(self)
        if self.step == steps:
            signal.raise_signal(signal.SIGINT)
        return loss

    inner.setattr(Training, "learn", stopping)
    return inner


@pytest.mark.parametrize(("changed", "said"), [
    ({"prune": {"method": "threshold"}}, "prune.method: not for a network that scores (leave prune out)"),
    ({"skip": {"enabled": True}}, "skip.enabled: not for a network that scores (leave skip out)"),
    ({"labels": {"train": 0}}, "labels: a predictor needs train and validation mixtures (1 of each, or more)"),
    ({"ends": {"result": {"count": 2}}},
     "ends: a predictor gives one score of a spectrum (result: {count: 1, limit: 1})"),
    ({"labels": {"snr_db": [3, 0]}}, "labels.snr_db: [3.0, 0.0] is not a range ([lowest, highest])"),
])
def test_what_a_predictor_is_not_trained_with_is_one_line(changed: dict, said: str) -> None:
    from tinyse.train.predictor import check_predictor

    with pytest.raises(RecipeError) as caught:
        check_predictor(recipe_of({**RECIPE, **changed}, "x"))
    assert caught.value.line() == said


def test_clips_that_are_shorter_than_the_window_are_refused(corpus, tmp_path) -> None:
    from tinyse.studies.quality import train_quality

    short = recipe_of({**RECIPE, "labels": {**RECIPE["labels"], "seconds": 0.95}}, "x")
    with pytest.raises(RecipeError) as caught:
        train_quality(short, tmp_path / "run", corpus.folder)
    assert caught.value.line() == "labels.seconds: 0.95: 5 steps, and a score is of 6 (0.96 s or more)"
    assert not (tmp_path / "run").exists()
