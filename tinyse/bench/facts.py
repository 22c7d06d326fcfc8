"""What is known of each contender beside its scores: size, work, latency, speed, training."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinyse.bench.contenders import Contender
from tinyse.bench.ours import model_size
from tinyse.bench.peer import Size, latency_ms
from tinyse.bench.speed import real_time_factor
from tinyse.core.artifacts import write_json
from tinyse.core.errors import RecipeError
from tinyse.train.recipe import load_recipe

OURS_SOURCE = "docs/corpus.md"
OURS_HEARD = "Neither speech nor noise of the test split, nor any language of its speech"


@dataclass(frozen=True)
class Facts:
    """A contender beside its scores.

    Attributes:
        name: in tables.
        ours: a model of tinyse.
        package: distribution and version, or the engine.
        rate: Hz it works at.
        latency_ms: algorithmic: its output's delay and the hop that must have arrived.
        size: parameters, bytes, multiply-accumulates.
        real_time_factor: CPU seconds a second of audio, measured (host).
        trained_on, source, heard, licence: as of ``Peer``.
    """

    name: str
    ours: bool
    package: str
    rate: int
    latency_ms: float
    size: Size
    real_time_factor: float
    trained_on: str
    source: str
    heard: str
    licence: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def facts_of(contender: Contender, cache: Path, update_rate: float | None = None) -> Facts:
    """Load, count and time a contender; its real-time factor is kept in the cache.

    Args:
        contender: a peer or a model of ours.
        cache: folder of measured speeds.
        update_rate: measured share of frames that a Skip RNN runs on.

    Raises:
        TinyseError: it cannot be loaded.
    """
    suppressor = contender.open()
    common: dict[str, Any] = {"name": contender.name, "rate": suppressor.rate, "latency_ms": latency_ms(suppressor),
                              "real_time_factor": _speed(contender, cache)}
    if contender.system is not None:
        engine = {"keras": "float, Keras", "tflm": "int8, TFLM", "npu": "int8, NPU simulator"}
        return Facts(**common, ours=True, package=f"tinyse ({engine[contender.system.engine]})",
                     size=model_size(contender.system, update_rate),
                     trained_on=learnt_from(contender.system.folder), source=OURS_SOURCE, heard=OURS_HEARD,
                     licence="Apache-2.0")
    found = contender.peer
    assert found is not None
    return Facts(**common, ours=False, package=f"{found.wheel.name} {found.wheel.version}", size=found.size(),
                 trained_on=found.trained_on, source=found.source, heard=found.heard, licence=found.licence)


def learnt_from(folder: Path) -> str:
    """What a model's recipe.yaml names as its corpus, in words."""
    try:
        corpus = load_recipe(folder / "recipe.yaml").corpus
    except RecipeError:
        return "not known: no recipe beside it"
    return f"the {corpus.tier} tier's training split" if corpus.path is None else f"the corpus {corpus.path}"


def _speed(contender: Contender, cache: Path) -> float:
    file = cache / f"{contender.identity()[:20]}.json"
    if file.is_file():
        with contextlib.suppress(ValueError, TypeError, KeyError):  # a damaged file is measured again
            kept: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return float(kept["real_time_factor"])
    value = real_time_factor(contender)
    write_json(file, {"name": contender.name, "real_time_factor": value})
    return value
