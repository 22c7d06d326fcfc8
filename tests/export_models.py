"""Trained models without training: Laplace weights, like those of trained networks, and plausible ranges."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from tinyse.export.interpreted import interpreter
from tinyse.export.reader import read
from tinyse.export.writer import write
from tinyse.graph.floating import calibrate
from tinyse.graph.graph import Graph
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.reference import Reference
from tinyse.sound import Bands, Ends


def frames(count: int, bands: int, seed: int = 0) -> np.ndarray:
    """Feature-like float32 frames [count, bands]: correlated in time, never negative."""
    rng = np.random.default_rng(seed)
    steps = rng.gamma(0.7, 0.8, (count, bands))
    for time in range(1, count):
        steps[time] = 0.7 * steps[time - 1] + 0.3 * steps[time]
    return steps.astype(np.float32)


def random_model(lstm: tuple[int, ...] = (24, 16), dense: tuple[int, ...] = (16,), bands: int = 16,
                 seed: int = 0, gain: float = 1.0, zeros: float = 0.0, quantized: bool = True,
                 skip: bool = False) -> Model:
    """Seeded Laplace weights; ``zeros`` of the weights are exactly 0; ranges from a calibration run.

    With ``skip`` a Skip RNN that runs on about every third frame.
    """
    rng = np.random.default_rng(seed)

    def laplace(rows: int, columns: int) -> np.ndarray:
        weights = rng.laplace(0, gain / np.sqrt(2 * rows), (rows, columns))
        return (weights * (rng.random((rows, columns)) >= zeros)).astype(np.float32)

    net, arrays = tinylstm(bands, lstm, dense, bands + skip), {}
    for node in net.nodes[1:]:
        inputs, units = net.shapes_in(node)[0][-1], net.shapes[node.name][-1]
        if node.layer.kind == "lstm":
            bias = rng.normal(0, 0.3, 4 * units).astype(np.float32)
            bias[units:2 * units] += 1
            arrays |= {f"{node.name}/kernel": laplace(inputs, 4 * units),
                       f"{node.name}/recurrent_kernel": laplace(units, 4 * units), f"{node.name}/bias": bias}
        else:
            arrays |= {f"{node.name}/kernel": 3 * laplace(inputs, units),
                       f"{node.name}/bias": rng.normal(0, 0.3, units).astype(np.float32)}
    if skip:
        last = net.nodes[-1].name
        arrays[f"{last}/kernel"][:, -1] *= 0.5
        arrays[f"{last}/bias"][-1] = -1.5
    model = Model(net, arrays, Ends(bands=Bands(count=bands)))
    return replace(model, ranges=calibrate(model, frames(200, bands, seed + 1))) if quantized else model


def changed(model: Model, **arrays: np.ndarray) -> Model:
    """The same with other arrays, each named node__array."""
    return replace(model, arrays={**model.arrays, **{name.replace("__", "/"): made for name, made in arrays.items()}})


def written(model: Model) -> bytes:
    """The int8 .tflite of a model of one part."""
    return write(model.plan().graphs[0])


def integers(data: bytes, inputs: np.ndarray) -> np.ndarray:
    """What the integer reference makes of int8 frames [count, inputs] from the start: [count, outputs]."""
    graph = read(data)
    reference, x, y = Reference(graph), graph.inputs[0], graph.outputs[0]
    return np.stack([reference.run({x.name: frame.reshape(x.shape)})[y.name].ravel() for frame in inputs])


def streamed(data: bytes, inputs: np.ndarray) -> np.ndarray:
    """What TFLM makes of int8 frames [count, inputs] from the start: [count, outputs]."""
    runs, outputs = interpreter(data), []
    for frame in inputs:
        runs.set_input(frame.reshape(1, 1, -1), 0)
        runs.invoke()
        outputs.append(runs.get_output(0).ravel().copy())
    return np.stack(outputs)


@lru_cache
def converted() -> tuple[Model, Graph]:
    """A small model and what TensorFlow's converter makes of it: the oracle of lowering, tensor by tensor."""
    from converter import to_int8

    model = random_model(zeros=0.5)
    return model, read(to_int8(model))


@lru_cache
def exported(target: str) -> Path:
    """Folder of one small model exported for ``target``; made once a session."""
    from tinyse.export.pipeline import export_run

    folder = Path(tempfile.mkdtemp(prefix="tinyse-test-"))
    atexit.register(shutil.rmtree, folder, True)
    random_model(zeros=0.5).save(folder / "model.npz")
    export_run(folder, target)
    return folder / "export"
