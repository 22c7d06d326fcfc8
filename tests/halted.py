"""A training run that is cut off in its compressed phase and taken up again, held to one that was not."""

from __future__ import annotations

import csv

import pytest

from tinyse.train import train


def rows(folder):
    """The run's log.csv."""
    with open(folder / "log.csv") as stream:
        return list(csv.DictReader(stream))


def halt_and_resume(recipe, at, folder, corpus, whole):
    """Train ``recipe`` into ``folder`` up to compressed step ``at``, then on; the same log and bytes as ``whole``."""
    def halt(step):
        if step.task == "train compress" and step.done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, folder, corpus, halt)
    again = train(recipe, folder, corpus, resume=True)
    assert rows(folder) == rows(whole.folder)
    assert again.model.read_bytes() == whole.model.read_bytes()
