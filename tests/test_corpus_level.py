"""Sparse noise: the level is that of the piece used, and silent places are passed over, everywhere alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.core.errors import CorpusError
from tinyse.sound import DEFAULT
from tinyse.sound.corpus.level import FRAME, Places, has_sound, soundless
from tinyse.sound.corpus.mix import piece, test_mixtures
from tinyse.sound.corpus.store import Corpus, NewClip
from tinyse.sound.corpus.synthetic import synthetic_corpus, utterance
from tinyse.train import mixer
from tinyse.train.mixer import Mixer
from tinyse.train.recipe import load_recipe

RATE = 16000
STEP = 1 / 32768


def knocks(seed, seconds=40, hits=2, offset=0.0):
    """Half-second hits with nothing between them but a constant offset."""
    rng = np.random.default_rng(seed)
    wave = np.full(seconds * RATE, offset, np.float32)
    for hit in range(hits):
        at = (hit * seconds // hits + 1) * RATE
        wave[at:at + RATE // 2] += 0.3 * rng.standard_normal(RATE // 2).astype(np.float32)
    return wave


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    rng = np.random.default_rng(0)
    clips = [NewClip(f"{split}/voice{take}", "speech", split, f"{split}-voice", utterance(rng, 2.5, 120, 1.0))
             for split in ("train", "validation", "test") for take in range(3)]
    clips += [NewClip(f"{split}/knock{n}", "noise", split, f"{split}-knock{n}", knocks(n + len(split), offset=n * STEP))
              for split in ("train", "validation", "test") for n in range(3)]
    return Corpus.write(tmp_path_factory.mktemp("sparse"), clips)


@pytest.mark.parametrize("wave, silent", [
    (np.zeros(4000), True), (np.full(4000, STEP), True), (np.full(4000, 0.3), True),
    (0.3 + 1e-3 * np.sin(np.arange(4000)), True),  # -48 dB beside an offset
    (STEP * np.random.default_rng(0).integers(-1, 2, 4000), True),
    (1e-3 * np.sin(np.arange(4000)), False), (0.3 + 0.3 * np.sin(np.arange(4000)), False)])
def test_a_constant_is_silence(wave, silent):
    assert soundless(wave.astype(np.float32)) is silent
    assert has_sound(wave.astype(np.float32)) or silent


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**9), st.integers(1, 6), st.integers(FRAME, 9 * RATE), st.floats(-0.01, 0.01))
def test_every_place_has_sound_and_fits(start, hits, length, offset):
    wave = knocks(start % 7, 12, hits, np.float32(offset))
    at = Places(wave).at(start, length)
    assert 0 <= at <= len(wave) - length
    assert not soundless(wave[at:at + length])


def test_places_are_spread_and_without_sound_there_is_still_one():
    places = Places(knocks(1))
    found = {places.at(start, RATE) for start in range(0, 30 * RATE, 997)}
    assert len(found) > 100 and min(found) < 2 * RATE and max(found) > 20 * RATE
    assert Places(np.zeros(3 * RATE, np.float32)).at(5, RATE) == 0


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_mixtures_of_sparse_noise_have_their_snr_without_the_offset(sparse, split):
    for mixture in test_mixtures(sparse, split, (0.0,), 30, 4.0):
        noise = mixture.noisy - mixture.clean
        loud = np.abs(noise - noise.mean()) > 0.1 * np.abs(noise).max()
        assert 20 * np.log10(noise.std() / np.sqrt(np.mean(noise**2))) > -0.1
        assert 0.0005 < loud.mean() < 0.6  # the hits are in it


def test_a_clip_without_sound_is_named(tmp_path):
    rng = np.random.default_rng(0)
    corpus = Corpus.write(tmp_path, [NewClip("a/voice", "speech", "test", "v", utterance(rng, 2.5, 120, 1.0)),
                                     NewClip("a/flat.wav", "noise", "test", "n", np.full(5 * RATE, 0.01))])
    with pytest.raises(CorpusError, match=r"a/flat\.wav: has no sound"):
        next(test_mixtures(corpus, "test", (0.0,), 1, 2.0))
    with pytest.raises(CorpusError, match=r"a/flat\.wav: has no sound"):
        piece(corpus, corpus.clips("noise", "test")[0], 9 * RATE, rng)


def only_recorded(corpus):
    recipe = load_recipe("quick", {"mixing.generated": "0", "mixing.babble": "0", "mixing.second_noise": "0",
                                   "mixing.equalize": "0"})
    return Mixer(corpus, recipe.mixing, DEFAULT, 0)


def test_no_training_draw_is_silent_or_an_offset(sparse):
    mixing = only_recorded(sparse)
    for draw in range(100):
        noise = mixing._noise_wave(np.random.default_rng([1, draw]), mixing.samples)
        assert noise.std() == pytest.approx(1.0, abs=0.01)
        assert np.abs(noise).max() > 1.5


def test_training_leaves_out_noise_without_any_sound(sparse, tmp_path):
    rng = np.random.default_rng(0)
    clips = [NewClip("voice", "speech", "train", "v", utterance(rng, 2.5, 120, 1.0)),
             NewClip("flat", "noise", "train", "n", np.full(5 * RATE, 0.01))]
    with pytest.raises(CorpusError, match="no train noise"):
        only_recorded(Corpus.write(tmp_path, clips))


def test_a_draw_that_moves_changes_no_other(sparse, tmp_path, monkeypatch):
    """Batches are what they were, but for the draws that were silent."""
    now = only_recorded(sparse).batch(3, 0, 16).waves
    moved = []
    judge = soundless
    monkeypatch.setattr(mixer, "soundless", lambda wave: moved.append(judge(wave)))  # None: nothing moves
    before = only_recorded(sparse).batch(3, 0, 16).waves
    same = [np.array_equal(now[:, row], before[:, row]) for row in range(16)]
    assert same == [not silent for silent in moved] and any(same) and not all(same)
    steady = synthetic_corpus(tmp_path, seed=3)
    before = only_recorded(steady).batch(3, 0, 16).waves
    monkeypatch.undo()
    np.testing.assert_array_equal(only_recorded(steady).batch(3, 0, 16).waves, before)
