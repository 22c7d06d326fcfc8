"""The comparison without peers' packages: scores that are kept, tables, figures, pages, the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.tiny_models import tiny_trained
from tinyse.bench import contenders, ours, packages, quality, scores
from tinyse.bench.__main__ import command
from tinyse.bench.contenders import NOISY_INPUT, Contender
from tinyse.bench.document import put_section, table
from tinyse.bench.facts import Facts, learnt_from
from tinyse.bench.listening import choose, matched, write_page
from tinyse.bench.output import to_dict, write_quality
from tinyse.bench.packages import Wheel
from tinyse.bench.pareto import front, plot
from tinyse.bench.peer import Size
from tinyse.bench.quality import Plan, Quality
from tinyse.bench.scores import Mixtures, Scored, evaluation_of, score_contender
from tinyse.core.artifacts import write_json
from tinyse.core.errors import CorpusError, ModelError, ToolError
from tinyse.measure.scores.pairs import Pair
from tinyse.measure.scores.systems import System

METRICS = ("si_sdr",)
DENSE = Path(__file__).parents[1] / "models" / "tinylstm-dense"


def pairs(count=2, snrs=(0.0, 6.0), samples=8000):
    found = []
    for snr in snrs:
        for number in range(count):
            rng = np.random.default_rng(number)
            clean = (0.1 * np.sin(np.arange(samples) * (0.05 + 0.01 * number))).astype(np.float32)
            noise = rng.standard_normal(samples).astype(np.float32)
            found.append(Pair(f"test_{snr:+g}dB_{number:03d}", snr,
                              clean + noise * np.float32(0.07 * 10 ** (-snr / 20)), clean))
    return found


def score(contender, mixtures, folder, **more):
    return score_contender(contender, mixtures, METRICS, folder, 0, **more)


def test_scores_are_kept_and_a_longer_run_takes_them_over(tmp_path, monkeypatch):
    few, many = Mixtures.of(pairs(1)), Mixtures.of(pairs(3))
    first = score(NOISY_INPUT, few, tmp_path)
    scored = []
    original = scores._score
    monkeypatch.setattr(scores, "_score", lambda pair: scored.append(pair.name) or original(pair))
    assert score(NOISY_INPUT, few, tmp_path) == first and not scored
    steps = []
    every = score(NOISY_INPUT, many, tmp_path, progress=steps.append)
    assert len(scored) == 4 and len(every) == 6
    assert [every[0], every[3]] == first
    assert [step.done for step in steps] == [2, 3, 4, 5, 6] and {step.total for step in steps} == {6}
    assert len(list(tmp_path.glob("noisy-*.jsonl"))) == 1


def test_a_run_that_was_cut_short_goes_on_after_its_last_whole_line(tmp_path):
    mixtures = Mixtures.of(pairs())
    wanted = score(NOISY_INPUT, mixtures, tmp_path)
    file = next(tmp_path.iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - 30])
    assert score(NOISY_INPUT, mixtures, tmp_path) == wanted
    assert file.read_bytes() == whole
    file.write_text("no json\n")
    assert score(NOISY_INPUT, mixtures, tmp_path) == wanted
    assert file.read_bytes() == whole


def test_a_damaged_line_costs_its_own_clip_alone(tmp_path, monkeypatch):
    mixtures = Mixtures.of(pairs())
    wanted = score(NOISY_INPUT, mixtures, tmp_path)
    file = next(tmp_path.iterdir())
    lines = file.read_text().splitlines(keepends=True)
    scored = []
    original = scores._score
    monkeypatch.setattr(scores, "_score", lambda pair: scored.append(pair.name) or original(pair))
    for number, damage in enumerate(("\0\0\n", "[1]\n", '{"clip": 1, "values": {}}\n', "\n")):
        file.write_text("".join(damage if index == 1 else line for index, line in enumerate(lines)))
        assert score(NOISY_INPUT, mixtures, tmp_path) == wanted
        assert len(scored) == number + 1


def test_other_samples_metrics_or_models_are_scored_anew(tmp_path):
    mixtures = Mixtures.of(pairs())
    score(NOISY_INPUT, mixtures, tmp_path)
    score_contender(NOISY_INPUT, mixtures, ("si_sdr", "sdr"), tmp_path, 0)
    assert len(list(tmp_path.iterdir())) == 2
    assert Mixtures.of(pairs(samples=8001)).sha256 != mixtures.sha256
    path = tmp_path / "float.npz"
    tiny_trained().save(path)
    model = Contender("ours", System("ours", "keras", path))
    before = model.identity()
    path.write_bytes(path.read_bytes() + b"x")
    assert model.identity() != before


def test_a_card_s_scores_are_taken_where_everything_is_the_same(tmp_path, monkeypatch):
    from tinyse.measure.scores.pairs import corpus_pairs
    from tinyse.measure.scores.scoring import evaluate
    from tinyse.sound.corpus.synthetic import synthetic_corpus

    corpus = tmp_path / "corpus"
    synthetic_corpus(corpus)
    path = tmp_path / "float.npz"
    tiny_trained().save(path)
    card = evaluate(path, "keras", corpus, "test", (0.0, 6.0), 1, 3, metrics=METRICS, seconds=1.0, workers=1).to_dict()
    mixtures = Mixtures.of(corpus_pairs(corpus, "test", (0.0, 6.0), 1, 1.0, 3))
    model = Contender("ours", System("ours", "keras", path))
    own = score(model, mixtures, tmp_path / "own")
    write_json(tmp_path / "evaluation.json", card)
    with monkeypatch.context() as context:
        context.delattr(scores, "_score")
        assert score(model, mixtures, tmp_path / "carded") == own
    for change in ({"audio_sha256": "0"}, {"versions": {}}, {"conventions": {}}, {"models": []}):
        write_json(tmp_path / "evaluation.json", {**card, "provenance": {**card["provenance"], **change}})
        assert scores.carded(model.system, mixtures, METRICS) == {}
    (tmp_path / "evaluation.json").write_text("{")
    assert scores.carded(model.system, mixtures, METRICS) == {}


def test_the_mixtures_hash_is_that_of_tinyse_evaluate():
    import hashlib

    from tinyse.measure.scores.scoring import _hashed

    digest = hashlib.sha256()
    assert list(_hashed(pairs(), digest))
    assert Mixtures.of(pairs()).sha256 == digest.hexdigest()


def test_a_contender_that_cannot_be_opened_raises_in_a_worker_too(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYSE_BENCH", str(tmp_path))
    with pytest.raises(ToolError, match="not installed"):
        score_contender(Contender("DTLN"), Mixtures.of(pairs(1)), METRICS, tmp_path, 0)


def test_the_front_holds_what_nobody_beats():
    assert front([(3, 1.0), (1, 2.0), (2, 1.5), (4, 2.5), (1, 1.0), (5, 2.5)]) == [(1, 2.0), (4, 2.5)]
    assert front([]) == []


@pytest.fixture
def found():
    """A comparison of the noisy input, one peer and one model of ours with made-up scores."""
    mixtures = Mixtures.of(pairs())
    values = {"noisy": 0.0, "Peer": 2.0, "model int8": 3.0}
    listed = {name: [Scored(clip, {"si_sdr": value + index, "pesq": 1 + value / 10, "stoi": 0.5})
                     for index, clip in enumerate(mixtures.clips)] for name, value in values.items()}
    known = {"seconds": 0.5, "count_per_snr": 2, "seed": 1, "corpus": "c" * 64, "audio_sha256": mixtures.sha256}
    evaluation = evaluation_of(listed, mixtures, ("si_sdr", "pesq", "stoi"), known)
    facts = tuple(Facts(name, name != "Peer", "package 1", 16000, 32.0, size, 0.01, "sound", "address", "none", "MIT")
                  for name, size in (("Peer", Size(0, 0, None, "nothing")),
                                     ("model int8", Size(968960, 799152, 6.04e7, "exact: counted"))))
    return Quality(facts, {"Lost": "pip: no wheel"}, {"held-out": evaluation})


def test_files_of_a_comparison(found, tmp_path):
    files = write_quality(found, tmp_path / "docs", tmp_path / "out")
    assert all(path.is_file() for path in files)
    page = (tmp_path / "docs/benchmarks.md").read_text()
    assert "| **model int8** | 968,960 | 799,152 | 60.4 | 32 | 0.0100 | 16 |" in page
    assert "| Peer | 3.50 ± 0.00 | 1.20 ± 0.00 | 0.500 |" in page
    assert "**Lost is missing**: pip: no wheel" in page
    for figure in ("held-out-bytes.png", "held-out-macs.png"):
        assert f"(benchmarks/{figure})" in page
        assert (tmp_path / "docs/benchmarks" / figure).read_bytes().startswith(b"\x89PNG")
    kept = json.loads((tmp_path / "docs/benchmarks/quality.json").read_text())
    assert kept == json.loads(json.dumps(to_dict(found)))
    assert kept["tables"]["held-out"]["means"]["si_sdr"]["model int8"]["mean"] == 4.5
    before = page
    write_quality(found, tmp_path / "docs", tmp_path / "out")
    assert (tmp_path / "docs/benchmarks.md").read_text() == before


def test_a_plot_needs_no_weights(found):
    evaluation = found.tables["held-out"]
    assert plot(evaluation, found.facts, lambda fact: fact.size.macs, "MAC/s").startswith(b"\x89PNG")
    assert plot(evaluation, found.facts, lambda fact: None, "nothing").startswith(b"\x89PNG")


def test_sections_leave_what_others_wrote(tmp_path):
    page = tmp_path / "benchmarks.md"
    put_section(page, "quality", "make one", "first")
    put_section(page, "device", "make two", "other")
    page.write_text(page.read_text().replace("# Benchmarks", "# Benchmarks\n\nBy hand."))
    put_section(page, "quality", "make one", "second")
    text = page.read_text()
    assert "By hand." in text and "other" in text and "second" in text and "first" not in text
    assert text.count("<!-- quality") == 2


def test_a_markdown_table():
    assert table(("a", "b"), [("x", "1")]) == "| a | b |\n|---|---:|\n| x | 1 |"


def test_levels_are_matched_on_the_speech():
    clean, noise = pairs()[0].clean, np.random.default_rng(5).standard_normal(8000).astype(np.float32)
    noise -= clean * np.float32(np.dot(noise, clean) / np.dot(clean, clean))
    np.testing.assert_allclose(matched(0.25 * (clean + 0.1 * noise), clean), clean + 0.1 * noise, atol=1e-4)
    assert np.abs(matched(20 * noise, clean)).max() <= 0.981  # nothing of the speech is left: the level stays
    assert matched(np.zeros(9, np.float32), np.ones(9, np.float32)).any() == np.False_


def test_clips_to_listen_to_are_spread_over_the_snrs():
    chosen = choose(pairs(5, (-3.0, 0.0, 3.0)), 4)
    assert [(pair.snr, pair.name[-3:]) for pair in chosen] == [
        (-3.0, "000"), (0.0, "001"), (3.0, "002"), (-3.0, "003")]


def test_the_page_is_self_contained(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYSE_BENCH", str(tmp_path))
    page = write_page([NOISY_INPUT, Contender("DTLN")], pairs(1), tmp_path / "page.html", "A <title>")
    text = page.read_text()
    assert "A &lt;title&gt;" in text and "DTLN is missing" in text
    assert text.count("data:audio/flac;base64,") == text.count("data:image/png;base64,") == 2 * 2
    assert "http" not in text.replace("http-equiv", "") and "<script" not in text


def test_released_models_and_their_float_weights(tmp_path):
    for name, manifest in (("dense", {}), ("sparse", {"start": "runs/dense"}), ("other", {"float": "0" * 64})):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "model_int8.tflite").write_bytes(b"TFL3")
        write_json(folder / "manifest.json", manifest)
    (tmp_path / "runs/dense").mkdir(parents=True)
    (tmp_path / "runs/dense/float.npz").write_bytes(b"npz")
    systems, missing = ours.released(tmp_path / "models", tmp_path / "runs")
    assert [system.label for system in systems] == ["dense int8", "dense float", "other int8", "sparse int8"]
    assert list(missing) == ["other float"] and "make model-run NAME=other" in missing["other float"]


def test_the_size_of_float_weights(tmp_path):
    model = tiny_trained()
    model.save(tmp_path / "float.npz")
    size = ours.model_size(System("ours", "keras", tmp_path / "float.npz"))
    assert (size.parameters, size.weight_bytes) == (model.parameters, 4 * model.parameters)
    assert size.macs == model.macs_per_frame * 62.5
    half = ours.model_size(System("ours", "keras", tmp_path / "float.npz"), 0.5)
    assert half.macs == size.macs / 2


def test_the_whole_comparison_without_peers(tmp_path, monkeypatch):
    """No package is installed here: all peers are missing by name, the float model takes part."""
    from tinyse.sound.corpus.synthetic import synthetic_corpus

    corpus = tmp_path / "corpus"
    synthetic_corpus(corpus)
    (tmp_path / "models/tiny").mkdir(parents=True)
    (tmp_path / "models/tiny/model_int8.tflite").write_bytes(b"no model")
    (tmp_path / "runs/tiny").mkdir(parents=True)
    tiny_trained().save(tmp_path / "runs/tiny/float.npz")
    plan = Plan(tmp_path / "models", tmp_path / "runs", {"held-out": corpus, "unseen": tmp_path / "none"},
                tmp_path / "cache", METRICS, (0.0,), 1, 1.0, workers=0)
    monkeypatch.setenv("TINYSE_BENCH", str(tmp_path / "cache"))
    monkeypatch.setattr("tinyse.bench.facts.real_time_factor", lambda contender: 0.5)
    result = quality.bench_quality(plan)
    assert set(result.missing) == {each.name for each in quality.PEERS} | {"tiny int8", "table unseen"}
    assert result.tables["held-out"].systems == ("noisy", "tiny float")
    assert result.failed == ("tiny int8",)
    with pytest.raises(ModelError, match="not scored: tiny int8: .*not a TFLite file"):
        quality.refuse_failed(result)
    assert [fact.name for fact in result.facts] == ["tiny float"]
    assert result.facts[0].latency_ms == 32.0
    assert result.facts[0].trained_on == "not known: no recipe beside it"


def test_what_a_model_learnt_from_is_its_recipe_s_corpus():
    assert learnt_from(DENSE) == "the default tier's training split"
    assert learnt_from(DENSE.parent / "tinylstm-robust") == "the large tier's training split"


def test_without_a_corpus_it_says_what_to_fetch(tmp_path):
    with pytest.raises(CorpusError) as caught:
        quality.bench_quality(Plan(tables={"held-out": tmp_path / "none"}))
    assert "data fetch" in caught.value.hint


def test_a_wheel_that_does_not_install_is_named(tmp_path, monkeypatch):
    wheel = Wheel("tinyse-none", "9", "none")

    class Failed:
        returncode, stderr = 1, "ERROR: one\nERROR: No matching distribution found\n"

    monkeypatch.setattr(packages.subprocess, "run", lambda *args, **more: Failed())
    with pytest.raises(ToolError, match="No matching distribution"):
        packages.install(wheel, tmp_path)
    assert not list((tmp_path / "peers").iterdir())


def test_a_wheel_is_installed_whole_and_hashed(tmp_path, monkeypatch):
    wheel = Wheel("a-peer", "1", "a_peer_of_tests")

    def run(command, **more):
        folder = Path(command[command.index("--target") + 1])
        (folder / wheel.module).mkdir(parents=True)
        (folder / wheel.module / "__init__.py").write_text("VALUE = 7\n")
        (folder / "a.dist-info").mkdir()
        (folder / "a.dist-info/RECORD").write_text("a.py,sha256=1,2\na.pyc,,\n")
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(packages.subprocess, "run", run)
    assert packages.install(wheel, tmp_path) == packages.installed(wheel, tmp_path)
    assert packages.load_module(wheel, root=tmp_path).VALUE == 7
    first = packages.digest(wheel, tmp_path)
    record = packages.installed(wheel, tmp_path).parent / "a.dist-info/RECORD"
    record.write_text("b.pyc,,\na.py,sha256=1,2\n")
    assert packages.digest(wheel, tmp_path) == first
    record.write_text("a.py,sha256=3,2\n")
    assert packages.digest(wheel, tmp_path) != first


def test_the_command_offers_its_parts():
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in ("install", "quality", "listen"))


def test_identity_of_the_input_needs_nothing():
    assert contenders.NOISY_INPUT.identity() == contenders.NOISY_INPUT.identity()
