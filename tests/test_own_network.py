"""docs/your-own-network.md, run to its end: the page's file and recipe, with fewer steps."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from click.testing import CliRunner, Result

from tinyse.cli import main
from tinyse.sound.corpus.synthetic import synthetic_corpus

PAGE = Path(__file__).parent.parent / "docs" / "your-own-network.md"
FEWER = {"train.float_steps": "8", "train.compress_steps": "8", "train.validate_every": "4",
         "train.validate_count": "6", "mixing.seconds": "0.5", "mixing.batch": "4", "mixing.generated": "0",
         "prune.every": "2"}


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's two files, a corpus, a noisy sound, a trained run and its export."""
    made = tmp_path_factory.mktemp("own")
    (made / "mine.py").write_text(block("python"), encoding="utf-8")
    recipe = yaml.safe_load(block("yaml"))
    recipe |= {"family": str(made / "mine.py")}
    (made / "mine.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    synthetic_corpus(made / "corpus", seed=3)
    wave = np.random.default_rng(0).normal(0, 0.05, 16000).astype(np.float32)
    soundfile.write(made / "noisy.wav", wave, 16000, "PCM_16")
    steps = [part for key, value in FEWER.items() for part in ("--set", f"{key}={value}")]
    tinyse("train", made / "mine.yaml", "--corpus", made / "corpus", "--out", made / "run", *steps)
    tinyse("export", made / "run", "--target", "ethos-u55-128")
    return made


def tinyse(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_the_page_s_commands_are_all_here() -> None:
    commands = re.findall(r"^tinyse (\w+)", block("sh"), re.MULTILINE)
    assert commands == ["data", "train", "export", "enhance", "evaluate", "profile", "firmware"]


def test_every_engine_gives_the_same_sound(folder: Path) -> None:
    sounds = []
    for engine, model in (("tflm", "run/export"), ("npu", "run/export"), ("keras", "run/model.npz")):
        tinyse("enhance", folder / "noisy.wav", folder / f"{engine}.wav", "--model", folder / model, "--engine", engine)
        sounds.append(soundfile.read(folder / f"{engine}.wav", dtype="int16")[0])
    assert np.ptp(sounds[0]) > 0
    np.testing.assert_array_equal(sounds[0], sounds[1])
    np.testing.assert_array_equal(sounds[0], sounds[2])


def test_the_network_stays_with_its_run(folder: Path) -> None:
    """Copied when the run began; another file of that name goes on with no run, and is another network to compare."""
    assert (folder / "run" / "mine.py").read_text(encoding="utf-8") == block("python")
    assert yaml.safe_load((folder / "run" / "recipe.yaml").read_text(encoding="utf-8"))["family"] == "mine.py"
    told = tinyse("runs", folder / "run").output
    assert re.search(r"run +mine\.py sha256:\w{8} +done", told)
    again = ("train", folder / "run" / "recipe.yaml", "--corpus", folder / "corpus", "--out", folder / "run")
    tinyse(*again, "--resume")
    moved = folder / "moved"
    moved.mkdir()
    (moved / "mine.py").write_text(block("python") + "# another\n", encoding="utf-8")
    other = CliRunner().invoke(main, [*map(str, again), "--resume", "--set", f"family={moved / 'mine.py'}"])
    assert (other.exit_code, other.stderr.splitlines()[-1]) == (1, (
        f"Error: {folder}/run/checkpoints/last.npz: written by another recipe or corpus (train into another folder)"))
    assert (folder / "run" / "mine.py").read_text(encoding="utf-8") == block("python")


def test_it_is_scored_and_profiled(folder: Path) -> None:
    words = ("--corpus", folder / "corpus", "--count", "1", "--snr", "0", "--metrics", "si_sdr", "--out",
             folder / "scores")
    assert "SI-SDR" in tinyse("evaluate", folder / "run" / "export", *words).output
    assert "estimated (Vela" in tinyse("profile", folder / "run" / "export").output


@pytest.mark.qemu
@pytest.mark.parametrize("backend", ["cpu", "npu"])
def test_the_firmware_enhances(folder: Path, backend: str) -> None:
    target = folder / f"firmware-{backend}.wav"
    tinyse("firmware", "run", folder / "run" / "export", folder / "noisy.wav", target, "--backend", backend)
    host = soundfile.read(folder / "tflm.wav", dtype="int16")[0] if (folder / "tflm.wav").exists() else None
    made = soundfile.read(target, dtype="int16")[0]
    assert np.ptp(made) > 0
    if host is not None:
        assert np.abs(made[: len(host)].astype(int) - host[: len(made)]).max() <= 8
