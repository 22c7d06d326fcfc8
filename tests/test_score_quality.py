"""``tinyse score-quality`` as a user meets it, and the metric ``predicted``: whole output, bad input, memory, speed."""

from __future__ import annotations

import itertools
import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from test_quality import drawn, made

from tinyse.cli import main
from tinyse.core.artifacts import write_json
from tinyse.engines.quality import DEFAULT_MODEL, Quality, Scorer, score_file, score_signal
from tinyse.export.bundle import INT8, plan_json
from tinyse.export.writer import write
from tinyse.measure.scores.metrics import METRICS, score
from tinyse.sound import Meter
from tinyse.sound.audio import Resampler


def predictor(folder: Path, **options: object) -> Path:
    """An export's folder of a small network with random weights, of steps of 160 ms."""
    model = drawn(made(**{"channels": (4, 4, 4, 24), "dense": (8,), "window": 6, **options}), 2)
    plan = model.plan()
    folder.mkdir()
    (folder / INT8).write_bytes(write(plan.graphs[0]))
    write_json(folder / "manifest.json", {"plan": plan_json(plan), "ends": model.ends.as_dict()})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return predictor(tmp_path_factory.mktemp("export") / "quality")


def noise(seconds: float, rate: int = 16000) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, int(seconds * rate)).astype(np.float32)


def run(*arguments: object):
    return CliRunner().invoke(main, ["score-quality", *map(str, arguments)])


def test_a_file_has_a_score_and_scores_over_time(tmp_path, model) -> None:
    soundfile.write(tmp_path / "a.wav", noise(8.0), 16000, "FLOAT")
    result = run(tmp_path / "a.wav", "--model", model)
    scores = score_signal([noise(8.0)], Scorer.load(model))
    assert len(scores) == 50 - 5 and result.exit_code == 0 and result.stderr == ""
    assert result.stdout == (
        f"{tmp_path}/a.wav: predicted WB-PESQ {scores.mean(dtype=np.float64):.2f} "
        f"({scores.min():.2f} to {scores.max():.2f}) over 8.00 s\n"
        f"  0.00 to 0.96 s: {scores[0]:.2f}\n  4.96 to 5.92 s: {scores[31]:.2f}\n"
        f"  7.04 to 8.00 s: {scores[44]:.2f}\n")
    found = json.loads(run(tmp_path / "a.wav", "--model", model, "--json").stdout)
    assert found == {"file": f"{tmp_path}/a.wav", "seconds": 8.0, "predicts": "WB-PESQ", "period": 0.16, "window": 0.96,
                     "score": round(float(scores.mean(dtype=np.float64)), 3),
                     "scores": [round(float(one), 3) for one in scores]}
    lines = run(tmp_path / "a.wav", "--model", model, "--every", "1").stdout.splitlines()
    assert len(lines) == 1 + 8 + 1 and lines[2].startswith("  0.96 to 1.92 s: ")
    assert [line.split(":")[0] for line in lines[-2:]] == ["  6.72 to 7.68 s", "  7.04 to 8.00 s"]


@given(st.integers(1, 400), st.floats(0.1, 20))
def test_scores_over_time_end_with_the_sound(count: int, every: float) -> None:
    found = Quality(0.16 * (count + 30), np.arange(count, dtype=np.float32), 0.16, 4.96).over_time(every)
    assert found[0][2] == 0 and found[-1][1:] == (pytest.approx(0.16 * (count + 30)), count - 1)
    assert all(a[0] < b[0] for a, b in itertools.pairwise(found))


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=15)
def test_any_blocks_give_the_meter_s_scores(blocks: list[int], seed: int) -> None:
    from tinyse.engines.integer import IntegerEngine

    one = drawn(made(channels=(4, 4, 4, 24), dense=(8,), window=6), seed % 6)
    wave = np.random.default_rng(seed).normal(0, 0.1, sum(blocks)).astype(np.float32)
    found = score_signal(np.split(wave, np.cumsum(blocks)[:-1]), Scorer(one.plan().graphs[0], one.ends))
    meter, heard = Meter(IntegerEngine(one.plan(), one.ends), one.ends), []
    for number, hop in enumerate(wave[: len(wave) // 320 * 320].reshape(-1, 320), 1):
        meter.push(hop)
        if number % 8 == 0:
            heard.append(meter.score)
    np.testing.assert_array_equal(found, np.concatenate([np.zeros(0, np.float32), *heard[5:]]))


def test_other_rates_and_channels_are_mixed_down_and_resampled(tmp_path, model) -> None:
    wave = noise(3.0, 48000)
    soundfile.write(tmp_path / "a.flac", np.stack([wave, 0 * wave], 1), 48000, "PCM_16")
    result = run(tmp_path / "a.flac", "--model", model, "--json")
    assert result.exit_code == 0 and result.stderr == f"note: {tmp_path}/a.flac: 2 channels mixed down to mono\n"
    resampler = Resampler(48000, 16000)
    half = (np.round(wave * 32768).clip(-32768, 32767) / 32768 / 2).astype(np.float32)
    alone = np.concatenate([resampler.push(half), resampler.flush()])
    expected = score_signal([alone], Scorer.load(model))
    assert json.loads(result.stdout)["score"] == pytest.approx(float(expected.mean()), abs=0.03)


def with_nan() -> np.ndarray:
    wave = noise(2.0)
    wave[777] = np.nan
    return wave


@pytest.mark.parametrize("content, said", [
    (None, "no such file (give the name of a sound file)"),
    (b"", "is empty (record it again)"),
    (b"not sound at all", "not a sound file: Format not recognised (WAV, FLAC, OGG, MP3 and AIFF are read)"),
    (np.zeros(0), "holds no samples (record it again)"),
    (np.zeros(32000), "is silent: there is nothing to score (is the microphone on?)"),
    (np.full(32000, 0.25), "is silent: there is nothing to score (is the microphone on?)"),
    (noise(0.001), "is shorter than the 0.96 s that a score is of (give more of it)"),
    (np.zeros(0x100), "is shorter than the 0.96 s that a score is of (give more of it)"),
    (noise(0.5), "is shorter than the 0.96 s that a score is of (give more of it)"),
    (noise(0.9599), "is shorter than the 0.96 s that a score is of (give more of it)"),
    (np.clip(9 * noise(2.0), -1, 1), "clipped: runs of samples at full scale: "),
    (with_nan(), "sample 777 is not a finite number (export it again as PCM)"),
])
def test_bad_input_is_one_line_and_costs_no_other_file(tmp_path, model, content, said) -> None:
    bad, good = tmp_path / "bad.wav", tmp_path / "good.wav"
    if isinstance(content, bytes):
        bad.write_bytes(content)
    elif content is not None:
        soundfile.write(bad, content, 16000, "FLOAT")
    soundfile.write(good, noise(1.0), 16000, "FLOAT")
    result = run(bad, good, "--model", model)
    assert result.exit_code == 1 and result.stderr.startswith(f"Error: {bad}: {said}")
    assert result.stderr.count("\n") == 1 and result.stdout.splitlines()[0].startswith(f"{good}: predicted WB-PESQ ")


def test_a_model_that_gives_no_quality_is_one_line(tmp_path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(1.0), 16000)
    models = Path(__file__).parents[1] / "models"
    for folder, said in ((models / "tinylstm-small", "gives gains, and no quality (give models/quality)"),
                         (tmp_path, "no model_int8.tflite in it"), (tmp_path / "none", "no model_int8.tflite in it")):
        result = run(tmp_path / "a.wav", "--model", folder)
        assert result.exit_code == 1 and said in result.output and result.output.count("\n") == 1
    assert run("--model", models).exit_code == 2


def test_memory_does_not_grow_with_the_length(tmp_path, model) -> None:
    scorer, peaks = Scorer.load(model), []
    for minutes in (1, 8):
        with soundfile.SoundFile(tmp_path / "long.wav", "w", 16000, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(noise(60.0))
        tracemalloc.start()
        found = score_file(tmp_path / "long.wav", scorer)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(found.scores) == minutes * 375 - 5
    assert peaks[1] < peaks[0] + 100_000


def test_the_metric_reads_the_estimate_alone() -> None:
    wave, silent = noise(5.0), np.zeros(80000, np.float32)
    values, skipped = score([METRICS["predicted"]], silent, wave)
    assert skipped == {} and 1 <= values["predicted"] <= 4.65
    for estimate, said in ((silent, "silent estimate"), (wave[:79000], "shorter than 4.96 s"),
                           (wave * np.nan, "not a number in the signal")):
        assert score([METRICS["predicted"]], wave[: len(estimate)], estimate) == ({}, {"predicted": said})


def test_the_released_predictor_is_the_default_and_fifty_times_faster_than_sound(tmp_path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(60.0), 16000)
    scorer = Scorer.load(DEFAULT_MODEL)
    assert scorer.seconds == pytest.approx(4.96) and (DEFAULT_MODEL / INT8).stat().st_size < 70_000
    result = run(tmp_path / "a.wav", "--json")
    assert result.exit_code == 0 and len(json.loads(result.stdout)["scores"]) == 375 - 30
    wave = noise(60.0)
    score_signal([wave[:90000]], scorer)
    started = time.process_time()
    score_signal([wave], scorer)
    assert 60 / (time.process_time() - started) > 50
