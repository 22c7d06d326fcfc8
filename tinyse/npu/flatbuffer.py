"""A bounds-checked reader of FlatBuffers tables, for files that nobody vouches for.

The generated readers of the TFLite schema trust every offset. This one follows the FlatBuffers
internals document (https://flatbuffers.dev/internals) and refuses what points outside the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

import numpy as np

from tinyse.npu.fault import NpuError

MAX_ITEMS = 1 << 14


@cache
def _operator_names() -> dict[int, str]:
    from ethosu.vela.tflite.BuiltinOperator import BuiltinOperator

    return {value: name for name, value in vars(BuiltinOperator).items() if isinstance(value, int)}


def operator_name(number: int) -> str:
    """A builtin operator of TFLite by its number, such as "LOGISTIC"."""
    return _operator_names().get(number, f"operator {number}")


class Table:
    """One table: fields are read by their index in the schema, with the schema's default.

    Args:
        data: the whole file.
        position: byte offset of the table.

    Raises:
        NpuError: the table, its vtable or a field lies outside ``data``.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - self._read("<i", position)
        self._fields = (self._read("<H", self._vtable) - 4) // 2

    @classmethod
    def root(cls, data: bytes, identifier: bytes) -> Table:
        """The root table of a file that must carry the four-byte ``identifier``."""
        if len(data) < 8 or data[4:8] != identifier:
            raise NpuError(f"not a TFLite file: no {identifier.decode()} identifier")
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _read(self, form: str, position: int) -> int:
        size = struct.calcsize(form)
        if position < 0 or position + size > len(self._data):
            raise NpuError(f"corrupt TFLite file: reads byte {position} of {len(self._data)}")
        return struct.unpack_from(form, self._data, position)[0]

    def _field(self, index: int) -> int | None:
        if index >= self._fields:
            return None
        offset = self._read("<H", self._vtable + 4 + 2 * index)
        return self._position + offset if offset else None

    def integer(self, index: int, form: str = "<i", default: int = 0) -> int:
        """A scalar field; ``form`` is the struct format of its type."""
        place = self._field(index)
        return default if place is None else self._read(form, place)

    def table(self, index: int) -> Table | None:
        """A sub-table, or None where the field is absent."""
        place = self._field(index)
        return None if place is None else Table(self._data, place + self._read("<I", place))

    def _vector(self, index: int, size: int) -> tuple[int, int]:
        place = self._field(index)
        if place is None:
            return 0, 0
        start = place + self._read("<I", place)
        count = self._read("<I", start)
        if start + 4 + count * size > len(self._data):
            raise NpuError(f"corrupt TFLite file: a vector of {count} items does not fit")
        return start + 4, count

    def bytes(self, index: int) -> bytes:
        """A byte vector or string field; empty where absent."""
        start, count = self._vector(index, 1)
        return self._data[start : start + count]

    def array(self, index: int, dtype: str) -> np.ndarray:
        """A vector of scalars as a read-only array; ``dtype`` is a little-endian NumPy type."""
        kind = np.dtype(dtype)
        start, count = self._vector(index, kind.itemsize)
        return np.frombuffer(self._data, kind, count, start)

    def tables(self, index: int) -> list[Table]:
        """A vector of tables."""
        start, count = self._vector(index, 4)
        if count > MAX_ITEMS:
            raise NpuError(f"corrupt TFLite file: {count} tables in one vector")
        return list(self._each(start, count))

    def _each(self, start: int, count: int) -> Iterator[Table]:
        for item in range(count):
            place = start + 4 * item
            yield Table(self._data, place + self._read("<I", place))
