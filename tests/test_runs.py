"""``tinyse runs``: what run folders hold, side by side; what is damaged is a note."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tinyse.cli import main
from tinyse.core.artifacts import write_json, write_text
from tinyse.core.errors import TinyseError
from tinyse.measure.report.page import render
from tinyse.measure.report.runs import difference_table, find_runs, page, read_run, runs_table, scores_table
from tinyse.train.recipe import load_recipe

LOG = """\
step,phase,loss,rate,val_si_sdr,val_noisy,sparsity,update_rate
10,float,0.5,0.001,,,,
20,float,0.25,0.001,4.5,1,,
"""


def made(folder: Path, finished: bool = True, **overrides: str) -> Path:
    write_text(folder / "recipe.yaml", load_recipe("quick", {"name": folder.name, **overrides}).as_yaml())
    write_text(folder / "log.csv", LOG)
    if finished:
        write_json(folder / "manifest.json", {
            "stage": "train", "parameters": 1000, "macs_per_frame": 900, "val_si_sdr_db": 5.25,
            "val_noisy_si_sdr_db": 1.25, "sparsity": {"a": 0.5, "b": 1.0}})
    return folder


def scored(folder: Path, **means: float) -> None:
    write_json(folder / "evaluation.json", {
        "systems": ["noisy", "int8"], "columns": list(means),
        "means": {key: {"noisy": {"mean": 0.0}, "int8": {"mean": value}} for key, value in means.items()}})


def test_runs_are_listed_compared_and_put_on_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = made(Path("runs/one"))
    made(Path("runs/two"), finished=False, **{"seed": "7", "train.float_steps": "9"})
    made(Path("sweeps/s/points/p<b>"))
    scored(one / "test", si_sdr=6.125, stoi=0.8125)
    write_json(one / "export" / "manifest.json", {
        "stage": "export", "target": "cortex-m55", "cycles": {"total": 123456.0}, "parameters": 1000})
    for part in ("part_1_model_int8.tflite", "part_2_model_int8.tflite"):
        (one / "export" / part).write_bytes(b"x" * 750)
    write_json(Path("runs/two/manifest.json"), {"stage": "release", "target": "ethos-u55-128"})
    write_json(Path("runs/two/profile.json"), {"npu": {"cycles": 98765}})
    answer = CliRunner().invoke(main, ["runs", "--html", "out.html"])
    assert answer.exit_code == 0, answer.output
    lines = [" ".join(line.split()) for line in answer.output.splitlines()]
    assert lines == [
        "runs",
        "run family state val. SI-SDR, dB gain, dB parameters MACs, a frame zeros, mean",
        "measured (host) measured (host) exact exact exact",
        "runs/one tinylstm done 5.25 +4.00 1,000 900 75.0 %",
        "runs/two tinylstm released 4.50 +3.50 - - -",
        "sweeps/s/points/p<b> tinylstm done 5.25 +4.00 1,000 900 75.0 %",
        "", "recipe differences",
        "key runs/one runs/two sweeps/s/points/p<b>",
        "seed 1 7 1", f"train.float_steps {load_recipe('quick').train.float_steps} 9 "
                       f"{load_recipe('quick').train.float_steps}",
        "", "scores, measured (host), means",
        "run evaluation SI-SDR, dB STOI", "runs/one test 6.12 0.812",
        "", "exports", "run export target int8 file, B parameters cycles, a frame",
        "exact exact estimated (Vela)", "runs/one export cortex-m55 1,500 1,000 123,456",
        "runs/two - ethos-u55-128 0 - 98,765",
        "", "wrote out.html"]
    text = Path("out.html").read_text()
    assert text.count("data:image/png") == 1 and "<h2>Runs</h2>" in text and "p&lt;b&gt;" in text and "p<b>" not in text
    assert text == render(page(find_runs(["runs", "sweeps"])))


def test_every_kind_of_validation_is_named_and_has_its_columns(tmp_path: Path) -> None:
    made(tmp_path / "a")
    for name, recipe, log in (
            ("b", "voice", "step,phase,loss,rate,val_balanced,val_level\n9,compress,0.5,0.1,80.25,64.25\n"),
            ("c", "quality", "step,loss,rate,pearson,rmse\n9,0.5,0.1,0.625,0.5\n")):
        write_text(tmp_path / name / "recipe.yaml", load_recipe(recipe).as_yaml())
        write_text(tmp_path / name / "log.csv", log)
    kept = made(tmp_path / "d") / "manifest.json"
    write_json(kept, {"stage": "train", "val_balanced": 81.5, "val_level": 64.25})
    table = runs_table(found := find_runs([tmp_path]))
    assert table.header[3:9] == ("val. SI-SDR, dB", "gain, dB", "val. balanced accuracy, %", "over level, %",
                                 "val. Pearson", "error, MOS")
    assert [row[3:9] for row in table.rows[1:]] == [
        ("5.25", "+4.00", "-", "-", "-", "-"), ("-", "-", "80.25", "+16.00", "-", "-"),
        ("-", "-", "-", "-", "0.625", "0.500"), ("-", "-", "81.50", "+17.25", "-", "-")]
    assert runs_table(found[1:2]).header[3] == "val. balanced accuracy, %" and page(found).curves is not None


def test_open_shows_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "run")
    shown: list[str] = []
    monkeypatch.setattr("click.launch", shown.append)
    answer = CliRunner().invoke(main, ["runs", "run", "--open"])
    assert answer.exit_code == 0 and answer.output.endswith("\nwrote runs.html\n")
    assert shown == [str(tmp_path / "runs.html")] and Path(shown[0]).is_file()


def test_what_is_damaged_is_a_note_and_the_others_are_there(tmp_path: Path) -> None:
    made(tmp_path / "good")
    bad = made(tmp_path / "bad")
    write_text(bad / "recipe.yaml", "family: nosuch\n")
    write_text(bad / "log.csv", LOG.replace("0.25", "much"))
    write_text(bad / "manifest.json", "{")
    write_text(bad / "test" / "evaluation.json", "[]")
    found = find_runs([tmp_path])
    assert [run.folder.name for run in found] == ["bad", "good"]
    notes = runs_table(found).notes
    assert len(notes) == 3 and "nosuch" in notes[0] and "is no log" in notes[1] and "manifest.json" in notes[2]
    assert (found[0].state, found[0].validation) == ("begun", None)
    assert difference_table(found).notes == ("one recipe",)
    assert scores_table(found).rows == ()
    assert page(found).curves is not None and page(found[:1]).curves is None


@pytest.mark.parametrize("damage", [{"val_si_sdr_db": "x"}, {"val_level": "x"}, {"sparsity": [1, 2]},
                                    {"sparsity": {"a": "x"}}])
def test_a_manifest_of_other_values_is_a_note(tmp_path: Path, damage: dict[str, object]) -> None:
    load_recipe("quick").write(tmp_path)
    write_json(tmp_path / "manifest.json", {"stage": "train", "val_noisy_si_sdr_db": 0.0, **damage})
    result = CliRunner().invoke(main, ["runs", str(tmp_path)])
    assert result.exit_code == 0 and f"{tmp_path / 'manifest.json'}: is no manifest" in result.output


def test_a_means_last_model_counts_unless_one_is_called_int8(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    write_json(run / "a" / "evaluation.json", {
        "systems": ["noisy", "x", "y"], "columns": ["sdr", "pesq"],
        "means": {"sdr": {"x": {"mean": 1.0}, "y": {"mean": 2.0}}, "pesq": {"x": {"mean": None}, "y": {"mean": None}}}})
    assert read_run(run).scores == {"a": {"sdr": 1.0}}


@pytest.mark.parametrize(("made_before", "words"), [(False, "no such folder"), (True, "no run there")])
def test_nothing_to_list_is_one_line(tmp_path: Path, made_before: bool, words: str) -> None:
    if made_before:
        (tmp_path / "r" / "empty").mkdir(parents=True)
    answer = CliRunner().invoke(main, ["runs", str(tmp_path / "r")])
    assert answer.exit_code == 1 and words in answer.stderr and len(answer.stderr.splitlines()) == 1
    with pytest.raises(TinyseError, match=words):
        find_runs([tmp_path / "r"])


def test_without_a_folder_it_looks_where_training_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(main, ["runs"])
    assert answer.exit_code == 1
    assert answer.stderr == "Error: no runs and no sweeps here (name a folder, or tinyse train RECIPE)\n"


def test_tensorboard_is_told_the_recipe(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    from tinyse.train.records import Records
    from tinyse.train.validation import Validation

    records = Records(tmp_path, [], Validation)
    records.settings(load_recipe("quick", {"seed": "7"}).as_dict())
    records.add(step=10, phase="float", loss=0.5)
    records.write()
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    told = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    values = plugin_data_pb2.HParamsPluginData.FromString(told.content).session_start_info.hparams
    assert values["seed"].number_value == 7 and values["family"].string_value == "tinylstm"
    assert values["prune.method"].string_value == load_recipe("quick").prune.method
    assert "loss" in events.Tags()["tensors"]
