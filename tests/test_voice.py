"""Voice activity: its measures, its loss, the family from recipe to scores, and what it is refused for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tinyse import families
from tinyse.cli import main
from tinyse.core.errors import RecipeError
from tinyse.sound import Ends, Result
from tinyse.sound.voice import Score, auc, best_threshold, voice

DRAWS = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=40)


# -- measures ---------------------------------------------------------------------------------------------

@given(DRAWS)
def test_auc_is_the_share_of_pairs_in_order(drawn: list[tuple[int, bool]]) -> None:
    values, labels = np.array([v for v, _ in drawn], float), np.array([said for _, said in drawn])
    pairs = [(a > b) + 0.5 * (a == b) for a in values[labels] for b in values[~labels]]
    found = auc(values, labels)
    assert np.isnan(found) if not pairs else found == pytest.approx(np.mean(pairs))


@given(DRAWS.filter(lambda drawn: len({said for _, said in drawn}) == 2))
def test_no_threshold_is_better_than_the_best(drawn: list[tuple[int, bool]]) -> None:
    values, labels = np.array([v for v, _ in drawn], float), np.array([said for _, said in drawn])
    best = Score.of(values >= best_threshold(values, labels), labels).balanced
    assert best >= max(Score.of(values >= at, labels).balanced for at in range(-5, 6)) - 1e-12 and best >= 0.5


def test_a_score_counts_frames_of_both_classes_alike() -> None:
    found = Score.of(np.array([1, 1, 0, 0, 1], bool), np.array([1, 1, 1, 1, 0], bool))
    assert (found.accuracy, found.voice, found.pause, found.balanced) == (0.4, 0.5, 0.0, 0.25)
    assert Score.of(np.array([True, False]), np.array([True, True])).balanced == 0.5


def test_cross_entropy_weighs_voice_and_pauses_alike_and_is_finite() -> None:
    from tinyse.train.keras import tf
    from tinyse.train.loss import cross_entropy

    chances, labels = tf.constant([[0.9, 0.5], [0.5, 0.2]]), tf.constant([[1.0, 1.0], [1.0, 0.0]])
    wanted = 0.5 * (-np.log([0.9, 0.5, 0.5]).mean() - np.log(0.8))
    assert float(cross_entropy(chances, labels)) == pytest.approx(wanted, rel=1e-5)
    alone = float(cross_entropy(tf.constant([0.0, 1.0]), tf.constant([1.0, 1.0])))
    assert np.isfinite(alone) and alone == pytest.approx(0.25 * np.log(512), rel=1e-2)


# -- the family -------------------------------------------------------------------------------------------

def test_ends_of_voice_are_one_probability() -> None:
    ends = families.load("voice").ends
    assert ends.result.scores and ends.outputs == 1 and ends.result_shape == (1, 1, 1) and ends.delay == 0
    assert Ends.read(ends.as_dict()) == ends
    for wrong in ({"count": 2}, {"limit": 2.0}):
        with pytest.raises(RecipeError, match="voice is one probability"):
            Result("voice", **wrong)
    with pytest.raises(RecipeError, match="rows: 8 frames at once are for scores"):
        Ends(result=Result("voice"), rows=8)


QUICK = {"mixing.seconds": "1", "mixing.batch": "8", "train.float_steps": "60", "train.compress_steps": "20",
         "train.validate_every": "20", "train.validate_count": "6", "train.warmup": "5", "mixing.shares": "[]",
         "family_options": "{dense: 16, gru: [12]}"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A run, its corpus, and what training said."""
    from tinyse.sound.corpus.synthetic import synthetic_corpus

    folder = tmp_path_factory.mktemp("voice")
    synthetic_corpus(folder / "corpus", seed=3)
    words = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    result = CliRunner().invoke(main, ["train", "voice", "--corpus", str(folder / "corpus"), "--out",
                                       str(folder / "run"), *words])
    assert result.exit_code == 0, result.output
    return folder / "run", folder / "corpus", result.stdout


def test_training_gets_better_than_a_coin_and_says_so(trained: tuple[Path, Path, str]) -> None:
    run, _, said = trained
    first = said.splitlines()[0]
    assert first.startswith("validation balanced accuracy ") and first.endswith(" % network (measured)")
    found = float(first.split()[-4])
    assert found > 60, said
    header, *rows = (run / "log.csv").read_text().splitlines()
    assert header.startswith("step,phase,loss,rate,val_balanced,val_level,")
    losses = [float(row.split(",")[2]) for row in rows if row.split(",")[2]]
    assert losses[-1] < losses[0]


def test_an_export_is_scored_beside_an_energy_detector_and_does_not_enhance(
        trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    import soundfile

    run, corpus, _ = trained
    def invoke(*words: str):
        return CliRunner().invoke(main, [*words])

    assert invoke("export", str(run)).exit_code == 0
    assert re.search(r"TINYSE_SCORE_WINDOW +1\n", (run / "export" / "model.h").read_text())
    words = ["evaluate", str(run / "export"), "--corpus", str(corpus), "--count", "1", "--seconds", "2", "--snr", "0,9"]
    result = invoke(*words, "--out", str(tmp_path / "scores"))
    assert result.exit_code == 0, result.output
    assert "AUC                 noisy" in result.stdout and "noisy: an energy detector" in result.stdout
    assert "balanced accuracy" in result.stdout and (tmp_path / "scores" / "evaluation.json").exists()
    asked = invoke(*words, "--metrics", "pesq")
    assert asked.stdout == result.stdout.rsplit("wrote", 1)[0] and asked.stderr.endswith(
        "note: --metrics is of enhancers; networks that say where voice is have their own\n")
    keras = invoke(*words[:1], str(run / "model.npz"), *words[2:])
    assert keras.exit_code == 0, keras.output

    def shares(text: str) -> list[str]:
        return [line for line in text.splitlines() if "   voice   " in line]

    assert len(shares(keras.stdout)) == 3 and shares(keras.stdout) == shares(result.stdout)  # the same integers
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    for words, said in (
            (["enhance", "--model", str(run / "export"), str(tmp_path / "a.wav"), str(tmp_path / "b.wav")],
             "the network gives where voice is, and no sound"),
            (["score-quality", "--model", str(run / "export"), str(tmp_path / "a.wav")], "gives voice, and no quality"),
            (["evaluate", str(run / "export"), "--corpus", str(corpus), "--against",
              str(Path(__file__).parents[1] / "models" / "tinylstm-small")], "compare models of one task")):
        refused = invoke(*words)
        assert refused.exit_code == 1 and said in refused.stderr and len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("recipe, loss, said", [
    ("voice", "mixed", "train.loss: mixed: not of a network whose ends.result is voice (cross_entropy)"),
    ("quick", "cross_entropy", "train.loss: cross_entropy: not of a network whose ends.result is gains")])
def test_a_loss_of_another_task_is_one_line(recipe: str, loss: str, said: str, trained: tuple[Path, Path, str],
                                            tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["train", recipe, "--corpus", str(trained[1]), "--out", str(tmp_path / "run"),
                                       "--set", f"train.loss={loss}"])
    assert result.exit_code == 1 and said in result.stderr and len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_run_or_a_sweep_of_no_sound_is_one_line_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("name: s\nrecipe: voice\naxes: {prune.sparsity: [0.5]}\n")
    for words in (["run", "--recipe", "voice", "--out", str(tmp_path / "run")],
                  ["sweep", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "sweep")]):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1, result.output
        assert "family: voice: gives voice, and no sound (tinyse train, then tinyse evaluate)" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_a_search_over_bits_loses_balanced_accuracy(trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    pytest.importorskip("pymoo", reason="pip install 'tinyse[search]'")
    result = CliRunner().invoke(main, [
        "search", "precision", str(trained[0]), "--corpus", str(trained[1]), "--out", str(tmp_path / "out"),
        "--generations", "1", "--population", "9", "--workers", "0", "--mixtures", "6", "--points", "1"])
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if "bit " in line}
    assert list(rows) == ["8-bit", "6-bit", "5-bit", "4-bit", "3-bit"] and "balanced accuracy %" in result.stdout
    assert rows["8-bit"][4:6] == ["0.00", "0.00"] and 40 < float(rows["8-bit"][2]) <= 100
    assert "balanced accuracy measured (host) on validation" in result.stdout


def test_a_clip_of_less_than_a_frame_costs_its_own_scores_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from tinyse.measure.scores import voices
    from tinyse.measure.scores.pairs import Pair
    from tinyse.measure.scores.systems import System

    engine = SimpleNamespace(ends=families.load("voice").ends, reset=lambda: None, mask=lambda row: row[:1] > -1)
    monkeypatch.setattr(voices, "load", lambda system: engine)
    long = np.concatenate([np.zeros(4096), np.sin(np.arange(4096))]).astype(np.float32)
    pairs = [Pair(str(len(wave)), None, wave, wave) for wave in (long[-100:], long)]
    short, whole = voices.score_voices([System("voice", "tflm", Path("x"))], pairs)
    assert short.values == {"noisy": {}, "voice": {}} and short.skipped["voice"] == voices.SHORT
    assert whole.values["noisy"]["balanced"] > 90 and not whole.skipped


def test_silence_has_no_voice_and_what_is_30_db_softer_neither() -> None:
    assert not voice(np.zeros(4096, np.float32), 512, 256).any()
    tone = np.sin(np.arange(8192) * 0.3).astype(np.float32)
    tone[4096:] *= 10 ** (-35 / 20)
    labels = voice(tone, 512, 256)
    assert labels[:14].all() and not labels[17:].any()
