"""``tinyse enhance`` as a user meets it: whole output, exit codes, real pipes, Ctrl-C."""

from __future__ import annotations

import os
import shlex
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
from tinyse.engines.enhance import enhance_signal

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
    (None, "no such file (give the name of a sound file)"),
    (b"", "is empty (record it again)"),
    (b"not sound at all", "not a sound file: Format not recognised (WAV, FLAC, OGG, MP3 and AIFF are read)"),
])
def test_bad_input_is_one_line(tmp_path, model, content, said):
    if content is not None:
        (tmp_path / "in.wav").write_bytes(content)
    result = run(tmp_path / "in.wav", tmp_path / "out.wav", "--model", model)
    assert (result.exit_code, result.output) == (1, f"Error: {tmp_path}/in.wav: {said}\n")
    assert not (tmp_path / "out.wav").exists()


def test_the_input_is_not_overwritten(tmp_path, model):
    soundfile.write(tmp_path / "in.wav", noise(800), 16000)
    (tmp_path / "same.wav").symlink_to(tmp_path / "in.wav")
    before = (tmp_path / "in.wav").read_bytes()
    for name in ("in.wav", "same.wav"):
        result = run(tmp_path / "in.wav", tmp_path / name, "--model", model)
        assert (result.exit_code, result.output) == (
            1, f"Error: {tmp_path}/{name}: is the input as well "
               "(another name for the output; the input stays as it is)\n")
    assert (tmp_path / "in.wav").read_bytes() == before


def test_bad_models_are_one_line(tmp_path):
    soundfile.write(tmp_path / "in.wav", noise(800), 16000)
    (tmp_path / "bad.tflite").write_bytes(tiny_tflite()[:5000])
    result = run(tmp_path / "in.wav", tmp_path / "out.wav", "--model", tmp_path / "bad.tflite")
    assert (result.exit_code, result.output) == (
        1, f"Error: {tmp_path}/bad.tflite: the file is damaged or cut short (export it again)\n")
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


def heard():
    """The tests may run under nohup, which children inherit and tinyse obeys."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_end_from_outside_leaves_no_file(tmp_path, model, number, code):
    with subprocess.Popen([*PROGRAM, "-", str(tmp_path / "out.wav"), "--model", model], cwd=ROOT, stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE, preexec_fn=heard) as process:
        assert process.stderr and process.stdin
        process.stdin.write(bytes(64000))
        process.stdin.flush()
        assert process.stderr.readline().startswith(b"enhance: 0 %")
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        assert process.stderr.read() == b"Error: terminated\n"
    assert process.returncode == code and not list(tmp_path.iterdir())


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_not_needed(tmp_path, model, closed):
    soundfile.write(tmp_path / "in.wav", noise(8000), 16000, "FLOAT")
    line = shlex.join([*PROGRAM, str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), "--model", model])
    done = subprocess.run(["sh", "-c", f"{line} {closed}"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    out, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    np.testing.assert_array_equal(out, enhance_signal(noise(8000), load_engine(model)))


@pytest.mark.parametrize("ends, closed, said", [
    ("- o.wav", "<&-", "standard input"), ("i.wav -", ">&-", "standard output")])
def test_a_closed_stream_that_is_needed_is_one_line(tmp_path, model, ends, closed, said):
    soundfile.write(tmp_path / "i.wav", noise(800), 16000)
    done = subprocess.run(["sh", "-c", f"{shlex.join(PROGRAM)} {ends} --model {model} {closed}"], cwd=tmp_path,
                          capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stderr.decode()) == (1, f"Error: -: {said} is closed (give two files, or open it)\n")


LOCALES = [{"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]


@pytest.mark.parametrize("variables", LOCALES, ids=str)
def test_names_that_are_not_utf8_work_and_are_printed(tmp_path, variables):
    folder = os.path.join(os.fsencode(tmp_path), b"J\xfcrgen")
    os.mkdir(folder)
    soundfile.write(tmp_path / "a.wav", noise(8000), 16000)
    (tmp_path / "a.wav").rename(os.fsdecode(os.path.join(folder, b"caf\xe9.wav")))
    place = os.path.join(folder, b"m\xe9.tflite")
    with open(place, "wb") as stream:
        stream.write(tiny_tflite())
    source, target = os.path.join(folder, b"caf\xe9.wav"), os.path.join(folder, b"\xff.wav")
    environment = {**os.environ, **variables, "PYTHONPATH": str(ROOT)}
    for given, code in ((source, 0), (source + b".gone", 1)):
        done = subprocess.run([*map(os.fsencode, PROGRAM), given, target, b"--model", place], cwd=ROOT, check=False,
                              capture_output=True, env=environment)
        assert done.returncode == code and b"Traceback" not in done.stderr
        assert done.stderr.count(b"\n") == 2 - code and b"rgen/" in done.stderr
        if "PYTHONUTF8" not in variables:
            assert (target if not code else given) in done.stderr
    assert os.path.exists(target)


def test_a_wav_on_standard_input_is_not_heard_as_samples(tmp_path, model):
    soundfile.write(tmp_path / "in.wav", noise(1000), 16000)
    data = (tmp_path / "in.wav").read_bytes()
    whole, raw = (run("-", "-", "--model", model, stdin=stdin) for stdin in (data, data[44:]))
    assert whole.exit_code == 0 and whole.stdout_bytes == raw.stdout_bytes
    cut = run("-", "-", "--model", model, stdin=data[:-100])
    assert cut.exit_code == 1 and "Error: -: cut short: the header promises 2000 bytes of sound, 1900 are" in cut.stderr


def test_a_level_that_models_do_not_expect_is_a_note(tmp_path, model):
    soundfile.write(tmp_path / "in.wav", 0.002 * noise(8000), 16000, "FLOAT")
    told = run(tmp_path / "in.wav", tmp_path / "out.wav", "--model", model).stderr
    assert (f"note: {tmp_path}/in.wav: the sound's active level is -65 dBFS; models expect -45 to -10 dBFS and do "
            "worse outside: amplify it by 40 dB first\n") in told


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
