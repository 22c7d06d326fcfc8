"""The running mean of the weights: what it is, that it stays pruned and clustered, and how training resumes with it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from halted import halt_and_resume, rows
from hypothesis import given
from hypothesis import strategies as st

from tinyse.cli.train import compression
from tinyse.graph.model import Model
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import train
from tinyse.train.averaging import Average
from tinyse.train.recipe import load_recipe

TINY = {
    "network.lstm": "[24, 16]", "network.dense": "[16]", "mixing.seconds": "0.5", "mixing.batch": "4",
    "train.float_steps": "6", "train.compress_steps": "24", "train.validate_every": "6", "train.validate_count": "6",
    "train.warmup": "2", "prune.every": "2", "train.float_rate": "0.005", "train.compress_rate": "0.005",
    "prune.multiple": "1", "quantize.freeze": "0.3", "train.average": "0.9",
}


class Network:
    """Weights that may be set and got."""

    def __init__(self, value):
        self.weights = [np.float32([value])]

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = list(weights)


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40), st.sampled_from([0.0, 0.5, 0.9]))
def test_it_is_the_mean_and_later_a_decaying_one(values, decay):
    average, wanted = Average(decay), 0.0
    for number, value in enumerate(values, 1):
        average.add(Network(value))
        share = max(1 - decay, 1 / number)
        wanted += share * (value - wanted)
    assert average.mean[0][0] == pytest.approx(wanted, abs=1e-4)
    if len(values) <= 1 / (1 - decay):
        assert average.mean[0][0] == pytest.approx(np.mean(values), abs=1e-4)


def test_it_is_shown_and_taken_away_again_whatever_happens():
    average, network, projected = Average(0.9), Network(1.0), []
    with average.shown(network, None):
        assert network.weights[0][0] == 1.0  # nothing seen yet
    average.add(Network(3.0))
    pruning = SimpleNamespace(project=lambda: projected.append(network.weights[0][0]))
    with pytest.raises(KeyboardInterrupt), average.shown(network, pruning):
        assert network.weights[0][0] == 3.0
        raise KeyboardInterrupt
    assert network.weights[0][0] == 1.0 and projected == [3.0]
    average.forget()
    assert average.mean == [] and average.count == 0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    return folder


def recipe(**more):
    return load_recipe("quick", {**TINY, **compression("weight", 0.6, None, 4, None), **more})


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    return train(recipe(), tmp_path_factory.mktemp("whole"), corpus)


def test_the_mean_of_a_pruned_clustered_network_is_one(whole):
    model = Model.load(whole.model)
    zeros = count = 0
    for name in model.matrices:
        array = model.arrays[name]
        zeros += int((array == 0).sum())
        count += array.size
        for part in np.split(array, 4, 1) if name.startswith("lstm") else array.T:
            peak = np.abs(part).max()
            assert len(np.unique(np.rint(part / peak * 127)) if peak else []) <= 5
    assert zeros / count >= 0.59


def test_it_scores_differently_from_the_last_step(whole, corpus, tmp_path):
    plain = train(recipe(**{"train.average": "0"}), tmp_path, corpus)
    ours, theirs = rows(whole.folder), rows(plain.folder)
    ours, theirs = ([row for row in found if row["phase"] == "float"] for found in (ours, theirs))
    assert [row["loss"] for row in ours] == [row["loss"] for row in theirs]  # steps do not see the mean
    assert ours[-1]["val_si_sdr"] and ours[-1]["val_si_sdr"] != theirs[-1]["val_si_sdr"]


def test_a_resumed_run_has_the_same_mean(whole, corpus, tmp_path):
    halt_and_resume(recipe(), 20, tmp_path, corpus, whole)
