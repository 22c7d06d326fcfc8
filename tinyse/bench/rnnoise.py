"""RNNoise 0.2 (Valin 2018, 2024): gains of 32 bands at 48 kHz from two convolutions and three GRUs."""

from __future__ import annotations

import ctypes

import numpy as np

from tinyse.bench.packages import Wheel, installed
from tinyse.bench.peer import FULL_SCALE, Framed, Real, Size

WHEEL = Wheel("pyrnnoise", "0.4.5", "pyrnnoise")
RATE, HOP = 48000, 480
FLOATS = ctypes.POINTER(ctypes.c_float)


class Rnnoise(Framed):
    """The library in the wheel; samples in the range of 16-bit ones, as it expects.

    Late by half a window and by one frame more, for which it holds the spectrum back.
    """

    rate = RATE
    hop = HOP
    delay = 2 * HOP

    def __init__(self) -> None:
        """Load the library; ToolError where the package is not installed."""
        self._state: int | None = None
        self._library = _library()
        self.reset()

    def reset(self) -> None:
        """Make a new state."""
        self._free()
        self._state = self._library.rnnoise_create(None)

    def push(self, frame: Real) -> Real:
        """Advance one hop: float32 [480] to float32 [480]."""
        samples = np.ascontiguousarray(frame * np.float32(FULL_SCALE), np.float32)
        pointer = samples.ctypes.data_as(FLOATS)
        self._library.rnnoise_process_frame(self._state, pointer, pointer)
        return samples / np.float32(FULL_SCALE)

    def _free(self) -> None:
        if self._state is not None:
            self._library.rnnoise_destroy(self._state)
            self._state = None

    def __del__(self) -> None:
        self._free()


class _Array(ctypes.Structure):
    """One row of the library's table of weights; a row without a name ends it."""

    _fields_ = (("name", ctypes.c_char_p), ("type", ctypes.c_int), ("size", ctypes.c_int),
                ("data", ctypes.c_void_p))


def arrays() -> dict[str, int]:
    """Bytes of every array in the library's table of weights, by name."""
    library = _library()
    first = ctypes.addressof(_Array.in_dll(library, "rnnoise_arrays"))
    found: dict[str, int] = {}
    while (row := _Array.from_address(first + len(found) * ctypes.sizeof(_Array))).name:
        found[row.name.decode()] = row.size
    return found


def size() -> Size:
    """Counted in the library's table of weights.

    A matrix in both forms is taken as int8, with the index of its 8 x 4 blocks. A stored weight is one
    multiply-accumulate a frame of 10 ms; biases are parameters only, scales bytes only.
    """
    return size_of(arrays())


def size_of(found: dict[str, int]) -> Size:
    """``size`` of a table of weights: bytes by name."""
    kept = {name: count for name, count in found.items()
            if not (name.endswith("_float") and name.removesuffix("float") + "int8" in found)
            and not name.endswith("_subias")}
    weights = parameters = 0
    for name, count in kept.items():
        if name.endswith("_idx"):
            continue
        values = count if name.endswith("_int8") else count // 4
        parameters += 0 if name.endswith("_scale") else values
        weights += values if name.endswith(("_int8", "_float", "_diag")) else 0
    return Size(parameters, sum(kept.values()), weights * RATE / HOP,
                "exact: the library's table of weights, int8 where it has both forms")


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(installed(WHEEL) / "librnnoise.so"))
    library.rnnoise_create.argtypes, library.rnnoise_create.restype = [ctypes.c_void_p], ctypes.c_void_p
    library.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, FLOATS, FLOATS]
    library.rnnoise_process_frame.restype = ctypes.c_float
    return library


