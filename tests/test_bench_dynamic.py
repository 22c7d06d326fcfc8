"""Dynamic networks set beside static ones: points, the lines between them, the section of a page."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from twin_nets import random_model

from tinyse.bench.__main__ import command
from tinyse.bench.dynamic import Point, between, groups_of, points_of, text_of, write_dynamic
from tinyse.core.errors import TinyseError
from tinyse.export.pipeline import export_run
from tinyse.families import load
from tinyse.measure.scores.result import NOISY, ClipScore, Evaluation
from tinyse.sound.corpus.synthetic import synthetic_corpus

MODEL = Path(__file__).parents[1] / "models" / "tinylstm-small"


def scored(si_sdr: float) -> Evaluation:
    """Two mixtures of one model, its mean si_sdr given."""
    clips = tuple(ClipScore(name, 0.0, {NOISY: {"si_sdr": 0.0, "pesq": 1.1},
                                        "enhanced": {"si_sdr": si_sdr + step, "pesq": 1.1 + si_sdr / 10}}, {})
                  for name, step in (("a", 0.5), ("b", -0.5)))
    return Evaluation((NOISY, "enhanced"), ("si_sdr", "pesq"), clips, {})


def run_of(folder: Path, scores: dict[str, float]) -> Path:
    shutil.copytree(MODEL, folder / "export")
    for name, value in scores.items():
        place = folder / "scores" / name
        place.mkdir(parents=True)
        (place / "evaluation.json").write_text(json.dumps(scored(value).to_dict()))
    return folder


def test_a_page_gets_the_table_and_the_plot(tmp_path: Path) -> None:
    one = run_of(tmp_path / "one", {"held-out-0": 5.0, "unseen-0": 6.0})
    two = run_of(tmp_path / "two", {"held-out-0": 7.0, "unseen-0": 6.5, "held-out-1": 4.0, "unseen-1": 3.0})
    page = tmp_path / "page.md"
    found = CliRunner().invoke(command, ["dynamic", str(one), str(two), "--page", str(page)])
    assert (found.exit_code, found.output) == (0, f"{page}\n{tmp_path / 'page-dynamic.png'}\n")
    text = page.read_text()
    assert "| one | 137,728 |" in text and "| 5.00 | 1.600 | 6.00 | 1.700 |" in text and "| two, exit 1 |" in text
    # one exit and the router at the same MACs: no line lies between them, and the only static network is there too
    assert "* two, its router against the line through static networks, at the same MACs: outside of it." in text
    assert (tmp_path / "page-dynamic.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_set_side_by_side_is_said(tmp_path: Path) -> None:
    one = run_of(tmp_path / "one", {"held-out-0": 5.0})
    other = run_of(tmp_path / "other", {"held-out-0": 5.0, "unseen-0": 6.0})
    page = str(tmp_path / "page.md")
    apart = "other: scored on held-out, unseen, one on held-out"
    for runs, line in (([tmp_path / "none"], "has no scores"), ([one, other], apart)):
        found = CliRunner().invoke(command, ["dynamic", *map(str, runs), "--page", page], catch_exceptions=True)
        assert found.exit_code != 0 and line in f"{found.output}{found.exception}"
    file = one / "scores" / "held-out-0" / "evaluation.json"
    other = run_of(tmp_path / "third", {"held-out-0": 5.0})
    value = json.loads(file.read_text())
    for change, line in (({"provenance": {"audio_sha256": "b"}}, "held-out: scored on other sound than third"),
                         ({"columns": ["pesq"], "clips": [{**clip, "values": {}} for clip in value["clips"]]},
                          f"{file}: scores no model by si_sdr and pesq"),
                         ({"systems": [NOISY]}, "scores no model by"), ({"clips": 3}, "no evaluation"),
                         ({"clips": [{**clip, "parts": {"enhanced": [1, 0]}} for clip in value["clips"]]},
                          "one: scores at exit 0 are of 2 parts, its export has 1")):
        file.write_text(json.dumps(value | change))
        with pytest.raises(TinyseError) as error:
            write_dynamic([other, one], Path(page))
        assert line in error.value.line() and not Path(page).exists()
    file.write_text("{")
    found = CliRunner().invoke(command, ["dynamic", str(one), "--page", page])
    assert found.exit_code != 0 and not Path(page).exists()


@given(st.floats(-5, 15), st.floats(-5, 15), st.floats(0, 1))
def test_a_line_goes_through_its_points(low: float, high: float, at: float) -> None:
    line = [Point("x", n, {"t": macs}, None, {"t": scored(value)})
            for n, macs, value in ((1, 100.0, low), (2, 300.0, high))]
    value = between(line, 100.0 + 200.0 * at, "t", "si_sdr")
    assert value == pytest.approx(low + (high - low) * at, abs=1e-9)
    assert between(line, 99.0, "t", "si_sdr") is None and between([], 1.0, "t", "si_sdr") is None


def test_channel_gates_count_what_is_open(tmp_path: Path) -> None:
    family = load("fsenet")
    net = family.net({"channels": 12, "hidden": 24, "stacks": 1, "gates": True}, family.ends)
    run = run_of(tmp_path / "gated", {"held-out-0": 5.0})
    shutil.rmtree(run / "export")
    replace(random_model(net), ends=family.ends).save(run / "model.npz")
    export_run(run, "cortex-m55", run / "export")
    with pytest.raises(TinyseError, match="its channel gates save") as error:
        points_of(run)
    assert error.value.hint == "--mixtures CORPUS counts it"
    synthetic_corpus(tmp_path / "corpus")
    point, = points_of(run, tmp_path / "corpus")
    assert point.gated and net.macs() - 3 * 24 * (3 + 12) <= point.macs["held-out"] < net.macs()
    assert list(groups_of([point, Point("x", 0, {"held-out": 9.0}, None, point.scores)])) == ["channel gates", "static"]


def test_a_router_stands_at_each_table_s_own_macs() -> None:
    tables = {"held-out": scored(5.0), "unseen": scored(4.0)}
    points = [Point("x", 1, dict.fromkeys(tables, 100.0), None, {at: scored(3.0) for at in tables}),
              Point("x", 2, dict.fromkeys(tables, 300.0), None, {at: scored(7.0) for at in tables}),
              Point("x", 0, {"held-out": 200.0, "unseen": 150.0}, None, tables)]
    text = text_of(points)
    assert "| x | 200 / 150 | - |" in text and "| x, exit 1 | 100 | - |" in text
    assert "held-out +0.00 dB (SI-SDR)" in text and "unseen +0.00 dB (SI-SDR)" in text


def test_a_run_without_exits_runs_whole(tmp_path: Path) -> None:
    point, = points_of(run_of(tmp_path / "one", {"held-out-0": 5.0}))
    assert (point.label, point.exit, point.macs) == ("one", 0, {"held-out": 137_728})
