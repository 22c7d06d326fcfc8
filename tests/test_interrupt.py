"""A signal stops training before it begins, while the graph is built and between steps: one line, nothing lost."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tinyse.core.errors import TrainingError
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import loop, train
from tinyse.train.lanes import Lanes
from tinyse.train.loop import Run
from tinyse.train.recipe import load_recipe
from tinyse.train.records import Records
from tinyse.train.validation import Validation

ROOT = Path(__file__).resolve().parents[1]
TINY = {
    "family_options": "{lstm: [12], dense: [8]}", "mixing.seconds": "0.5", "mixing.batch": "4",
    "train.float_steps": "5", "train.compress_steps": "6", "train.validate_every": "3", "train.validate_count": "6",
    "train.warmup": "2", "prune.every": "2",
}
SIGNALS = {signal.SIGINT: ("Ctrl-C", 130), signal.SIGTERM: ("SIGTERM", 143)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    return folder


def rows(folder):
    with open(folder / "log.csv") as stream:
        return list(csv.DictReader(stream))


# Where a signal comes, in the order of one run: the method whose call it cuts off, the step that is done then.
PLACES = [(Run, "begin_phase", 0, signal.SIGTERM), (Run, "begin_phase", 0, signal.SIGINT),
          (Records, "add", 2, signal.SIGINT), (Validation, "mean", 3, signal.SIGTERM),
          (loop, "learn_ranges", 5, signal.SIGINT), (Lanes, "_differentiate", 5, signal.SIGTERM),
          (loop, "learn_ranges", 6, signal.SIGTERM), (Validation, "mean", 6, signal.SIGINT)]


def test_a_run_that_is_stopped_everywhere_is_the_run_that_is_not(corpus, tmp_path, monkeypatch):
    """Before it begins, between steps, while it is scored, while ranges are learned, while graphs are compiled."""
    recipe, folder = load_recipe("quick", TINY), tmp_path / "run"
    handlers = [signal.getsignal(each) for each in SIGNALS]
    for place, name, step, number in PLACES:
        kept, reached, compiled = getattr(place, name), threading.Event(), threading.Event()

        def ask(*given, kept=kept, reached=reached, compiled=compiled, number=number, at=step, **named):
            if not reached.is_set() and (kept.__name__ != "add" or named["step"] == at):
                reached.set()
                os.kill(os.getpid(), number)
                if kept.__name__ == "_differentiate":
                    compiled.wait(60)  # as XLA does, in a thread that hears no signal
            return kept(*given, **named)

        monkeypatch.setattr(loop, "LOG_EVERY", 2)
        monkeypatch.setattr(place, name, ask)
        with pytest.raises(TrainingError) as told:
            train(recipe, folder, corpus, resume=True)
        monkeypatch.undo()
        assert not compiled.is_set()
        compiled.set()
        said, code = SIGNALS[number]
        when = f"at step {step}; the checkpoint is written" if step else "before training began"
        assert (told.value.line(), told.value.exit_code) == (f"stopped by {said} {when} (go on with --resume)", code)
        assert [signal.getsignal(each) for each in SIGNALS] == handlers
        assert (folder / "checkpoints").exists() == (step > 0)
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    again, whole = train(recipe, folder, corpus, resume=True), train(recipe, tmp_path / "whole", corpus)
    assert rows(folder) == rows(whole.folder)
    assert again.model.read_bytes() == whole.model.read_bytes()


STUCK = """
import sys, time
from tinyse.__main__ import main
from tinyse.train.lanes import Lanes

def compiling(lanes, *batch):
    print("compiling", flush=True)
    time.sleep(300)

Lanes._differentiate = compiling
main()
"""


def test_the_process_does_not_wait_for_a_compiler(corpus, tmp_path):
    """The whole program, from the shell: one line, the signal's exit code, at once."""
    recipe = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-c", STUCK, "train", "quick", "--corpus", corpus, "--out", tmp_path / "run", *recipe]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "compiling\n"
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read().splitlines()[-1]
        assert process.wait(60) == 143 and time.monotonic() - asked < 60
    assert said == "Error: stopped by SIGTERM at step 0 (go on with --resume)"
    assert (tmp_path / "run" / "checkpoints" / "last.npz").is_file()
