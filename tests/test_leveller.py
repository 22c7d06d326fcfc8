"""The running level of samples: its law, stream against sequence, twin against host, older files and recipes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from firmware_audio import read_wav, write_wav
from firmware_images import needs_compiler, needs_qemu
from firmware_level import LEVELS, levelled
from hypothesis import given, settings
from hypothesis import strategies as st
from twin_nets import random_model

from tinyse import families
from tinyse.core.errors import ModelError, RecipeError
from tinyse.engines import load_engine
from tinyse.engines.enhance import enhance_file
from tinyse.engines.integer import IntegerEngine
from tinyse.export.pipeline import export_run
from tinyse.firmware.build import build
from tinyse.firmware.project import write_project
from tinyse.firmware.qemu import run
from tinyse.sound import (
    Ends,
    Framing,
    Leveller,
    Meter,
    Result,
    StreamingEnhancer,
    divisors,
    level_gains,
    rows,
    sounded,
    stft,
)
from tinyse.train.recipe import load_recipe, recipe_of

FRAMING = Framing(frame=256, hop=256, fft=256, window="none")
RUNNING = Leveller("running")


def decibels(values: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.maximum(values, 1e-30))


def hops(seed: int, count: int = 60, db: float = -20.0, hop: int = 256) -> np.ndarray:
    """Noise in the rhythm of speech: within 30 dB, up and down."""
    rng = np.random.default_rng(seed)
    shape = 10 ** (-1.5 * np.abs(np.sin(np.arange(count) / 3))) * 10 ** (db / 20)
    return (shape[:, None] * rng.standard_normal((count, hop))).astype(np.float32)


class Gain:
    """A network on samples that answers half of what it is given."""

    name = "half"

    def __init__(self) -> None:
        self.given: list[np.ndarray] = []

    def reset(self) -> None:
        self.given.clear()

    def mask(self, feature: np.ndarray) -> np.ndarray:
        self.given.append(feature)
        return np.float32(0.5) * feature


def test_loud_hops_set_the_level_at_once_and_it_sinks_by_ten_decibels_a_second() -> None:
    steady = np.full((1, 256), 0.1, np.float32)
    wave = np.concatenate([steady, np.zeros((125, 256), np.float32), 3 * steady])
    found = decibels(level_gains(wave, RUNNING, FRAMING))
    assert found[0] == pytest.approx(20 - 18, abs=1e-3)  # the first hop is at its level already
    assert found[125] - found[0] == pytest.approx(20.0, abs=0.01)  # two seconds on
    assert found[126] == pytest.approx(20 - 18 - decibels(np.array(3.0)), abs=1e-3)


@given(seed=st.integers(0, 50), db=st.floats(-34, -10), more=st.floats(-20, 9))
def test_the_network_hears_the_same_at_every_level_above_the_floor(seed: int, db: float, more: float) -> None:
    wave = hops(seed, db=db)
    change = np.float32(10 ** (more / 20))
    one, other = (each * level_gains(each, RUNNING, FRAMING)[:, None] for each in (wave, wave * change))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@settings(max_examples=40)
@given(seed=st.integers(0, 99), scale=st.floats(-12, 12), fall=st.floats(0.1, 1000), click=st.booleans())
def test_nothing_is_louder_than_full_scale_and_nothing_is_lifted_without_bound(seed: int, scale: float, fall: float,
                                                                             click: bool) -> None:
    wave = hops(seed) * np.float32(10.0**scale)
    if click:
        wave[30] = 0
        wave[30, 7] = 2.0**39
    gains = level_gains(wave, Leveller("running", fall=fall), FRAMING)
    assert np.abs(wave * gains[:, None]).max() <= 1 + 1e-6
    assert (gains > 0).all() and gains.max() <= 10 ** (42 / 20) * (1 + 1e-6)
    silent = level_gains(np.zeros((40, 256), np.float32), RUNNING, FRAMING)
    np.testing.assert_allclose(decibels(silent), -18 + 60, atol=1e-3)


def test_a_moment_that_is_no_number_is_forgotten() -> None:
    wave = hops(3)
    wave[5, 9] = np.nan
    assert np.isfinite(np.delete(level_gains(wave, RUNNING, FRAMING), 5)).all()


@pytest.mark.parametrize("ends", LEVELS, ids=lambda e: f"{e.framing.frame}-{e.result.kind}")
def test_a_stream_hears_and_gives_what_the_whole_signal_does_to_the_last_bit(ends: Ends) -> None:
    wave = hops(1, 40, hop=ends.framing.hop).reshape(-1)
    past = ends.framing.frame - ends.framing.hop
    padded = np.pad(wave, (past, 0))
    spectrum = stft(padded, ends.framing)
    given = rows(np.stack([padded, 0.01 * padded]), spectrum, ends)[0]
    engine = Gain()
    if ends.result.kind != "samples":
        engine.mask = lambda feature: (engine.given.append(feature), np.ones(ends.outputs, np.float32))[1]
    stream = Meter(engine, ends) if ends.result.kind == "score" else StreamingEnhancer(engine, ends)
    for _ in range(2):  # the second time after a reset
        out = np.stack([stream.push(hop) for hop in wave.reshape(-1, ends.framing.hop)])
        np.testing.assert_array_equal(np.stack(engine.given), given)
        if ends.restores:
            level = divisors(padded, len(spectrum), ends)
            np.testing.assert_array_equal(out.reshape(-1), sounded(spectrum, 0.5 * given, ends, level))
            np.testing.assert_allclose(out.reshape(-1), ends.result.limit * 0.5 * wave, rtol=1e-6)
        stream.reset()
        assert not engine.given


def test_the_twin_divides_as_the_host() -> None:
    from tinyse.train import ends as twin
    from tinyse.train.keras import tf
    from tinyse.train.mixer import spectra

    ends = LEVELS[0]
    noisy = np.stack([hops(n, db=-20 - 10 * n).reshape(-1) for n in range(3)])
    batch = spectra(noisy, 0.5 * noisy, ends)
    spectrum = np.stack([stft(wave, ends.framing) for wave in noisy])
    answers = np.tanh(batch.features).transpose(1, 0, 2)
    found = twin.sounded(tf.constant(spectrum), tf.constant(answers), ends, tf.transpose(batch.level))
    for wave, row, mixture, level, ours in zip(noisy, batch.features.swapaxes(0, 1), spectrum, batch.level.T,
                                                 found.numpy(), strict=True):
        np.testing.assert_array_equal(row, rows(wave, mixture, ends))
        np.testing.assert_array_equal(level, divisors(wave, len(mixture), ends))
        np.testing.assert_allclose(ours, sounded(mixture, np.tanh(row), ends, level), rtol=1e-6)
    for apart in (lambda: sounded(spectrum[0], answers[0], ends), lambda: twin.sounded(spectrum, answers, ends)):
        with pytest.raises(ModelError, match="gains of a level"):
            apart()


def test_demucs_in_integers_gives_the_same_at_twenty_and_at_fifty_decibels_below_full_scale() -> None:
    """And without a level it does not."""
    family = families.load("demucs")
    net = family.net({"width": 8, "depth": 2, "stride": 16, "kernel": 32, "groups": 2}, family.ends)
    model = random_model(net)
    wave = hops(7, 80, -20)
    errors = {}
    for leveller in (RUNNING, Leveller()):
        ends = levelled(family.ends, leveller)
        out = []
        for change in (1.0, 10 ** (-30 / 20)):
            stream = StreamingEnhancer(IntegerEngine(model.plan(), ends), ends)
            out.append(np.stack([stream.push(hop) for hop in wave * np.float32(change)]) / change)
        later = [each[7:] for each in out]
        assert np.ptp(later[0], 0).min() > 0  # it is not the same whatever it hears
        errors[leveller.kind] = float(decibels(np.linalg.norm(later[1] - later[0]) / np.linalg.norm(later[0])))
    assert errors["running"] < -60 and errors["none"] > -20, errors


@pytest.mark.qemu
@needs_compiler
@needs_qemu
def test_an_image_levels_as_the_host_does(tmp_path: Path) -> None:
    """Export, project, Cortex-M55: sound at -26 and at -56 dB in one file, against `tinyse enhance`."""
    family = families.load("demucs")
    net = family.net({"width": 4, "depth": 2, "stride": 16, "kernel": 32, "groups": 2}, family.ends)
    replace(random_model(net), ends=family.ends).save(tmp_path / "model.npz")
    exported = export_run(tmp_path, "cortex-m55").folder
    names = set(re.findall(r"#define TINYSE_(LEVEL\w*)", (exported / "model.h").read_text()))
    assert names == {"LEVEL", "LEVEL_TARGET", "LEVEL_FLOOR", "LEVEL_FALL"}
    sound = 32768 * np.concatenate([hops(1, 30, -20), hops(2, 30, -50)]).reshape(-1)
    wav = write_wav(tmp_path / "in.wav", np.clip(np.rint(sound), -32768, 32767).astype(np.int16))
    write_project(exported, tmp_path / "project")
    elf = build(tmp_path / "project", "corstone300", "cpu", "auto").elf
    run(elf, "corstone300", wav, tmp_path / "out.wav", network=False, icount=False, seconds=300)
    enhance_file(wav, tmp_path / "host.wav", load_engine(exported))
    ours, theirs = (read_wav(tmp_path / name).astype(int) for name in ("host.wav", "out.wav"))
    assert np.abs(ours).max() > 50 and np.abs(ours[8000:]).max() > 2
    assert np.abs(ours - theirs).max() <= 1


def test_off_changes_no_byte_and_what_is_older_has_none() -> None:
    assert "level" not in Ends().as_dict() and Ends().as_dict().keys() == {
        "framing", "bands", "feature", "result", "layout", "rows"}
    family = families.load("demucs")
    assert family.ends.level == RUNNING and Ends.read(json.loads(json.dumps(family.ends.as_dict()))) == family.ends
    old = {key: value for key, value in family.ends.as_dict().items() if key != "level"}
    assert Ends.read(old).level == Leveller()  # a model's header
    assert recipe_of({"name": "a", "family": "demucs", "ends": old}, "x").ends.level == Leveller()  # a run's recipe


@pytest.mark.parametrize("changes", [{}, {"ends.level.kind": "none"}, {"ends.level.fall": "3"},
                                     {"ends.level": "{kind: none, fall: 3}"}])
def test_recipes_come_back_as_they_were_written(changes: dict[str, str], tmp_path: Path) -> None:
    recipe = load_recipe("demucs", changes)
    assert recipe.ends.level.kind == ("none" if "none" in str(changes) else "running")
    (tmp_path / "recipe.yaml").write_text(recipe.as_yaml())
    assert load_recipe(tmp_path / "recipe.yaml") == recipe
    assert ("level" in yaml.safe_load(recipe.as_yaml())["ends"]) is (recipe.ends.level != Leveller())


@pytest.mark.parametrize("name", ["subband", "nsnet2-exits", "fsenet"])
def test_a_recipe_without_a_running_mean_comes_back_without(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, {"ends.feature.mean": "0"})
    assert load_recipe(name).ends.feature.mean == 1 and recipe.ends.feature.mean == 0
    (tmp_path / "recipe.yaml").write_text(recipe.as_yaml())
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize("name", ["nsnet2-exits", "subband-small", "subband-mixed"])
def test_a_released_recipe_has_the_ends_that_its_model_has(name: str) -> None:
    folder = Path(__file__).parents[1] / "models" / name
    assert load_recipe(folder / "recipe.yaml").ends == Ends.read(
        json.loads((folder / "manifest.json").read_text())["ends"])


@pytest.mark.parametrize(("key", "value", "said"), [
    ("ends.level.kind", "agc", "ends: level: kind: 'agc' is not known (one of: none, running)"),
    ("ends.level.fall", "0", "ends: level: fall: 0.0 is out of range (0.1 to 1000)"),
    ("ends.level.target_db", "3", "ends: level: target_db: 3.0 is out of range (-60 to 0)"),
    ("ends.level.floor_db", "low", "ends: level: floor_db: 'low' is not a number (give a number)"),
    ("ends.level.rise", "4", "ends: level: unknown key 'rise' (value 4) (one of: kind, target_db, floor_db, fall)"),
    ("ends.level", "running", "ends: level: 'running' is not a mapping (key: value lines)"),
])
def test_what_a_recipe_may_not_say_is_one_line(key: str, value: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\nfamily: demucs\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, {key: value})
    assert caught.value.line() == f"{path}: {said}"


def test_a_level_is_for_samples() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("quick", {"ends.level.kind": "running"})
    assert caught.value.line().endswith("ends: level: kind: running is for samples, and the feature is magnitude "
                                        "(kind: none)")
    with pytest.raises(RecipeError, match="level 'agc'"):
        Leveller("agc")
    assert not Ends(FRAMING, Ends().bands, Ends().feature, Result("score")).restores
