"""Who takes part: the unprocessed input, the peers, our models; each opened by a worker that has only its name."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyse.bench import packages, peer
from tinyse.bench.ours import Model
from tinyse.bench.peer import Real, Suppressor
from tinyse.bench.peers import PEERS, Peer
from tinyse.core.artifacts import sha256, versions
from tinyse.export.bundle import model_sha256, open_bundle, plan_json
from tinyse.measure.scores.result import NOISY
from tinyse.measure.scores.systems import System

CACHE_FORMAT = 1


class Unprocessed:
    """The input as it is."""

    rate, hop, delay = 16000, 1, 0

    def process(self, wave: Real) -> Real:
        """The wave itself."""
        return np.asarray(wave, np.float32)


@dataclass(frozen=True)
class Contender:
    """One line of a table.

    Attributes:
        name: in tables; "noisy", a peer's name, or a model's.
        system: our model; None for a peer or the input.
    """

    name: str
    system: System | None = None

    @property
    def peer(self) -> Peer | None:
        """The peer of this name."""
        return next((each for each in PEERS if each.name == self.name), None) if self.system is None else None

    def open(self) -> Suppressor:
        """Load it.

        Raises:
            TinyseError: the package or the model is missing or damaged.
        """
        if self.system is not None:
            return Model.load(self.system)
        found = self.peer
        return found.open() if found else Unprocessed()

    def identity(self) -> str:
        """SHA-256 of all that decides its output: package or model, adapter, engine versions.

        Raises:
            TinyseError: the package is not installed.
        """
        parts: dict[str, object] = {"format": CACHE_FORMAT, "interface": _source(peer)}
        if self.system is not None:
            parts |= {"model": model_sha256(self.system.path), "engine": self.system.engine, "versions": versions()}
            if self.system.engine != "keras":  # whose file says how it runs and between which ends
                bundle = open_bundle(self.system.path, compiled=self.system.engine == "npu")
                parts |= {"plan": plan_json(bundle.plan), "ends": bundle.ends.as_dict()}
        elif (found := self.peer) is not None:
            module = sys.modules[found.size.__module__]
            parts |= {"package": packages.digest(found.wheel), "adapter": _source(module)}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _source(module: object) -> str:
    return sha256(Path(inspect.getfile(module)))  # type: ignore[arg-type]


NOISY_INPUT = Contender(NOISY)
