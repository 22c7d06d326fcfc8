"""Exits at run time: a fixed one and a budget by ``enhance`` and ``evaluate``, what each costs, what is wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from twin_nets import random_model

from tinyse import families
from tinyse.cli import firmware, main
from tinyse.core.origin import Origin, Source
from tinyse.engines import load_engine
from tinyse.engines.enhance import enhance_signal
from tinyse.engines.exits import affordable, exit_costs, stop_at
from tinyse.export.bundle import INT8, part_file, plan_json
from tinyse.export.writer import write
from tinyse.firmware import qemu
from tinyse.graph.plan import Budget
from tinyse.measure.costs.parts import Rates, part_costs
from tinyse.measure.costs.render import exit_tables

OPTIONS = {"first": 4, "gru": (6, 5), "dense": (7, 6), "exits": (1, 2), "topology": "split", "bits": 8}
CYCLES = [900, 200, 1500, 3000]
"""Of the parts: exit 1, what is before exit 2, exit 2, the rest."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export's folder with three exits, of random weights."""
    folder, family = tmp_path_factory.mktemp("exits"), families.load("nsnet2")
    made = replace(random_model(family.net(OPTIONS, family.ends)), ends=family.ends)
    plan = made.plan()
    for part, graph in enumerate(plan.graphs):
        (folder / part_file(INT8, part, len(plan.parts))).write_bytes(write(graph))
    manifest = {"plan": plan_json(plan), "ends": family.ends.as_dict(), "cycles": {"parts": CYCLES}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    made.save(folder / "model.npz")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)
    soundfile.write(folder / "in.wav", noise, 16000, "FLOAT")
    return folder


def enhance(model: Path, out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["enhance", str(model / "in.wav"), str(out), "--model", str(model), *arguments])


@pytest.mark.parametrize(("arguments", "number"), [((), 3), (("--exit", "1"), 1), (("--exit", "2"), 2),
                                                   (("--exit", "3"), 3), (("--budget", "0.13Mmacs"), 1),
                                                   (("--budget", "1Gmacs"), 3), (("--budget", "106.25kcycles"), 2),
                                                   (("--budget", "106.24 kcycles"), 1)])
def test_enhance_stops_where_it_is_told(model: Path, tmp_path: Path, arguments: tuple[str, ...], number: int) -> None:
    done = enhance(model, tmp_path / "out.wav", *arguments)
    assert done.exit_code == 0, done.output
    rates = ", ".join("100.0%" if each == number else "0.0%" for each in (1, 2, 3))
    said = f"{tmp_path}/out.wav: 0.50 s at 16000 Hz, tflm engine, exits 1 to 3 on {rates}"
    assert done.stderr.splitlines()[-1] == said
    engine = load_engine(model)
    engine.under(Budget(number))
    wave, _ = soundfile.read(model / "in.wav", dtype="float32")
    out, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    np.testing.assert_array_equal(out, enhance_signal(wave, engine))
    assert engine.part_rates == {1: (1, 0, 0, 0), 2: (0, 1, 1, 0), 3: (0, 1, 0, 1)}[number]


def test_an_exit_costs_what_it_needs_on_every_engine(model: Path) -> None:
    w = OPTIONS["first"]
    first, second = 257 * w + w * 257, 257 * w + 3 * 6 * (w + 6) + 6 * 257
    last = 257 * w + 3 * 6 * (w + 6) + 3 * 5 * 11 + 5 * 7 + 7 * 6 + 6 * 257
    for kind in ("tflm", "keras"):
        engine = load_engine(model, kind)
        assert exit_costs(engine, model, "macs") == tuple(62.5 * each for each in (first, second, last))
        assert exit_costs(engine, model, "cycles") == (900 * 62.5, 1700 * 62.5, 3200 * 62.5)
        assert [affordable(engine, model, f"{cost}kcycles") for cost in (57, 107, 200)] == [1, 2, 3]


@pytest.mark.parametrize(("arguments", "said"), [
    (("--exit", "4"), "Error: exit 4: the network has 3 (1 to 3)"),
    (("--budget", "56kcycles"), "Error: --budget 56kcycles: the cheapest exit takes 0.06 M cycles a second "
                                "(0.05625Mcycles or more)"),
    (("--budget", ""), "Error: --budget : is no budget (so much a second of sound, such as 12Mmacs or 20Mcycles)"),
    (("--budget", "12"), "Error: --budget 12: is no budget (so much a second of sound, such as 12Mmacs or 20Mcycles)"),
    (("--exit", "1", "--budget", "9Mmacs"), "Error: --exit and --budget both say where to stop"),
])
def test_what_cannot_be_is_one_line(model: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = enhance(model, tmp_path / "out.wav", *arguments)
    assert done.exit_code != 0 and done.stderr.splitlines()[-1] == said, done.stderr
    assert not (tmp_path / "out.wav").exists()


def test_cycles_that_nobody_knows_are_one_line(model: Path, tmp_path: Path) -> None:
    (tmp_path / "model.npz").write_bytes((model / "model.npz").read_bytes())
    done = enhance(model, tmp_path / "out.wav", "--model", str(tmp_path), "--budget", "9Mcycles")
    assert done.stderr.splitlines()[-1] == (
        f"Error: {tmp_path}: has no cycles of its parts (an export for an NPU has; or a budget of MACs)")


@pytest.mark.parametrize("costs", [3, {"parts": 3}, {"parts": ["a"] * 4}, {"parts": [1, 2]}])
def test_damaged_cycles_are_one_line(model: Path, tmp_path: Path, costs: object) -> None:
    shutil.copytree(model, tmp_path / "export")
    manifest = json.loads((model / "manifest.json").read_text()) | {"cycles": costs}
    (tmp_path / "export" / "manifest.json").write_text(json.dumps(manifest))
    done = enhance(model, tmp_path / "out.wav", "--model", str(tmp_path / "export"), "--budget", "9Mcycles")
    assert done.exit_code == 1 and done.stderr.splitlines()[-1].startswith(
        f"Error: {tmp_path / 'export'}: has no cycles of its parts"), done.output


def test_a_plan_that_does_not_fit_names_its_manifest(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "export")
    manifest, manifest_at = json.loads((model / "manifest.json").read_text()), tmp_path / "export" / "manifest.json"
    fewer = {**manifest["plan"], "results": manifest["plan"]["results"][:-1]}
    for changed, said in (
            ({"plan": fewer}, "plan: a plan of 4 parts with 3 results (export the model again)"),
            ({"schema": 2}, "schema 2, this tinyse reads 1 (update tinyse, or export it again)")):
        manifest_at.write_text(json.dumps(manifest | changed))
        done = enhance(model, tmp_path / "out.wav", "--model", str(tmp_path / "export"), "--engine", "tflm")
        assert done.stderr.splitlines()[-1] == f"Error: {manifest_at}: {said}"


def test_a_part_that_is_missing_is_named(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "export")
    lost = tmp_path / "export" / part_file(INT8, 2, 4)
    lost.unlink()
    done = enhance(model, tmp_path / "out.wav", "--model", str(tmp_path / "export"))
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        1, f"Error: {lost}: is missing, and the other parts of its network are here (export the model again)")


def test_the_firmware_and_evaluate_take_budgets_as_enhance_does(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(firmware, "_images", lambda *given: seen.append(given[-1]) or (_ for _ in ()).throw(SystemExit))
    sound = str(model / "in.wav")
    monkeypatch.setattr(qemu, "check_wav", lambda source: None)
    for asked in ("0.13Mmacs", "106.25kcycles"):
        CliRunner().invoke(main, ["firmware", "run", str(model), sound, "out.wav", "--budget", asked])
    assert seen == [1, 2]
    for command in (["firmware", "run", str(model), sound, "out.wav"], ["evaluate", str(model)]):
        for more, said in ((("--budget", "12"), "--budget 12: is no budget (so much a second of sound, such as "
                                                "12Mmacs or 20Mcycles)"),
                           (("--budget", "1Gmacs", "--exit", "1"), "--exit and --budget both say where to stop")):
            done = CliRunner().invoke(main, [*command, *more])
            assert done.exit_code and done.stderr.splitlines()[-1] == f"Error: {said}", done.output


def test_magnitudes_prune_one_part_at_a_time(model: Path, tmp_path: Path) -> None:
    whole, part = (CliRunner().invoke(main, ["prune-offline", str(file), "--sparsity", "0.5", "--out",
                                             str(tmp_path / "out.tflite")])
                   for file in (model, model / part_file(INT8, 1, 4)))
    assert (whole.exit_code, whole.output) == (
        1, f"Error: {model}: a network of 4 parts, and this prunes one (name a part's file)\n")
    assert part.exit_code == 0, part.output


def test_evaluate_scores_an_exit(model: Path, tmp_path: Path) -> None:
    for folder in ("noisy", "clean"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.wav").write_bytes((model / "in.wav").read_bytes())
    found = {}
    for number, asked in (("1", ("--exit", "1")), ("3", ("--budget", "1Gmacs"))):
        pairs = "--noisy", str(tmp_path / "noisy"), "--clean", str(tmp_path / "clean")
        done = CliRunner().invoke(main, ["evaluate", str(model), *pairs, "--metrics", "si_sdr", "--workers", "1",
                                         *asked, "--out", str(tmp_path / number)])
        assert done.exit_code == 0 and f", exit {number}" in done.stdout, done.output
        found[number] = json.loads((tmp_path / number / "evaluation.json").read_text())
    assert found["1"]["clips"][0]["parts"]["enhanced"] == [1, 0, 0, 0]
    assert found["1"]["clips"][0]["values"]["enhanced"] != found["3"]["clips"][0]["values"]["enhanced"]
    assert found["1"]["provenance"]["models"][0]["exit"] == "1"


@pytest.mark.parametrize("policy", ["budget", "route"])
def test_a_profile_has_what_a_frame_takes_at_each_exit_at_worst_and_in_the_mean(policy: str) -> None:
    family = families.load("nsnet2")
    net = family.net({**OPTIONS, **({"router": 3} if policy == "route" else {})}, family.ends)
    plan, router = random_model(net).plan(), net.macs(0) if policy == "route" else 0
    macs = [graph.macs for graph in plan.graphs]
    shares = (1.0, 0.5, 0.5, 0.25, 0.25) if router else (0.5, 0.5, 0.25, 0.25)
    rates = Rates(Origin(Source.MEASURED, "here", "host"), "noise", shares)
    found = part_costs(rates, plan if router else plan.under(Budget(2)), plan.graphs, [], [])
    (name, origin, rows), *_ = found.stopping()
    mean = sum(share * each for share, each in zip(shares, macs, strict=True))
    exits = [float(each) for each in net.exit_macs]
    assert (name, origin.source) == ("MACs", Source.EXACT) and sum(macs) == net.macs()
    assert dict(rows) == {"exit 1": exits[0], "exit 2": exits[1], "exit 3": exits[2], "mean": mean,
                          "worst case": exits[2] if router else exits[1]}
    table, *_ = exit_tables(found, 62.5)
    assert table.rows[0] == ("exit 1", f"{exits[0]:,.0f}", f"{62.5 * exits[0]:,.0f}")
    assert [row[0] for row in table.rows] == ["exit 1", "exit 2", "exit 3", "worst case", "mean"]
    assert part_costs(None, random_model(family.net({"first": 4, "gru": (3,), "dense": (3,)}, family.ends)).plan(),
                      [], [], []).stopping() == []


def test_a_folder_of_int8_parts_is_exported_again_whole(model: Path, tmp_path: Path) -> None:
    """As a released model is: no .npz, the parts and what the manifest says of them."""
    for name in ("manifest.json", *(part_file(INT8, part, 4) for part in range(4))):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    again = tmp_path / "again"
    done = CliRunner().invoke(main, ["export", str(tmp_path), "--target", "cortex-m7", "--out", str(again)])
    assert done.exit_code == 0, done.output
    one, other = (json.loads((folder / "manifest.json").read_text())["plan"] for folder in (tmp_path, again))
    assert one == other
    for part in range(4):
        name = part_file(INT8, part, 4)
        assert (tmp_path / name).read_bytes() == (again / name).read_bytes()


def test_a_skip_rnn_has_no_exits(tmp_path: Path) -> None:
    family = families.load("tinylstm")
    net = family.net({"lstm": (8,), "dense": (8,)}, family.ends, True)
    replace(random_model(net), ends=family.ends).save(tmp_path / "model.npz")
    engine = load_engine(tmp_path)
    with pytest.raises(Exception, match="a Skip RNN has no exits"):
        stop_at(engine, 1)
