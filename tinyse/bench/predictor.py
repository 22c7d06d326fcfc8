"""docs/quality.md's tables: the quality predictor beside WB-PESQ and the same network with real maps; memory; speed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from tinyse.bench.document import put_section
from tinyse.core.progress import Progress, silent
from tinyse.engines.quality import Scorer, score_signal
from tinyse.export.bundle import INT8
from tinyse.graph.model import Model
from tinyse.measure.predictors import agreement_table, memory_table
from tinyse.sound.corpus.store import corpus_dir
from tinyse.studies.quality import footprints, test_agreements
from tinyse.train.recipe import load_recipe

COMMAND = "python -m tinyse.bench predictor"
SECONDS = 60
"""Of sound that is timed."""


def write_predictor(run: Path, real: Path, corpus: Path, docs: Path, progress: Progress = silent) -> Path:
    """Score both runs on the test clips, and write the tables; gives the page.

    Args:
        run: with an export in it. real: trained by the same recipe, with real maps; left out where it is not finished.
        corpus: of the held-out clips; unseen ones are of the unseen tier, where it was fetched.

    Raises:
        TinyseError: a run, its export or the corpus is missing, or the page cannot be written.
    """
    recipe, unseen = load_recipe(run / "recipe.yaml"), corpus_dir("unseen")
    places = {"held-out": corpus, **({"unseen": unseen} if unseen.is_dir() else {})}
    model = Model.load(run / "float.npz")
    others = {"binary, float weights": model}
    if (real / "float.npz").is_file():
        others["real, float"] = Model.load(real / "float.npz")
    found = test_agreements(run / "export", others, recipe, places, progress)
    renamed = {name: {"binary, int8": groups.pop("int8"), **groups} for name, groups in found.items()}
    page = docs / "quality.md"
    put_section(page, "agreement", COMMAND, agreement_table(renamed))
    put_section(page, "memory", COMMAND, memory_table(footprints(model.net, recipe, run / "export" / INT8)))
    put_section(page, "speed", COMMAND, f"{speed(run / 'export'):,.0f} times real time on one core of this machine: "
                f"{SECONDS} s of sound by the processor time of all threads (measured, host).")
    return page


def speed(folder: Path) -> float:
    """Seconds of sound scored in a second of processor time, the second time."""
    scorer, wave = Scorer.load(folder), np.random.default_rng(0).normal(0, 0.1, SECONDS * 16000).astype(np.float32)
    for _ in range(2):
        started = time.process_time()
        score_signal([wave], scorer)
    return SECONDS / (time.process_time() - started)
