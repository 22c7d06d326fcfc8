"""`make bench-corpus`: what it measures of a command, and how rows come into the page."""

import sys

import pytest
from click.testing import CliRunner

from tinyse.bench.__main__ import command
from tinyse.bench.corpus import Cost, make_material, measured, write_cost
from tinyse.core.errors import ToolError
from tinyse.sound.corpus import store
from tinyse.sound.corpus.synthetic import synthetic_corpus


def test_memory_of_a_command_and_of_what_it_starts():
    child = "held = b'x' * 80_000_000; import time; time.sleep(0.6)"
    code = f"import subprocess, sys; held = b'x' * 40_000_000; subprocess.run([sys.executable, '-c', {child!r}])"
    cost = measured(1.0, "held", [sys.executable, "-c", code])
    assert 120 < cost.megabytes < 220 and 80 < cost.one < 130 and 0 < cost.busy < 5 and cost.seconds > 0.6
    with pytest.raises(ToolError, match="held of 1 hours failed: ValueError: no"):
        measured(1.0, "held", [sys.executable, "-c", "raise ValueError('no')"])


def test_a_row_replaces_that_of_its_hours_and_stage(tmp_path):
    page = tmp_path / "corpus.md"
    page.write_text("# Corpus\n\n| key | what |\n|---|---|\n| a | b |\n\nAfter.\n")
    for hours, stage, seconds in ((50.0, "mix", 1.0), (0.0, "fetch", 2.0), (10.0, "mix", 3.0), (50.0, "mix", 4.0)):
        write_cost(Cost(hours, stage, seconds, 0.5, 200.0, 150.4), tmp_path)
    assert page.read_text() == """# Corpus

| key | what |
|---|---|
| a | b |

After.

<!-- memory: written by make bench-corpus -->

| hours | stage | seconds | seconds of a core | MB resident, all processes | MB, the largest |
|---|---|---|---|---|---|
| 10 | mix | 3.0 | 0.5 | 200 | 150 |
| 50 | mix | 4.0 | 0.5 | 200 | 150 |
| - | fetch | 2.0 | 0.5 | 200 | 150 |

<!-- memory: end -->
"""


def test_material_is_as_long_as_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYSE_DATA", str(tmp_path))
    synthetic_corpus(store.corpus_dir("small"))
    make_material(tmp_path / "material", 0.1)
    sizes = {kind: sum(path.stat().st_size - 44 for path in (tmp_path / "material" / kind).rglob("*.wav"))
             for kind in ("clean", "noise")}
    assert sizes == {"clean": 240 * 32000, "noise": 180 * 32000}


@pytest.mark.parametrize("hours", ["nan", "10,inf", "0", "-1", "ten"])
def test_hours_that_are_none_are_one_line(hours, tmp_path):
    words = ["corpus", "--hours", hours, "--docs", str(tmp_path), "--work", str(tmp_path / "w")]
    made = CliRunner().invoke(command, words)
    assert made.exit_code == 2 and f"--hours {hours}: give numbers, such as 10,50" in made.output
    assert not list(tmp_path.iterdir())
