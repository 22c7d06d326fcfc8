"""``tinyse enhance`` as a user meets it: whole output, exit codes, real pipes, Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from tiny_models import tiny_tflite, tiny_trained

from tinyse.cli import main
from tinyse.engines import load_engine
from tinyse.enhance import enhance_signal

PROGRAM = [sys.executable, "-m", "tinyse", "enhance"]
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("export") / "model_int8.tflite"
    path.write_bytes(tiny_tflite())
    return str(path)


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, samples).astype(np.float32)


def run(*arguments: object, stdin: bytes = b""):
    return CliRunner().invoke(main, ["enhance", *map(str, arguments)], input=stdin)


def test_a_file(tmp_path, model):
    soundfile.write(tmp_path / "in.wav", noise(8000), 16000, "FLOAT")
    result = run(tmp_path / "in.wav", tmp_path / "out.wav", "--model", model)
    assert result.exit_code == 0 and result.stdout == ""
    assert result.stderr == f"enhance: 100 % \n{tmp_path}/out.wav: 0.50 s at 16000 Hz, tflm engine\n"
    out, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    np.testing.assert_array_equal(out, enhance_signal(noise(8000), load_engine(model)))


def test_notes_and_the_keras_engine_of_a_run_folder(tmp_path):
    tiny_trained().save(tmp_path / "model.npz")
    clipped = np.tile(np.array([1, 1, 1, -1, -1, -1], np.float32), 4000)
    soundfile.write(tmp_path / "in.wav", np.stack([clipped, 0 * clipped], 1), 48000)
    result = run(tmp_path / "in.wav", tmp_path / "out.flac", "--model", tmp_path, "--engine", "keras")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[1:] == [
        f"note: {tmp_path}/in.wav: 2 channels mixed down to mono",
        f"note: {tmp_path}/in.wav: clipped: runs of samples at full scale: 1",
        f"{tmp_path}/out.flac: 0.50 s at 48000 Hz, keras engine",
    ]


def test_a_pipe_carries_nothing_but_sound(model):
    samples = np.round(noise(1000) * 32768).astype("<i2")
    result = run("-", "-", "--model", model, stdin=samples.tobytes())
    assert result.exit_code == 0 and len(result.stdout_bytes) == 2 * (1000 + 256)
    assert result.stderr.endswith("-: 0.06 s at 16000 Hz, tflm engine\n")


@pytest.mark.parametrize("content, said", [
    (None, "no such file (give a sound file, or - for standard input)"),
    (b"", "is empty (record it again)"),
    (b"not sound at all", "not a sound file: Format not recognised (WAV, FLAC, OGG, MP3 and AIFF are read)"),
])
def test_bad_input_is_one_line(tmp_path, model, content, said):
    if content is not None:
        (tmp_path / "in.wav").write_bytes(content)
    result = run(tmp_path / "in.wav", tmp_path / "out.wav", "--model", model)
    assert (result.exit_code, result.output) == (1, f"Error: {tmp_path}/in.wav: {said}\n")
    assert not (tmp_path / "out.wav").exists()


def test_bad_models_are_one_line(tmp_path):
    soundfile.write(tmp_path / "in.wav", noise(800), 16000)
    (tmp_path / "bad.tflite").write_bytes(tiny_tflite()[:5000])
    result = run(tmp_path / "in.wav", tmp_path / "out.wav", "--model", tmp_path / "bad.tflite")
    assert (result.exit_code, result.output) == (
        1, f"Error: {tmp_path}/bad.tflite: TFLM cannot run this file: the file is damaged or cut short "
           "(export the model again)\n")
    (tmp_path / "bad.npz").write_bytes(b"zip?")
    result = run(tmp_path / "in.wav", tmp_path / "out.wav", "--model", tmp_path / "bad.npz")
    assert result.exit_code == 1 and result.output.count("\n") == 1
    assert "bad.npz: not a tinyse model, or damaged" in result.output


def test_wrong_usage():
    assert "Missing option '--model'" in run("a.wav", "b.wav").output
    assert "is not one of" in run("a.wav", "b.wav", "--model", "m", "--engine", "gpu").output
    assert "tinyse enhance noisy.wav clean.wav --model" in run("--help").output


def test_a_live_pipe_answers_hop_by_hop_and_stops_on_ctrl_c(model):
    with subprocess.Popen([*PROGRAM, "-", "-", "--model", model], cwd=ROOT, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr
        for _ in range(4):
            process.stdin.write(bytes(512))
            process.stdin.flush()
            assert len(process.stdout.read(512)) == 512
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"Error: interrupted\n"
    assert process.returncode == 130


def test_ctrl_c_leaves_no_file(tmp_path, model):
    with soundfile.SoundFile(tmp_path / "in.wav", "w", 16000, 1) as sound:
        for _ in range(600):
            sound.write(np.zeros(16000, np.int16))
    with subprocess.Popen([*PROGRAM, str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), "--model", model],
                          cwd=ROOT, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert process.stderr.readline().startswith(b"enhance: 0 %")
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().endswith(b"Error: interrupted\n")
    assert process.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_a_reader_that_leaves_ends_the_program_quietly(tmp_path, model):
    with subprocess.Popen([*PROGRAM, "-", "-", "--model", model], cwd=ROOT, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        try:
            process.stdin.write(bytes(51200))
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 141
