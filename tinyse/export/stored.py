"""A tensor as a .tflite file stores it, before it is known to be one that a Graph can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.grid import Grid

TYPES = {"FLOAT32": "float32", "INT32": "int32", "INT16": "int16", "INT8": "int8", "INT64": "int64"}


class Refusal(Exception):
    """What an operator has that a Graph cannot hold."""


@dataclass(frozen=True)
class Stored:
    """One tensor of the file; ``data`` of a constant, else None."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: NDArray[np.float32]
    zero_points: tuple[int, ...]
    axis: int
    variable: bool
    dynamic: bool
    most: float
    data: NDArray[Any] | None

    @property
    def grid(self) -> Grid:
        """Its one grid; Refusal where it has none, or several."""
        if self.dtype not in ("int8", "int16"):
            raise Refusal(f"{self.name} is {self.dtype}, not int8 or int16")
        if self.scales.size != 1 or len(self.zero_points) != 1:
            raise Refusal(f"{self.name} has {self.scales.size} scales, not one")
        return Grid(float(self.scales[0]), self.zero_points[0], 8 if self.dtype == "int8" else 16)


def text(name: Any) -> str:
    """A name as the schema's reader gives it: bytes, text or None."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""


def read_stored(model: Any, tensor: Any, types: dict[int, str], name: str) -> Stored:
    """The tensor that the schema's reader gave; ``types``: numpy's names by the schema's codes."""
    def listed(values: Any) -> tuple[Any, ...]:
        return () if values is None else tuple(values)

    grid, raw, data = tensor.quantization, model.buffers[tensor.buffer].data, None
    shape, dtype = tuple(int(n) for n in listed(tensor.shape)), types[tensor.type]
    if raw is not None and len(raw) and not tensor.isVariable:
        if dtype in TYPES.values():
            data = np.frombuffer(bytes(raw), dtype).reshape(shape).copy()
        else:
            data = np.frombuffer(bytes(raw), np.uint8)
    scales = np.array(listed(grid.scale if grid else None), np.float32)
    points = tuple(int(point) for point in listed(grid.zeroPoint if grid else None))
    most = listed(grid.max if grid else None)
    return Stored(name, shape, dtype, scales, points or (0,), grid.quantizedDimension if grid else 0,
                   bool(tensor.isVariable), any(n < 0 for n in (*shape, *listed(tensor.shapeSignature))),
                   float(most[0]) if most else 0.0, data)
