"""Simulated rooms: reproducible, resumable, decaying as they should, and taken by an import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from tinyse.cli import main
from tinyse.core.errors import ToolError
from tinyse.measure.scores.conditions import CONDITIONS, LEVELS_DB
from tinyse.sound.corpus import simulated
from tinyse.sound.corpus.distant import room_mixtures, room_responses
from tinyse.sound.corpus.mix import active_level, test_mixtures
from tinyse.sound.corpus.rooms import response_of
from tinyse.sound.corpus.store import Corpus
from tinyse.sound.corpus.synthetic import synthetic_corpus

pytest.importorskip("pyroomacoustics", reason="pip install 'tinyse[rooms]'")


def test_a_room_is_the_same_twice_and_another_seed_is_another_room() -> None:
    one, again, other = (simulated.responses(seed, 2) for seed in (1, 1, 2))
    assert len(one) == simulated.SOURCES
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0][:2000], other[0][:2000])


def test_rooms_decay_and_have_distant_mouths() -> None:
    """Direct sound from above the tail to far below it, within a few rooms."""
    ratios = []
    for index in range(4):
        for wave in map(response_of, simulated.responses(5, index)):
            energy = np.square(wave, dtype=np.float64)
            ratios.append(10 * np.log10(energy[:56].sum() / energy[56:].sum()))
            assert energy[-800:].sum() < 0.05 * energy.sum()
    assert min(ratios) < -5 and max(ratios) > min(ratios) + 8, ratios


def test_the_command_goes_on_and_an_import_takes_what_it_wrote(tmp_path: Path) -> None:
    run = CliRunner()
    words = ["data", "rooms", "--out", str(tmp_path / "rooms"), "--count", "2", "--workers", "1"]
    result = run.invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0 and "2 rooms, 8 impulse responses, simulated" in result.output, result.output
    kept = tmp_path / "rooms" / "room00000" / "1.wav"
    samples, rate = soundfile.read(kept)
    assert rate == 16_000 and 0.89 < np.abs(samples).max() < 0.91
    (tmp_path / "rooms" / "room00001" / "3.wav").unlink()
    before = kept.stat().st_mtime_ns
    assert run.invoke(main, words, catch_exceptions=False).exit_code == 0
    assert kept.stat().st_mtime_ns == before and (tmp_path / "rooms" / "room00001" / "3.wav").is_file()
    result = run.invoke(main, ["data", "import", "--rooms", str(tmp_path / "rooms"), "--split", "100,0,0", "--out",
                               str(tmp_path / "corpus")], catch_exceptions=False)
    assert result.exit_code == 0 and "8 impulse responses" in result.output, result.output


def test_without_pyroomacoustics_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyroomacoustics", None)
    with pytest.raises(ToolError, match="pyroomacoustics") as error:
        simulated.responses(1, 0)
    assert "pip install" in str(error.value.hint)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "rooms").write_text("")
    result = CliRunner().invoke(main, ["data", "rooms", "--out", str(tmp_path / "rooms"), "--count", "1"])
    assert result.exit_code != 0 and "rooms: is a file" in result.output


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("rooms") / "corpus"
    synthetic_corpus(folder, seed=3)
    return Corpus.open(folder)


def test_mixtures_in_rooms_hold_their_snr_and_repeat(corpus: Corpus) -> None:
    made = list(room_mixtures(corpus, "test", (0.0, 6.0), 2, 1.0, 5))
    again = list(room_mixtures(corpus, "test", (0.0, 6.0), 2, 1.0, 5))
    dry = list(test_mixtures(corpus, "test", (0.0, 6.0), 2, 1.0, 5))
    for one, two, plain in zip(made, again, dry, strict=True):
        assert np.array_equal(one.noisy, two.noisy) and one.id == plain.id
        noise = one.noisy - one.clean
        found = 20 * np.log10(active_level(one.clean) / np.sqrt(np.mean(np.square(noise, dtype=np.float64))))
        assert found == pytest.approx(one.snr_db, abs=0.05)
        along = float(np.dot(one.clean, plain.clean) / np.linalg.norm(one.clean) / np.linalg.norm(plain.clean))
        assert 0.05 < along < 0.999  # aligned with the dry speech, and not the dry speech


def test_rooms_of_tests_have_distant_mouths() -> None:
    distances = [room_responses(5, number)[2] for number in range(6)]
    assert all(0.5 <= distance <= 4.0 for distance in distances)
    assert max(distances) > 2 * min(distances)


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition_has_its_clips(corpus: Corpus, name: str) -> None:
    made = list(CONDITIONS[name](corpus.folder, "test", (0.0, 6.0), 2, 1.0, 5))
    assert len(made) == {"levels": 2 * len(LEVELS_DB), "clean": 2}.get(name, 4)
    assert len({pair.name for pair in made}) == len(made)
    for pair in made:
        if name == "levels":
            assert 20 * np.log10(active_level(pair.clean)) == pytest.approx(pair.snr, abs=1e-3)
        assert np.array_equal(pair.noisy, pair.clean) == (name == "clean")


@pytest.mark.parametrize(("condition", "said"), [("rooms", "4 clips"), ("levels", "columns: active level"),
                                                 ("clean", "2 clips")])
def test_evaluate_under_a_condition(corpus: Corpus, tmp_path: Path, condition: str, said: str) -> None:
    from tiny_models import tiny_trained

    tiny_trained().save(tmp_path / "float.npz")
    result = CliRunner().invoke(main, [
        "evaluate", str(tmp_path / "float.npz"), "--corpus", str(corpus.folder), "--condition", condition,
        *(["--snr", "0,6"] if condition == "rooms" else []), "--count", "2", "--seconds", "1", "--metrics", "si_sdr",
        "--workers", "1"], catch_exceptions=False)
    assert result.exit_code == 0 and said in result.output, result.output
