"""What operators in C are made of: constants that a kernel reads (constants.h), statements that call it (kernels.h)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyse.export.arena import CELL, Arena
from tinyse.export.bitmap import BitMap
from tinyse.export.csource import integers
from tinyse.export.packing import DENSE, TILE, PackedMatrix
from tinyse.graph.fixedpoint import quantize_multiplier
from tinyse.graph.ops import Op
from tinyse.graph.tensor import Tensor

Pack = Callable[[str, NDArray[np.int8], NDArray[np.int64]], PackedMatrix]
Scale = tuple[int, int]


class Refusal(Exception):
    """What an operator has that its kernel cannot do."""


@dataclass(frozen=True)
class Whole:
    """A dense matrix of which another is the beginning.

    Attributes:
        tiles: their name. columns: how many are side by side. tail: whether the other's last tile goes on with weights
            that are not its own.
    """

    tiles: str
    columns: int
    tail: bool


class Shared:
    """Constants that several parts read: of the widest part's matrices narrower parts read the first rows and columns.

    Parts come from the last to the first, and so do their definitions.
    """

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, bytes], str] = {}
        self._wide: list[tuple[NDArray[np.int8], int, str]] = []

    def array(self, kind: str, name: str, values: NDArray) -> str:
        """The name of an array that is the same; ``name``, from now on, where there is none."""
        return self._arrays.setdefault((kind, np.asarray(values, np.int64).tobytes()), name)

    def within(self, weights: NDArray[np.int8]) -> Whole | None:
        """A dense matrix that begins with ``weights`` [rows, columns]."""
        rows, columns = weights.shape
        for whole, tiles, name in self._wide:
            if whole.shape[0] >= rows and whole.shape[1] >= columns and np.array_equal(whole[:rows, :columns], weights):
                return Whole(name, tiles, columns < whole.shape[1] and columns % TILE > 0)
        return None

    def add(self, weights: NDArray[np.int8], packed: PackedMatrix, name: str) -> None:
        """Note a matrix that was defined."""
        if packed.block == DENSE and packed.bits == 8:
            self._wide.append((weights, packed.columns, name))


@dataclass
class COperator:
    """One operator's share of the source.

    Attributes:
        name: of its constants. label: what its matrices are called. data: definitions. calls: statements.
        matrices: packed, in order. bytes: of its constants, without the few words of structure.
        shared: what other parts have defined, of a plan whose parts share weights. within: whether its matrix is the
            beginning of wider rows. tail: whether zeros must follow what it is multiplied with.
    """

    op: Op
    name: str
    label: str
    part: int
    arena: Arena | None
    pack: Pack
    data: str = ""
    calls: tuple[str, ...] = ()
    matrices: tuple[PackedMatrix, ...] = ()
    bytes: int = 0
    shared: Shared | None = None
    within: bool = False
    tail: bool = False

    def at(self, tensor: Tensor, role: str = "") -> int:
        """Offset of a tensor; 0 where nothing is placed yet."""
        return self.arena.at(self.part, tensor, role) if self.arena else 0

    def pointer(self, tensor: Tensor, role: str = "") -> str:
        """A tensor as its type's pointer."""
        if isinstance(tensor, BitMap):
            return f"arena + {self.at(tensor)}"
        wide = role == CELL or not role and tensor.grid.bits > 8
        return f"I{16 if wide else 8}({self.at(tensor, role)})"

    @property
    def bits(self) -> int:
        """8 or 16: how the input is stored."""
        return 8 * self.op.x.grid.dtype.itemsize

    def array(self, kind: str, name: str, values: NDArray, per_line: int = 16) -> str:
        """Define a constant array; its C name."""
        made = f"{self.name}_{name}"
        if self.shared is not None and (there := self.shared.array(kind, made, values)) != made:
            return there
        self.data += array(kind, made, values, per_line)
        self.bytes += values.size * int(kind.strip("uint_")) // 8
        return made

    def matrix(self, suffix: str, weights: NDArray[np.int8], start: NDArray[np.int64], starts: bool = True,
               rows: int = 0, raised: bool = False) -> str:
        """Pack and define a matrix; its initialiser.

        ``rows``: how many it has without padding. ``raised``: weights are stored as 128 more than they are.
        """
        packed = self.pack(f"{self.label}.{suffix}", weights, start)
        self.matrices += (packed,)
        narrow = f", {packed.bits} bits" if packed.bits < 8 else ""
        self.data += f"/* {packed.name}: {packed.present} of {packed.total} tiles{narrow} */\n"
        found = self.shared.within(weights[:rows]) if self.shared is not None and rows else None
        if found is not None and (self.bits == 8 or found.columns == packed.columns and not found.tail):
            self.tail, self.within = found.tail, found.columns > packed.columns or found.tail
            names = [found.tiles, "0", self.array("int32_t", f"{suffix}_start", packed.start) if starts else "0"]
            skip = (found.columns - packed.columns) * DENSE * TILE
            return f"{{ {', '.join(names)}, {packed.rows}, {packed.columns}, {DENSE}, 8, {skip} }}"
        # An array of no elements is no C; a matrix of zeros alone has one that is never read.
        tiles = packed.stored.reshape(-1) if packed.present else np.zeros(TILE, np.int8)
        tiles = (tiles.astype(np.int16) + 128).astype(np.uint8) if raised else tiles
        kind = "int8_t" if tiles.dtype == np.int8 else "uint8_t"
        names = [("(const int8_t *)" if kind == "uint8_t" else "") + self.array(kind, f"{suffix}_tiles", tiles, 32)]
        if self.shared is not None and rows:
            self.shared.add(weights[:rows], packed, names[0])
        names.append(self.array("uint8_t", f"{suffix}_index", packed.index) if len(packed.index) else "0")
        names.append(self.array("int32_t", f"{suffix}_start", packed.start) if starts else "0")
        return f"{{ {', '.join(names)}, {packed.rows}, {packed.columns}, {packed.block}, {packed.bits}, 0 }}"

    def struct(self, kind: str, fields: list[str]) -> str:
        """Define the constant that the kernel reads; its address."""
        body = "\n".join(f"  {field}," for field in fields)
        self.data += f"static const tinyse_{kind} {self.name} = {{\n{body}\n}};\n"
        return f"&{self.name}"

    def call(self, function: str, *arguments: object) -> None:
        """Add a statement."""
        self.calls += (f"{function}({', '.join(map(str, arguments))});",)


def array(kind: str, name: str, values: NDArray, per_line: int = 16) -> str:
    """A constant array of C, aligned to 16 bytes."""
    return f"TINYSE_ALIGNED static const {kind} {name}[{values.size}] = {{\n{integers(values, per_line)}\n}};\n"


def scale_of(real: float, peak: int, below_one: bool = False) -> Scale:
    """A multiplier of values up to ``peak``."""
    mantissa, shift = quantize_multiplier(real)
    if peak << max(shift, 0) >= 2**31 or below_one and shift > 0:
        raise Refusal(f"a multiplier of {real:g} leaves 31 bits")
    return mantissa, shift


def pair(scale: Scale) -> str:
    """Initialiser of a tinyse_scale."""
    return f"{{ {scale[0]}, {scale[1]} }}"


def peak_of(tensor: Tensor) -> int:
    """The largest magnitude of a value less its zero point."""
    return max(abs(tensor.grid.least - tensor.grid.zero_point), abs(tensor.grid.most - tensor.grid.zero_point))
