"""Model size under every convention in use, side by side, so that none is compared with another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinyse.graph.graph import Graph
from tinyse.profile.layers import constant_bytes
from tinyse.profile.results import Origin, Sizes, Source
from tinyse.profile.vela import Reports


def model_sizes(graphs: Sequence[Graph], int8: Path | None, compiled: Path | None, reports: Reports | None) -> Sizes:
    """Count the weights of ``graphs``, which ``int8`` holds, and read what Vela made of them; None is not there."""
    weights, zeros = (sum(getattr(graph, key) for graph in graphs) for key in ("weights", "zeros"))
    nonzero = weights - zeros
    return Sizes(
        origin=Origin(Source.EXACT, "counted in the files"),
        weights=weights if int8 else None,
        nonzero=nonzero if int8 else None,
        surviving=nonzero if int8 else None,
        bitmask=nonzero + sum(-(-matrix.size // 8) for graph in graphs for matrix in graph.matrices) if int8 else None,
        encoded=int(reports.number("total_npu_encoded_weights")) if reports else None,
        constants=constant_bytes(reports) if reports else None,
        int8_file=int8.stat().st_size if int8 else None,
        vela_file=compiled.stat().st_size if compiled else None)
