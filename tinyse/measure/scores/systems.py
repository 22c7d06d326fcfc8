"""Which model, on which engine: what a path on the command line means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinyse.engines import KINDS, Engine, find_model, load_engine
from tinyse.engines.exits import stop_at
from tinyse.export.bundle import model_sha256


@dataclass(frozen=True)
class System:
    """A model and the engine that runs it.

    Attributes:
        label: column name in tables.
        engine: one of ``tinyse.engines.KINDS``.
        path: the file the engine loads, or the folder of several parts.
        exit_at: where every frame stops, an exit from 1; 0 for what its plan says.
    """

    label: str
    engine: str
    path: Path
    exit_at: int = 0

    @property
    def folder(self) -> Path:
        """Where its card lies."""
        return self.path if self.path.is_dir() else self.path.parent


def resolve(path: Path | str, engine: str | None = None, label: str = "enhanced", exit_at: int = 0) -> System:
    """Find the file a model path means, and the engine that runs it (``tinyse.engines.find_model``).

    Raises:
        ModelError: nothing is there, or the engine does not fit.
    """
    kind, file = find_model(path, engine)
    return System(label, kind, file, exit_at)


def parse_against(text: str, label: str = "against") -> System:
    """Read ``MODEL[:engine]`` as ``--against`` takes it."""
    head, _, tail = text.rpartition(":")
    return resolve(head, tail, label) if head and tail in KINDS else resolve(text, None, label)


def describe(system: System) -> dict[str, str]:
    """Label, engine, file name and SHA-256, for provenance."""
    return {"label": system.label, "engine": system.engine, "file": system.path.name,
            "sha256": model_sha256(system.path), **({"exit": str(system.exit_at)} if system.exit_at else {})}


def load(system: System) -> Engine:
    """The engine, ready to run.

    Raises:
        ModelError: the file is not a model for that engine, or has no such exit.
    """
    engine = load_engine(system.path, system.engine)
    if system.exit_at:
        stop_at(engine, system.exit_at)
    return engine
