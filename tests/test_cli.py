"""The command line as a whole: help is complete and light, failures are one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tinyse.cli import COMMANDS, ENGINES, Number, main
from tinyse.engines import KINDS
from tinyse.sound.corpus.synthetic import synthetic_corpus

HEAVY = {"tensorflow", "tf_keras", "numpy", "scipy", "matplotlib", "soundfile", "rich", "yaml", "onnxruntime"}
PATHS = [*((name,) for name in COMMANDS), *(("data", name) for name in ("fetch", "import", "mix", "rooms", "show")),
         *(("firmware", name) for name in ("build", "run", "flash")), ("search", "precision"),
         *(("npu", name) for name in ("compare", "disassemble", "run"))]


def command_at(path: tuple[str, ...]) -> click.Command:
    found: click.Command = main
    for name in path:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name)  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_has_an_example_and_says_what_every_option_is(path: tuple[str, ...]) -> None:
    command = command_at(path)
    assert "Example:" in (command.help or ""), path
    silent = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert silent == []


def test_no_range_takes_what_is_no_number() -> None:
    ranges = [option.type for path in PATHS for option in command_at(path).params
              if isinstance(option.type, click.FloatRange)]
    assert len(ranges) > 5 and all(isinstance(each, Number) for each in ranges)
    for given in ("nan", "inf"):
        result = CliRunner().invoke(main, ["score-quality", "x.wav", "--every", given])
        assert result.exit_code == 2
        assert result.output.endswith(f"Error: Invalid value for '--every': {given} is not a finite number.\n")


def test_help_imports_nothing_heavy() -> None:
    code = ("import sys\nfrom click.testing import CliRunner\nfrom tinyse.cli import main\n"
            f"for path in {PATHS!r}:\n    assert CliRunner().invoke(main, [*path, '--help']).exit_code == 0, path\n"
            f"print(sorted({HEAVY!r} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_cannot_be_trained_is_said_before_tensorflow_is_there(tmp_path: Path) -> None:
    """Its import takes seconds."""
    corpus = synthetic_corpus(tmp_path / "corpus", seed=3).folder
    code = ("import sys\nsys.modules.update(tensorflow=None, tf_keras=None)\nfrom click.testing import CliRunner\n"
            "from tinyse.cli import main\n"
            "for words in sys.argv[2:]:\n"
            "    words = ['train', *words.split(), '--corpus', sys.argv[1], '--out', 'run']\n"
            "    print(CliRunner().invoke(main, words).output)")
    asked = ("demucs --set family_options.utilization=1.5", "nsnet2-routed --set train.float_steps=0",
             "quick --from runs/none", "quick --set gates.share=0.5")
    done = subprocess.run([sys.executable, "-c", code, str(corpus), *asked], capture_output=True, text=True, check=True)
    said = ("utilization: 1.5 is outside (0, 1]", "a router without its network", "runs/none: no model there",
            "tinylstm has no channel gates here")
    lines = done.stdout.split("\n\n")
    assert all(part in line and line.startswith("Error: ") for part, line in zip(said, lines, strict=False)), lines


def test_the_engines_offered_are_the_engines_there_are() -> None:
    assert ENGINES == KINDS


@pytest.mark.parametrize(("error", "line", "code"), [
    (MemoryError(), "Error: out of memory (use a shorter file or a smaller batch)\n", 1),
    (KeyboardInterrupt(), "Error: interrupted\n", 130),
    (PermissionError(13, "Permission denied", "out/x"), "Error: out/x: Permission denied\n", 1),
])
def test_what_the_system_refuses_is_one_line(error: BaseException, line: str, code: int,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("tinyse.studies.doctor.diagnose", fail)
    answer = CliRunner().invoke(main, ["doctor"])
    assert (answer.stderr, answer.exit_code) == (line, code)
