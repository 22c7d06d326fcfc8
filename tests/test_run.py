"""The chain of stages: order, skipping, going on after a failure, and the report at its end."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_models import tiny_tflite, tiny_trained

import tinyse.studies.run as chain_module
from tinyse.cli import main
from tinyse.core.chain import Chain, Outcome
from tinyse.core.errors import RecipeError, ToolError
from tinyse.core.origin import Origin, Source
from tinyse.export.hostarena import HostArena
from tinyse.measure.costs.execution import Options
from tinyse.measure.costs.results import Profile, Sizes
from tinyse.sound.corpus.synthetic import synthetic_corpus

EXACT = Origin(Source.EXACT, "counted in the files")


def test_a_stage_runs_once_for_the_same_inputs(tmp_path: Path) -> None:
    calls = []
    seen = []

    def work() -> Outcome:
        calls.append(1)
        (tmp_path / "made.txt").write_text("made")
        return Outcome([tmp_path / "made.txt"], {"number": 3})

    clock = itertools.count(0, 2).__next__
    chain = Chain(tmp_path, seen.append, lambda: float(clock()))
    assert chain.stage("make", {"a": (1, 2)}, work) == {"number": 3}
    assert chain.stage("make", {"a": (1, 2)}, work) == {"number": 3}
    assert len(calls) == 1
    assert [(time.name, time.seconds, time.skipped) for time in chain.times] == [
        ("make", 2.0, False), ("make", 2.0, True)]
    assert [step.note for step in seen] == ["2.0 s", "already there"]


@pytest.mark.parametrize("spoil", ["inputs", "file", "gone", "record"])
def test_a_stage_runs_again_when_anything_changed(tmp_path: Path, spoil: str) -> None:
    calls = []

    def work() -> Outcome:
        calls.append(1)
        (tmp_path / "made.txt").write_text("made")
        return Outcome([tmp_path / "made.txt"])

    Chain(tmp_path).stage("make", {"a": 1}, work)
    if spoil == "file":
        (tmp_path / "made.txt").write_text("changed")
    elif spoil == "gone":
        (tmp_path / "made.txt").unlink()
    elif spoil == "record":
        (tmp_path / "stages" / "make.json").write_text("{")
    Chain(tmp_path).stage("make", {"a": 2 if spoil == "inputs" else 1}, work)
    assert len(calls) == 2
    Chain(tmp_path).stage("make", {"a": 2 if spoil == "inputs" else 1}, work)
    assert len(calls) == 2


def test_a_failed_stage_leaves_no_record(tmp_path: Path) -> None:
    def fail() -> Outcome:
        raise ToolError("broken")

    with pytest.raises(ToolError):
        Chain(tmp_path).stage("make", {}, fail)
    assert not (tmp_path / "stages").exists()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "synthetic"
    synthetic_corpus(folder, seed=1, minutes=0.5)
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Training, export and profile as stand-ins that write real files; the list names what ran."""
    ran: list[str] = []

    def train(recipe, folder, corpus_dir, progress, resume):  # type: ignore[no-untyped-def]
        assert resume
        ran.append(f"train {recipe.train.float_steps}")
        model = tiny_trained()
        for name in ("model.npz", "float.npz"):
            model.save(folder / name)
        (folder / "curves.png").write_bytes(b"\x89PNG curves")

    def export_run(run, target, out, progress):  # type: ignore[no-untyped-def]
        ran.append(f"export {target}")
        out.mkdir(parents=True, exist_ok=True)
        (out / "model_int8.tflite").write_bytes(tiny_tflite())

    def profile(path: Path, target: str, firmware: Options) -> Profile:
        ran.append(f"profile {target}")
        assert firmware.wav is not None and firmware.enhanced is not None
        shutil.copy(firmware.wav, firmware.enhanced)
        size = (path / "model_int8.tflite").stat().st_size
        sizes = Sizes(EXACT, 100, 50, 50, 63, None, None, size, None)
        arena = HostArena(Origin(Source.MEASURED, "TFLM", "host"), 1000, 600, 400, ())
        return Profile("tiny", "cortex-m7", {}, None, arena, sizes, None, ("cycles: cortex-m7 has no NPU",))

    pipeline = types.ModuleType("tinyse.export.pipeline")
    pipeline.export_run = export_run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tinyse.export.pipeline", pipeline)
    monkeypatch.setattr("tinyse.train.train", train)
    monkeypatch.setattr("tinyse.measure.costs.pipeline.profile", profile)
    monkeypatch.setattr(chain_module, "ALL", ("si_sdr",))
    monkeypatch.setattr(chain_module, "SECONDS", 1.0)
    one = functools.partial(chain_module.evaluate, workers=1, seconds=1.0)

    def evaluate(*arguments, **named):  # type: ignore[no-untyped-def]
        ran.append("evaluate")
        return one(*arguments, **named)

    monkeypatch.setattr(chain_module, "evaluate", evaluate)
    return ran


def test_the_chain_ends_in_one_table_and_a_report(tmp_path: Path, corpus: Path, calls: list[str]) -> None:
    arguments = ["run", "--out", str(tmp_path / "report"), "--corpus", str(corpus), "--count", "1",
                 "--target", "cortex-m7", "--set", "train.float_steps=7"]
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 0, answer.output
    assert calls == ["train 7", "export cortex-m7", "evaluate", "profile cortex-m7"]
    lines = [line.rstrip() for line in answer.stdout.splitlines()]
    assert lines[0].split() == ["noisy", "float", "quantized", "source"]
    assert lines[2].split()[:2] == ["SI-SDR,", "dB"] and lines[2].endswith("measured (host)")
    assert lines[3].split() == ["bytes", "-", f"{4 * tiny_trained().parameters:,}", f"{len(tiny_tflite()):,}",
                                "exact"]
    assert lines[4] == "means over 6 clips from -6 to 9 dB; in brackets the gain over noisy"
    assert [line.split()[0] for line in lines[5:10]] == ["train", "export", "enhance", "evaluate", "profile"]
    assert lines[-2].startswith("in all") and lines[-2].endswith("s (measured)")
    assert lines[-1] == f"wrote {tmp_path}/report/index.html"
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 9 and "cycles: cortex-m7 has no NPU" in page
    assert "float_steps: 7" in page
    made = {str(path.relative_to(tmp_path / "report")) for path in (tmp_path / "report").rglob("*.*")}
    assert {"audio/0-noisy.wav", "audio/0-firmware.wav", "audio/1-quantized.wav", "audio/before-after.png",
            "profile/profile.json", "evaluation/evaluation.json", "export/model_int8.tflite"} <= made

    again = CliRunner().invoke(main, arguments)
    assert calls == ["train 7", "export cortex-m7", "evaluate", "profile cortex-m7"]
    assert again.exit_code == 0
    assert again.stdout.count("(already there)") == 5
    assert (tmp_path / "report" / "index.html").read_text(encoding="utf-8") == page


def test_a_run_goes_on_where_it_failed(tmp_path: Path, corpus: Path, calls: list[str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    working = sys.modules["tinyse.export.pipeline"].export_run

    def broken(*arguments: object) -> None:
        raise ToolError("vela: failed", "install it")

    monkeypatch.setattr(sys.modules["tinyse.export.pipeline"], "export_run", broken)
    arguments = ["run", "--out", str(tmp_path / "r"), "--corpus", str(corpus), "--count", "1"]
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 1
    assert answer.stderr.splitlines()[-1] == "Error: vela: failed (install it)"
    monkeypatch.setattr(sys.modules["tinyse.export.pipeline"], "export_run", working)
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert len([call for call in calls if call.startswith("train")]) == 1


def test_another_recipe_trains_in_another_folder(tmp_path: Path, corpus: Path, calls: list[str]) -> None:
    folders = {chain_module.run("quick", tmp_path, "cortex-m7", corpus, {"train.float_steps": steps},
                                count=1).training for steps in ("5", "6", "5")}
    assert len(folders) == 2
    # back at the first, training is asked again: it resumes its finished folder and returns at once
    assert [call for call in calls if call.startswith("train")] == ["train 5", "train 6", "train 5"]


def test_bad_input_is_refused_before_training(tmp_path: Path, corpus: Path, calls: list[str]) -> None:
    for recipe, target, overrides in (("none", "cortex-m7", {}), ("quick", "cortex-m9", {}),
                                      ("quick", "cortex-m7", {"train.steps": "3"})):
        with pytest.raises(RecipeError):
            chain_module.run(recipe, tmp_path, target, corpus, overrides)
    assert calls == []
    answer = CliRunner().invoke(main, ["run", "--out", str(tmp_path), "--corpus", str(tmp_path / "absent")])
    assert answer.exit_code == 1
    assert "holds no corpus" in answer.stderr and "Traceback" not in answer.output


def test_the_corpus_is_fetched_where_it_is_missing(tmp_path: Path, corpus: Path, calls: list[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    monkeypatch.setenv("TINYSE_DATA", str(tmp_path / "data"))

    def fetch(tier, progress):  # type: ignore[no-untyped-def]
        fetched.append(tier)
        synthetic_corpus(tmp_path / "data" / tier, seed=1, minutes=0.5)

    monkeypatch.setattr("tinyse.sound.corpus.fetch.fetch", fetch)
    for _ in range(2):
        result = chain_module.run("quick", tmp_path / "out", "cortex-m7", count=1)
    assert fetched == ["small"]
    assert [stage.name for stage in result.times] == ["fetch", "train", "export", "enhance", "evaluate",
                                                      "profile"]
    assert json.loads((tmp_path / "out" / "stages" / "fetch.json").read_text())["inputs"]["tier"] == "small"
