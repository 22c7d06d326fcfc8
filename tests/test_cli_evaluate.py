"""``tinyse evaluate``: the whole printed table, and one line for what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tinyse.cli import main
from tinyse.core.artifacts import sha256
from tinyse.core.errors import CorpusError
from tinyse.measure.scores import scoring
from tinyse.measure.scores.metrics import METRICS
from tinyse.measure.scores.pairs import Pair
from tinyse.sound import DEFAULT


class PassAll:
    """Masks nothing."""

    name = "pass"
    bands = 128
    ends, update_rate, part_rates = DEFAULT, None, ()

    def reset(self) -> None:
        pass

    def mask(self, feature: np.ndarray) -> np.ndarray:
        return np.ones(self.bands, np.float32)


def tones(corpus, split, snrs, count, seconds, seed):  # type: ignore[no-untyped-def]
    """A 1 kHz tone in a 200 Hz tone: the SNR is exact and no random number is involved."""
    t = np.arange(16000) / 16000
    clean = (0.1 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32)
    for index in range(count):
        for snr in snrs:
            noise = 0.1 * 10 ** (-snr / 20) * np.sin(2 * np.pi * 200 * t)
            yield Pair(f"tone{index}", snr, (clean + noise).astype(np.float32), clean)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(scoring, "load", lambda system: PassAll())
    monkeypatch.setattr(scoring, "corpus_pairs", tones)
    path = tmp_path / "model_int8.tflite"
    path.write_bytes(b"model")
    return path


def test_the_whole_table(model: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "scores", tmp_path / "float.npz"
    arguments = ["evaluate", str(model), "--corpus", str(tmp_path), "--snr", "-6,6", "--count", "2",
                 "--metrics", "si_sdr", "--workers", "1", "--out", str(out), "--against", f"{other}:keras"]
    other.write_bytes(b"weights")
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 0, answer.output
    lines = [line.rstrip() for line in answer.stdout.splitlines()]
    assert [line.split() for line in lines[:5]] == [
        ["metric", "signal", "-6", "dB", "6", "dB", "mean", "gain"],
        ["─" * len(lines[1])],
        ["SI-SDR", "noisy", "-6.00", "6.00", "0.00"],
        ["enhanced", "-6.00", "6.00", "0.00", "+0.00"],
        ["against", "-6.00", "6.00", "0.00", "+0.00"],
    ]
    assert lines[5:] == [
        "measured (host), 4 clips; means over the clips that every signal could be scored on",
        f"enhanced: model_int8.tflite on tflm, sha256 {sha256(model)[:12]}",
        f"against: float.npz on keras, sha256 {sha256(other)[:12]}",
        "si_sdr: zero-mean, scale-invariant, clamped to 100 dB "
        f"(fast-bss-eval {METRICS['si_sdr'].version})",
        "harm, enhanced: SI-SDR worse on 0 % of clips, worst tenth +0.00",
        "harm, against: SI-SDR worse on 0 % of clips, worst tenth +0.00",
        f"wrote {out}/evaluation.json, evaluation.csv, clips.csv, files.csv, evaluation.png",
    ]
    saved = json.loads((out / "evaluation.json").read_text())
    assert saved["means"]["si_sdr"]["noisy"]["per_snr"] == {"-6": pytest.approx(-6, abs=1e-3),
                                                            "6": pytest.approx(6, abs=1e-3)}
    assert saved["provenance"]["split"] == "test"


def test_quick_is_si_sdr_and_pesq(model: Path, tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, ["evaluate", str(model), "--corpus", str(tmp_path), "--snr", "0",
                                       "--quick", "--workers", "1"])
    assert answer.exit_code == 0, answer.output
    assert "4 clips" in answer.stdout
    assert "WB-PESQ" in answer.stdout and "STOI" not in answer.stdout


@pytest.mark.parametrize(("arguments", "line"), [
    (["absent.tflite"], "Error: absent.tflite: no such model"),
    (["{model}", "--metrics", "mos"], "Error: unknown metric: mos (choose from si_sdr,"),
    (["{model}", "--snr", "loud"], "'loud' is no list of numbers, such as -6,-3,0,3,6,9"),
    (["{model}", "--noisy", "x"], "--noisy and --clean go together"),
    (["{model}", "--noisy", "x", "--clean", "y"], "Error: x: no such folder"),
    (["{model}", "--snr", ""], "'' is no list of numbers, such as -6,-3,0,3,6,9"),
    (["{model}", "--against", "nothing:tflm"], "Error: nothing: no such model"),
])
def test_bad_input_is_one_line(model: Path, arguments: list[str], line: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, ["evaluate", *(a.format(model=model) for a in arguments),
                                       "--workers", "1", "--corpus", str(tmp_path)])
    assert answer.exit_code != 0
    assert line in answer.stderr
    assert "Traceback" not in answer.output


def test_a_corpus_that_is_missing_is_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise CorpusError("corpus: no such folder", "tinyse data fetch")

    monkeypatch.setattr(scoring, "corpus_pairs", refuse)
    answer = CliRunner().invoke(main, ["evaluate", str(model), "--corpus", "corpus"])
    assert (answer.exit_code, answer.stderr.splitlines()[-1]) == (
        1, "Error: corpus: no such folder (tinyse data fetch)")


def test_help_shows_an_example() -> None:
    answer = CliRunner().invoke(main, ["evaluate", "--help"])
    assert "tinyse evaluate runs/quick/export --against" in answer.output


@pytest.mark.parametrize(("words", "said"), [
    (["--condition", "levels", "--snr", "0"], "--snr is not for levels"),
    (["--noisy", "x", "--clean", "y", "--snr", "0"], "--snr is of mixtures, and --noisy gives your own"),
    (["--noisy", "x", "--clean", "y", "--condition", "rooms"], "--condition is of mixtures"),
    (["--quick", "--count", "9"], "--quick chooses --count itself"),
    (["--quick", "--metrics", "stoi"], "--quick chooses --metrics itself"),
    (["--snr", "0,1000"], "-60 to 100 dB leave a speech and a noise to hear"),
])
def test_options_that_would_be_ignored_are_refused(model: Path, words: list[str], said: str) -> None:
    answer = CliRunner().invoke(main, ["evaluate", str(model), *words])
    assert answer.exit_code == 2 and said in answer.stderr, answer.output


def test_levels_say_what_was_mixed(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinyse.measure.scores import conditions

    monkeypatch.setattr(conditions, "corpus_pairs", tones)
    answer = CliRunner().invoke(main, ["evaluate", str(model), "--condition", "levels", "--count", "1", "--metrics",
                                       "si_sdr", "--workers", "1", "--out", str(tmp_path / "scores")])
    assert answer.exit_code == 0, answer.output
    known = json.loads((tmp_path / "scores" / "evaluation.json").read_text())["provenance"]
    assert known["condition"] == "levels" and known["snrs"] == [3.0] and len(known["levels_db"]) == 6
