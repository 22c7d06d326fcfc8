"""Memory of the NPU and views of feature maps in it: NHWC, NHCWB16, tiles, all bounds-checked.

Nothing is read or written outside a region: every map's extreme addresses are checked when it is
prepared, in integers that cannot wrap, before any array is made.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinyse.npu.fault import NpuError
from tinyse.npu.operations import FeatureMap

MAX_ELEMENTS = 1 << 22
BRICK = 16
Reader = Callable[[], np.ndarray]
Writer = Callable[[np.ndarray], None]


class Memory:
    """Regions as uint8 arrays; ``SHRAM`` is the NPU's own."""

    def __init__(self, regions: dict[int, np.ndarray]) -> None:
        self.regions = regions

    def span(self, region: int, address: int, length: int, what: str, offset: int) -> np.ndarray:
        """A view of ``length`` bytes; raises NpuError where they are not all inside the region."""
        data = self.regions.get(region)
        if data is None:
            raise NpuError(f"{what} is in region {region & 0xFF}, which this model does not have", offset)
        if address < 0 or length < 0 or address + length > data.size:
            raise NpuError(f"{what} reaches byte {address + length} of region {region & 0xFF}, "
                           f"which has {data.size}", offset)
        return data[address : address + length]


def _boxes(fm: FeatureMap) -> list[tuple[int, slice, slice]]:
    """The tiles in use: (tile, rows, columns) of the map."""
    height, width, _ = fm.shape
    high0, high1, wide = min(fm.tiles[0], height), min(fm.tiles[1], height), min(fm.tiles[2], width)
    boxes = [(0, slice(0, high0), slice(0, wide))]
    if wide < width:
        boxes.append((1, slice(0, high1), slice(wide, width)))
        if high1 < height:
            boxes.append((3, slice(high1, height), slice(wide, width)))
    if high0 < height:
        boxes.append((2, slice(high0, height), slice(0, wide)))
    return boxes


def _place(fm: FeatureMap, memory: Memory, what: str, offset: int) -> np.ndarray | None:
    """Check every address; give None for a map that is one strided view, else element indices."""
    size = fm.dtype.itemsize
    step_y, step_x, step_c = fm.strides
    if fm.brick:
        step_x = BRICK * size
    height, width, depth = fm.shape
    if fm.elements > MAX_ELEMENTS:
        raise NpuError(f"{what} has the absurd shape {fm.shape}", offset)
    boxes = _boxes(fm)
    for tile, rows, columns in boxes:
        last_c = (depth - 1) // BRICK * step_c + (depth - 1) % BRICK * size if fm.brick else (depth - 1) * size
        if fm.brick and depth > BRICK:
            last_c = max(last_c, ((depth - 1) // BRICK - 1) * step_c + (BRICK - 1) * size)
        last = ((rows.stop - rows.start - 1) * step_y + (columns.stop - columns.start - 1) * step_x + last_c)
        base = fm.bases[tile]
        if base % size or step_y % size or step_x % size or step_c % size:
            raise NpuError(f"{what} is not aligned to its {size}-byte elements", offset)
        memory.span(fm.region, base, last + size, what, offset)
    if len(boxes) == 1 and (not fm.brick or depth <= BRICK or step_c == BRICK * size):
        return None
    index = np.zeros(fm.shape, np.int64)
    channel = np.arange(depth)
    along = channel // BRICK * step_c + channel % BRICK * size if fm.brick else channel * size
    for tile, rows, columns in boxes:
        y, x = np.arange(rows.stop - rows.start), np.arange(columns.stop - columns.start)
        index[rows, columns] = fm.bases[tile] + y[:, None, None] * step_y + x[:, None] * step_x + along
    return index // size


def _view(fm: FeatureMap, data: np.ndarray) -> np.ndarray:
    size, base = fm.dtype.itemsize, fm.bases[0]
    step_x = BRICK * size if fm.brick else fm.strides[1]
    flat = data[base : base + (data.size - base) // size * size].view(fm.dtype)
    return as_strided(flat, fm.shape, (fm.strides[0], step_x, size))


def _flat(fm: FeatureMap, data: np.ndarray) -> np.ndarray:
    return data[: data.size // fm.dtype.itemsize * fm.dtype.itemsize].view(fm.dtype)


def reader(fm: FeatureMap, memory: Memory, what: str, offset: int) -> Reader:
    """A function that gives the map's values now, [height, width, depth], as a view or a copy.

    Raises:
        NpuError: now, not later: the map leaves its region, is misaligned or absurdly large.
    """
    index, data = _place(fm, memory, what, offset), memory.regions[fm.region]
    if index is None:
        view = _view(fm, data)
        return lambda: view
    flat = _flat(fm, data)
    return lambda: flat[index]


def writer(fm: FeatureMap, memory: Memory, what: str, offset: int) -> Writer:
    """A function that stores values [height, width, depth] (any integer type that fits).

    Raises:
        NpuError: as ``reader``, and where the region cannot be written.
    """
    index, data = _place(fm, memory, what, offset), memory.regions[fm.region]
    if not data.flags.writeable:
        raise NpuError(f"{what} would write the read-only region {fm.region}", offset)
    if index is None:
        view = _view(fm, data)

        def store(values: np.ndarray) -> None:
            view[...] = values
    else:
        flat = _flat(fm, data)

        def store(values: np.ndarray) -> None:
            flat[index] = values
    return store
