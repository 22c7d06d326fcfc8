"""The level of a signal, and when a user is told of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyse.sound.corpus.mix import active_level
from tinyse.sound.level import Level


def measured(wave: np.ndarray, pieces: int = 1) -> Level:
    level = Level()
    for block in np.array_split(wave.astype(np.float32), pieces):
        level.push(block)
    return level


def noise(db: float, seconds: float = 2, seed: int = 0) -> np.ndarray:
    return 10 ** (db / 20) * np.random.default_rng(seed).standard_normal(int(16000 * seconds))


@pytest.mark.parametrize("offset", [0, 0.05, -0.5])
@pytest.mark.parametrize("pause", [0, 5])
def test_pauses_and_offsets_do_not_count(offset, pause):
    wave = np.concatenate([noise(-30), np.zeros(16000 * pause), noise(-30, seed=1)]) + offset
    assert measured(wave, 37).db == pytest.approx(-30, abs=0.3)


@given(st.integers(0, 20), st.lists(st.floats(-60, -5), min_size=1, max_size=6), st.integers(1, 40))
def test_it_is_the_level_that_mixtures_are_made_with(seed, levels, pieces):
    wave = np.concatenate([noise(db, 0.4, seed + n) for n, db in enumerate(levels)])
    assert measured(wave, pieces).db == pytest.approx(20 * np.log10(active_level(wave)), abs=0.5)


@pytest.mark.parametrize("db, said", [
    (-46.5, "active level is -47 dBFS; models expect -45 to -10 dBFS and do worse outside: amplify it by 22 dB first"),
    (-62, "amplify it by 37 dB"), (-8, "attenuate it by 17 dB"), (-44, ""), (-25, ""), (-11, "")])
def test_a_note_where_models_were_not_made_for_it(db, said):
    note = measured(noise(db, 4)).note()
    assert said in note and bool(said) == bool(note)


def test_nothing_is_said_of_silence_and_of_moments():
    for wave in (np.zeros(16000), np.ones(16000), noise(-80, 0.01)):
        assert measured(wave).note() == ""
