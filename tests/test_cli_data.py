import re

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from tinyse.cli import main
from tinyse.sound.corpus.synthetic import synthetic_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthetic_corpus(tmp_path_factory.mktemp("corpora") / "small", seed=3, minutes=0.2)


def run(*arguments, **environment):
    return CliRunner().invoke(main, ["data", *map(str, arguments)], env=environment)


@pytest.mark.parametrize("name", ["", "fetch", "import", "mix", "show"])
def test_help_shows_an_example(name):
    result = run(*filter(None, [name]), "--help")
    assert result.exit_code == 0 and re.search(rf"Example:\n +tinyse data {name}", result.output)


def test_show_prints_every_split(corpus):
    result = run("show", corpus.folder, "--verify")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].split() == ["split", "kind", "package", "minutes", "clips", "sources", "RMS", "5..95", "%",
                                "languages"]
    assert [tuple(line.split()[:3]) for line in lines[1:13:2]] == [
        (split, kind, "all") for split in ("train", "validation", "test") for kind in ("speech", "noise")]
    first = lines[1].split()
    clips = corpus.clips("speech", "train")
    assert first[3:6] == [f"{corpus.minutes('speech', 'train'):.1f}", str(len(clips)), "3"] and first[-1] == "xx"
    assert lines[-1] == f"verified: {len(corpus.all)} clips"


def test_show_draws_the_same_picture_twice(corpus, tmp_path):
    for name in ("a.png", "b.png"):
        result = run("show", "--png", tmp_path / name, TINYSE_DATA=str(corpus.folder.parent))
        assert result.exit_code == 0 and f"{name}: synthetic/test-voice" in result.output
    data = (tmp_path / "a.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data == (tmp_path / "b.png").read_bytes()
    result = run("show", corpus.folder, "--png", tmp_path / "a.txt")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].endswith("a.txt: what is written here is .png (a name that ends in .png)")


def test_mix_writes_pairs(corpus, tmp_path):
    result = run("mix", "--corpus", corpus.folder, "--snr", "0,6", "--count", 2, "--seconds", 1, "--seed", 4,
                 "--bits", "float", "--out", tmp_path)
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == f"{tmp_path}: 4 mixtures of the test split, corpus " \
                                             f"{corpus.hash[:12]}, seed 4"
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == sorted(
        ["mixtures.json", *(f"{kind}/test_{snr}dB_{number:03d}.wav" for kind in ("clean", "noisy")
                            for snr in ("+0", "+6") for number in range(2))])
    noisy, _ = soundfile.read(tmp_path / "noisy/test_+0dB_000.wav")
    clean, _ = soundfile.read(tmp_path / "clean/test_+0dB_000.wav")
    assert len(noisy) == len(clean) == 16000 and not np.array_equal(noisy, clean)


def test_import_counts_what_it_skips(tmp_path):
    for who in range(4):
        for kind in ("clean", "noise"):
            path = tmp_path / f"my/{kind}/{kind}{who}/a.wav"
            path.parent.mkdir(parents=True)
            soundfile.write(path, 0.1 * np.random.default_rng(who).standard_normal(16000), 16000)
    (tmp_path / "my/clean/clean0/empty.wav").write_bytes(b"")
    result = run("import", tmp_path / "my", "--out", tmp_path / "out", "--split", "50,25,25")
    assert result.exit_code == 0
    assert "warning: 1 files skipped" in result.output
    assert "skipped: clean/clean0/empty.wav: is empty" in result.output
    assert re.search(r"^train +0\.0 min speech \(2 speakers\), +0\.0 min noise$", result.output, re.M)
    assert result.output.splitlines()[-1].startswith(f"{tmp_path}/out: 8 clips, hash ")
    result = run("import", tmp_path / "my", "--out", tmp_path / "out", "--strict")
    assert result.exit_code == 1 and "empty.wav: is empty" in result.output.splitlines()[-1]


@pytest.mark.parametrize("arguments, line", [
    (("show", "none"), "Error: none: holds no corpus (run `tinyse data fetch` or `tinyse data import`)"),
    (("show", "corpora/voices"), "Error: corpora/voices: holds no corpus (`scripts/training-corpus` makes it; or run "
                                 "`tinyse data fetch` or `tinyse data import`)"),
    (("mix", "--corpus", "none", "--out", "x"),
     "Error: none: holds no corpus (run `tinyse data fetch` or `tinyse data import`)"),
    (("import", "none"), "Error: none: no such folder (give the folder that holds the data set)"),
])
def test_mistakes_are_one_line(arguments, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1 and result.output.splitlines() == [line]


@pytest.mark.parametrize("arguments", [("mix", "--out", "x", "--snr", "loud"), ("fetch", "--tier", "huge"),
                                       ("import", "x", "--split", ""), ("import", "x", "--layout", "ami")])
def test_unusable_options_are_usage_errors(arguments):
    result = run(*arguments)
    assert result.exit_code == 2 and "Error: Invalid value for" in result.output


def test_fetch_without_apt_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("tinyse.sound.corpus.debian.shutil.which", lambda name: None)
    result = run("fetch", "--dir", tmp_path)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "Error: apt-get is not installed (on other systems, use `tinyse data import` with your own folders)"]
