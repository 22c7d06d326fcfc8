"""``tinyse export``: the whole output, and one line for every bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from export_models import exported, random_model

from tinyse.cli import main


def run(*arguments: str):
    return CliRunner().invoke(main, ["export", *arguments])


def test_prints_counts_bytes_and_labelled_cycles(tmp_path):
    random_model(zeros=0.5).save(tmp_path / "model.npz")
    result = run(str(tmp_path), "--target", "ethos-u55")
    assert result.exit_code == 0, result.output
    made = exported("ethos-u55-128")
    manifest = json.loads((made / "manifest.json").read_text())
    memory = json.loads((made / "memory.json").read_text())
    total, npu = manifest["cycles"]["total"], manifest["cycles"]["npu"]
    rows = [
        ("target", "ethos-u55-128", ""),
        ("quantization", "trained ranges", ""),
        ("parameters", "7,104", "exact"),
        ("MACs per frame", "6,912", "exact"),
        ("zero weights", f"{manifest['zeros']:,} of 6,912", "exact"),
        ("int8 .tflite", f"{memory['int8_bytes']:,} B", "exact"),
        ("compiled .tflite", f"{memory['model_bytes']:,} B", "exact"),
        ("constants", f"{memory['weight_bytes']:,} B", "exact"),
        ("cycles per frame", f"{total:,}", "estimated (Vela)"),
        ("NPU cycles alone", f"{npu:,}", "estimated (Vela)"),
        ("arena", f"{memory['arena_bytes']:,} B", "estimated (Vela's allocation)"),
        ("states", "120 B", "exact"),
        ("written to", f"{tmp_path}/export", ""),
    ]
    assert result.stdout == "".join(f"{name:<18}{value:<14}  {source}".rstrip() + "\n" for name, value, source in rows)


def test_export_and_enhance_need_no_tensorflow(tmp_path):
    """It is imported nowhere on the way, not even where it is installed."""
    random_model(bands=128).save(tmp_path / "model.npz")
    soundfile.write(tmp_path / "in.wav", np.zeros(1600, np.float32), 16000)
    code = ("import sys\nsys.modules.update(tensorflow=None, tf_keras=None)\nfrom tinyse.cli import main\n"
            "main(sys.argv[1:], standalone_mode=False)")
    given, out, made = (str(tmp_path / name) for name in ("in.wav", "out.wav", "export"))
    for words in (["export", str(tmp_path), "--target", "cortex-m55"], ["enhance", given, out, "--model", made]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "tflm engine" in done.stderr


def test_help_shows_an_example():
    assert "tinyse export runs/quick --target ethos-u55-128" in run("--help").output


@pytest.mark.parametrize("arguments, message", [
    (["nowhere"], "Error: nowhere: no such run (give the folder that tinyse train wrote, or a .npz)\n"),
    ([".", "--target", "ethos-u99"],
     "Error: target 'ethos-u99' is not known (one of cortex-m55, cortex-m7, ethos-u55-128, ethos-u55-256, "
     "ethos-u55-32, ethos-u55-64, ethos-u65-256, or the path of a .yaml file)\n"),
    ([".", "--target", "cortex-m7"], "Error: .: holds no model.npz (train it first: tinyse train RECIPE.yaml)\n")])
def test_bad_input_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1 and result.stderr == message


def test_damaged_model_is_one_line(tmp_path):
    (tmp_path / "model.npz").write_bytes(b"PK\x03\x04 nonsense")
    result = run(str(tmp_path))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "not a tinyse model, or damaged" in result.stderr
