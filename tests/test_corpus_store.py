import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyse.core.errors import CorpusError
from tinyse.sound.corpus.store import KINDS, MANIFEST, SPLITS, Corpus, NewClip, corpus_dir, disjoint, to_int16
from tinyse.sound.corpus.synthetic import synthetic_corpus


def clip(name, split="train", kind="speech", source="anna", samples=None):
    return NewClip(name, kind, split, source, np.linspace(-0.5, 0.5, 400) if samples is None else samples)


def test_samples_come_back_as_written(tmp_path):
    pcm = np.arange(-200, 200, dtype=np.int16)
    corpus = Corpus.write(tmp_path, [clip("a"), clip("b", samples=pcm), clip("n", kind="noise", source="rain")])
    assert [item.id for item in corpus.clips("speech", "train")] == ["a", "b"]
    b = corpus.clips("speech", "train")[1]
    assert b.offset == 400 and corpus.pcm(b).tolist() == pcm.tolist()
    samples = corpus.samples(b)
    assert samples.dtype == np.float32 and samples[0] == -200 / 32768
    assert corpus.samples(b, 10, 5).tolist() == samples[10:15].tolist()
    assert corpus.clips("noise", "train")[0].source == "rain"
    level = 10 * np.log10(np.mean(np.linspace(-0.5, 0.5, 400) ** 2))
    assert corpus.all[0].rms_db == pytest.approx(level, abs=0.01) and corpus.all[0].peak == 0.5


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=50))
def test_int16_rounds_and_saturates(values):
    got = to_int16(np.array(values, np.float32)).astype(float)
    want = np.clip(np.array(values, np.float64) * 32768, -32768, 32767)
    assert np.all(np.abs(got - want) <= 0.5)


def test_same_clips_same_bytes_and_other_seed_other_hash(tmp_path):
    first = synthetic_corpus(tmp_path / "a", seed=1, minutes=0.2)
    synthetic_corpus(tmp_path / "b", seed=1, minutes=0.2)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 7
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert synthetic_corpus(tmp_path / "c", seed=2, minutes=0.2).hash != first.hash


def test_synthetic_corpus_fills_every_split_and_is_disjoint(tmp_path):
    corpus = synthetic_corpus(tmp_path, minutes=0.5)
    disjoint(corpus)
    corpus.verify()
    for split in SPLITS:
        for kind in KINDS:
            assert corpus.minutes(kind, split) > 0.05
    again = pickle.loads(pickle.dumps(corpus))
    assert np.array_equal(again.samples(again.all[0]), corpus.samples(corpus.all[0]))


@pytest.mark.parametrize("kind, what", [("speech", "speaker anna"), ("noise", "noise source anna")])
def test_disjoint_names_what_is_in_two_splits(tmp_path, kind, what):
    corpus = Corpus.write(tmp_path, [clip("a", kind=kind), clip("b", "test", kind)])
    with pytest.raises(CorpusError, match=f"{what} is in both train and test"):
        disjoint(corpus)


def test_a_speaker_and_a_noise_of_one_name_are_no_overlap(tmp_path):
    disjoint(Corpus.write(tmp_path, [clip("a"), clip("b", "test", "noise")]))


def test_verify_finds_one_changed_bit(tmp_path):
    corpus = Corpus.write(tmp_path, [clip("a"), clip("b")])
    path = tmp_path / "train.speech.npy"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="^b: samples differ"):
        Corpus.open(tmp_path).verify()
    corpus = Corpus.write(tmp_path, [clip("a"), clip("b")])
    corpus.verify()


@pytest.mark.parametrize("clips, message", [
    ([clip("a"), clip("a")], "a: occurs twice"),
    ([clip("a", "dev")], "split 'dev' is not known"),
    ([clip("a", samples=np.array([0.0, np.nan]))], "a: holds samples that are not finite"),
    ([clip("a", samples=np.zeros((2, 2)))], "a: has no samples in one dimension"),
    ([clip("a", samples=np.zeros(0))], "a: has no samples in one dimension"),
])
def test_bad_clips_are_refused_and_leave_no_corpus(tmp_path, clips, message):
    with pytest.raises(CorpusError, match=message):
        Corpus.write(tmp_path, clips)
    with pytest.raises(CorpusError, match="holds no corpus"):
        Corpus.open(tmp_path)


def test_open_refuses_what_is_damaged(tmp_path):
    Corpus.write(tmp_path, [clip("a")])
    path = tmp_path / "train.speech.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(CorpusError, match="train.speech.npy"):
        Corpus.open(tmp_path)
    path.unlink()
    with pytest.raises(CorpusError, match="cannot be read"):
        Corpus.open(tmp_path)
    path.write_bytes(whole)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "schema": 9}))
    with pytest.raises(CorpusError, match="schema 9"):
        Corpus.open(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(CorpusError, match="is no corpus manifest"):
        Corpus.open(tmp_path)


def test_default_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TINYSE_DATA", str(tmp_path))
    assert corpus_dir("small") == tmp_path / "small"
    assert corpus_dir("small", "elsewhere").as_posix() == "elsewhere/small"


def test_a_write_that_fails_leaves_the_earlier_corpus(tmp_path):
    before = Corpus.write(tmp_path, [clip("a"), clip("n", kind="noise", source="rain")]).hash
    with pytest.raises(CorpusError, match="not finite"):
        Corpus.write(tmp_path, [clip("b"), clip("n", kind="noise", source="rain", samples=np.array([np.nan]))])
    kept = Corpus.open(tmp_path)
    kept.verify()
    assert kept.hash == before and kept.all[0].id == "a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.json", "train.noise.npy", "train.speech.npy"]
    Corpus.write(tmp_path, [clip("c")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.json", "train.speech.npy"]
