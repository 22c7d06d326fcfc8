"""Ratios of interleaved rounds: arithmetic, the race itself, pages, the command; two real contests on tiny models."""

import csv
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_models import tiny_trained
from tinyse.bench import __main__ as program
from tinyse.bench.pace import simulating, streaming, training
from tinyse.bench.pace.catalogue import NAMES, Contests, Speed, bench_speed
from tinyse.bench.pace.exporting import Made, same_weights
from tinyse.bench.pace.page import rounds_csv, section, summary, to_dict, write_speed
from tinyse.bench.pace.race import ONE_THREAD, Contest, Lap, Result, Timed, Way, compete
from tinyse.core.errors import ModelError, ToolError
from tinyse.core.workers import THREADS

MODELS = Path(__file__).parent.parent / "models"
SPEEDS = st.floats(1e-3, 1e9)


def result(name="int8", ours=(100.0, 300.0, 250.0), plain=(50.0, 100.0, 250.0), **more):
    return Result(name, "Streaming, int8", Timed("ours", ONE_THREAD, tuple(ours)),
                  Timed("other", "2 threads", tuple(plain)), "the same", **more)


@given(st.lists(st.tuples(SPEEDS, SPEEDS), min_size=1, max_size=9))
def test_ratio_is_the_median_of_each_rounds_own(pairs):
    found = result(ours=[a for a, _ in pairs], plain=[b for _, b in pairs])
    ordered = sorted(a / b for a, b in pairs)
    middle = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    assert found.ratio == pytest.approx(sum(middle) / 2)
    assert min(found.ratios) <= found.ratio <= max(found.ratios)
    turned = result(ours=found.plain.speeds, plain=found.ours.speeds)
    assert sorted(turned.ratios) == pytest.approx([1 / ratio for ratio in reversed(ordered)])


@given(st.lists(st.tuples(SPEEDS, SPEEDS), min_size=1, max_size=9), st.floats(1e-2, 1e2))
def test_a_machine_that_slows_down_between_rounds_does_not_move_the_ratio(pairs, drift):
    even = result(ours=[a for a, _ in pairs], plain=[b for _, b in pairs])
    slower = result(ours=[a * drift**n for n, (a, _) in enumerate(pairs)],
                    plain=[b * drift**n for n, (_, b) in enumerate(pairs)])
    assert slower.ratio == pytest.approx(even.ratio)


def test_real_time_factor():
    assert result(real_time=62.5).real_time_factor(Timed("x", "", (625.0,))) == 0.1
    assert result().real_time_factor(Timed("x", "", (625.0,))) is None


def stopwatch(log, name, seconds):
    """A way that writes when it runs and how many threads its process was given."""
    threads = [os.environ.get(variable) for variable in THREADS]

    def run():
        with open(log, "a", encoding="utf-8") as stream:
            stream.write(f"{name}\n")
        return Lap(10.0, seconds, threads)

    return run


def agreed(ours, plain):
    assert ours == ["1"] * len(THREADS) and plain != ours
    return "agreed"


def test_ways_take_turns_after_one_run_that_is_not_timed(tmp_path, monkeypatch):
    for variable in THREADS:
        monkeypatch.delenv(variable, raising=False)
    log, steps = tmp_path / "log", []
    ours = Way("ours", partial(stopwatch, log, "ours", 2.0), ONE_THREAD)
    first, second = (Way(name, partial(stopwatch, log, name, 4.0)) for name in ("first", "second"))
    found = compete([Contest("a", "A", ours, first, agreed, unit="exports"), Contest("b", "B", ours, second, agreed)],
                    3, steps.append, "task")
    order = log.read_text().split()
    assert order == ["ours", "first", "second", *("ours", "first", "second", "second", "first", "ours"), *order[:3]]
    assert [(each.name, each.ratio, each.agreement, each.unit) for each in found] == [
        ("a", 2.0, "agreed", "exports"), ("b", 2.0, "agreed", "frames")]
    assert found[0].ours is not None and found[0].ours.speeds == (5.0, 5.0, 5.0)
    done = [step.done for step in steps]
    assert done == sorted(done) and done[-1] == steps[-1].total == 12 and {step.task for step in steps} == {"task"}
    assert not any(variable in os.environ for variable in THREADS)


def refuses():
    raise ModelError("x.npz: not a model", "train it")


def dies():
    os._exit(3)


def test_a_way_that_fails_ends_the_run_with_its_own_error():
    with pytest.raises(ModelError, match="not a model") as caught:
        compete([Contest("a", "A", Way("ours", refuses), Way("plain", refuses), agreed)], 1)
    assert caught.value.hint == "train it"
    with pytest.raises(ToolError, match="ours: its process died"):
        compete([Contest("a", "A", Way("ours", dies), Way("plain", refuses), agreed)], 1)


def test_outputs_that_differ_are_no_comparison():
    wave = np.sin(np.arange(1000)).astype(np.float32)
    assert streaming.same_sound(wave, wave, 40) == "the outputs are the same to the last bit"
    assert streaming.same_sound(wave * np.float32(1.001), wave, 40) == "the outputs differ by -60 dB"
    for other, least in ((wave[1:], 0), (wave * np.float32(1.1), 40), (wave * np.float32(np.nan), 0)):
        with pytest.raises(ToolError, match="outputs differ"):
            streaming.same_sound(other, wave, least)
    masks = np.array([[-128, 127], [0, 5]], np.int8)
    assert simulating.same_masks(masks, masks, 0) == "the masks are the same to the last bit"
    assert simulating.same_masks(masks, masks + np.array([[0, 0], [2, 0]]), 2).startswith("75.00% of the mask bytes")
    with pytest.raises(ToolError, match="differ by 255 steps"):
        simulating.same_masks(masks, masks[:, ::-1], 4)
    assert training.same_parameters(968960, 968960) == "both have 968,960 weights"
    with pytest.raises(ToolError, match="9 and 8 weights"):
        training.same_parameters(9, 8)


def test_weights_of_two_files_are_counted():
    dense, block = (Made((MODELS / name / "model_int8.tflite").read_bytes(), 7)
                    for name in ("tinylstm-dense", "tinylstm-block"))
    assert same_weights(dense, dense) == "966,656 of the 966,656 int8 weights are the same; compiled 7 and 7 bytes"
    assert " of the 966,656 " in (said := same_weights(dense, block)) and not said.startswith("966,656")
    with pytest.raises(ToolError, match="966,656 and"):
        same_weights(dense, Made((MODELS / "tinylstm-small/model_int8.tflite").read_bytes(), 7))


@pytest.fixture
def speed():
    """A comparison with made-up speeds, every contest of it."""
    results = [result(name, real_time=62.5) for name in NAMES]
    results[NAMES.index("export")] = Result("export", "Export", Timed("tinyse export", "own", (0.125, 0.1)),
                        Timed("vela", "own", (0.25, 0.25)), "8 of the 9 weights", unit="exports")
    return Speed(tuple(results), {"cpu": "A processor", "cores": 2, "load": 0.1, "system": "Linux"},
                 {"model": "tiny", "sha256": "0123456789abcdef", "rounds": 3, "versions": {"tinyse": "0"}})


GOLDEN = """## Speed, beside the plain way to do it

Model tiny (0123456789ab), 3 rounds. Every way runs in a process of its own, warmed up before its first round; within \
a round all ways of a group take turns. Speeds are medians of wall time; the ratio is the median of the rounds' own \
ratios, smallest and largest in brackets, and above 1 tinyse is faster. **measured (host)**: A processor, 2 cores, \
load 0.1 before the start.

|  | tinyse | the plain way | ratio |
|---|---:|---:|---:|
| Streaming, int8 | 250 frames/s, real-time factor 0.2500 | 100 frames/s, real-time factor 0.6250 \
| 2.00 (1.00 to 3.00) |
| Export | 8.89 s | 4.00 s | 0.45 (0.40 to 0.50) |

* Streaming, int8: ours (1 thread), against other (2 threads); the same.
* Export: tinyse export (own), against vela (own); 8 of the 9 weights."""


def test_the_page_to_the_letter(speed):
    two = tuple(speed.results[NAMES.index(name)] for name in ("int8", "export"))
    assert section(Speed(two, speed.host, speed.provenance)) == GOLDEN


def test_files_of_a_run(speed, tmp_path):
    files = write_speed(speed, tmp_path / "docs", tmp_path / "out")
    assert [path.name for path in files] == ["speed.json", "speed.csv", "benchmarks.md"]
    page = files[2].read_text()
    assert "<!-- speed: written by make bench-speed -->" in page and section(speed) in page
    kept = json.loads(files[0].read_text())
    assert kept == json.loads(json.dumps(to_dict(speed)))
    assert kept["contests"]["export"]["ratio"] == {"median": 0.45, "min": 0.4, "max": 0.5}
    assert kept["contests"]["int8"]["plain"]["real_time_factor"] == 0.625
    rows = list(csv.DictReader(files[1].read_text().splitlines()))
    assert len(rows) == (len(NAMES) - 1) * 3 + 2 and rows[1] == {
        "contest": "train", "unit": "frames", "round": "2", "ours_per_second": "300", "plain_per_second": "100",
        "ratio": "3"}
    write_speed(speed, tmp_path / "docs", tmp_path / "out")
    assert files[2].read_text() == page


def test_part_of_the_contests_leaves_the_page_alone(speed, tmp_path):
    part = Speed(speed.results[:2], speed.host, speed.provenance)
    files = write_speed(part, tmp_path / "docs", tmp_path / "out")
    assert [path.name for path in files] == ["speed.json", "speed.csv"] and not (tmp_path / "docs").exists()
    assert rounds_csv(part).count("\n") == 7 and summary(part).count("\n") == 1


@pytest.mark.parametrize(("options", "said"), [
    (["--only", "nothing"], "'nothing' is not one of 'train'"),
    (["--rounds", "0"], "0 is not in the range"),
])
def test_options_that_cannot_be(options, said):
    done = CliRunner().invoke(program.command, ["speed", *options])
    assert done.exit_code == 2 and said in done.output


def test_a_model_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench", "speed", "--model", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 1 and not (tmp_path / "out").exists()
    assert capsys.readouterr().err == (f"error: {tmp_path}/model_int8.tflite: no such file "
                                       "(give --model the folder of a released model)\n")


def test_a_skip_rnn_is_refused():
    with pytest.raises(ModelError, match="Skip RNN"):
        bench_speed(Contests(model=MODELS / "tinylstm-skip"))


def test_the_simulator_beside_numpy_and_tflm(tmp_path):
    """A real run of the cheap contests on the smallest released model, through the command."""
    done = CliRunner().invoke(program.command, [
        "speed", "--model", str(MODELS / "tinylstm-small"), "--only", "npu-numpy", "--only", "npu-tflm",
        "--rounds", "2", "--out", str(tmp_path), "--docs", str(tmp_path / "docs")])
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "speed.json").read_text())
    assert list(kept["contests"]) == ["npu-numpy", "npu-tflm"] and kept["rounds"] == 2
    for contest in kept["contests"].values():
        assert "mask" in contest["agreement"] and contest["ours"]["threads"] == ONE_THREAD
        speeds = contest["ours"]["per_second"], contest["plain"]["per_second"]
        assert all(len(each) == 2 and min(each) > 0 for each in speeds)
        assert contest["ours"]["real_time_factor"] == pytest.approx(62.5 / np.median(speeds[0]))
    assert "Simulator against TFLM: " in done.output


def test_streaming_ways_give_the_same_sound(tmp_path):
    """In this process, a short sound: Keras' own layers with librosa, and the engine hop by hop."""
    path = tmp_path / "tiny.npz"
    tiny_trained().save(path)
    hop_by_hop, whole = streaming.ours(path, "keras", 0.5)(), streaming.plain_keras(path, 0.5)()
    assert hop_by_hop.units == whole.units == 31
    assert streaming.same_sound(hop_by_hop.output, whole.output, 80).startswith("the outputs differ by -")


@pytest.mark.slow
@pytest.mark.parametrize(("quantized", "kind", "weights"), [
    (False, "lstm", "966,656"), (True, "lstm", "966,656"), (False, "gru", "737,280"), (False, "subband", "32,130")])
def test_a_step_of_training_each_way(tmp_path, quantized, kind, weights):
    """In this process, one step at the full widths."""
    ours, plain = training.ours(tmp_path, quantized, kind, 1), training.plain(quantized, kind, 1)
    first, other = ours(), plain()
    assert first.units == other.units and first.seconds > 0 and other.seconds > 0
    assert training.same_parameters(first.output, other.output) == f"both have {weights} weights"
    assert ours().seconds > 0  # once more: nothing of the round before is in the way


@pytest.mark.slow
def test_whole_clips_give_tflms_masks(tmp_path):
    from tinyse.bench.pace.catalogue import _weights

    int8 = MODELS / "tinylstm-small/model_int8.tflite"
    trained, _ = _weights(int8, tmp_path)
    clips, frames = simulating.sequences(trained, 1.0)(), simulating.tflm(int8, 1.0)()
    assert "mask" in simulating.same_masks(clips.output, frames.output, 2)  # the bar of issue 2: 2 steps
    assert clips.units == simulating.CLIPS * frames.units
