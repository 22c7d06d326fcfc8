"""The optional TFLM image: against a stand-in tree with TFLM's names, since the real one is on no registry."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from firmware_audio import read_wav, sound, write_wav
from firmware_images import NPU, needs_compiler, needs_qemu, project
from twin_nets import random_model

from tinyse.cli import main
from tinyse.core.errors import ToolError
from tinyse.families import load
from tinyse.firmware import qemu
from tinyse.firmware.build import build
from tinyse.graph.build import Build
from tinyse.graph.skip import SkipGate

pytestmark = [pytest.mark.qemu, needs_compiler]
STANDIN = Path(__file__).parent / "tflm_standin"


def stand_in(folder: Path, made: Path) -> Path:
    """A TFLM tree whose library is built for the Cortex-M55, where TFLM's makefile would leave it, and one project."""
    shutil.copytree(STANDIN, folder)
    place = folder / "gen" / "cortex_m_generic_cortex-m55_default_cmsis_nn_gcc" / "lib"
    place.mkdir(parents=True)
    flags = ["-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard", "-O2", "-fno-exceptions", "-fno-rtti", "-std=c++17",
             "-DTF_LITE_STATIC_MEMORY", "-ffunction-sections", f"-I{folder}", f"-I{made / 'model'}"]
    subprocess.run(["arm-none-eabi-g++", *flags, "-c", folder / "standin.cc", "-o", folder / "standin.o"], check=True)
    subprocess.run(["arm-none-eabi-ar", "rcs", place / "libtensorflow-microlite.a", folder / "standin.o"], check=True)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return stand_in(tmp_path_factory.mktemp("tflm") / "tflite-micro", project("small", "cortex-m55"))


@needs_qemu
def test_runs_the_export_through_the_interpreter(tree, tmp_path):
    built = build(project("small", "cortex-m55"), "corstone300", "tflm", variables=(f"TFLM_DIR={tree}",))
    source = write_wav(tmp_path / "in.wav", sound(5000))
    done = qemu.run(built.elf, "corstone300", source, tmp_path / "out.wav", network=True)
    assert (done.results.backend, done.results.npu) == ("tflm", None)
    pairs = np.frombuffer(done.network, np.int8).reshape(done.results.frames, 2, -1)
    count = np.arange(1, done.results.frames + 1)[:, None]
    np.testing.assert_array_equal(pairs[:, 1], (pairs[:, 0] + count).astype(np.int8))
    assert len(read_wav(tmp_path / "out.wav")) == 5000


@needs_qemu
def test_a_skip_rnn_invokes_it_only_where_its_gate_says(tmp_path):
    """The stand-in answers with the features plus the number of its call; the last output is the first once more."""
    made = project("skipping", NPU)
    tree = stand_in(tmp_path / "tflite-micro", made)
    built = build(made, "corstone300", "tflm", variables=(f"TFLM_DIR={tree}",))
    source = write_wav(tmp_path / "in.wav", sound(20000))
    told = qemu.run(built.elf, "corstone300", source, network=True)
    rows = np.frombuffer(told.network, np.int8).reshape(told.results.frames, 128 + 129 + 1)
    gate, calls = SkipGate(), 0
    for feature, answer, ran in zip(rows[:, :128], rows[:, 128:257], rows[:, 257], strict=True):
        assert bool(ran) == gate.due()
        calls += bool(ran)
        np.testing.assert_array_equal(answer, (np.append(feature, feature[0]) + calls).astype(np.int8))
        if ran:
            gate.ran(int(answer[-1]) + 128)
        else:
            gate.skipped()
    assert told.results.updates == calls < told.results.frames


@pytest.mark.parametrize("given, reason", [
    ("", "TFLM_DIR= holds no tensorflow/lite/micro: name your TensorFlow Lite Micro tree"),
    (str(STANDIN), f"TFLM_DIR={STANDIN} holds no libtensorflow-microlite.a for cortex-m55: build it, "
                   "or give TFLM_LIBRARY="),
])
def test_a_tree_that_is_none_is_one_line(given, reason):
    with pytest.raises(ToolError) as caught:
        build(project("small", "cortex-m55"), "corstone300", "tflm", variables=(f"TFLM_DIR={given}",))
    assert reason in caught.value.line() and "\n" not in caught.value.line()


@pytest.mark.parametrize(("name", "target", "reason"), [
    ("demo", NPU, "the TFLM build runs one part and this network has 2"),
    ("lone", NPU, "the TFLM build keeps the states of an LSTM only and this network has "),
    ("mixed", "cortex-m55", "the TFLM build has no CONV_2D"),
])
def test_a_network_that_it_cannot_run_is_one_line_before_anything_is_built(name, target, reason, tmp_path):
    """Two parts; one part with a GRU's state; one part with an operator that is not registered."""
    ends = load("demo").ends
    net = load("demo").net({}, ends)
    if name == "lone":
        b = Build(ends.shape)
        net = b.done(mask=b.dense(b.gru(b.reshape(b.x, (1, 1, 16)), 4, bits=8), 16, "sigmoid"))
    elif name == "mixed":
        b = Build(ends.shape)
        x = b.lstm(b.reshape(b.conv(b.x, 1, (1, 3), (1, 1), "relu"), (1, 1, 0)), 4)
        net = b.done(mask=b.dense(x, 16, "sigmoid"))
    (tmp_path / "run").mkdir()
    replace(random_model(net), ends=ends).save(tmp_path / "run" / "model.npz")
    out = tmp_path / "out"
    answer = CliRunner().invoke(main, ["firmware", "build", str(tmp_path / "run"), "--target", target, "--tflm",
                                       str(STANDIN), "--out", str(out)])
    assert answer.exit_code == 1 and answer.stderr.splitlines()[-1].startswith(f"Error: {out / 'project'}: {reason}")
    assert not (out / "project" / "build").exists()
    made = subprocess.run(["make", "-C", out / "project", "BACKEND=tflm", f"TFLM_DIR={STANDIN}"], capture_output=True,
                          text=True, check=False)
    assert made.returncode and f"*** {reason}" in made.stderr and not (out / "project" / "build").exists()


def test_without_a_tree_the_build_says_that_it_is_skipped(tmp_path):
    from firmware_images import export

    answer = CliRunner().invoke(main, ["firmware", "build", str(export("small", "cortex-m7")), "--board", "mps2-an500",
                                       "--out", str(tmp_path / "out")])
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.splitlines()[-1] == (
        "the TFLM build is skipped: TFLM_DIR names no TensorFlow Lite Micro tree")
