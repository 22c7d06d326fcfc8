"""Scoring: streaming, pairing of clips, workers, files written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_tflite

from tinyse.core.artifacts import sha256
from tinyse.core.errors import CorpusError, ModelError, TinyseError
from tinyse.measure.scores import pairs as pairs_module
from tinyse.measure.scores import render, result, scoring, systems
from tinyse.measure.scores.pairs import Pair
from tinyse.measure.scores.result import ClipScore, Evaluation, table_rows
from tinyse.measure.scores.systems import System
from tinyse.sound import DEFAULT


class Constant:
    """An engine whose mask is one number; counts frames and resets."""

    name = "constant"
    bands = 128
    ends, update_rate, part_rates = DEFAULT, None, ()

    def __init__(self, gain: float) -> None:
        self.gain = gain
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def mask(self, feature: np.ndarray) -> np.ndarray:
        return np.full(self.bands, self.gain, np.float32)


def make_pairs(count: int = 3, snrs: tuple[float, ...] = (0.0, 6.0), seconds: float = 0.5) -> list[Pair]:
    made = []
    for index in range(count):
        rng = np.random.default_rng(index)
        n = int(16000 * seconds)
        clean = (0.1 * np.sin(2 * np.pi * (300 + 50 * index) * np.arange(n) / 16000)).astype(np.float32)
        noise = rng.standard_normal(n)
        for snr in snrs:
            level = np.sqrt(np.mean(clean**2) / np.mean(noise**2) / 10 ** (snr / 10))
            made.append(Pair(f"clip{index}", snr, (clean + level * noise).astype(np.float32), clean))
    return made


def hand_made() -> Evaluation:
    def clip(name: str, snr: float, noisy: float | None, after: float | None) -> ClipScore:
        values = {label: ({} if value is None else {"pesq": value})
                  for label, value in (("noisy", noisy), ("enhanced", after))}
        skipped = {label: {"pesq": "no utterance found"} for label, v in values.items() if not v}
        return ClipScore(name, snr, values, skipped)

    clips = (clip("a", -6, 1.0, 1.5), clip("b", -6, 1.2, None),
             clip("a", 9, 2.0, 2.5), clip("b", 9, 3.0, 4.0))
    provenance = {"source": "measured (host)", "models": [], "conventions": {}}
    return Evaluation(("noisy", "enhanced"), ("pesq",), clips, provenance)


def test_means_cover_the_clips_that_every_system_scored() -> None:
    evaluation = hand_made()
    assert evaluation.snrs == (-6, 9)
    assert evaluation.count("pesq") == 3
    assert evaluation.count("pesq", -6) == 1
    assert evaluation.mean("noisy", "pesq", -6) == 1.0  # 1.2 has no partner
    assert evaluation.mean("noisy", "pesq") == pytest.approx(2.0)
    assert evaluation.gain("enhanced", "pesq") == pytest.approx(2.0 / 3)
    spread = np.std([0.5, 0.5, 1.0], ddof=1)
    assert evaluation.margin("enhanced", "pesq") == pytest.approx(1.96 * spread / 3**0.5)
    assert evaluation.skips() == ["pesq: 1 of 4 clips skipped (no utterance found: 1)"]


def test_no_clip_has_no_mean() -> None:
    empty = Evaluation(("noisy",), ("pesq",), (), {})
    assert empty.mean("noisy", "pesq") is None
    assert empty.gain("noisy", "pesq") is None
    assert empty.margin("noisy", "pesq") is None


def test_harm_counts_clips_that_came_out_worse_and_the_tenth_that_gained_least() -> None:
    gains = [3.0, -2.0, 1.0, 0.0005, -0.0005, 4.0, 5.0, -1.0, 2.0, 6.0, *[1.0] * 10]
    clips = tuple(ClipScore(f"c{n}", None, {"noisy": {"stoi": 10.0}, "e": {"stoi": 10.0 + gain}}, {})
                  for n, gain in enumerate(gains))
    evaluation = Evaluation(("noisy", "e"), ("stoi",), clips, {})
    assert evaluation.worse("e", "stoi") == 2 / 20  # what rounding changes is no harm
    assert evaluation.worst_tenth("e", "stoi") == pytest.approx(-1.5)
    none = Evaluation(("noisy", "e"), ("stoi",), (), {})
    assert none.worse("e", "stoi") is None and none.worst_tenth("e", "stoi") is None


def test_table_rows() -> None:
    header, rows = table_rows(hand_made(), {"pesq": "WB-PESQ"})
    assert header == ("metric", "signal", "-6 dB", "9 dB", "mean", "gain")
    assert rows == [("WB-PESQ", "noisy", "1.00", "2.50", "2.00", ""),
                    ("WB-PESQ", "enhanced", "1.50", "3.25", "2.67", "+0.67")]


def test_json_round_trip_and_csv() -> None:
    evaluation = hand_made()
    copy = Evaluation.from_dict(json.loads(json.dumps(evaluation.to_dict())))
    assert copy.to_dict() == evaluation.to_dict()
    means = list(csv.reader(io.StringIO(render.means_csv(evaluation))))
    assert means[0] == ["metric", "signal", "snr_db", "mean", "clips"]
    assert means[-1] == ["pesq", "enhanced", "all", "2.666667", "3"]
    clips = list(csv.reader(io.StringIO(render.clips_csv(evaluation))))
    assert ["b", "-6", "enhanced", "pesq", "", "no utterance found"] in clips
    with pytest.raises(TinyseError, match="not an evaluation"):
        Evaluation.from_dict({"systems": []})


def test_stream_keeps_length_and_alignment() -> None:
    wave = np.random.default_rng(0).standard_normal(16000 + 37).astype(np.float32) * 0.1
    engine = Constant(1.0)
    out = scoring.stream(engine, wave)
    assert out.shape == wave.shape and out.dtype == np.float32
    assert engine.resets >= 1
    # a mask of ones passes 100-7500 Hz: what is left correlates with the input at lag 0 only
    lags = [np.dot(wave[300:-300], np.roll(out, lag)[300:-300]) for lag in (-256, 0, 256)]
    assert lags[1] > 0.8 * np.dot(wave[300:-300], wave[300:-300])
    assert max(abs(lags[0]), abs(lags[2])) < 0.1 * lags[1]
    assert np.abs(scoring.stream(engine, wave[:100])).sum() > 0
    np.testing.assert_array_equal(out, scoring.stream(engine, wave))  # a second clip starts afresh


def test_score_pairs_reports_gain_of_each_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "model.npz"
    file.write_bytes(b"weights")
    engines = {"enhanced": Constant(0.5), "against": Constant(0.0)}
    monkeypatch.setattr(scoring, "load", lambda system: engines[system.label])
    steps = []
    evaluation = scoring.score_pairs(
        [System("enhanced", "keras", file), System("against", "tflm", file)], make_pairs(), ["si_sdr"],
        total=6, workers=1, progress=steps.append, provenance={"seed": 3},
    )
    assert evaluation.systems == ("noisy", "enhanced", "against")
    assert evaluation.mean("noisy", "si_sdr", 6.0) is None  # a zero mask is silence: no clip is shared by all
    assert evaluation.skips() == ["si_sdr: 6 of 6 clips skipped (silent estimate: 6)"]
    assert evaluation.clips[1].values["noisy"]["si_sdr"] == pytest.approx(6.0, abs=0.2)
    # band-limiting alone removes the noise above 7.5 and below 0.1 kHz
    assert evaluation.clips[1].values["enhanced"]["si_sdr"] > evaluation.clips[1].values["noisy"]["si_sdr"]
    assert [step.done for step in steps] == [1, 2, 3, 4, 5, 6]
    assert evaluation.provenance["models"][0] == {
        "label": "enhanced", "engine": "keras", "file": "model.npz", "sha256": sha256(file)}
    assert evaluation.provenance["seed"] == 3
    assert evaluation.provenance["source"] == "measured (host)"
    assert "zero-mean" in evaluation.provenance["conventions"]["si_sdr"]


def test_two_workers_give_what_one_gives() -> None:
    one = scoring.score_pairs([], make_pairs(), ["si_sdr", "stoi"], workers=1)
    two = scoring.score_pairs([], make_pairs(), ["si_sdr", "stoi"], workers=2)
    assert two.to_dict() == one.to_dict()
    assert [clip.name for clip in two.clips] == ["clip0", "clip0", "clip1", "clip1", "clip2", "clip2"]


def test_workers_run_a_real_engine(tmp_path: Path) -> None:
    file = tmp_path / "model_int8.tflite"
    file.write_bytes(tiny_tflite())
    system = systems.resolve(file, label="quantized")
    one, two = (scoring.score_pairs([system], make_pairs(2), ["si_sdr"], workers=n) for n in (1, 2))
    assert two.to_dict() == one.to_dict()
    assert one.mean("quantized", "si_sdr") != one.mean("noisy", "si_sdr")


def test_a_model_that_a_worker_cannot_load_is_the_model_s_error(tmp_path: Path) -> None:
    file = tmp_path / "model_int8.tflite"
    file.write_bytes(tiny_tflite()[:2000])
    with pytest.raises(ModelError, match="the file is damaged or cut short") as caught:
        scoring.score_pairs([System("quantized", "tflm", file)], make_pairs(1), ["si_sdr"], workers=2)
    assert caught.value.hint == "export it again"


def test_nothing_to_score_and_doubled_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nothing to evaluate"):
        scoring.score_pairs([], [], ["si_sdr"], workers=1)
    with pytest.raises(CorpusError, match="nothing to evaluate"):
        scoring.evaluate(tmp_path, None, tmp_path, count_per_snr=0)
    system = System("noisy", "keras", tmp_path)
    with pytest.raises(TinyseError, match="called the same"):
        scoring.score_pairs([system], make_pairs(), ["si_sdr"], workers=1)


def test_resolve_finds_the_file_a_path_means(tmp_path: Path) -> None:
    for name in ("model_int8.tflite", "model.npz"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "model_vela.tflite").write_bytes(b"ethos-u\0")
    resolve = systems.resolve
    assert resolve(tmp_path) == System("enhanced", "tflm", tmp_path / "model_int8.tflite")
    assert resolve(tmp_path, "keras", "float") == System("float", "keras", tmp_path / "model.npz")
    assert resolve(tmp_path / "model_vela.tflite").engine == "npu"
    assert systems.parse_against(f"{tmp_path}:keras") == System("against", "keras", tmp_path / "model.npz")
    assert systems.parse_against(str(tmp_path)).engine == "tflm"
    with pytest.raises(ModelError, match="no such model"):
        systems.parse_against(f"{tmp_path}/absent:keras")


def test_folder_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import soundfile

    (noisy, clean) = (tmp_path / "noisy", tmp_path / "clean")
    with pytest.raises(CorpusError, match="no such folder"):
        list(pairs_module.folder_pairs(noisy, clean))
    noisy.mkdir()
    clean.mkdir()
    wave = 0.1 * np.random.default_rng(0).standard_normal(8000)
    soundfile.write(noisy / "a.wav", wave, 16000)
    with pytest.raises(CorpusError, match="no clean partner"):
        list(pairs_module.folder_pairs(noisy, clean))
    soundfile.write(clean / "a.flac", wave[:-100], 16000)
    (pair,) = pairs_module.folder_pairs(noisy, clean)
    assert (pair.name, pair.snr, pair.noisy.shape, pair.clean.shape) == ("a", None, (7900,), (7900,))
    np.testing.assert_allclose(pair.noisy, pair.clean, atol=1e-4)
    soundfile.write(clean / "a.flac", wave[:2000], 16000)
    with pytest.raises(CorpusError, match="differ by more than"):
        list(pairs_module.folder_pairs(noisy, clean))


def test_pairs_in_subfolders_and_beside_strays(tmp_path: Path) -> None:
    noisy, clean = tmp_path / "noisy", tmp_path / "clean"
    for name in ("noisy/0.wav", "noisy/5dB/1.wav", "noisy/5dB/2.flac", "clean/0.wav", "clean/5dB/1.flac", "clean/2.wav",
                 "clean/1.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("clean/0.xml", "clean/0.txt", "noisy/readme.md", "noisy/.0.wav", "clean/5dB/1.csv"):
        (tmp_path / name).write_text("stray")
    found = [(name, one.relative_to(tmp_path).as_posix(), other.relative_to(tmp_path).as_posix())
             for name, one, other in pairs_module.partners(noisy, clean)]
    assert found == [("0", "noisy/0.wav", "clean/0.wav"), ("5dB/1", "noisy/5dB/1.wav", "clean/5dB/1.flac"),
                     ("5dB/2", "noisy/5dB/2.flac", "clean/2.wav")]
    (clean / "0.flac").touch()
    assert pairs_module.partners(noisy, clean)[0][2].name == "0.wav"  # the suffix decides
    (noisy / "0.wav").rename(noisy / "0.ogg")
    with pytest.raises(CorpusError, match=r"0: is both .*clean/0\.flac and .*clean/0\.wav"):
        pairs_module.partners(noisy, clean)
    for path in (noisy / "0.ogg", noisy / "5dB/1.wav", noisy / "5dB/2.flac"):
        path.unlink()
    with pytest.raises(CorpusError, match="noisy: holds no sound files"):
        list(pairs_module.folder_pairs(noisy, clean))


def test_pairs_beyond_full_scale_are_one_line(tmp_path: Path) -> None:
    import soundfile

    wave = np.random.default_rng(0).uniform(-0.25, 0.25, 16000).astype(np.float32)
    wave[7] = 0.25
    for name, scale in (("noisy", 32768.0), ("clean", 8.0)):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", wave * np.float32(scale), 16000, "FLOAT")
    over: dict[Path, float] = {}
    list(pairs_module.folder_pairs(tmp_path / "noisy", tmp_path / "clean", over))
    assert over == {tmp_path / "noisy/a.wav": pytest.approx(78.268, abs=1e-3),
                    tmp_path / "clean/a.wav": pytest.approx(6.021, abs=1e-3)}
    assert pairs_module.over_note(over) == (f"2 files reach beyond full scale, {tmp_path}/noisy/a.wav by 78.3 dB: "
                                            "scale floating-point samples to -1..1")
    assert pairs_module.over_note({}) == ""


def test_written_files_repeat_byte_for_byte(tmp_path: Path) -> None:
    evaluation = scoring.score_pairs([], make_pairs(), ["si_sdr"], workers=1)
    first, second = ({kind: path.read_bytes() for kind, path in written.items()}
                     for written in (render.write_evaluation(evaluation, tmp_path / name) for name in "ab"))
    assert first == second
    assert first["plot"].startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "clips.csv", "evaluation.csv", "evaluation.json", "evaluation.png", "files.csv"]


def test_plot_without_snrs() -> None:
    own = [Pair(pair.name, None, pair.noisy, pair.clean) for pair in make_pairs(2)]
    evaluation = scoring.score_pairs([], own, ["si_sdr"], workers=1)
    assert evaluation.snrs == ()
    assert render.plot(evaluation).startswith(b"\x89PNG")
    assert result.table_rows(evaluation, {})[0] == ("metric", "signal", "mean", "gain")
