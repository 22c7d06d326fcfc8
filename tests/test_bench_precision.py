"""The page of points of other bits: bytes from the models, scores from evaluations, differences clip by clip."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.twin_nets import of, random_model
from tinyse.bench import __main__ as program
from tinyse.bench.precision import page
from tinyse.core.errors import TinyseError
from tinyse.export.cnetwork import c_network
from tinyse.graph.snap import snap
from tinyse.measure.scores.result import ClipScore, Evaluation

NET = of((1, 1, 32), lambda b: b.dense(b.dense(b.x, 64, "relu"), 32))


def run(folder: Path, bits: dict[str, int], si_sdr: list[float]) -> Path:
    """A run folder with scores on "held-out"."""
    model = random_model(NET, seed=2)
    scores = folder / "scores" / "held-out"
    scores.mkdir(parents=True)
    snap(replace(model, net=NET.with_bits(bits))).save(folder / "model.npz")
    clips = [ClipScore(f"{n}", 0.0, {"noisy": {"si_sdr": 0.0}, "int8": {"si_sdr": value}}, {})
             for n, value in enumerate(si_sdr)]
    found = Evaluation(("noisy", "int8"), ("si_sdr",), tuple(clips), {})
    (scores / "evaluation.json").write_text(json.dumps(found.to_dict()))
    return folder


def test_bytes_are_the_models_and_differences_go_clip_by_clip(tmp_path: Path) -> None:
    whole = run(tmp_path / "8-bit", {}, [1.0, 5.0, 3.0])
    few = run(tmp_path / "few", {"dense_0/kernel": 4, "dense_1/kernel": 2}, [0.9, 4.9, 2.6])
    (tmp_path / "mixed-precision.md").write_text("# Mixed\n\nBefore.\n")
    words = ["precision", str(whole), str(few), "--table", "held-out", "--docs", str(tmp_path)]
    result = CliRunner().invoke(program.command, words)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "mixed-precision.md").read_text()
    assert text.startswith("# Mixed\n\nBefore.\n\n<!-- points: written by scripts/mixed-precision -->")
    rows = {cells[1]: cells for line in text.splitlines() if (cells := [cell.strip() for cell in line.split("|")])[1:]}
    scored = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| few")]
    assert [row[2] for row in scored] == ["3.00", "2.80"] and scored[1][3] == "-0.20 +- 0.20"
    model = random_model(NET, seed=2)
    packed = [c_network(snap(replace(model, net=NET.with_bits(bits))).plan()).flash
              for bits in ({}, {"dense_0/kernel": 4, "dense_1/kernel": 2})]
    costs = [line for line in text.splitlines() if line.startswith(("| 8-bit", "| few"))][:2]
    assert [int(line.split("|")[5].replace(",", "")) for line in costs] == packed and packed[1] < 0.8 * packed[0]
    encoded = [int(line.split("|")[3].replace(",", "")) for line in costs]
    assert scored[0][4] == f"{1 - encoded[1] / encoded[0]:.0%}" and encoded[1] < encoded[0]
    assert rows["8-bit"][3] == ""  # it differs from itself by nothing
    assert CliRunner().invoke(program.command, words).exit_code == 0
    assert (tmp_path / "mixed-precision.md").read_text() == text


def test_a_section_of_its_own_holds_shares_of_voice(tmp_path: Path) -> None:
    run(tmp_path / "8-bit", {}, [1.0])
    scores = tmp_path / "8-bit" / "scores" / "held-out" / "evaluation.json"
    clips = [ClipScore(f"{n}", 0.0, {"noisy": {"balanced": 60.0}, "voice": {"balanced": value}}, {})
             for n, value in enumerate((80.0, 85.0))]
    scores.write_text(json.dumps(Evaluation(("noisy", "voice"), ("balanced",), tuple(clips), {}).to_dict()))
    result = CliRunner().invoke(program.command, ["precision", str(tmp_path / "8-bit"), "--table", "held-out", "--docs",
                                                  str(tmp_path), "--section", "voice", "--command", "make voice"])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "mixed-precision.md").read_text()
    assert "<!-- voice: written by make voice -->" in text and "balanced accuracy, %" in text and "| 82.50 |" in text


def test_bad_runs_are_one_line(tmp_path: Path) -> None:
    whole, other = run(tmp_path / "8-bit", {}, [1.0, 2.0]), run(tmp_path / "other", {}, [1.0, 2.0, 3.0])
    with pytest.raises(TinyseError, match=r"held-out: runs scored on \[2, 3\] mixtures"):
        page([whole, other], ["held-out"], "ethos-u55-128")
    same = run(tmp_path / "same", {}, [1.0, 2.0])
    file = same / "scores" / "held-out" / "evaluation.json"
    for change in ({"provenance": {"audio_sha256": "b"}}, {"columns": ["pesq"]}):
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
        with pytest.raises(TinyseError, match="held-out: same was scored on other sound or by other metrics than 8"):
            page([whole, same], ["held-out"], "ethos-u55-128")
    for text in ("", "{", "{}", None):
        file = other / "scores" / "held-out" / "evaluation.json"
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
        with pytest.raises(TinyseError, match="evaluation"):
            page([whole, other], ["held-out"], "ethos-u55-128")
