import numpy as np
import pytest
import soundfile

from tinyse.core.errors import CorpusError, TinyseError
from tinyse.sound.corpus.importing import import_corpus
from tinyse.sound.corpus.job import Job
from tinyse.sound.corpus.layouts import find_jobs
from tinyse.sound.corpus.reading import read_job
from tinyse.sound.corpus.splits import disjoint
from tinyse.sound.corpus.store import Corpus

RATE = 16000


def tone(hz, seconds=0.6, rate=RATE, level=0.2):
    return level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)


def hiss(seed, seconds=0.6, rate=RATE, level=0.05):
    return level * np.random.default_rng(seed).standard_normal(int(seconds * rate))


def save(path, samples, rate=RATE, subtype="PCM_16"):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)


def held(corpus, kind):
    return {clip.source: clip.split for clip in corpus.all if clip.kind == kind}


@pytest.fixture
def plain(tmp_path):
    root = tmp_path / "my"
    for who in range(10):
        for take in range(2):
            save(root / f"clean/voice{who}/{take}.wav", tone(200 + 20 * who + take))
    for index in range(5):
        save(root / f"noise/street{index}_01.wav", hiss(index))
    return root


def test_plain_folders(plain, tmp_path):
    made = import_corpus(plain, tmp_path / "out")
    disjoint(made.corpus)
    speakers, noises = held(made.corpus, "speech"), held(made.corpus, "noise")
    assert set(speakers) == {f"voice{who}" for who in range(10)} and len(noises) == 5
    counts = {split: list(speakers.values()).count(split) for split in ("train", "validation", "test")}
    assert counts == {"train": 8, "validation": 1, "test": 1}
    assert set(noises.values()) == {"train", "validation", "test"}
    assert (made.skipped, made.notes) == ((), ())


def test_same_seed_same_bytes_other_seed_other_split(plain, tmp_path):
    one, same, other = (import_corpus(plain, tmp_path / name, seed=seed).corpus
                        for name, seed in (("a", 0), ("b", 0), ("c", 3)))
    for path in one.folder.iterdir():
        assert path.name == "imports.sqlite" or path.read_bytes() == (same.folder / path.name).read_bytes()
    assert held(one, "speech") != held(other, "speech")


def test_workers_read_the_same_bytes(plain, tmp_path, monkeypatch):
    alone = import_corpus(plain, tmp_path / "a").corpus
    monkeypatch.setattr("tinyse.sound.corpus.importing.FEW", 0)
    assert import_corpus(plain, tmp_path / "b").corpus.hash == alone.hash


def test_ratios_are_followed(plain, tmp_path):
    made = import_corpus(plain, tmp_path / "out", ratios=(50, 20, 30))
    counts = list(held(made.corpus, "speech").values())
    assert [counts.count(split) for split in ("train", "validation", "test")] == [5, 2, 3]


def test_speaker_pattern(plain, tmp_path):
    made = import_corpus(plain, tmp_path / "out", speaker=r"/(\d)\.wav")
    assert set(held(made.corpus, "speech")) == {"0", "1"}
    assert made.notes == ("validation has no speech: there are too few speakers to keep splits apart",)
    with pytest.raises(CorpusError, match="no speaker found"):
        import_corpus(plain, tmp_path / "out", speaker="nobody")
    with pytest.raises(CorpusError, match="speaker pattern"):
        import_corpus(plain, tmp_path / "out", speaker="(")


def test_voicebank_splits_noise_by_the_log_and_keeps_its_test_set(tmp_path):
    root, log = tmp_path / "vb", []
    kinds = ("babble", "cafeteria", "car", "kitchen", "metro")
    for who in range(5):
        for take, kind in enumerate(kinds):
            name = f"p{226 + who}_{take:03d}"
            clean = tone(150 + 10 * who + take, rate=48000)
            save(root / f"clean_trainset_28spk_wav/{name}.wav", clean, 48000)
            save(root / f"noisy_trainset_28spk_wav/{name}.wav", clean + hiss(take, rate=48000), 48000)
            log.append(f"{name} {kind} 5")
    (root / "log_trainset_28spk.txt").write_text("\n".join(log))
    for take, who in enumerate(("p232", "p257")):
        save(root / f"clean_testset_wav/{who}_001.wav", tone(300 + take), 48000)
        save(root / f"noisy_testset_wav/{who}_001.wav", tone(300 + take)[:28800] + hiss(9), 48000)
    made = import_corpus(root, tmp_path / "out", "voicebank")
    disjoint(made.corpus)
    speakers, noises = held(made.corpus, "speech"), held(made.corpus, "noise")
    assert {name for name, split in speakers.items() if split == "test"} == {"p232", "p257"}
    assert {name for name, split in noises.items() if split == "test"} == {"testset"}
    assert sorted(noises) == sorted([*kinds, "testset"]) and "validation" in noises.values()
    assert "validation" in speakers.values()
    noise = next(clip for clip in made.corpus.all if clip.source == "car")
    got = made.corpus.samples(noise)
    assert np.sqrt(np.mean(got**2)) == pytest.approx(0.05 / 3**0.5, rel=0.1)  # a third of 48 kHz's band is left
    assert abs(np.dot(got, tone(152)[:len(got)])) / len(got) < 1e-3  # the speech is gone


def test_dns_readers_and_noise_segments(tmp_path):
    root = tmp_path / "dns"
    for number, reader in enumerate(("06709", "00001", "11111")):
        for seg in range(2):
            save(root / f"datasets_fullband/clean_fullband/read_speech/book_0_chp_9_reader_{reader}_0_seg_{seg}.wav",
                 tone(200 + 10 * number + seg), 48000)
    for number, source in enumerate(("door_Freesound_validated_409820", "-0BIyqJj9ZU", "fan_Freesound_3")):
        for seg in range(2):
            save(root / f"datasets_fullband/noise_fullband/{source}_{seg}.wav", hiss(10 * number + seg), 48000)
    made = import_corpus(root, tmp_path / "out", "dns")
    assert set(held(made.corpus, "speech")) == {"reader_06709", "reader_00001", "reader_11111"}
    assert set(held(made.corpus, "noise")) == {"door_Freesound_validated_409820", "-0BIyqJj9ZU", "fan_Freesound_3"}
    assert len(made.corpus.all) == 12
    disjoint(made.corpus)


def test_chime_pairs_follow_the_parts(tmp_path):
    root = tmp_path / "chime2"
    for part, who in (("si_tr_s", "011"), ("si_dt_05", "050"), ("si_et_05", "440")):
        clean = tone(220 + int(who))
        stereo = np.stack([clean, clean], 1)
        save(root / f"scaled/{part}/{who}c0201.wav", stereo)
        for snr in ("m6dB", "9dB"):
            save(root / f"isolated/{part}/{snr}/{who}c0201.wav", stereo + hiss(int(who) + len(snr))[:, None])
    made = import_corpus(root, tmp_path / "out", "chime")
    assert held(made.corpus, "speech") == {"011": "train", "050": "validation", "440": "test"}
    assert held(made.corpus, "noise") == {"room-train": "train", "room-validation": "validation", "room-test": "test"}
    assert sum(clip.kind == "speech" for clip in made.corpus.all) == 3  # one reference, two SNRs
    assert sum(clip.kind == "noise" for clip in made.corpus.all) == 6


def test_chime_speakers_in_several_parts_are_dealt_out_anew(tmp_path):
    root = tmp_path / "grid"
    for number, part in enumerate(("train", "devel", "test")):
        for who in range(1, 7):
            name, clean = f"s{who}_bgaa9a_{part}.wav", tone(220 + 10 * who + number)
            save(root / f"{part}/reverberated/{name}", clean)
            save(root / f"{part}/isolated/0dB/{name}", clean + hiss(10 * who + number))
    made = import_corpus(root, tmp_path / "out", "chime")
    disjoint(made.corpus)
    assert set(held(made.corpus, "speech").values()) == {"train", "validation", "test"}
    assert set(held(made.corpus, "speech")) == {f"s{who}" for who in range(1, 7)}


BAD = {
    "empty file": lambda path: path.write_bytes(b""),
    "no sound": lambda path: path.write_bytes(b"hello" * 100),
    "not a number": lambda path: save(path, np.full(9000, np.nan), subtype="FLOAT"),
    "truncated": lambda path: (save(path, tone(300)), path.write_bytes(path.read_bytes()[:9000])),
    "header only": lambda path: save(path, np.zeros(0)),
    "silent": lambda path: save(path, np.zeros(9000)),
    "too short": lambda path: save(path, tone(300, 0.05)),
}
REASON = {"empty file": "is empty", "no sound": "not a sound file", "not a number": "not a finite number",
          "truncated": "cut short: the header promises 19200 bytes of sound, 8956 are there",
          "header only": "holds no samples", "silent": "is silent",
          "too short": "is too short"}


def test_a_corpus_is_written_to_a_folder_of_its_own(plain, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    for out, said in ((tmp_path / "a.wav", "a.wav: is no folder"), (plain, "holds the recordings themselves")):
        before = sorted(plain.rglob("*"))
        with pytest.raises(CorpusError, match=said):
            import_corpus(plain, out)
        assert sorted(plain.rglob("*")) == before


@pytest.mark.parametrize("what", BAD)
def test_bad_files_are_named_and_skipped_or_refused(plain, tmp_path, what):
    path = plain / "clean/voice3/bad.wav"
    BAD[what](path)
    made = import_corpus(plain, tmp_path / "out")
    assert len(made.skipped) == 1 and len(made.corpus.clips("speech", "train")) >= 14
    assert made.skipped[0].startswith("clean/voice3/bad.wav: ") and REASON[what] in made.skipped[0]
    assert made.corpus.meta["skipped"] == 1
    with pytest.raises(CorpusError, match="clean/voice3/bad.wav: "):
        import_corpus(plain, tmp_path / "strict", strict=True)


@pytest.mark.parametrize("subtype, rate, channels", [
    ("PCM_24", 44100, 2), ("FLOAT", 48000, 1), ("PCM_U8", 22050, 2), ("ULAW", 8000, 1), ("DOUBLE", 96000, 6)])
def test_any_format_is_converted(tmp_path, subtype, rate, channels):
    path = tmp_path / "a.wav"
    save(path, np.stack([tone(440, 1.0, rate)] * channels, 1), rate, subtype)
    [(kind, pcm, reason)] = read_job(Job("a", noise=path, source="a"))
    assert (kind, reason) == ("noise", "") and abs(len(pcm) - RATE) <= 2
    assert np.abs(pcm / 32768 - tone(440, 1.0)[:len(pcm)])[500:-500].max() < 0.02


def test_pairs_that_are_none_are_skipped(tmp_path):
    root = tmp_path / "vb"
    for take, length in enumerate((9600, 4000, 9600)):
        save(root / f"clean_trainset_wav/p1_{take}.wav", tone(200))
        save(root / f"noisy_trainset_wav/p1_{take}.wav", (tone(200) + hiss(take))[:length])
    (root / "noisy_trainset_wav/p1_2.wav").unlink()
    made = import_corpus(root, tmp_path / "out", "voicebank")
    assert [line.split(": ", 1)[1] for line in made.skipped] == [
        "noisy and clean differ by more than 0.1 s: not a pair", "p1_2.wav cannot be read: No such file or directory"]
    assert len(made.corpus.clips("noise", "train")) == 1
    assert len(made.notes) == 4  # one speaker, one noise


@pytest.mark.parametrize("layout, message", [
    ("plain", "has no clean/"), ("voicebank", "has no clean_trainset"), ("dns", "has no clean_fullband/ or clean/"),
    ("chime", "has no isolated/"), ("ami", "'ami' is no layout")])
def test_a_folder_of_another_layout_is_named(tmp_path, layout, message):
    (tmp_path / "other").mkdir()
    with pytest.raises(CorpusError, match=message):
        find_jobs(tmp_path, layout)
    with pytest.raises(CorpusError, match="no such folder"):
        find_jobs(tmp_path / "none", "plain")


def test_nothing_usable_is_an_error(tmp_path):
    (tmp_path / "my/clean").mkdir(parents=True)
    (tmp_path / "my/noise").mkdir()
    (tmp_path / "my/clean/a.wav").write_bytes(b"x")
    with pytest.raises(CorpusError, match=r"no usable speech found \(clean/a.wav: not a sound file"):
        import_corpus(tmp_path / "my", tmp_path / "out")
    with pytest.raises(CorpusError, match="not three shares"):
        import_corpus(tmp_path / "my", tmp_path / "out", ratios=(1, 2))


def test_a_full_disk_is_one_line_and_keeps_the_earlier_corpus(plain, tmp_path, monkeypatch):
    before = import_corpus(plain, tmp_path / "out").corpus.hash

    def full(*arguments):
        raise OSError(28, "No space left on device")

    save(plain / "clean/voice0/new.wav", tone(900))
    monkeypatch.setattr("tinyse.sound.corpus.shards.os.fsync", full)
    with pytest.raises(TinyseError, match="out: cannot be written: No space left on device"):
        import_corpus(plain, tmp_path / "out", seed=1)
    assert Corpus.open(tmp_path / "out").hash == before
