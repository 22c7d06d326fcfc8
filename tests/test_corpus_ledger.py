"""Imports that are stopped, that lack disk, whose files change or are bad: nothing is read twice, nothing is lost."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from tinyse.cli import main
from tinyse.core.errors import CorpusError, TinyseError
from tinyse.sound.corpus import reading, shards
from tinyse.sound.corpus.importing import import_corpus
from tinyse.sound.corpus.ledger import Ledger
from tinyse.sound.corpus.reading import read_job
from tinyse.sound.corpus.reasons import reasons
from tinyse.sound.corpus.store import Corpus

RATE = 16000


def hiss(seed, seconds=0.6):
    return 0.05 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))


@pytest.fixture
def plain(tmp_path):
    root = tmp_path / "my"
    for number in range(12):
        for kind in ("clean", "noise"):
            path = root / f"{kind}/{kind}{number % 4}/{number:02d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, hiss(number + 100 * (kind == "noise")), RATE)
    return root


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were decoded, in order."""
    names = []

    def counted(job):
        names.append(job.id)
        return read_job(job)

    monkeypatch.setattr(reading, "read_job", counted)
    return names


def same(one, other):
    names = {path.name for folder in (one, other) for path in folder.iterdir()} - {"imports.sqlite"}
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_nothing_is_read_twice(plain, tmp_path, reads):
    first = import_corpus(plain, tmp_path / "out")
    assert first.read == len(reads) == 24
    again = import_corpus(plain, tmp_path / "out", seed=3)  # other splits of the same sound
    assert again.read == 0 and len(reads) == 24 and again.corpus.hash != first.corpus.hash
    again.corpus.verify()
    soundfile.write(plain / "clean/clean0/00.wav", hiss(77), RATE)
    soundfile.write(plain / "clean/clean0/new.wav", hiss(78), RATE)
    assert import_corpus(plain, tmp_path / "out").read == 2
    assert reads[24:] == ["clean/clean0/00.wav", "clean/clean0/new.wav"]
    assert import_corpus(plain, tmp_path / "fresh").corpus.hash == Corpus.open(tmp_path / "out").hash


def test_an_import_that_fails_goes_on_to_the_same_bytes(plain, tmp_path, reads, monkeypatch):
    append, written = shards.ShardWriter.append, []

    def fills(self, pcm):
        if len(written) == 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(1)
        return append(self, pcm)

    with monkeypatch.context() as patch:
        patch.setattr(shards.ShardWriter, "append", fills)
        with pytest.raises((TinyseError, OSError), match="No space left"):
            import_corpus(plain, tmp_path / "out")
    with open(tmp_path / "out/sound-0000.pcm", "ab") as stream:  # half of a clip, as a full disk leaves it
        stream.write(b"abc")
    with pytest.raises(CorpusError, match="holds no corpus, but one that is half written") as caught:
        Corpus.open(tmp_path / "out")
    assert "goes on where it stopped" in caught.value.hint
    done = len(reads) - 1
    made = import_corpus(plain, tmp_path / "out")
    assert made.read == 24 - done and len(reads) == 25
    made.corpus.verify()
    import_corpus(plain, tmp_path / "whole")
    assert same(tmp_path / "out", tmp_path / "whole")


def test_a_full_disk_is_one_line(plain, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tinyse.sound.corpus.shards.os.fsync", full)
    result = CliRunner().invoke(main, ["data", "import", str(plain), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1 and len(result.output.splitlines()[-1:]) == 1
    assert "cannot be written: No space left on device (free some disk space" in result.output.splitlines()[-1]


def test_a_killed_import_goes_on(plain, tmp_path):
    for number in range(400):
        soundfile.write(plain / f"clean/clean1/more{number:04d}.wav", hiss(1000 + number, 1.0), RATE)
    command = [sys.executable, "-m", "tinyse", "data", "import", str(plain), "--out", str(tmp_path / "out"),
               "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    shard = tmp_path / "out/sound-0000.pcm"
    while process.poll() is None and not (shard.exists() and shard.stat().st_size > 10**6):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    made = import_corpus(plain, tmp_path / "out")
    made.corpus.verify()
    assert len(made.corpus.all) == 424
    import_corpus(plain, tmp_path / "whole")
    assert same(tmp_path / "out", tmp_path / "whole")


def test_two_imports_at_once_are_refused(plain, tmp_path):
    with Ledger(tmp_path / "out"), pytest.raises(TinyseError, match="another import writes to this corpus"):
        import_corpus(plain, tmp_path / "out")


def test_a_damaged_ledger_is_named(plain, tmp_path):
    import_corpus(plain, tmp_path / "out")
    (tmp_path / "out/imports.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(CorpusError, match="imports.sqlite: is damaged"):
        import_corpus(plain, tmp_path / "out")
    Corpus.open(tmp_path / "out").verify()


def test_a_file_that_changes_while_it_is_read(plain, tmp_path, monkeypatch):
    times, moving = [], plain / "clean/clean0/04.wav"

    def restless(job, often):
        result = read_job(job)
        if job.id.endswith("04.wav") and job.clean and len(times) < often:
            times.append(1)
            soundfile.write(moving, hiss(500 + len(times), 0.5 + len(times)), RATE)
        return result

    monkeypatch.setattr(reading, "read_job", lambda job: restless(job, 1))
    assert import_corpus(plain, tmp_path / "once").skipped == ()
    times.clear()
    monkeypatch.setattr(reading, "read_job", lambda job: restless(job, 9))
    made = import_corpus(plain, tmp_path / "often")
    assert made.skipped == ("clean/clean0/04.wav: changed while it was read",)
    monkeypatch.setattr(reading, "read_job", read_job)
    made = import_corpus(plain, tmp_path / "often")
    assert (made.read, made.skipped) == (1, ())


def test_bad_files_are_counted_by_reason_and_refused_only_when_strict(plain, tmp_path, reads):
    for number in range(5):
        (plain / f"clean/clean2/empty{number}.wav").write_bytes(b"")
    for number in range(4):
        path = plain / f"noise/noise1/cut{number}.wav"
        soundfile.write(path, hiss(number), RATE)
        path.write_bytes(path.read_bytes()[:9000 + 2 * number])
    for number in range(6):
        soundfile.write(plain / f"noise/noise2/{number}s.wav", np.zeros(9000), RATE)
    out = tmp_path / "out"
    arguments = ["data", "import", str(plain), "--out", str(out)]
    strict = CliRunner().invoke(main, [*arguments, "--strict"])
    assert strict.exit_code == 1 and len(reads) == 39
    last = strict.output.splitlines()[-1]
    assert last.startswith(f"Error: {plain}: 15 bad files: 6 files: is silent") and "5 files: is empty" in last
    loose = CliRunner().invoke(main, arguments)
    assert loose.exit_code == 0 and len(reads) == 39
    assert "warning: 15 files skipped, named in skipped.txt, 5 of them shown" in loose.output
    assert "warning: 4 of them: cut short: the header promises 19200 bytes of sound, N are there" in loose.output
    assert "warning: 6 of them: is silent: below -60 dB of full scale" in loose.output
    assert len((out / "skipped.txt").read_text().splitlines()) == 15


def test_many_files_of_which_one_in_a_hundred_is_broken(tmp_path, monkeypatch):
    """In workers, with recordings that come twice, and a second import that adds what was mended."""
    pool = (3000 * np.random.default_rng(0).standard_normal(60_000)).astype("<i2")
    broken = (b"", b"no sound", b"RIFF", b"fLaC" + bytes(60))
    for number in range(400):
        path = tmp_path / f"my/{('clean', 'noise')[number % 4 == 3]}/of{number % 13:02d}/{number:04d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = 40 * (number % 396)  # four come twice
        soundfile.write(path, pool[start:start + 4800], RATE)
        if number % 100 == 50:
            path.write_bytes(broken[number // 100 % 4])
    made = import_corpus(tmp_path / "my", tmp_path / "out", workers=2)
    assert (made.read, len(made.skipped), len(made.corpus.all) + len(made.doubles)) == (400, 4, 396)
    assert sum(reasons(made.skipped).values()) == 4 and len(reasons(made.skipped)) == 4
    assert len(made.doubles) == len({line.split(": the same")[0] for line in made.doubles}) <= 4
    soundfile.write(tmp_path / "my/clean/of11/0050.wav", hiss(5), RATE)
    again = import_corpus(tmp_path / "my", tmp_path / "out", workers=2)
    assert (again.read, len(again.skipped), len(again.corpus.all)) == (1, 3, len(made.corpus.all) + 1)


def test_reasons_take_names_and_numbers_for_one():
    lines = ["a/b.wav: b.wav cannot be read: gone", "a/c.wav: c.wav cannot be read: gone", "d: 12 of 3.5", "e: 1 of 7",
             *(f"f/{n}.wav: {n} s: is shorter than 0.5 s" for n in (0.1, 0.25, 0.3)), "g: is not 16 bits"]
    assert list(reasons(lines).items()) == [("N s: is shorter than 0.5 s", 3), ("cannot be read: gone", 2),
                                            ("N of N", 2), ("is not 16 bits", 1)]


def test_mixtures_of_one_clean_file_decode_it_once(tmp_path, monkeypatch):
    clean = hiss(1)
    for snr in ("0dB", "3dB", "6dB"):
        for name in range(3):
            for folder, samples in (("scaled", clean + name / 1000), (f"isolated/{snr}", clean + hiss(5 + name))):
                path = tmp_path / f"set/train/{folder}/s{name}_x.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples, RATE)
    opened = []
    real = reading._opened
    monkeypatch.setattr(reading, "_opened", lambda path: opened.append(os.fspath(path)) or real(path))
    import_corpus(tmp_path / "set", tmp_path / "out", "chime")
    assert len(opened) == len(set(opened)) == 12


def test_a_long_recording_becomes_several_clips(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "SEGMENT", 20)
    soundfile.write(plain / "noise/noise0/long.flac", hiss(9, 50), RATE)
    corpus = import_corpus(plain, tmp_path / "out").corpus
    lengths = [clip.seconds for clip in corpus.all if "long.flac#" in clip.id]
    assert len(lengths) == 3 and sum(lengths) == pytest.approx(50, abs=0.01) and max(lengths) < 25


def test_a_long_recording_waits_in_a_file_and_leaves_none(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "SEGMENT", 2)
    soundfile.write(plain / "noise/noise0/long.flac", hiss(9, 50), RATE)
    held = import_corpus(plain, tmp_path / "held").corpus
    waited, real = [], shards.Waiting.pcm
    monkeypatch.setattr(shards, "HELD", 10 * RATE)
    monkeypatch.setattr(shards.Waiting, "pcm", lambda self: waited.append(self) or real(self))
    corpus = import_corpus(plain, tmp_path / "out").corpus
    assert sum(sound.length for sound in waited) == pytest.approx(40 * RATE, abs=5 * RATE)
    assert corpus.hash == held.hash and same(tmp_path / "out", tmp_path / "held")

    def fails(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises((TinyseError, OSError), match="No space left"):
        patch.setattr(shards.ShardWriter, "append", fails)
        import_corpus(plain, tmp_path / "full")
    assert not [*tmp_path.glob("*/*.part")]


def test_what_was_added_to_is_kept(plain, tmp_path):
    whole = import_corpus(plain, tmp_path / "out").corpus
    with pytest.raises(CorpusError, match="no usable"):
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad/a.wav").write_bytes(b"x")
        import_corpus(tmp_path / "bad", tmp_path / "out", "noise", add=True)
    kept = Corpus.open(tmp_path / "out")
    kept.verify()
    assert kept.hash == whole.hash
