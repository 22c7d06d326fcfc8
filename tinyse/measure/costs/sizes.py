"""Model size under every convention in use, side by side, so that none is compared with another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinyse.core.origin import Origin, Source
from tinyse.graph.graph import Graph
from tinyse.measure.costs.layers import constant_bytes
from tinyse.measure.costs.results import Sizes
from tinyse.measure.costs.vela import Reports


def model_sizes(graphs: Sequence[Graph], int8: Sequence[Path], compiled: Sequence[Path],
                reports: Sequence[Reports]) -> Sizes:
    """Count the weights of ``graphs``, which ``int8`` holds; read what Vela made of them; None is not there."""
    weights, zeros = (sum(getattr(graph, key) for graph in graphs) for key in ("weights", "zeros"))
    nonzero = weights - zeros
    return Sizes(
        origin=Origin(Source.EXACT, "counted in the files"),
        weights=weights if int8 else None,
        nonzero=nonzero if int8 else None,
        surviving=nonzero if int8 else None,
        bitmask=nonzero + sum(-(-matrix.size // 8) for graph in graphs for matrix in graph.matrices) if int8 else None,
        encoded=sum(int(each.number("total_npu_encoded_weights")) for each in reports) if reports else None,
        constants=sum(constant_bytes(each) for each in reports) if reports else None,
        int8_file=sum(path.stat().st_size for path in int8) if int8 else None,
        vela_file=sum(path.stat().st_size for path in compiled) if compiled else None,
        narrow=sum(graph.narrow_bytes for graph in graphs) if int8 else None)
