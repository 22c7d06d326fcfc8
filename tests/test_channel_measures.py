"""What is measured of channel gates: open channels and MACs in a profile, and the probe for voice activity."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from twin_nets import random_arrays

from tinyse.cli import main
from tinyse.core.errors import CorpusError, ModelError
from tinyse.engines.integer import IntegerEngine
from tinyse.export.pipeline import export_run
from tinyse.families import load
from tinyse.graph.floating import calibrate
from tinyse.graph.fold import fold
from tinyse.graph.gates import gate_nodes, open_macs
from tinyse.graph.model import Model
from tinyse.graph.snap import snap
from tinyse.measure.channels import joined, opened
from tinyse.measure.costs import channels as costs
from tinyse.measure.costs.pipeline import profile
from tinyse.measure.costs.render import plain, to_json
from tinyse.measure.costs.signals import generated
from tinyse.measure.probe import Ridge, lines, probe
from tinyse.measure.scores.pairs import Pair
from tinyse.sound import Bands, Ends, rows, stft
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.sound.voice import frame_levels, voice

ENDS = Ends(bands=Bands("none"))
"""Magnitudes, as the paper has them: what is loud is a large number."""


def model(gated: bool = True) -> Model:
    """Gates that open for what is loud: the first matrix adds magnitudes up."""
    family = load("fsenet")
    net = family.net({"channels": 8, "hidden": 16, "stacks": 1, "gates": gated}, ENDS)
    made = fold(Model(net, random_arrays(net, 3), ENDS))
    arrays = dict(made.arrays)
    arrays["dense_0/kernel"] = np.abs(arrays["dense_0/kernel"])
    for node in gate_nodes(made.net):
        arrays[f"{node.name}/kernel"] = np.full_like(arrays[f"{node.name}/kernel"], 0.5)
        arrays[f"{node.name}/bias"] = np.linspace(-3, 0.4, 16, dtype=np.float32)
    wave = generated(2.0).astype(np.float32) / 32768
    features = rows(wave, stft(wave, ENDS.framing), ENDS)
    made = replace(made, arrays=arrays)
    return snap(replace(made, ranges=calibrate(made, features), family="fsenet"))


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gated")
    (folder / "run").mkdir()
    model().save(folder / "run" / "model.npz")
    export_run(folder / "run", "cortex-m55", folder / "export")
    return folder / "export"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_corpus(tmp_path_factory.mktemp("corpus"), seed=3).folder


def test_open_channels_of_a_signal(export: Path) -> None:
    engine = IntegerEngine.load(export)
    wave = generated().astype(np.float32) / 32768
    masks = opened(engine, wave)
    assert list(masks) == ["depthwise_0", "depthwise_2", "depthwise_4"]
    assert joined(masks).shape == (1 + (16000 - 512) // 256, 48)
    assert 0.05 < joined(masks).mean() < 0.95 and np.ptp(joined(masks).mean(1)) > 0.05
    again = opened(engine, wave)
    assert all((again[name] == mask).all() for name, mask in masks.items())
    with pytest.raises(ModelError, match="100 samples are no frame of 512"):
        opened(engine, wave[:100])
    plain_net = model(gated=False)
    with pytest.raises(ModelError, match="has no channel gates"):
        opened(IntegerEngine(plain_net.plan(), plain_net.ends), wave)


def test_a_profile_counts_what_is_open(export: Path) -> None:
    found = profile(export, None)
    cost, engine = found.channels, IntegerEngine.load(export)
    assert cost is not None and cost.frames == 61 and len(cost.gates) == 3
    graph = engine.plan.graphs[0]
    assert cost.macs == graph.macs
    assert cost.mean_macs == pytest.approx(open_macs(graph, {gate.name: gate.mean for gate in cost.gates}))
    assert cost.share == pytest.approx(np.mean([gate.mean for gate in cost.gates]))
    assert cost.mean_macs < cost.most_macs <= cost.macs and cost.most == max(cost.shares)
    assert cost.second_macs == pytest.approx(62.5 * cost.mean_macs)
    shown = plain(costs.channel_table(cost))
    assert shown.startswith("open channels on generated voice in noise, 1 s, measured (host) (integer reference)\n")
    assert f"{cost.mean_macs:,.0f} MACs a mean frame, gates counted, of {cost.macs:,} with all open" in shown
    assert "on an NPU every channel is computed" in shown
    document = json.loads(json.dumps(to_json(found)))
    assert document["channels"]["shares"] == list(cost.shares) and "wave" not in document["channels"]
    assert costs.channel_figure(cost) == costs.channel_figure(cost)


def test_the_page_draws_open_channels_and_the_table_is_printed(export: Path, tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, ["profile", str(export), "--static", "--html", str(tmp_path / "page.html")])
    assert answer.exit_code == 0, answer.output
    assert "open channels on generated voice in noise, 1 s" in answer.output
    assert "Open channels of" in (tmp_path / "page.html").read_text()


def test_a_ridge_separates_what_a_line_separates() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(4000) < 0.2
    values = rng.random((4000, 5)) < 0.3 + 0.5 * np.outer(labels, [1, 0, 0, 1, -0.4])
    ridge = Ridge(5)
    for at in range(0, 4000, 500):
        ridge.add(values[at:at + 500].astype(float), labels[at:at + 500])
    weights = ridge.weights()
    weigh = np.sqrt(np.where(labels, 1 / labels.sum(), 1 / (~labels).sum()))[:, None]
    wide = np.pad(values.astype(float), ((0, 0), (0, 1)), constant_values=1)
    wanted = np.linalg.lstsq(wide * weigh, (np.where(labels, 1.0, -1.0)[:, None] * weigh)[:, 0], rcond=None)[0]
    np.testing.assert_allclose(weights, wanted, atol=0.02)
    right = (values @ weights[:-1] + weights[-1] > 0) == labels
    assert right[labels].mean() > 0.7 and right[~labels].mean() > 0.7


def test_labels_follow_the_energy_of_clean_speech() -> None:
    wave = np.concatenate([np.full(4096, 0.3), np.full(4096, 0.3 * 10 ** (-25 / 20)), np.full(4096, 0.003),
                           np.zeros(4096)]).astype(np.float32)
    levels = frame_levels(wave, 512, 256)
    assert levels[0] == pytest.approx(20 * np.log10(0.3), abs=0.01) and levels[-1] == -120
    assert voice(wave, 512, 256)[[0, 20, 40, -1]].tolist() == [True, True, False, False]
    assert not voice(np.zeros(4096, np.float32), 512, 256).any()


def test_gates_that_open_for_sound_tell_voice_from_pauses(export: Path) -> None:
    rng = np.random.default_rng(1)

    def pair(number: int) -> Pair:
        clean = generated(2.0).astype(np.float32) / 32768 * np.repeat(rng.random(8) < 0.5, 4000)
        return Pair(f"{number}", 10.0, (clean + 0.003 * rng.standard_normal(32000)).astype(np.float32), clean)

    engine = IntegerEngine.load(export)
    found = probe(engine, [pair(n) for n in range(6)], [pair(n) for n in range(6)])
    assert found.features == 48 and found.frames == 6 * (1 + (32000 - 512) // 256)
    assert found.gates.balanced > 0.8 and found.gates.accuracy > found.constant
    text = lines(found, "these", "those")
    assert text[0].startswith("voice activity by a linear probe, fitted on these, scored on those, measured (host)")
    assert len(text) == 4 and text[1].startswith("  48 channel gates: ")
    with pytest.raises(CorpusError, match="nothing to fit a probe on"):
        probe(engine, [], [pair(0)])
    with pytest.raises(CorpusError, match="nothing to score a probe on"):
        probe(engine, [pair(0), pair(1)], [])


def test_the_command_scores_the_probe(export: Path, corpus: Path, tmp_path: Path) -> None:
    given = ["evaluate", str(export), "--corpus", str(corpus), "--snr", "0", "--count", "2", "--seconds", "1",
             "--metrics", "si_sdr", "--workers", "1", "--voice-activity"]
    answer = CliRunner().invoke(main, given)
    assert answer.exit_code == 0, answer.output
    assert "by a linear probe, fitted on validation mixtures, scored on the same of test" in answer.output
    refused = CliRunner().invoke(main, [*given, "--split", "validation"])
    assert refused.exit_code == 2 and "--voice-activity is of mixtures" in refused.output
    (tmp_path / "run").mkdir()
    model(gated=False).save(tmp_path / "run" / "model.npz")
    export_run(tmp_path / "run", "cortex-m55", tmp_path / "export")
    without = CliRunner().invoke(main, [given[0], str(tmp_path / "export"), *given[2:]])
    assert without.exit_code == 1 and "has no channel gates" in without.output and "Traceback" not in without.output
