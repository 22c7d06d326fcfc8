"""Costs by parts and rates: one account for profile, card, sweep and report, from training to the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sweep_files import hand_made, point

from tinyse.cli import main
from tinyse.core.artifacts import sha256
from tinyse.core.origin import Origin, Source
from tinyse.engines import load_engine
from tinyse.export.bundle import INT8, model_of, model_sha256, part_files
from tinyse.measure.costs.parts import PartCost, PartCosts, Rates
from tinyse.measure.costs.pipeline import profile
from tinyse.measure.scores.metrics import LABELS
from tinyse.measure.scores.render import means_csv
from tinyse.measure.scores.result import ClipScore, Evaluation, table_rows
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.studies.sweep.columns import sweep_columns
from tinyse.studies.sweep.pipeline import _derived, plan_sweep
from tinyse.studies.sweep.point import finished, run_job
from tinyse.studies.sweep.recommend import Limit, released
from tinyse.studies.sweep.spec import load_sweep

FEW = """
corpus: {tier: small}
mixing: {seconds: 0.5, batch: 4, generated: 0}
train: {float_steps: 4, compress_steps: 6, validate_every: 4, validate_count: 6, warmup: 2}
"""
FIRST = """
from tinyse.families import demo
from tinyse.graph.net import Net
from tinyse.graph.plan import Budget
from dataclasses import replace

ENDS = demo.ENDS


def net() -> Net:
    return replace(demo.net(), policy=Budget(1))
"""
RECIPES = {"demo": "name: demo\nfamily: demo\n" + FEW,
           "skip": "name: skip\nfamily_options: {lstm: [12], dense: [8]}\nskip: {enabled: true, rate: 0.5}\n" + FEW,
           "first": "name: first\nfamily: {file}\n" + FEW}
SWEEP = """\
name: tiny
recipe: {recipe}
from: {start}
devices: []
score: {{count: 1, validation: 1, seconds: 1, snrs: [0], metrics: [si_sdr, sdr]}}
points: [{{name: other, set: {{train.compress_rate: 0.001}}}}]
"""


def did(*arguments: object) -> str:
    """Standard output of a command that ended well."""
    answer = CliRunner().invoke(main, [str(each) for each in arguments])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3, minutes=0.5)
    return folder


@pytest.mark.parametrize("name", [pytest.param("demo", marks=pytest.mark.slow), "first",
                                  pytest.param("skip", marks=pytest.mark.slow)])
def test_from_training_to_every_page(name: str, corpus: Path, tmp_path: Path) -> None:
    recipe, own = tmp_path / f"{name}.yaml", tmp_path / "family.py"
    own.write_text(FIRST)
    recipe.write_text(RECIPES[name].replace("{file}", str(own)))
    out, models = tmp_path / "report", tmp_path / "models"

    said = did("run", "--recipe", recipe, "--out", out, "--corpus", corpus, "--count", "1")
    export, training = out / "export", next((out / "runs").glob(f"{name}-*"))
    scored = Evaluation.from_dict(json.loads((out / "evaluation" / "evaluation.json").read_text()))
    rates = scored.part_rates("quantized")
    assert {"demo": rates == (1, 1), "first": rates == (1, 0), "skip": len(rates) == 1 and 0 <= rates[0] <= 1}[name]
    cycles = json.loads((export / "manifest.json").read_text())["cycles"]["parts"]
    mean = sum(rate * each for rate, each in zip(rates, cycles, strict=True))
    assert next(line.split()[4:] for line in said.splitlines() if "cycles per mean frame" in line)[:3] == [
        "-", "-", f"{mean:,.0f}"], said
    assert "estimated x measured (host)" in said and "cycles per mean frame" in (out / "index.html").read_text()
    assert ("part 1" in (out / "index.html").read_text()) == (name != "skip")

    did("release", training, "--name", name, "--corpus", corpus, "--models", models, "--count", "1")
    card = (models / name / "README.md").read_text()
    written = json.loads((models / name / "profile.json").read_text())
    scored = Evaluation.from_dict(json.loads((models / name / "evaluation.json").read_text()))
    rates = scored.part_rates("int8")
    mean = sum(rate * each for rate, each in zip(rates, cycles, strict=True))
    assert f"| cycles per mean frame | {mean:,.0f} | estimated (Vela) x measured (host) |" in card
    assert written["parts"]["rates"]["shares"] == list(rates)
    assert not any("rates of the parts" in line for line in written["skipped"])
    for part, rate in enumerate(rates if len(rates) > 1 else ()):
        assert f"frames of the test split that run part {part}" in card
        assert f"| part {part} | {100 * rate:.1f} % |" in card
    assert model_of(models / name) == (models / name if len(rates) > 1 else models / name / INT8)
    one, other = (load_engine(folder).plan for folder in (models / name, export))
    assert [replace(part, name="") for part in one.parts] == [replace(part, name="") for part in other.parts]
    assert (one.results, one.policy) == (other.results, other.policy)
    assert profile(models / name, "ethos-u55-128").npu.cycles == sum(cycles)

    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.format(recipe=recipe, start=training))
    plan = plan_sweep(load_sweep(file), tmp_path / "sweep", corpus)
    run_job(plan.dense)
    result = finished(plan.dense, plan.common.out)
    assert result is not None and result.values["cycles"] == sum(cycles)
    columns = sweep_columns(plan.spec.target, (), ("si_sdr", "sdr"), name == "skip", len(rates))
    (whole,) = _derived([result], columns)[1]
    assert {column.key for column in columns} <= set(whole.values)
    shares = [whole.values[f"part_{part}_rate"] for part in range(len(rates))] if len(rates) > 1 else [
        whole.values["update_rate"]]
    assert whole.values["mean_cycles"] == pytest.approx(
        sum(share * each for share, each in zip(shares, cycles, strict=True)))
    assert released(result, models) == models / name
    next(iter(part_files(Path(plan.dense.folder) / "export", INT8))).write_bytes(b"other")
    assert finished(plan.dense, plan.common.out) is None


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1)), min_size=1, max_size=5))
def test_a_mean_frame_is_the_sum_of_parts_times_rates(parts: list[tuple[int, float]]) -> None:
    exact = Origin(Source.EXACT, "files")
    costs = PartCosts(None, (*(PartCost(n, "MACs", "MACs", exact, once) for n, (once, _) in enumerate(parts)),
                             PartCost(None, "MACs", "MACs", exact, sum(once for once, _ in parts))))
    rated = costs.at(Rates(Origin(Source.MEASURED, "TFLM", "host"), "sound", tuple(rate for _, rate in parts)))
    *each, whole = rated.of("MACs", Source.EXACT)
    assert [cost.mean for cost in each] == [once * rate for once, rate in parts]
    assert whole.mean == pytest.approx(sum(once * rate for once, rate in parts))
    assert rated.mean_label(whole) == "exact x measured (host)" and rated.of("MACs", Source.ESTIMATED) == []
    assert rated.at(None) == costs and rated.several == (len(parts) > 1)


def test_rates_of_parts_are_rows_of_an_evaluation() -> None:
    clips = tuple(ClipScore(str(n), snr, {"noisy": {"sdr": 1.0}, "int8": {"sdr": 2.0}}, {}, {}, {"int8": shares})
                  for n, (snr, shares) in enumerate([(0.0, (1.0, 0.5)), (6.0, (1.0, 0.25)), (6.0, (1.0, 0.0))]))
    found = Evaluation(("noisy", "int8"), ("sdr",), clips, {"split": "test"})
    again = Evaluation.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.part_rates("int8") == (1.0, 0.25) and again.part_rates("int8", 6.0) == (1.0, 0.125)
    assert again.part_rates("noisy") == () and found.to_dict()["part_rates"]["int8"]["per_snr"]["0"] == (1.0, 0.5)
    assert table_rows(found, LABELS)[1][-1] == ("part 1 rate", "int8", "0.500", "0.125", "0.250", "")
    assert "part_1_rate,int8,6,0.125000,2" in means_csv(found)


def test_a_limit_on_a_mean_cost_takes_the_validation_s_rates() -> None:
    values = {"part_0_rate": 1.0, "part_1_rate": 0.5, "mean_cycles": 900.0, "val_mean_cycles": 1100.0}
    result = hand_made(point("early", 5.0, 700, 1200, **values))
    column = sweep_columns(result.target, (), ("sdr",), False, 2)[-3]
    assert column.key.startswith("mean_")
    limit = Limit("--max-cycles 1000", next(c for c in sweep_columns(result.target, (), ("sdr",), False, 2)
                                           if c.key == "mean_cycles"), 1000)
    assert limit.value(result.points[1]) == 1100.0 and not limit.meets(result.points[1])


def test_a_hash_of_several_parts_follows_each(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"plan": {"parts": 2}}')
    for part in (0, 1):
        (tmp_path / f"part_{part}_{INT8}").write_bytes(bytes([part]))
    assert model_of(tmp_path) == tmp_path
    first = model_sha256(tmp_path)
    assert model_sha256(tmp_path / f"part_0_{INT8}") == sha256(tmp_path / f"part_0_{INT8}")
    (tmp_path / f"part_1_{INT8}").write_bytes(b"other")
    assert model_sha256(tmp_path) != first
    (tmp_path / f"part_1_{INT8}").unlink()
    assert model_of(tmp_path) is None


def test_offline_points_of_several_parts_are_refused_before_anything_runs(corpus: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "demo.yaml"
    recipe.write_text(RECIPES["demo"])
    (tmp_path / "sweep.yaml").write_text("name: a\nrecipe: demo.yaml\noffline: [{structure: weight, sparsity: 0.5}]\n")
    answer = CliRunner().invoke(main, ["sweep", str(tmp_path / "sweep.yaml"), "--corpus", str(corpus), "--out",
                                       str(tmp_path / "out")])
    assert answer.exit_code == 1 and "offline: demo is a network of several parts" in answer.stderr
    assert not (tmp_path / "out").exists()
