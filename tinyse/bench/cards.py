"""What a released model's card already scored on the same samples, by the same engine, metrics and versions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinyse.artifacts import sha256, versions
from tinyse.evaluate.metrics import conventions
from tinyse.evaluate.systems import System

if TYPE_CHECKING:
    from tinyse.bench.scores import Mixtures, Scored

EVALUATION = "evaluation.json"


def carded(system: System, mixtures: Mixtures, metrics: Sequence[str]) -> dict[str, Scored]:
    """Scores by clip from the evaluation.json beside a model; none unless all that decides them is the same."""
    from tinyse.bench.scores import Scored

    file = system.path.parent / EVALUATION
    try:
        found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        provenance, clips = found["provenance"], found["clips"]
        wanted = {"engine": system.engine, "sha256": sha256(system.path)}
        label = next((model["label"] for model in provenance["models"]
                      if {key: model.get(key) for key in wanted} == wanted), None)
        same = (provenance["audio_sha256"] == mixtures.sha256 and provenance["versions"] == versions()
                and provenance["conventions"] == conventions(metrics) and len(clips) == len(mixtures.clips))
        if label is None or not same:
            return {}
        return {clip: Scored(clip, row["values"][label], row["skipped"].get(label, {}), row["updates"].get(label))
                for clip, row in zip(mixtures.clips, clips, strict=True)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # no card, or a damaged one: the model is scored here
