"""How well a predictor predicts: its scores of labelled clips beside their WB-PESQ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.engines.quality import Scorer
from tinyse.export.pipeline import Export
from tinyse.graph.model import Model
from tinyse.measure.card import table
from tinyse.measure.footprint import Footprint
from tinyse.sound import Real
from tinyse.train.labelled import CLEAN, UNPROCESSED, Labelled, features_of, frames_of
from tinyse.train.predictor import answers, pearson, rmse
from tinyse.train.recipe import Recipe

GROUPS = ("all", "unprocessed", "enhanced")


@dataclass(frozen=True)
class Agreement:
    """Predicted and true scores of some clips: how many, Pearson's correlation, root mean square error in MOS."""

    clips: int
    pearson: float
    rmse: float


def int8_answers(path: Path, clips: Labelled) -> Real:
    """Scores of the int8 file, float32 [clips], each clip from zero states, as a device gives them."""
    scorer = Scorer.load(path)
    found = []
    for logs in clips.logs:
        scorer.reset()
        found.append(scorer.steps(features_of(logs, scorer.ends).reshape(-1, scorer.ends.inputs))[-1])
    return np.asarray(found, np.float32)


def float_answers(model: Model, clips: Labelled) -> Real:
    """Scores of a float model, float32 [clips]."""
    from tinyse.train.keras import tf
    from tinyse.train.maps import Maps

    return answers(tf.function(Maps(model.net, model.arrays).run), clips, model.ends)


def agreements(predicted: Real, clips: Labelled) -> dict[str, Agreement]:
    """Of all clips, of mixtures as they are, and of what enhancers made of them; an empty group is left out."""
    systems = np.asarray(clips.systems)
    chosen = {"all": np.ones(len(systems), bool), "unprocessed": systems == UNPROCESSED,
              "enhanced": (systems != UNPROCESSED) & (systems != CLEAN)}
    return {name: Agreement(int(which.sum()), pearson(predicted[which], clips.scores[which]),
                            rmse(predicted[which], clips.scores[which]))
            for name, which in chosen.items() if which.any()}


def agreement_table(found: Mapping[str, Mapping[str, Mapping[str, Agreement]]]) -> str:
    """Pearson and error of every model, a row a corpus and group."""
    models = list(next(iter(found.values())))
    header = ["clips", "number", *(f"{model} {what}" for model in models for what in ("Pearson", "error, MOS"))]
    return table(header, ([f"{corpus}, {group}", str(found[corpus][models[0]][group].clips),
                           *(text for model in models for one in [found[corpus][model][group]]
                             for text in (f"{one.pearson:.3f}", f"{one.rmse:.3f}"))]
                          for corpus in found for group in GROUPS if group in found[corpus][models[0]]))


def memory_table(sizes: Mapping[str, Footprint]) -> str:
    """Bytes of every form, and how much less that is than the first."""
    first = next(iter(sizes.values())).total
    return table(("network", "parameters, B", "values, B", "together, B", "less by"),
                 ((name, f"{one.parameters:,}", f"{one.values:,}", f"{one.total:,}", f"{first / one.total:.1f} x")
                  for name, one in sizes.items()))


def predictor_card(name: str, recipe: Recipe, trained: Mapping[str, Any], exported: Export,
                   found: Mapping[str, Mapping[str, Mapping[str, Agreement]]], sizes: Mapping[str, Footprint]) -> str:
    """README.md of a released predictor; ``trained``: the manifest of its run."""
    ends, labels = recipe.ends, recipe.labels
    file = exported.files["model_int8.tflite"].stat().st_size
    cycles = "" if exported.cycles is None else f"\n{exported.cycles:,} cycles a step on {exported.target} (estimated)."
    return f"""# {name}

Predicts the WB-PESQ of speech without a reference: int8, {ends.framing.rate / 1000:g} kHz, a score of the last
{frames_of(ends, labels.seconds) * ends.period:.2f} s every {1000 * ends.rows * ends.period:g} ms. docs/quality.md says
what it is and what it has heard. `tinyse score-quality FILE...` runs it.

## Agreement with WB-PESQ: measured (host)

{agreement_table(found)}

Mixtures of {labels.snr_db[0]:g} to {labels.snr_db[1]:g} dB, unprocessed and after one of {", ".join(labels.enhancers)}.
held-out: the test split of the training corpus, other speakers, languages and noise recordings; unseen: packages that
training had nothing of. int8 is this file, float the network before its weights became int8.

## Memory at inference: exact count

{memory_table(sizes)}

Maps of steps are counted as bits (docs/quality.md says how), and the C library has them so; the .tflite has bytes.

## Costs

{exported.parameters:,} weights and biases, {exported.macs_per_frame:,} multiply-accumulates a step (exact),
{file:,} B of .tflite.{cycles}

## Reproduce

`make model NAME={name}` labels, trains `recipe.yaml`, exports, scores and writes this folder. Training log: log.csv.
The weights are those of step {trained["step"]}, the best on validation clips (Pearson {trained["val_pearson"]:.3f});
{trained["clips"]:,} clips, {trained["steps"]:,} of {recipe.train.float_steps:,} steps of {recipe.mixing.batch}.
"""
