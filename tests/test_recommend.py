"""Recommendations: the best on validation within every limit, or what is in the way; exit codes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sweep_files import hand_made, point

from tinyse.cli import main
from tinyse.core.artifacts import write_json
from tinyse.core.errors import TinyseError
from tinyse.studies.precision.study import columns
from tinyse.studies.sweep.plan import Kind
from tinyse.studies.sweep.recommend import limits, recommend, released
from tinyse.studies.sweep.results import SweepResult
from tinyse.train.validation import Validation, VoiceValidation

WEIGHT = point("weight-94", 5.8, 88_000, 166_000, val_sdr=5.6)
SECOND = point("weight-94", 5.9, 89_500, 168_000, 2, val_sdr=5.5)
UNIT = point("unit-75", 5.4, 190_000, 110_000, val_sdr=5.3)
BLOCK = point("block-85", 5.2, 140_000, 210_000, val_sdr=5.2, **{"network_cortex-m55": 54_815.0})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path, hand_made(WEIGHT, SECOND, UNIT, BLOCK))


def written(folder: Path, result: SweepResult) -> Path:
    write_json(folder / "sweep.json", result.to_json())
    return folder


def ask(folder: Path, *words: object) -> tuple[int, list[str]]:
    answer = CliRunner().invoke(main, ["recommend", str(folder), *map(str, words)])
    return answer.exit_code, (answer.stdout or answer.stderr).splitlines()


def test_the_best_on_validation_is_taken_not_the_best_on_test(folder: Path) -> None:
    code, lines = ask(folder, "--budget-kb", 90, "--max-cycles", 200_000)
    assert code == 0
    assert lines[0] == ("take weight-94.s1: best on validation of the 2 points that meet --budget-kb 90, "
                        "--max-cycles 200000")
    assert lines[-1] == "  points/weight-94.s1"
    shown = {" ".join(line.split()) for line in lines}
    assert {"encoded 88,000 B exact", "Shared_Sram cycles 166,000 a frame estimated (Vela)",
            "SDR - float -0.20 dB measured (host)", "val. SDR - float -0.40 dB measured (host)"} <= shown
    _, lines = ask(folder, "--max-cycles", 150_000)
    assert lines[0] == "take unit-75.s1: the only point that meets --max-cycles 150000"


def test_the_limit_that_nothing_meets_is_named_with_the_nearest_point(folder: Path) -> None:
    code, lines = ask(folder, "--budget-kb", 80, "--max-cycles", 200_000)
    assert code == 3
    assert lines[:4] == ["no point meets --budget-kb 80 (encoded, exact)", "nearest: weight-94.s1",
                         "  --budget-kb 80 missed: encoded 88,000 B, exact",
                         "  --max-cycles 200000 met: Shared_Sram cycles 166,000 a frame, estimated (Vela)"]


def test_limits_that_only_together_cannot_be_met_are_said_so(folder: Path) -> None:
    code, lines = ask(folder, "--budget-kb", 90, "--max-cycles", 150_000, "--max-loss-db", 0.5)
    assert code == 3
    assert lines[:2] == ["each limit is met by some point, none meets all: --budget-kb 90, --max-cycles 150000, "
                         "--max-loss-db 0.5", "nearest: weight-94.s1"]
    assert lines[4] == "  --max-loss-db 0.5 met: val. SDR - float 0.40 dB lost on validation, measured (host)"


def test_losses_are_judged_on_validation_and_the_test_split_is_told(tmp_path: Path) -> None:
    lucky = point("weight-90", 5.2, 90_000, 170_000, val_sdr=5.95)
    code, lines = ask(written(tmp_path, hand_made(lucky)), "--max-loss-db", 0.06)
    assert code == 0 and lines[0].startswith("take weight-90.s1: the only point")
    assert lines[-1] == "  its loss on the test split, 0.80 dB, is above --max-loss-db 0.06"


@pytest.mark.parametrize("judge, option", [(Validation, "--max-loss-db 0.05"), (VoiceValidation, "--max-loss 0.05 %")])
def test_of_a_search_the_loss_of_a_mixture_is_limited_not_the_mean(judge: type[Validation], option: str,
                                                                   tmp_path: Path) -> None:
    eight, mixed = ({"val_sdr": score, "val_delta": score - 5.5, "loss": loss, "searched": 0.0, "bits": 4.0,
                     "encoded": size, "packed": size + 9, "cycles": size}
                    for score, loss, size in ((5.5, 0.0, 33_000.0), (5.9, 0.4, 20_000.0)))
    result = replace(hand_made(), columns=columns(judge), points=tuple(
        replace(point(name, 5.0, 1, 1, kind=Kind.OFFLINE), values=values)
        for name, values in (("8-bit", eight), ("mixed-20k", mixed))))
    code, lines = ask(written(tmp_path, result), "--max-loss", 0.05)
    assert code == 0 and lines[0] == f"take 8-bit: the only point that meets {option}"
    assert ask(tmp_path, "--budget-kb", 40)[1][0] == (
        "take 8-bit: best on validation of the 2 points that meet --budget-kb 40")
    code, lines = ask(tmp_path, "--max-loss-db", 0.05, "--budget-kb", 25)
    assert code == 3 and lines[1:4] == [
        "nearest: 8-bit", "  --budget-kb 25 missed: encoded 33,000 B, exact",
        f"  {option} met: lost a mixture 0.00 {judge.unit}, measured (host)"]


def test_other_sizes_and_cost_models(folder: Path, tmp_path: Path) -> None:
    assert ask(folder, "--budget-kb", 88, "--size", "bitmask")[0] == 3
    assert ask(folder, "--budget-kb", 88, "--size", "surviving")[0] == 0
    assert ask(folder, "--max-cycles", 60_000, "--cost", "network_cortex-m55")[1][0].startswith("take block-85.s1")
    # the others have no such number: they are no candidates, and not the nearest either
    code, lines = ask(folder, "--max-cycles", 50_000, "--cost", "network_cortex-m55")
    assert code == 3 and lines[1] == "nearest: block-85.s1"
    code, lines = ask(folder, "--max-cycles", 50_000, "--cost", "cycles_sram_only")
    assert (code, lines[-1]) == (3, "no point has all the numbers")
    plain = written(tmp_path / "m7", hand_made(point("weight-90", 5.8, 90_000, 1), target="cortex-m7"))
    assert ask(plain, "--budget-kb", 90.1)[0] == 0  # without Vela the budget counts bitmask + bytes
    assert ask(plain, "--budget-kb", 90)[0] == 3


def test_a_mean_cost_is_judged_with_the_rate_of_validation(tmp_path: Path) -> None:
    skip = point("skip-4", 5.5, 90_000, 100_000, update_rate=0.25, val_update_rate=0.5)
    folder = written(tmp_path, hand_made(skip, skips=True))
    assert ask(folder, "--max-cycles", 49_000, "--cost", "mean_cycles")[0] == 3  # 25,000 on the test split
    code, lines = ask(folder, "--max-cycles", 50_000, "--cost", "mean_cycles")
    assert code == 0 and lines[0].startswith("take skip-4.s1: the only point")
    assert any(line.split()[:4] == ["mean", "Shared_Sram", "cycles", "25,000"] for line in lines)
    assert ask(folder, "--max-cycles", 50_000)[0] == 3  # by default the frame that runs the network


@pytest.mark.parametrize(("words", "line"), [
    ((), "Error: no limit (--budget-kb, --max-cycles or --max-loss)"),
    (("--max-cycles", 1, "--cost", "clock"),
     "Error: the sweep for ethos-u55-128 has no column 'clock' (one of: macs, macs_tiles, cycles, cycles_sram_only, "
     "network_cortex-m55, frame_cortex-m55)"),
    (("--budget-kb", 90, "--cost", "nope"), "Error: --cost nope: says what --max-cycles counts, and there is none"),
    (("--max-cycles", 1, "--size", "bitmask"), "Error: --size bitmask: says what --budget-kb counts"),
    (("--max-cycles", 1, "--cost", "sdr"), "Error: the sweep for ethos-u55-128 has no column 'sdr'"),
])
def test_what_cannot_be_asked_is_one_line(folder: Path, words: tuple[object, ...], line: str) -> None:
    code, lines = ask(folder, *words)
    assert code == 1 and len(lines) == 1 and lines[0].startswith(line)


def test_an_empty_sweep_has_no_answer(tmp_path: Path) -> None:
    import dataclasses

    empty = dataclasses.replace(hand_made(), points=())
    with pytest.raises(TinyseError, match="no finished point"):
        recommend(empty, limits(empty, 90))
    assert ask(tmp_path, "--budget-kb", -1)[0] == 2


NUMBERS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers(1, 40)), max_size=8)


@given(NUMBERS, st.integers(1, 40), st.integers(1, 40))
def test_what_is_taken_meets_all_and_none_that_does_is_better(rows: list[tuple[int, int, int]], budget: int,
                                                              cycles: int) -> None:
    result = hand_made(*(point(f"p-{n}", 5.0, 1000 * size, cost, val_sdr=sdr / 10)
                         for n, (sdr, size, cost) in enumerate(rows)))
    found = recommend(result, limits(result, budget, cycles))
    meeting = [sdr / 10 for sdr, size, cost in rows if size <= budget and cost <= cycles]
    assert (found.point is None) == (not meeting)
    if found.point is not None:
        assert found.point.values["val_sdr"] == max(meeting) and found.fitting == len(meeting)
        assert found.point.values["encoded"] <= 1000 * budget and found.point.values["cycles"] <= cycles
    else:
        assert found.nearest is not None
        assert {limit.option for limit in found.unmet} == {
            option for option, none in ((f"--budget-kb {budget}", all(size > budget for _, size, _ in rows)),
                                        (f"--max-cycles {cycles}", all(cost > cycles for _, _, cost in rows))) if none}


def test_the_results_in_docs_answer_the_readme_s_question() -> None:
    docs = Path(__file__).parents[1] / "docs" / "papers"
    answer = CliRunner().invoke(main, ["recommend", str(docs), "--budget-kb", "90", "--max-cycles", "200000",
                                       "--models", str(docs.parents[1] / "models")])
    assert answer.exit_code == 0
    assert answer.output.startswith("take weight-94-c4-mean.s3: best on validation of the ")
    assert answer.output.splitlines()[-1].endswith("models/tinylstm-weight")


def test_a_released_point_is_named(tmp_path: Path) -> None:
    for name, data in (("one", b"1"), ("two", b"2")):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model_int8.tflite").write_bytes(data)
    found = replace(point("weight-94", 5.8, 80_000, 1),
                    sha256={"export/model_int8.tflite": hashlib.sha256(b"2").hexdigest()})
    assert released(found, tmp_path / "models") == tmp_path / "models" / "two"
    assert released(found, tmp_path / "none") is None
    assert released(replace(found, sha256={}), tmp_path / "models") is None


def release(folder: Path, name: str, si_sdr: float, encoded: int, cycles: int, *, seed: int = 1, sound: str = "a",
            pesq: float | None = 1.5, rate: float | None = None, kind: str = "gains", target: str = "ethos-u55-128",
            used: int | None = None) -> None:
    """What `tinyse release` writes of a model of two mixtures, as far as a recommendation reads it."""
    clips = [{"name": str(at), "snr": 0.0, "skipped": {}, "updates": {} if rate is None else {"int8": rate}, "values": {
        system: {"si_sdr": score, **({} if pesq is None else {"pesq": pesq})}
        for system, score in (("noisy", 0.0), ("int8", si_sdr + at))}} for at in (-1, 1)]
    write_json(folder / name / "evaluation.json", {
        "systems": ["noisy", "int8"], "columns": ["si_sdr"] + ["pesq"] * (pesq is not None), "clips": clips,
        "provenance": {"audio_sha256": sound, "seed": seed, "split": "test"}})
    parts = {"costs": [{"name": "MACs on weights that are not zero", "origin": {"source": "exact"}, "part": None,
                        "once": used, "mean": used and used / 4}]}
    write_json(folder / name / "profile.json", {
        "npu": {"cycles": cycles}, "sizes": {"encoded": encoded, "bitmask": encoded + 100, "surviving": None},
        **({} if used is None else {"parts": parts})})
    write_json(folder / name / "manifest.json", {"stage": "release", "target": target, "sha256": {},
                                                 "ends": {"result": {"kind": kind}}})


def test_released_models_are_chosen_by_their_cards(tmp_path: Path) -> None:
    release(tmp_path, "small", 6.0, 30_000, 50_000, used=40_000)
    release(tmp_path, "large", 7.0, 90_000, 50_000, pesq=1.4)
    release(tmp_path, "skips", 6.5, 80_000, 60_000, pesq=1.4, rate=0.5)
    release(tmp_path, "voice", 9.0, 1000, 1000, kind="voice")
    (tmp_path / "starts").mkdir()
    code, lines = ask(tmp_path, "--budget-kb", 100, "--max-cycles", 60_000)
    assert code == 0 and lines[0] == ("take large: best SI-SDR by its card (test mixtures) of the 3 models that meet "
                                      "--budget-kb 100, --max-cycles 60000")
    assert lines[-1] == f"  {tmp_path / 'large'}"
    shown = {" ".join(line.split()) for line in lines}
    assert {"SI-SDR 7.00 dB measured (host)", "encoded 90,000 B exact",
            "Shared_Sram cycles 50,000 a frame estimated (Vela)"} <= shown
    assert ask(tmp_path, "--budget-kb", 100, "--by", "pesq")[1][0].startswith("take small: best WB-PESQ by its card")
    assert ask(tmp_path, "--max-cycles", 30_000, "--cost", "mean_cycles")[1][0].startswith("take skips: the only model")
    code, lines = ask(tmp_path, "--max-cycles", 10_000, "--cost", "mean_macs")
    assert code == 0 and lines[0].startswith("take small: the only model")
    assert lines[-1] == "without mean MACs in profile.json: large, skips"
    code, lines = ask(tmp_path, "--budget-kb", 20, "--size", "bitmask")
    assert code == 3 and lines[:3] == ["no model meets --budget-kb 20 (bitmask, exact)", "nearest: small",
                                       "  --budget-kb 20 missed: bitmask 30,100 B, exact"]


def test_released_models_of_other_mixtures_or_targets_are_left_out_and_said(tmp_path: Path) -> None:
    release(tmp_path, "one", 6.0, 30_000, 50_000)
    release(tmp_path, "two", 5.0, 30_000, 50_000)
    release(tmp_path, "seed", 9.0, 30_000, 50_000, seed=2)
    release(tmp_path, "sound", 9.0, 30_000, 50_000, sound="b")
    release(tmp_path, "device", 9.0, 30_000, 50_000, target="ethos-u55-256")
    release(tmp_path, "damaged", 9.0, 30_000, 50_000)
    (tmp_path / "damaged" / "profile.json").write_text("{")
    release(tmp_path, "unheard", 9.0, 30_000, 50_000, pesq=None)
    code, lines = ask(tmp_path, "--budget-kb", 40, "--by", "pesq")
    assert code == 0 and lines[0].startswith("take one: best WB-PESQ by its card (test mixtures) of the 2 models")
    assert lines[-4:] == ["left out, evaluation.json or profile.json missing or damaged: damaged",
                          "left out, another target: device",
                          "left out, mixtures of another corpus, seed or length: seed, sound",
                          "left out, no pesq on its card: unheard"]


@pytest.mark.parametrize(("words", "line"), [
    (("--max-loss", 1), "Error: --max-loss: released models share no validation split to lose on (--budget-kb or "),
    ((), "Error: no limit (--budget-kb or --max-cycles)"),
    (("--budget-kb", 9, "--size", "packed"), "Error: the released models for ethos-u55-128 have no column 'packed'"),
    (("--budget-kb", 9, "--by", "stoi"), "Error: {folder}: no released model has a profile and stoi on its card"),
])
def test_what_released_models_cannot_answer_is_one_line(tmp_path: Path, words: tuple[object, ...], line: str) -> None:
    release(tmp_path, "one", 6.0, 30_000, 50_000)
    code, lines = ask(tmp_path, *words)
    assert code == 1 and len(lines) == 1 and lines[0].startswith(line.format(folder=tmp_path))


def test_a_sweep_is_not_chosen_from_by_a_card(folder: Path) -> None:
    code, lines = ask(folder, "--budget-kb", 90, "--by", "pesq")
    assert code == 1 and lines == [f"Error: --by pesq: chooses among released models; {folder} holds none "
                                   "(tinyse recommend models)"]


def test_the_released_models_answer() -> None:
    models = Path(__file__).parents[1] / "models"
    code, lines = ask(models, "--budget-kb", 40, "--max-cycles", 60_000)
    assert code == 0 and " by its card (test mixtures) of the " in lines[0]
    taken = json.loads((Path(lines[-1].strip()) / "profile.json").read_text())
    assert taken["sizes"]["encoded"] <= 40_000 and taken["npu"]["cycles"] <= 60_000
    code, lines = ask(models, "--budget-kb", 1)
    assert code == 3 and lines[0] == "no model meets --budget-kb 1 (encoded, exact)"
    assert not any(line.startswith("left out") for line in lines)
