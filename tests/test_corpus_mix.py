import hashlib
import json

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.core.errors import CorpusError
from tinyse.sound.corpus import mix
from tinyse.sound.corpus.mix import active_level, mix_at_snr, write_mixtures
from tinyse.sound.corpus.store import Corpus, NewClip
from tinyse.sound.corpus.synthetic import synthetic_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthetic_corpus(tmp_path_factory.mktemp("corpus"), seed=3, minutes=0.5)


def rms(samples):
    return float(np.sqrt(np.mean(np.asarray(samples, float) ** 2)))


@settings(deadline=None, max_examples=50)
@given(st.floats(-20, 30), st.floats(1e-3, 1), st.floats(1e-3, 10), st.integers(0, 99))
def test_snr_is_as_stated_and_nothing_clips(snr, loud, noisy_level, seed):
    rng = np.random.default_rng(seed)
    speech = np.zeros(8000)
    speech[1600:4800] = loud * np.sin(0.3 * np.arange(3200))
    noise = noisy_level * rng.standard_normal(8000)
    mixture, clean = mix_at_snr(speech, noise, snr)
    added = mixture.astype(float) - clean
    assert 20 * np.log10(active_level(clean) / rms(added)) == pytest.approx(snr, abs=0.01)
    assert np.abs(mixture).max() <= 0.9801 and np.abs(clean).max() <= 0.9801
    assert np.corrcoef(clean, speech)[0, 1] == pytest.approx(1, abs=1e-6)


def test_active_level_passes_over_pauses():
    tone = np.sin(0.3 * np.arange(3200))
    padded = np.concatenate([tone, np.zeros(12800)])
    assert active_level(padded) == pytest.approx(rms(tone), rel=1e-6)
    assert active_level(np.zeros(0)) == 0 and active_level(np.ones(10)) == 1


@pytest.mark.parametrize("speech, noise, message", [
    (np.ones(100), np.ones(99), "100 samples, noise 99"),
    (np.zeros(1000), np.ones(1000), "silent or not finite"),
    (np.ones(1000), np.zeros(1000), "silent or not finite"),
    (np.ones(1000), np.full(1000, np.nan), "silent or not finite"),
    (np.ones(0), np.ones(0), "silent or not finite"),
])
def test_what_has_no_snr_is_refused(speech, noise, message):
    with pytest.raises(CorpusError, match=message):
        mix_at_snr(speech, noise, 0)


def test_mixtures_spread_over_speakers_and_noises_and_stay_in_their_split(corpus):
    mixtures = list(mix.test_mixtures(corpus, "test", (-6, 9), 6, 2.0, seed=1))
    assert len(mixtures) == 12 and len({item.id for item in mixtures}) == 12
    clips = {clip.id: clip for clip in corpus.all}
    for item in mixtures:
        assert clips[item.speech_id].split == clips[item.noise_id].split == "test"
        assert clips[item.speech_id].source == item.speaker
        assert item.noisy.shape == item.clean.shape == (32000,) and item.noisy.dtype == np.float32
        assert 20 * np.log10(active_level(item.clean) / rms(item.noisy - item.clean)) == pytest.approx(
            item.snr_db, abs=0.01)
    assert len({item.speaker for item in mixtures}) == 2 and len({item.noise_id for item in mixtures}) == 3
    assert [item.speech_id for item in mixtures[:6]] == [item.speech_id for item in mixtures[6:]]


def test_more_mixtures_begin_with_the_same_ones(corpus):
    few = list(mix.test_mixtures(corpus.folder, "train", (0,), 2, 1.0, seed=1))
    many = list(mix.test_mixtures(corpus, "train", (0,), 5, 1.0, seed=1))
    other = list(mix.test_mixtures(corpus, "train", (0,), 2, 1.0, seed=2))
    assert all(np.array_equal(a.noisy, b.noisy) for a, b in zip(few, many, strict=False))
    assert not np.array_equal(few[0].noisy, other[0].noisy)


def test_the_cleanest_references_are_preferred_in_the_test_split(tmp_path):
    rng = np.random.default_rng(0)
    speech = [NewClip(f"{package}/{language}", "speech", "test", f"{package}-{language}",
                      0.1 * rng.standard_normal(9000), package, language=language)
              for package, language in (("tuxpaint-stamps-default", "be"), ("tuxpaint-stamps-default", "fr"))]
    noise = NewClip("n", "noise", "test", "rain", 0.1 * rng.standard_normal(9000))
    corpus = Corpus.write(tmp_path, [*speech, noise])
    assert {item.speaker for item in mix.test_mixtures(corpus, "test", (0,), 4, 1.0)} == {"tuxpaint-stamps-default-be"}


def test_a_split_without_noise_is_named(tmp_path):
    corpus = Corpus.write(tmp_path, [NewClip("a", "speech", "test", "anna", np.ones(900))])
    with pytest.raises(CorpusError, match="test split lacks"):
        next(mix.test_mixtures(corpus, "test"))


@pytest.mark.parametrize("bits", ["PCM_16", "FLOAT"])
def test_same_seed_same_bytes(corpus, tmp_path, bits):
    hashes = []
    for name in ("a", "b"):
        assert write_mixtures(corpus, tmp_path / name, "test", (0, 6), 2, 1.0, 7, bits) == 4
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        hashes.append([(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files])
    assert hashes[0] == hashes[1] and len(hashes[0]) == 9
    samples, rate = soundfile.read(tmp_path / "a" / "noisy" / "test_+6dB_001.wav")
    assert rate == 16000 and len(samples) == 16000
    document = json.loads((tmp_path / "a" / "mixtures.json").read_text())
    assert document["corpus"] == corpus.hash and document["seed"] == 7
    assert [row["id"] for row in document["mixtures"]] == [
        "test_+0dB_000", "test_+0dB_001", "test_+6dB_000", "test_+6dB_001"]


def test_a_folder_holds_one_set(corpus, tmp_path):
    for _ in range(2):
        assert write_mixtures(corpus, tmp_path / "a", "test", (0,), 2, 1.0, 7) == 2
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "a").rglob("*"))
    for changed in ({"seed": 8}, {"count_per_snr": 1}, {"snrs": (3,)}):
        with pytest.raises(CorpusError, match="holds other mixtures"):
            given = {"snrs": (0,), "count_per_snr": 2, "seconds": 1.0, "seed": 7, **changed}
            write_mixtures(corpus, tmp_path / "a", **given)
    (tmp_path / "b" / "noisy").mkdir(parents=True)
    (tmp_path / "b" / "noisy" / "mine.wav").write_bytes(b"")
    with pytest.raises(CorpusError, match="holds other mixtures"):
        write_mixtures(corpus, tmp_path / "b", "test", (0,), 2, 1.0, 7)
    (tmp_path / "b" / "mixtures.json").write_text("[]")
    with pytest.raises(CorpusError, match="holds other mixtures"):
        write_mixtures(corpus, tmp_path / "b", "test", (0,), 2, 1.0, 7)
    with pytest.raises(CorpusError, match="is a corpus"):
        write_mixtures(corpus, corpus.folder, "test", (0,), 2, 1.0, 7)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "a").rglob("*")) == before


def test_mixing_that_was_cut_off_goes_on(corpus, tmp_path):
    class Cut(Exception):
        pass

    def cut(step):
        raise Cut

    with pytest.raises(Cut):
        write_mixtures(corpus, tmp_path / "a", "test", (0,), 2, 1.0, 7, progress=cut)
    assert write_mixtures(corpus, tmp_path / "a", "test", (0,), 2, 1.0, 7) == 2
    with pytest.raises(Cut):  # made again and cut off, the list of what is there stays
        write_mixtures(corpus, tmp_path / "a", "test", (0,), 2, 1.0, 7, progress=cut)
    assert len(json.loads((tmp_path / "a" / "mixtures.json").read_text())["mixtures"]) == 2


@pytest.mark.parametrize("snr", [float("nan"), float("inf")])
def test_an_snr_that_is_no_number_is_refused(corpus, snr):
    with pytest.raises(CorpusError, match="not all are finite"):
        next(mix.test_mixtures(corpus, "test", (0.0, snr), 1, 1.0))


@pytest.mark.parametrize("snrs", [(3.0, 3.0), (0.0, -0.0), (3.0, 1.0, 3.0000001)])
def test_an_snr_that_comes_twice_would_give_two_mixtures_one_name(corpus, snrs):
    with pytest.raises(CorpusError, match="one is there twice"):
        next(mix.test_mixtures(corpus, "test", snrs, 1, 1.0))
