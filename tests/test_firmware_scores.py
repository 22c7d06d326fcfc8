"""A network that scores in firmware: what ``tinyse score-quality`` says of a file, on the CPU and the simulated NPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from firmware_images import needs_compiler, needs_qemu

from tinyse.cli import main
from tinyse.core.errors import ToolError
from tinyse.engines.quality import DEFAULT_MODEL, Scorer, score_file
from tinyse.firmware import qemu
from tinyse.firmware.images import Images, make_images
from tinyse.firmware.results import Scores, _plain

pytestmark = [pytest.mark.qemu, needs_compiler, needs_qemu]
HOP, WINDOW = 320, 31 * 8


def speech(hops: int) -> np.ndarray:
    """int16 [hops * HOP]: voiced bursts in noise that swells."""
    rng, t = np.random.default_rng(3), np.arange(hops * HOP) / 16000
    voice = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 20)) * (np.sin(8 * t) > 0) * np.sin(1.2 * t) ** 2
    sound = 0.1 * voice + 0.02 * rng.standard_normal(len(t)) * (1 + np.sin(0.6 * t))
    return (np.clip(sound, -1, 1) * 32767).astype(np.int16)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return make_images(DEFAULT_MODEL, folder=tmp_path_factory.mktemp("firmware"))


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "in.wav"
    soundfile.write(path, speech(WINDOW + 8 * 12), 16000)
    return path


def run(*arguments: object):
    return CliRunner().invoke(main, ["firmware", *map(str, arguments)])


@pytest.mark.parametrize("backend", ["cpu", "npu"])
def test_every_score_is_the_host_s_to_a_thousandth(backend: str, built: Images, wav: Path, tmp_path) -> None:
    found = qemu.run(built.backend(backend).elf, "corstone300", wav, tmp_path / "lines.txt", network=True,
                     npu_models=built.compiled if backend == "npu" else ())
    wanted = score_file(wav, Scorer.load(DEFAULT_MODEL)).scores.astype(np.float64)
    assert len(wanted) == 13 and np.ptp(wanted) > 0.1
    np.testing.assert_allclose(found.scores, wanted, atol=0.0006)
    said = found.results.scores
    assert said is not None and (said.count, said.last) == (13, found.scores[-1])
    assert said.mean == pytest.approx(wanted.mean(), abs=0.0011)
    assert (said.least, said.most) == (min(found.scores), max(found.scores))
    lines = (tmp_path / "lines.txt").read_text().splitlines()
    assert [line.split(" ")[0] for line in lines] == [f"{0.16 * (31 + n):.3f}" for n in range(13)]
    assert found.network is not None and len(found.network) == (WINDOW + 96) * (960 + 1)


def test_the_command_prints_what_score_quality_prints(built: Images, wav: Path) -> None:
    image = built.backend("cpu").elf
    before = image.stat()
    result = run("run", DEFAULT_MODEL, wav, "--out", built.export.parent)
    assert (image.stat().st_ino, image.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)  # not built again
    host = CliRunner().invoke(main, ["score-quality", str(wav)])
    assert result.exit_code == host.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[-4].startswith("the network ran on 43 of 344 frames")
    assert lines[-3:-1] == host.stdout.splitlines()[:2] and lines[-1].startswith("  1.92 to 6.88 s: ")
    last, score = host.stdout.splitlines()[2].rsplit(" ", 1)
    told = lines[-1].rsplit(" ", 1)  # of a score in thousandths, so that the last digit may be another
    assert told[0] == last and float(told[1]) == pytest.approx(float(score), abs=0.0101)


def test_a_part_of_a_hop_at_the_end_is_not_heard_and_a_short_file_is_one_line(built: Images, tmp_path) -> None:
    soundfile.write(tmp_path / "short.wav", speech(WINDOW)[:-1], 16000)
    elf = built.backend("cpu").elf
    assert qemu.run(elf, "corstone300", tmp_path / "short.wav").results.scores == Scores(0, 0.0, 0.0, 0.0, 0.0)
    result = run("run", DEFAULT_MODEL, tmp_path / "short.wav", "--out", built.export.parent)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"Error: {tmp_path}/short.wav: is shorter than the 4.96 s that a score is of (give more of it)")


def test_what_is_asked_of_the_wrong_model_is_one_line(wav: Path, tmp_path) -> None:
    none = f"Error: {DEFAULT_MODEL}: the network gives scores, and no sound (it measures: tinyse firmware run MODEL " \
           "FILE, without a destination)"
    small = Path(__file__).parent.parent / "models" / "tinylstm-small"
    for arguments, said in (
            (("run", DEFAULT_MODEL, wav, tmp_path / "out.wav"), none),
            (("flash", DEFAULT_MODEL, "--board", "stm32h743zi"), none),
            (("run", small, wav), f"Error: {small}: the network gives sound, and there is no DESTINATION for it "
                                  "(tinyse firmware run MODEL SOURCE DESTINATION)")):
        result = run(*arguments, "--out", tmp_path / "firmware")
        assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, said)
        assert not (tmp_path / "out.wav").exists() and not (tmp_path / "firmware" / "project").exists()


@pytest.mark.parametrize("scores", ['{"count": 1, "mean": 1.5}', '{"count": 1, "mean": "1.5", "least": "1.500"}',
                                    '{"count": -1, "mean": "1.500"}', '{"count": 1, "mean": "nan"}', "[]"])
def test_scores_that_are_none_are_refused(scores: str) -> None:
    with pytest.raises(ToolError, match="firmware results: "):
        _plain(Scores, "scores", json.loads(scores))
