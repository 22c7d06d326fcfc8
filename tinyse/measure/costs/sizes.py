"""Model size under every convention in use, side by side, so that none is compared with another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyse.measure.costs.layers import constant_bytes
from tinyse.measure.costs.results import Origin, Sizes, Source
from tinyse.measure.costs.vela import Reports


def model_sizes(int8: Path | None, compiled: Path | None, reports: Reports | None) -> Sizes:
    """Count the weights of ``int8`` and read what Vela made of them; what is not there is None.

    Raises:
        ModelError: the int8 file is not a network that tinyse exports.
    """
    matrices = list(weight_matrices(int8)) if int8 else []
    nonzero = sum(int(np.count_nonzero(matrix)) for matrix in matrices)
    return Sizes(
        origin=Origin(Source.EXACT, "counted in the files"),
        weights=sum(matrix.size for matrix in matrices) if int8 else None,
        nonzero=nonzero if int8 else None,
        surviving=nonzero if int8 else None,
        bitmask=nonzero + sum(-(-matrix.size // 8) for matrix in matrices) if int8 else None,
        encoded=int(reports.number("total_npu_encoded_weights")) if reports else None,
        constants=constant_bytes(reports) if reports else None,
        int8_file=int8.stat().st_size if int8 else None,
        vela_file=compiled.stat().st_size if compiled else None)


def weight_matrices(path: Path) -> Iterator[NDArray[np.int8]]:
    """Every int8 weight matrix of a network: eight an LSTM, one a dense layer; biases are not weights.

    Raises:
        ModelError: the file is corrupt or holds another network.
    """
    from tinyse.export.network import DenseLayer, LstmLayer, parse

    for layer in parse(path.read_bytes(), str(path)).layers:
        if isinstance(layer, LstmLayer):
            for gate in layer.gates:
                yield gate.kernel
                yield gate.recurrent
        elif isinstance(layer, DenseLayer):
            yield layer.weights
