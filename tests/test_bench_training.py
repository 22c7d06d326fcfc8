"""Ablations set beside the seeds of the training as it is."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tinyse.bench.__main__ import command
from tinyse.bench.training import write_training
from tinyse.core.errors import TinyseError
from tinyse.measure.scores.result import NOISY, ClipScore, Evaluation
from tinyse.train.recipe import load_recipe


def run_of(folder: Path, si_sdr: float, **changes: str) -> Path:
    """A run's recipe and its scores on validation mixtures."""
    clips = (ClipScore("a", 0.0, {NOISY: {"si_sdr": 0.0, "stoi": 0.7}, "keras": {"si_sdr": si_sdr, "stoi": 0.75}}, {}),)
    (folder / "mixtures").mkdir(parents=True)
    recipe = load_recipe("quick", {key.replace("__", "."): value for key, value in changes.items()})
    recipe.write(folder)
    found = Evaluation((NOISY, "keras"), ("si_sdr", "stoi"), clips, {})
    (folder / "mixtures" / "evaluation.json").write_text(json.dumps(found.to_dict()))
    return folder


def test_differences_stand_beside_the_spread_of_seeds(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / "base", 3.0), run_of(tmp_path / "two", 3.5, seed="2"),
            run_of(tmp_path / "rooms", 3.4, mixing__room="0.5"), run_of(tmp_path / "loss", 2.25, train__loss="si_sdr")]
    page = tmp_path / "training.md"
    found = CliRunner().invoke(command, ["training", *map(str, runs), "--page", str(page)])
    assert (found.exit_code, found.output) == (0, f"{page}\n")
    text = page.read_text()
    for line in ("| as it is, mean of 2 seeds | 3.25 | 0.750 |", "| largest less smallest of them | 0.50 | 0.000 |",
                 "| `mixing.room: 0.5` | +0.15 | +0.000 |", "| `train.loss: si_sdr` | **-1.00** | +0.000 |"):
        assert line in text
    assert "<!-- ablations: written by python -m tinyse.bench training -->" in text


def test_runs_that_were_scored_otherwise_are_named(tmp_path: Path) -> None:
    one, other = run_of(tmp_path / "one", 3.0), run_of(tmp_path / "other", 3.0, seed="2")
    (other / "mixtures").rename(other / "rooms")
    found = CliRunner().invoke(command, ["training", str(one), str(other), "--page", str(tmp_path / "page.md")])
    said = f"{other}: scored on rooms (si_sdr, stoi), {one} on mixtures (si_sdr, stoi)"
    assert found.exit_code == 1 and said in f"{found.output}{found.exception}"
    assert not (tmp_path / "page.md").exists()


@pytest.mark.parametrize(("change", "said"), [
    (lambda value: value["columns"].remove("stoi"), "scored on mixtures (si_sdr), "),
    (lambda value: value.update(provenance={"audio_sha256": "b"}), "mixtures: scored on other sound than "),
    (lambda value: value.clear(), "scored on nothing, ")])
def test_runs_that_heard_or_scored_otherwise_are_named(tmp_path: Path, change: Callable[[dict[str, Any]], None],
                                                       said: str) -> None:
    one, other = run_of(tmp_path / "one", 3.0), run_of(tmp_path / "other", 3.0, seed="2")
    file = other / "mixtures" / "evaluation.json"
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))
    with pytest.raises(TinyseError) as error:
        write_training([one, other], tmp_path / "page.md")
    assert f"{other}: {said}" in error.value.line() and not (tmp_path / "page.md").exists()


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(TinyseError, match="no recipe"):
        write_training([tmp_path], tmp_path / "page.md")


def test_a_misspelt_name_trains_nothing() -> None:
    script = Path(__file__).parents[1] / "scripts" / "ablations"
    made = subprocess.run([script], env={**os.environ, "ONLY": "rumbel", "TINYSE": "false"}, text=True,
                          capture_output=True, check=False)
    assert made.returncode == 2 and made.stdout == ""
    assert made.stderr.startswith("ONLY=rumbel: no such training (one or more of: as-it-is seed-2 ")
