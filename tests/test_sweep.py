"""Sweeps: the file read strictly, points run and resumed, results of one source a column, a real one end to end."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from export_models import random_model
from hypothesis import given
from hypothesis import strategies as st
from sweep_files import BASE, SWEEP, hand_made, point, write_sweep

from tinyse.cli import main
from tinyse.core.artifacts import write_json
from tinyse.core.chain import Chain
from tinyse.core.errors import ModelError, RecipeError, TinyseError
from tinyse.core.progress import silent
from tinyse.graph.model import Model
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.studies.sweep import lock, workers
from tinyse.studies.sweep.identity import decides, dense_recipe, family
from tinyse.studies.sweep.pipeline import plan_sweep, run_sweep
from tinyse.studies.sweep.plan import Job, Kind
from tinyse.studies.sweep.point import _model as point_model
from tinyse.studies.sweep.pool import Pool, Task
from tinyse.studies.sweep.render import missing, points_csv, ratio_table, shown, write_presentation
from tinyse.studies.sweep.results import EMULATED, ESTIMATED, EXACT, MEASURED, Group, front, read_result
from tinyse.studies.sweep.spec import load_sweep
from tinyse.train.compression import ClusterPart, SkipPart
from tinyse.train.dense import dense_model


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    return folder


# -- the file ---------------------------------------------------------------------------------------------

def test_axes_points_and_baselines_become_points(tmp_path: Path) -> None:
    file = write_sweep(tmp_path, """\
name: all
recipe: base.yaml
from: runs/full
seeds: [1, 2]
set: {train.compress_steps: 40}
axes: {prune.structure: [weight, block], prune.sparsity: [0.5, 0.95], prune.block: [[8, 16]]}
points:
  - {name: tf-mot, set: {prune.method: magnitude}, seeds: [7], family: TF-MOT}
  - {name: control, set: {prune.method: none}}
offline:
  - {structure: unit, sparsity: [0.25, 0.5]}
  - {structure: block, sparsity: 0.5, block: [8, 8]}
""")
    spec = load_sweep(file)
    assert [(p.name, p.family, p.seeds) for p in spec.points] == [
        ("weight-0.5-8x16", "weight", (1, 2)), ("weight-0.95-8x16", "weight", (1, 2)),
        ("block-0.5-8x16", "block", (1, 2)), ("block-0.95-8x16", "block", (1, 2)), ("tf-mot", "TF-MOT", (7,)),
        ("control", "dense", (1, 2))]
    assert spec.points[3].recipe.prune.sparsity == 0.95 and spec.points[3].recipe.prune.block == (8, 16)
    assert all(p.recipe.train.compress_steps == 40 for p in spec.points)
    assert [(p.name, p.sparsity, p.block) for p in spec.offline] == [
        ("offline-unit-0.25", 0.25, (16, 4)), ("offline-unit-0.5", 0.5, (16, 4)),
        ("offline-block-8x8-0.5", 0.5, (8, 8))]
    assert spec.start == "runs/full" and load_sweep(file, "mine").start == "mine"


def test_the_shipped_sweep_is_valid_and_holds_every_baseline() -> None:
    spec = load_sweep("papers")
    families = {point.family for point in spec.points}
    assert families == {"dense", "weight, clustered", "block", "unit, clustered", "skip, unit, clustered"}
    trained = {(p.recipe.prune.structure, p.recipe.prune.sparsity) for p in spec.points
               if p.family != "dense" and not p.family.startswith("skip")}
    assert trained <= {(str(p.structure), p.sparsity) for p in spec.offline}
    assert sum(len(p.seeds) == 3 for p in spec.points) == 3


@pytest.mark.parametrize(("change", "words"), [
    ("name: [", ("not YAML",)),
    ("- 1", ("file: [1]", "a mapping")),
    ("recipe: base.yaml", ("name is missing", "docs/sweep.md")),
    ("name: a/b\nrecipe: base.yaml", ("name: 'a/b'", "letters")),
    (SWEEP + "axis: {}", ("axis: {}", "one of name, recipe, from")),
    (SWEEP + "seeds: [1, 1]", ("seeds: [1, 1]", "each seed once")),
    (SWEEP + "seeds: [-1]", ("seeds: [-1]", "whole numbers from 0")),
    (SWEEP + "target: u99", ("'u99' is not known", "ethos-u55-128")),
    (SWEEP.replace("devices: []", "devices: [ethos-u55-128]"), ("devices: 'ethos-u55-128'", "without an NPU")),
    (SWEEP.replace("devices: []", "devices: cortex-m7"), ("devices: 'cortex-m7'", "a list of targets")),
    (SWEEP + "axes: {prune.sparsity: 0.5}", ("axes.prune.sparsity: 0.5", "a list of values")),
    (SWEEP + "axes: {prune.sparsity: [2.0]}", ("axes: 2", "prune: sparsity: 2.0 is out of range", "0 to 0.999")),
    (SWEEP + "axes: {prune.sparsty: [0.5]}", ("axes: 0.5", "unknown key 'sparsty'", "sparsity")),
    (SWEEP + "axes: {name: [a b]}", ("axes: ['a b']", "make a file name")),
    (SWEEP + "axes: {name: [a]}", ("a: name: 'a' is not a point's own", "points: with a name")),
    (SWEEP + "axes: {seed: [1, 2]}", ("2: seed: 2 is not a point's own", "seeds: of the sweep")),
    (SWEEP.replace("sparsity: 0.8}}", "sparsity: 0.8, train: {start: runs/x}}}"),
     ("weight-80: train.start: 'runs/x'", "from: of the sweep")),
    (SWEEP + "axes: {corpus.tier: [default, small]}", ("default: corpus: {'tier': 'default'", "corpus: of the sweep")),
    (SWEEP.replace("name: weight-80", "name: dense"), ("two points are called 'dense'",)),
    (SWEEP.replace("prune.sparsity: 0.8}}", "prune.sparsity: high}}"),
     ("points[0]: weight-80", "'high' is not a number")),
    (SWEEP.replace("structure: weight, sparsity: [0.8]", "structure: row, sparsity: [0.8]"),
     ("offline[0].structure: 'row'", "one of weight, block, unit")),
    (SWEEP.replace("sparsity: [0.8]", "sparsity: [1.0]"), ("offline[0].sparsity: [1.0]", "0 to 0.999")),
    (SWEEP.replace("sparsity: [0.8]", "sparsity: [0.8], block: [4]"), ("offline[0].block: [4]", "[inputs, outputs]")),
    (SWEEP.replace("metrics: [si_sdr, sdr]", "metrics: [pesq]"), ("score.metrics: ['pesq']", "a list with sdr")),
    (SWEEP.replace("count: 1,", "count: 0,"), ("score.count: 0", "from 1")),
    (SWEEP.replace("seconds: 1,", "second: 1,"), ("score.second: 1", "one of count, validation")),
    ("name: n\nrecipe: base.yaml", ("no points", "axes:, points: or offline:")),
    ("name: n\nrecipe: nope\nset: {}", ("nope: no such recipe", "built-in name")),
    ("name: n\nrecipe: base.yaml\naxes: {mixing.batch: " + str(list(range(2, 503))) + "}",
     ("501 points", "at most 500")),
])
def test_a_bad_file_names_the_key_the_value_and_what_is_accepted(tmp_path: Path, change: str,
                                                                 words: tuple[str, ...]) -> None:
    answer = CliRunner().invoke(main, ["sweep", str(write_sweep(tmp_path, change)), "--out", str(tmp_path / "out")])
    assert answer.exit_code == 1
    lines = answer.stderr.splitlines()
    assert len(lines) == 1 and "sweep.yaml" in lines[0] or "'u99'" in lines[0] or "nope" in lines[0]
    assert all(word in lines[0] for word in words), lines[0]
    assert not (tmp_path / "out").exists()


def test_a_dense_model_of_another_family_is_said_at_once(tmp_path: Path, corpus: Path) -> None:
    other = dataclasses.replace(random_model((24, 16), (16,), 128, quantized=False), family="subband")
    other.save(tmp_path / "float.npz")
    with pytest.raises(ModelError, match="is of family subband, and the sweep's recipe of tinylstm"):
        plan_sweep(load_sweep(write_sweep(tmp_path), str(tmp_path / "float.npz")), tmp_path / "out", corpus)


def test_a_released_int8_model_is_what_points_start_from(tmp_path: Path, corpus: Path) -> None:
    from tinyse.export.pipeline import export_run

    random_model((24, 16), (16,), 128).save(tmp_path / "model.npz")
    released = export_run(tmp_path / "model.npz", "cortex-m55", tmp_path / "released").folder
    plan = plan_sweep(load_sweep(write_sweep(tmp_path), str(released)), tmp_path / "out", corpus)
    dense = plan.dense
    assert Path(dense.source) == released / "model_int8.tflite"
    assert Path(dense.floating) == Path(dense.folder) / "float.npz" and not Path(dense.floating).exists()
    chain = Chain(Path(dense.folder), silent)
    assert point_model(dense, chain, silent) == Path(dense.source)
    np.testing.assert_array_equal(Model.load(dense.floating).arrays["lstm_0/kernel"],
                                  dense_model(Path(dense.source), "from").arrays["lstm_0/kernel"])


def test_a_network_of_one_s_own_travels_in_the_job(tmp_path: Path, corpus: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from tinyse.families.tinylstm import ENDS, net\n"
    file = write_sweep(tmp_path)
    (tmp_path / "base.yaml").write_text("family: mine.py\n" + BASE.replace("network:", "family_options:"))
    (tmp_path / "mine.py").write_text(text)

    def dense():
        job = plan_sweep(load_sweep(file), tmp_path / "out", corpus).dense
        return Job.from_json(json.loads(json.dumps(job.to_json())))

    first = dense()
    (tmp_path / "mine.py").write_text(text + "# another\n")
    other = dense()
    assert (first.network, other.network) == (text, text + "# another\n")
    assert first.folder != other.folder and first.key != other.key
    (tmp_path / "mine.py").unlink()
    trained = []

    def train(recipe, folder, *rest, **options) -> None:
        trained.append(recipe)
        for name in ("model.npz", "float.npz", "calibration.npy", "recipe.yaml", "manifest.json"):
            (folder / name).touch()

    monkeypatch.setattr("tinyse.train.train", train)
    point_model(first, Chain(Path(first.folder), silent), silent)
    assert trained[0].family == f"{first.folder}/mine.py" and Path(trained[0].family).read_text() == text


def test_what_is_missing_is_said_before_anything_runs(tmp_path: Path, corpus: Path) -> None:
    file = write_sweep(tmp_path)
    with pytest.raises(RecipeError, match="no such sweep"):
        load_sweep("papyrus")
    with pytest.raises(TinyseError, match="holds no corpus"):
        plan_sweep(load_sweep(file), tmp_path / "out", tmp_path / "nowhere")
    with pytest.raises(ModelError, match="from: .*: no model there"):
        plan_sweep(load_sweep(file, str(tmp_path)), tmp_path / "out", corpus)
    dry = CliRunner().invoke(main, ["sweep", str(file), "--corpus", str(corpus), "--dry-run", "--workers", "3",
                                    "--out", str(tmp_path / "out")])
    assert dry.exit_code == 0
    assert dry.output.splitlines()[0].startswith("3 points, 3 at once (asked for; ")
    assert dry.output.splitlines()[1:] == ["  weight-80: weight, seeds 1", "  offline-weight-0.8: untrained"]
    assert not (tmp_path / "out").exists()


def test_families_are_named_after_what_is_unusual(tmp_path: Path) -> None:
    recipe = load_sweep(write_sweep(tmp_path)).recipe

    def pruned(**values: object) -> str:
        return family(dataclasses.replace(recipe, prune=dataclasses.replace(recipe.prune, **values)))

    assert [pruned(method="none"), pruned(structure="unit"), pruned(method="magnitude", structure="block")] == [
        "dense", "unit", "block, magnitude"]
    idle = dataclasses.replace(recipe, cluster=ClusterPart(end=0.5), skip=SkipPart(rate=0.3))
    assert family(idle) == "weight" and decides(idle) == decides(recipe)
    assert decides(dataclasses.replace(idle, cluster=ClusterPart(values=4, end=0.5)))["cluster"] == {
        "values": 4, "end": 0.5}
    started = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, start="elsewhere"))
    assert family(started) == "weight"
    plain = dense_recipe(started)
    assert family(plain) == "dense" and plain.train.start is None
    assert plain.train == recipe.train and plain.net() == recipe.net() and plain.ends == recipe.ends


def test_a_later_default_does_not_move_a_point(tmp_path: Path) -> None:
    recipe = load_sweep(write_sweep(tmp_path)).points[0].recipe
    made = decides(recipe)
    assert made["prune"] == {"method": "threshold", "sparsity": 0.8, "end": 0.5, "every": 2}  # no default in it
    moved = dataclasses.replace(recipe, name="x", train=dataclasses.replace(recipe.train, start="elsewhere"))
    assert decides(moved) == made
    assert decides(dataclasses.replace(recipe, seed=2)) != made


# -- workers ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("free", "cores", "points", "asked", "expected"), [
    (20, 2, 9, None, 2), (5, 2, 9, None, 1), (1, 2, 9, None, 1), (20, 2, 1, None, 1), (20, 1, 9, None, 1),
    (None, 2, 9, None, 1), (1, 2, 9, 2, 2), (20, 2, 0, None, 1)])
def test_workers_go_by_cores_memory_and_points(monkeypatch: pytest.MonkeyPatch, free: int | None, cores: int,
                                               points: int, asked: int | None, expected: int) -> None:
    monkeypatch.setattr(workers, "free_memory", lambda: None if free is None else free << 30)
    choice = workers.choose_workers(points, asked, cores)
    assert choice.workers == expected
    assert f"{cores} cores" in choice.why and ("unknown" if free is None else f"{free}.0 GiB free") in choice.why


def test_free_memory_heeds_the_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 4096 kB\n")
    monkeypatch.setattr(workers, "MEMINFO", meminfo)
    monkeypatch.setattr(workers, "CGROUP", tmp_path)
    assert workers.free_memory() == 4 << 20
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert workers.free_memory() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert workers.free_memory() == 4 << 20
    meminfo.unlink()
    assert workers.free_memory() is None


def _task(folder: Path, label: str, code: str) -> Task:
    return Task(label, (sys.executable, "-c", f"import os, sys, time, json\n{code}"), folder / f"{label}.log")


def test_a_pool_reports_and_survives_failures(tmp_path: Path) -> None:
    seen, ended = [], []
    say = "os.write(int(sys.argv[1]), json.dumps({0}).encode() + b'\\n')"
    failed = Pool(2, seen.append, lambda task, error: ended.append(task.label)).run([
        _task(tmp_path, "good", "print('to the log')\n" + say.format("{'task': 'train', 'done': 3, 'total': 4}")),
        _task(tmp_path, "bad", say.format("{'error': 'no such thing'}") + "; sys.exit(1)"),
        _task(tmp_path, "mute", "os.write(int(sys.argv[1]), b'no json\\n'); sys.exit(5)"),
        _task(tmp_path, "killed", "os.kill(os.getpid(), 9)")])
    assert failed == {"bad": "no such thing", "mute": f"ended with 5 (see {tmp_path}/mute.log)",
                      "killed": "was killed (out of memory? use --workers 1)"}
    assert sorted(ended) == ["bad", "good", "killed", "mute"]
    assert [(s.task, s.done, s.total, s.note) for s in seen] == [("good", 3, 4, "train")]
    assert (tmp_path / "good.log").read_text() == "to the log\n"


@pytest.mark.parametrize(("free", "most"), [(99, 2), (0, 1)])
def test_a_second_process_waits_for_memory(tmp_path: Path, free: int, most: int) -> None:
    mark = (f"p = {str(tmp_path)!r}\nopen(f'{{p}}/{{os.getpid()}}.on', 'w').close()\nuntil = time.time() + 3\n"
            "while time.time() < until and len([f for f in os.listdir(p) if f.endswith('.on')]) < 2: time.sleep(0.02)\n"
            "os.rename(f'{p}/{os.getpid()}.on', f'{p}/{os.getpid()}.off')\n"
            "print(len([f for f in os.listdir(p) if f.endswith('.on')]))")
    started = time.monotonic()
    assert Pool(2, free=lambda: free << 30).run([_task(tmp_path, name, mark) for name in "ab"]) == {}
    together = {(tmp_path / f"{name}.log").read_text() for name in "ab"} == {"1\n", "0\n"}
    assert together == (most == 2)
    assert (time.monotonic() - started > 5) == (most == 1)


# -- running ----------------------------------------------------------------------------------------------

def _run(folder: Path, corpus: Path, sweep: str = SWEEP, workers: int = 2, start: str | None = None):
    spec = load_sweep(write_sweep(folder, sweep), start)
    return run_sweep(plan_sweep(spec, folder / "out", corpus, workers), worker=(sys.executable,
                                                                                str(folder / "worker.py")))


def _ran(folder: Path) -> list[str]:
    file = folder / "ran.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def test_points_run_once_and_only_what_changed_runs_again(tmp_path: Path, corpus: Path) -> None:
    result = _run(tmp_path, corpus)
    assert _ran(tmp_path)[0] == "dense 1 dense"
    assert [(p.label, p.kind) for p in result.points] == [
        ("dense", Kind.DENSE), ("weight-80.s1", Kind.TRAINED), ("offline-weight-0.8", Kind.OFFLINE)]
    weight = result.points[1].values
    assert weight["zeros"] == pytest.approx(80) and weight["smaller"] == pytest.approx(4000 / 250)
    assert weight["delta"] == pytest.approx(4.3 - 5.5) and weight["val_delta"] == pytest.approx(5.2 - 6.5)
    assert result.reference == {"sdr": 5.5, "val_sdr": 6.5, "bytes": 4000, "noisy_sdr": 0.5}
    assert missing(result) == ["no emulator (all points)"]
    made = (tmp_path / "out" / "sweep.json").read_bytes()
    assert read_result(tmp_path / "out") == result

    _run(tmp_path, corpus)
    assert _ran(tmp_path) == []
    assert (tmp_path / "out" / "sweep.json").read_bytes() == made

    job = json.loads((tmp_path / "out" / result.points[1].folder / "job.json").read_text())
    assert job["recipe"]["train"]["start"] == str(tmp_path / "out" / result.points[0].folder)
    _run(tmp_path, corpus, SWEEP.replace("sparsity: 0.8}", "sparsity: 0.7}").replace("[0.8]", "[0.8, 0.9]"))
    assert sorted(_ran(tmp_path)) == ["offline-weight-0.9 0 offline", "weight-80 1 trained"]

    # a file that was changed, a record that was damaged, other scoring
    (tmp_path / "out" / result.points[2].folder / "export" / "model_int8.tflite").write_bytes(b"else")
    (tmp_path / "out" / result.points[1].folder / "point.json").write_text("{")
    _run(tmp_path, corpus)
    assert sorted(_ran(tmp_path)) == ["offline-weight-0.8 0 offline", "weight-80 1 trained"]
    _run(tmp_path, corpus, SWEEP.replace("count: 1,", "count: 2,"))
    assert len(_ran(tmp_path)) == 3


def test_a_skip_rnn_s_costs_have_a_mean_beside_the_worst(tmp_path: Path, corpus: Path) -> None:
    plain = _run(tmp_path, corpus)
    assert not any("mean" in column.key or "rate" in column.key for column in plain.columns)
    result = _run(tmp_path, corpus, SWEEP.replace("points:", "points:\n  - {name: skip-4, set: {prune.sparsity: 0.5}}"))
    skip, weight = result.points[1].values, result.points[2].values
    assert (skip["cycles"], skip["mean_cycles"], skip["mean_macs"], skip["mean_mops"]) == (2500, 625, 125, 0.00025)
    assert (weight["update_rate"], weight["mean_cycles"]) == (1.0, weight["cycles"])
    sources = {column.key: column.source for column in result.columns}
    assert sources["mean_cycles"] == "estimated (Vela) x measured (host)"
    table = next(each for each in shown(result) if each.title == "one frame")
    assert table.header[2] == "update rate" and any(head.startswith("mean MOps") for head in table.header)
    assert {"sdr-mean_cycles.png", "sdr-mean_mops.png", "sdr-cycles.png"} <= {
        path.name for path in (tmp_path / "out" / "plots").iterdir()}


def test_a_given_dense_run_is_the_start(tmp_path: Path, corpus: Path) -> None:
    dense = tmp_path / "dense"
    dense.mkdir()
    random_model((24, 16), (16,), 128, quantized=False).save(dense / "float.npz")
    result = _run(tmp_path, corpus, start=str(dense))
    job = json.loads((tmp_path / "out" / result.points[1].folder / "job.json").read_text())
    assert job["recipe"]["train"]["start"] == str(dense)
    first = json.loads((tmp_path / "out" / result.points[0].folder / "job.json").read_text())
    assert (first["recipe"], first["source"], first["floating"]) == (None, f"{dense}/float.npz", f"{dense}/float.npz")
    _ran(tmp_path)
    random_model((24, 8), (16,), 128, quantized=False).save(dense / "float.npz")
    _run(tmp_path, corpus, start=str(dense))
    assert sorted(_ran(tmp_path)) == ["dense 0 dense", "weight-80 1 trained"]  # the int8 file is the same bytes


def test_a_failed_point_is_reported_and_tried_again(tmp_path: Path, corpus: Path) -> None:
    file = write_sweep(tmp_path)
    (tmp_path / "FAIL-weight-80").touch()
    result = _run(tmp_path, corpus)
    assert result.failed == {"weight-80.s1": "the loss is nan (lower the rate)"}
    assert [p.label for p in result.points] == ["dense", "offline-weight-0.8"]
    assert missing(result)[0] == "weight-80.s1 failed: the loss is nan (lower the rate)"
    (tmp_path / "FAIL-weight-80").rename(tmp_path / "KILL-weight-80")
    assert "out of memory" in _run(tmp_path, corpus).failed["weight-80.s1"]
    (tmp_path / "KILL-weight-80").unlink()
    _ran(tmp_path)
    assert _run(tmp_path, corpus).failed == {} and _ran(tmp_path) == ["weight-80 1 trained"]
    (tmp_path / "FAIL-dense").touch()
    with pytest.raises(TinyseError, match="dense: the loss is nan"):
        run_sweep(plan_sweep(load_sweep(file), tmp_path / "new", corpus),
                  worker=(sys.executable, str(tmp_path / "worker.py")))


def test_ctrl_c_stops_every_point_and_the_next_call_goes_on(tmp_path: Path, corpus: Path) -> None:
    write_sweep(tmp_path)
    (tmp_path / "STOP-weight-80").touch()
    (tmp_path / "parent.txt").write_text(str(os.getpid()))
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, corpus, workers=1)
    assert (tmp_path / "stopped.txt").read_text() == "weight-80"
    assert [p.label for p in read_result(tmp_path / "out").points] == ["dense"]
    assert _ran(tmp_path) == ["dense 1 dense", "weight-80 1 trained"]
    (tmp_path / "STOP-weight-80").unlink()
    assert len(_run(tmp_path, corpus).points) == 3
    assert sorted(_ran(tmp_path)) == ["offline-weight-0.8 0 offline", "weight-80 1 trained"]


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOCK_SECONDS", 0.0)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: None)
    with lock.alone(tmp_path / "out", "sweep", silent), pytest.raises(TinyseError, match="another sweep runs there"):
        _run(tmp_path, corpus)
    _run(tmp_path, corpus)


# -- results ----------------------------------------------------------------------------------------------

COSTS = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1, max_size=12)


@given(COSTS)
def test_the_front_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    groups = [Group((point(f"p-{i}", float(sdr), cost, cost),)) for i, (cost, sdr) in enumerate(pairs)]
    best = {(g.mean("encoded"), g.mean("sdr")) for g in front(groups, "encoded")}
    for cost, sdr in pairs:
        beaten = any((c <= cost and s >= sdr) and (c, s) != (cost, sdr) for c, s in pairs)
        assert ((cost, sdr) in best) == (not beaten)


def test_means_and_spread_are_over_the_seeds(tmp_path: Path) -> None:
    result = hand_made(point("weight-90", 5.8, 90_000, 170_000, 1, val_sdr=5.0),
                       point("weight-90", 5.5, 92_000, 172_000, 2, val_sdr=5.2),
                       point("weight-90", 5.2, 94_000, 174_000, 3, val_sdr=5.1))
    group = result.groups()[1]
    assert group.mean("delta") == pytest.approx(-0.5) and group.deviation("delta") == pytest.approx(0.3)
    assert group.mean("cycles_sram_only") is None and result.groups()[0].deviation("sdr") is None
    spread = shown(result)[-1]
    assert spread.rows == (("weight-90", "-0.500", "-0.800", "-0.200", "0.300", "-0.500",
                            "1: -0.200, 2: -0.500, 3: -0.800"),)
    ratios = ratio_table(result)
    row = dict(zip(ratios.header, ratios.rows[2], strict=True))
    assert row["encoded"] == f"{800_000 / 92_000:.2f}" and row["Shared_Sram cycles"] == f"{850_000 / 172_000:.2f}"
    assert row["Sram_Only cycles"] == "-"
    write_json(tmp_path / "sweep.json", result.to_json())
    held = json.loads((tmp_path / "sweep.json").read_text())
    found = held["groups"]["weight-90"]
    assert found["deviation"]["delta"] == pytest.approx(0.3)
    assert (found["lowest"]["sdr"], found["highest"]["encoded"]) == (5.2, 94_000)
    assert read_result(tmp_path) == result == read_result(tmp_path / "sweep.json")


def test_every_column_has_one_source_and_says_so() -> None:
    result = hand_made(point("weight-90", 5.8, 90_000, 170_000))
    sources = {column.key: column.source for column in result.columns}
    assert len(sources) == len(result.columns)
    for key, source in {"sdr": MEASURED, "val_sdr": MEASURED, "delta": MEASURED, "surviving": EXACT, "bitmask": EXACT,
                        "encoded": EXACT, "macs": EXACT, "cycles": ESTIMATED, "cycles_sram_only": ESTIMATED,
                        "network_cortex-m55": EMULATED}.items():
        assert sources[key] == source
    header, *rows = csv.reader(points_csv(result).splitlines())
    assert len({len(row) for row in (header, *rows)}) == 1
    assert header[5:-1] == [f"{c.title} [{', '.join(filter(None, (c.unit, c.source)))}]" for c in result.columns]
    titles = {c.title: c.source for c in result.columns}
    for table in shown(result)[:3]:
        for title, source in zip(table.header, table.rows[0], strict=True):
            known = next((titles[name] for name in sorted(titles, key=len, reverse=True) if title.startswith(name)), "")
            assert source == known, title
    without = {column.key for column in hand_made(target="cortex-m7").columns}
    assert not {"encoded", "cycles", "cycles_sram_only"} & without and {"bitmask", "smaller"} <= without


def test_plots_and_page_are_self_contained_and_repeat(tmp_path: Path) -> None:
    offline = point("offline-90", 4.0, 91_000, 171_000, 0, Kind.OFFLINE)
    result = hand_made(point("weight-90", 5.8, 90_000, 170_000), point("weight-90", 5.6, 90_500, 170_100, 2), offline)
    for name in ("a", "b"):
        write_presentation(result, tmp_path / name)
    drawn = sorted(path.name for path in (tmp_path / "a" / "plots").iterdir())
    assert drawn == [f"sdr-{key}.png" for key in ("bitmask", "cycles", "encoded", "macs", "surviving")]
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files if f.suffix)
    page = (tmp_path / "a" / "sweep.html").read_text()
    assert page.count("data:image/png") == 5 and "http" not in page.split("</style>")[-1]
    assert "SDR, measured (host), against Shared_Sram cycles, estimated (Vela)" in page


@pytest.mark.parametrize(("text", "words"), [
    (None, "no sweep there"), ("{", "is no JSON"), ("[]", "no sweep of schema"),
    ('{"kind": "sweep", "schema": 9}', "schema"), ('{"kind": "sweep", "schema": 1}', "is no sweep"),
    ('{"kind": "sweep", "schema": 1, "points": [{}]}', "is no sweep"),
    ('{"kind": "sweep", "schema": 1, "columns": [], "points": [{"kind": "dense", "notes": [], "values": "x"}]}',
     "is no sweep")])
def test_a_damaged_result_is_one_line(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "sweep.json").write_text(text)
    answer = CliRunner().invoke(main, ["recommend", str(tmp_path), "--budget-kb", "90"])
    assert answer.exit_code == 1 and words in answer.stderr and len(answer.stderr.splitlines()) == 1


# -- for real ---------------------------------------------------------------------------------------------

def _step(out: Path) -> int:
    from tinyse.train.checkpoint import load_checkpoint

    return max((load_checkpoint(file)[0]["step"] for file in out.glob("points/weight-80.s1-*/checkpoints/last.npz")),
               default=-1)


def _until(reached, seconds: float = 900.0) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, "it did not come that far"
        time.sleep(0.05)


def test_a_sweep_killed_in_a_point_goes_on_from_its_checkpoint(tmp_path: Path, corpus: Path) -> None:
    """Trains, exports, scores and costs for real; the whole process is killed in the middle of training."""
    file, out = write_sweep(tmp_path, SWEEP + "  - {structure: unit, sparsity: 0.6}\n"), tmp_path / "out"
    arguments = ["sweep", str(file), "--out", str(out), "--corpus", str(corpus), "--workers", "1"]
    process = subprocess.Popen([sys.executable, "-m", "tinyse", *arguments], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        _until(lambda: _step(out) >= 12)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    dense = next(out.glob("points/dense-*/point.json"))
    before = dense.stat().st_mtime_ns

    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 0, answer.output
    assert dense.stat().st_mtime_ns == before
    progress = [line for line in answer.stderr.splitlines() if line.startswith("weight-80.s1:") and "train" in line]
    assert progress and not any(" 0 % train" in line for line in progress)
    result = read_result(out)
    whole, weight, offline, narrow = result.points
    assert narrow.values["zeros"] > 50 and narrow.values["weights"] < 0.7 * whole.values["weights"]
    assert narrow.values["cycles"] < 0.9 * whole.values["cycles"]
    assert weight.values["zeros"] == pytest.approx(80, abs=2) and offline.values["zeros"] == pytest.approx(80, abs=2)
    for pruned in (weight, offline):
        for key in ("surviving", "bitmask", "encoded", "macs", "cycles"):
            assert 0 < pruned.values[key] < whole.values[key], key
    assert narrow.values["macs_tiles"] < whole.values["macs_tiles"] >= weight.values["macs_tiles"]
    assert 0 < whole.values["cycles_sram_only"] < whole.values["cycles"]
    assert whole.values["delta"] == pytest.approx(whole.values["sdr"] - result.reference["sdr"])
    assert {"val_sdr", "si_sdr"} <= set(weight.values)
    assert result.reference["bytes"] == 4 * json.loads((dense.parent / "manifest.json").read_text())["parameters"]
    manifest = json.loads((out / weight.folder / "manifest.json").read_text())
    assert manifest["stage"] == "train" and manifest["start_sha256"] == whole.sha256["float.npz"]
    assert "wrote" in answer.stdout and (out / "sweep.html").is_file()

    made = (out / "sweep.json").read_bytes()
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 0 and "train" not in again.stderr
    assert (out / "sweep.json").read_bytes() == made
    budget = weight.values["encoded"] / 1000 + 1
    taken = CliRunner().invoke(main, ["recommend", str(out), "--budget-kb", str(budget)])
    assert taken.exit_code == 0 and taken.stdout.startswith("take ")


@pytest.mark.qemu
def test_instructions_of_a_point_are_emulated(tmp_path: Path) -> None:
    from profile_exports import export_into

    from tinyse.studies.sweep.plan import can_emulate
    from tinyse.studies.sweep.point import _emulated

    if not can_emulate():
        pytest.skip("apt-get install qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi make")
    notes: list[str] = []
    found = _emulated(export_into(tmp_path) / "model_int8.tflite", "cortex-m7", tmp_path / "p", notes)
    assert notes == [] and 0 < found["network_cortex-m7"] < found["frame_cortex-m7"]
    assert json.loads((tmp_path / "p" / "cortex-m7.json").read_text())["firmware"]["origin"]["source"] == "emulated"


def test_without_an_emulator_instructions_are_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinyse.studies.sweep import point as module

    monkeypatch.setattr(module, "can_emulate", lambda: False)
    notes: list[str] = []
    assert module._emulated(tmp_path / "model_int8.tflite", "cortex-m7", tmp_path, notes) == {}
    assert notes == ["instructions, cortex-m7: qemu-system-arm, arm-none-eabi-gcc or make missing (tinyse doctor)"]
