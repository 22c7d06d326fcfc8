"""Layer-wise training: one exit after the other, what earlier ones need frozen; resumed to the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyse.core.errors import TrainingError
from tinyse.core.progress import Step
from tinyse.graph.model import Model
from tinyse.sound.corpus.store import Corpus
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.train import train
from tinyse.train.loop import Run
from tinyse.train.recipe import Recipe, load_recipe
from tinyse.train.resume import resume_run
from tinyse.train.stages import goes_on


def recipe(**more: str) -> Recipe:
    return load_recipe("quick", {
        "family": "nsnet2", "family_options": "{first: 6, gru: [5, 4], dense: [6, 5], exits: [1, 2], topology: split}",
        "mixing.seconds": "0.3", "mixing.batch": "4", "mixing.generated": "0", "train.float_steps": "9",
        "train.compress_steps": "0", "train.validate_every": "3", "train.validate_count": "6", "train.warmup": "0",
        "train.order": "layerwise", "train.patience": "50", **more})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_corpus(tmp_path_factory.mktemp("corpus"), seed=3).folder


@pytest.mark.parametrize("average", ["0.0", "0.5"])
def test_a_stage_trains_what_its_exit_adds_and_nothing_else(average: str, corpus: Path, tmp_path: Path) -> None:
    """Split: the doubled layer and its mask in stage 1; the layer itself waits for stage 2."""
    made = recipe(**{"train.average": average})
    run = Run(made, made.net(), "nsnet2", tmp_path, Corpus.open(corpus), lambda step: None)
    needs = [{"double_1", "gains_1"}, {"layer_1", "double_2", "gains_2"}, {"layer_2", "layer_3", "layer_4", "layer_5",
                                                                          "gains"}]
    before = run.network.arrays()
    for stage, trained in enumerate(needs):
        for step in range(3):
            assert goes_on(run, 9)
            if step == 0:  # the best weights of the stage before are taken up
                before = run.network.arrays()
            assert run.stages is not None and (run.stages.at, run.step) == (stage, 3 * stage + step)
            run._take_step()
            run.step += 1
        run._validate()
        after = run.network.arrays()
        assert {name.split("/")[0] for name in before if (before[name] != after[name]).any()} == trained
    assert not goes_on(run, 9)
    run.lanes.close()


def test_a_stopped_run_goes_on_to_the_same_weights(corpus: Path, tmp_path: Path) -> None:
    whole = train(recipe(), tmp_path / "whole", corpus)
    for stop in (3, 5):
        folder = tmp_path / f"stopped-{stop}"

        def halt(step: Step, stop: int = stop) -> None:
            if step.task == "train float" and step.done == stop:
                raise TrainingError("stopped")

        with pytest.raises(TrainingError, match="stopped"):
            train(recipe(), folder, corpus, halt)
        again = train(recipe(), folder, corpus, resume=True)
        one, other = Model.load(whole.float_model), Model.load(again.float_model)
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name], name)


def test_a_stage_that_no_longer_gains_gives_way(corpus: Path, tmp_path: Path) -> None:
    made = recipe(**{"train.patience": "1"})
    run = Run(made, made.net(), "nsnet2", tmp_path, Corpus.open(corpus), lambda step: None)
    run.step, run.stale = 1, 1
    assert goes_on(run, 9) and run.stages is not None and (run.step, run.stages.at, run.stale) == (3, 1, 0)
    run.step, run.stale, run.stages.at = 7, 1, 2
    assert not goes_on(run, 9)
    assert resume_run(run) is False
    run.lanes.close()
