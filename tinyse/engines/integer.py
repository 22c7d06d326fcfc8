"""The integer reference as an engine: NumPy, no interpreter, every tensor of a frame open to inspection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tinyse.engines.base import Array, Engine
from tinyse.export.bundle import open_bundle
from tinyse.graph.plan import Plan
from tinyse.graph.reference import Reference
from tinyse.sound import Ends


class IntegerEngine(Engine):
    """A plan of graphs; ``references`` has what the last frame computed in each part."""

    name = "integer"

    def __init__(self, plan: Plan, ends: Ends, label: str = "model", fitting: bool = True) -> None:
        super().__init__(plan, ends, label, fitting)
        states: dict[str, Array] = {}
        self.references = [Reference(graph, states) for graph in plan.graphs]
        self.reset()

    @staticmethod
    def load(path: Path | str, fitting: bool = True) -> IntegerEngine:
        """Read an int8 .tflite file or an export's folder.

        Raises:
            ModelError: an operator that is none of ours, or a damaged file.
        """
        bundle = open_bundle(path)
        return IntegerEngine(bundle.graph_plan(), bundle.ends, bundle.label, fitting)

    def rewind(self) -> None:
        """Every state to its zero point."""
        for reference in self.references:
            reference.reset()

    def run(self, part: int, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One invocation of a part."""
        return self.references[part].run(inputs)
