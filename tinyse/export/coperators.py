"""Every operator in C: the constants that its kernel reads, the call, and the scratch it wants (kernels.h)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyse.errors import ModelError
from tinyse.export.arena import C, H, SCRATCH, Arena, contiguous
from tinyse.export.csource import integers
from tinyse.export.packing import GROUP, TILE, PackedMatrix, pack_gates, pack_matrix, pad_rows, units_at_once
from tinyse.graph.fixedpoint import curve_argument, quantize_multiplier, sigmoid8_table, tanh8_table
from tinyse.graph.graph import Graph
from tinyse.graph.grid import GATE_ONE, UNIT_ONE
from tinyse.graph.ops import (
    Add,
    Concat,
    Conv,
    Depthwise,
    Lstm,
    MatMul,
    Max,
    MaxPool,
    Mul,
    Op,
    Prelu,
    Requantize,
    Reshape,
    Sigmoid,
    Slice,
    Sub,
    Tanh,
)
from tinyse.graph.products import limits, reals
from tinyse.graph.tensor import Fused, Tensor

Pack = Callable[[str, NDArray[np.int8], NDArray[np.int64]], PackedMatrix]
Scale = tuple[int, int]


class Refusal(Exception):
    """What an operator has that its kernel cannot do."""


@dataclass
class COperator:
    """One operator's share of the source.

    Attributes:
        name: of its constants. label: what its matrices are called. data: definitions. calls: statements.
        matrices: packed, in order. bytes: of its constants, without the few words of structure.
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

    def at(self, tensor: Tensor, role: str = "") -> int:
        """Offset of a tensor; 0 where nothing is placed yet."""
        return self.arena.at(self.part, tensor, role) if self.arena else 0

    def pointer(self, tensor: Tensor, role: str = "") -> str:
        """A tensor as its type's pointer."""
        wide = role == C or not role and tensor.grid.bits > 8
        return f"I{16 if wide else 8}({self.at(tensor, role)})"

    @property
    def bits(self) -> int:
        """8 or 16: how the input is stored."""
        return 8 * self.op.x.grid.dtype.itemsize

    def array(self, kind: str, name: str, values: NDArray, per_line: int = 16) -> str:
        """Define a constant array; its C name."""
        made = f"{self.name}_{name}"
        self.data += array(kind, made, values, per_line)
        self.bytes += values.size * int(kind.strip("uint_")) // 8
        return made

    def matrix(self, suffix: str, weights: NDArray[np.int8], start: NDArray[np.int64], starts: bool = True) -> str:
        """Pack and define a matrix; its initialiser."""
        packed = self.pack(f"{self.label}.{suffix}", weights, start)
        self.matrices += (packed,)
        self.data += f"/* {packed.name}: {packed.present} of {packed.total} tiles */\n"
        # An array of no elements is no C; a matrix of zeros alone has one that is never read.
        tiles = packed.tiles.reshape(-1) if packed.present else np.zeros(TILE, np.int8)
        names = [self.array("int8_t", f"{suffix}_tiles", tiles, 32)]
        names.append(self.array("uint8_t", f"{suffix}_index", packed.index) if len(packed.index) else "0")
        names.append(self.array("int32_t", f"{suffix}_start", packed.start) if starts else "0")
        return f"{{ {', '.join(names)}, {packed.rows}, {packed.columns}, {packed.block} }}"

    def struct(self, kind: str, fields: list[str]) -> str:
        """Define the constant that the kernel reads; its address."""
        body = "\n".join(f"  {field}," for field in fields)
        self.data += f"static const tinyse_{kind} {self.name} = {{\n{body}\n}};\n"
        return f"&{self.name}"

    def call(self, function: str, *arguments: object) -> None:
        """Add a statement."""
        self.calls += (f"{function}({', '.join(map(str, arguments))});",)


def coperator(op: Op, name: str, label: str, part: int = 0, arena: Arena | None = None,
              pack: Pack = pack_matrix) -> COperator:
    """An operator in C.

    Raises:
        ModelError: its kernel cannot do it; the message names operator and tensor.
    """
    made = COperator(op, name, label, part, arena, pack)
    try:
        _limited(op)
        _KINDS[type(op)](made, op)
    except Refusal as refusal:
        raise ModelError(f"{op.kind} {op.out.name}: {refusal}", "the C library cannot run it: docs/kernels.md") from None
    return made


def scratch(op: Op) -> int:
    """Bytes that an operator's kernel wants while it runs."""
    if isinstance(op, Lstm):
        operands = sum(_up(width, TILE) for width in (op.x.channels, op.units))
        return 2 * 4 * 4 * units_at_once(op.units) + 2 * operands
    if not isinstance(op, MatMul | Conv) or isinstance(op, Depthwise):
        return 0
    rows, columns = (_up(size, multiple) for size, multiple in (
        (op.out.channels, GROUP), (op.weights.values[0].size, TILE)))
    gathered = columns * op.x.grid.dtype.itemsize * (not _direct(op))
    return 4 * rows + 2 * columns + gathered if op.x.grid.bits <= 8 else 8 * rows + gathered


def array(kind: str, name: str, values: NDArray, per_line: int = 16) -> str:
    """A constant array of C, aligned to 16 bytes."""
    return f"TINYSE_ALIGNED static const {kind} {name}[{values.size}] = {{\n{integers(values, per_line)}\n}};\n"


def _limited(op: Op) -> None:
    """What the kernels' fields hold: 16 bits of a size; activations of 8 or 16 bits where nothing clamps to fewer."""
    for tensor in (*op.ins, op.out):
        if tensor.channels * tensor.grid.dtype.itemsize >= 2**16 or max(tensor.shape) >= 2**16:
            raise Refusal(f"{tensor.name} is longer than 65535")


def _scale(real: float, peak: int, below_one: bool = False) -> Scale:
    """A multiplier of values up to ``peak``."""
    mantissa, shift = quantize_multiplier(real)
    if peak << max(shift, 0) >= 2**31 or below_one and shift > 0:
        raise Refusal(f"a multiplier of {real:g} leaves 31 bits")
    return mantissa, shift


def _pair(scale: Scale) -> str:
    return f"{{ {scale[0]}, {scale[1]} }}"


def _peak(tensor: Tensor) -> int:
    return max(abs(tensor.grid.least - tensor.grid.zero_point), abs(tensor.grid.most - tensor.grid.zero_point))


def _direct(op: MatMul | Conv) -> bool:
    """Whether every window lies in the input as it is, and on words in int8."""
    patch = _patch(op)
    words = 4 if op.x.grid.bits <= 8 else 1
    return (patch.kernel[0] == 1 and patch.before == 0 and not patch.after
            and (patch.dilation[1] == 1 or patch.kernel[1] == 1) and patch.stride[1] * patch.step % words == 0
            and (patch.rows == 1 or patch.stride[0] * patch.in_width * patch.step % words == 0))


@dataclass(frozen=True)
class _Patch:
    """tinyse_patch; ``after`` is the padding behind, which the kernel finds itself."""

    rows: int
    width: int
    in_width: int
    step: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: int
    after: int
    zero_point: int

    def __str__(self) -> str:
        pairs = ", ".join(f"{{ {a}, {b} }}" for a, b in (self.kernel, self.stride, self.dilation))
        sizes = f"{self.rows}, {self.width}, {self.in_width}, {self.step}"
        return f"{{ {sizes}, {pairs}, {self.before}, {self.zero_point} }}"


def _patch(op: MatMul | Conv | MaxPool) -> _Patch:
    x, out, zero = op.x, op.out, op.x.grid.zero_point if op.x.grid.bits <= 8 else 0
    step = x.channels * x.grid.dtype.itemsize
    one = (1, 1)
    positions = x.size // x.channels
    if isinstance(op, MatMul):
        return _Patch(1, positions, positions, step, one, one, one, 0, 0, zero)
    pad, dilation = (op.pad, op.dilation) if isinstance(op, Conv) else ((0, 0), one)
    if not isinstance(op, Depthwise | MaxPool) and pad == (0, 0):
        if op.kernel == op.stride == one:
            return _Patch(1, positions, positions, step, one, one, one, 0, 0, zero)
        if op.kernel[1] == x.shape[2] and (dilation[1] == 1 or op.kernel[1] == 1):  # rows are the positions
            return _Patch(1, out.shape[1], x.shape[1], step * x.shape[2], (1, op.kernel[0]), (1, op.stride[0]),
                          (1, dilation[0]), 0, 0, zero)
    return _Patch(out.shape[1], out.shape[2], x.shape[2], step, op.kernel, op.stride, dilation, *pad, zero)


def _output(made: COperator, op: MatMul | Conv, padded: int) -> str:
    """tinyse_output of a product; arrays padded to ``padded`` rows."""
    mantissa, shift = (np.array(part, np.int64) for part in zip(*map(quantize_multiplier, reals(op)), strict=True))
    bias = "0"
    if op.x.grid.bits > 8:
        if np.any(shift > 7):
            raise Refusal("its output's scale is below a 128th of its sums'")
        mantissa = np.where(mantissa < 0x7FFF0000, (mantissa + (1 << 15)) >> 16, 0x7FFF)
        shift = 15 - shift
        bias = made.array("int64_t", "bias", _padded(op.weights.bias, padded))
    names = [made.array("int32_t", "mantissa", _padded(mantissa, padded)),
             made.array("int32_t", "shift", _padded(shift, padded)), bias]
    zero = op.out.grid.zero_point if op.out.grid.bits <= 8 else 0
    return f"{{ {', '.join(names)}, {zero}, {', '.join(map(str, limits(op.out.grid, op.fused)))}, {op.out.channels} }}"


def _padded(values: NDArray, count: int) -> NDArray:
    return np.pad(values, (0, count - len(values)))


def _start(op: MatMul | Conv, taps: NDArray[np.int64]) -> NDArray[np.int64]:
    """What int8 sums start at, so that kernels multiply raw inputs; ``taps`` int64 [out, in]."""
    start = op.weights.bias - op.x.grid.zero_point * taps.sum(axis=1)
    largest = np.abs(start) + 128 * np.abs(taps).sum(axis=1)
    shift = np.array([max(quantize_multiplier(real)[1], 0) for real in reals(op)])
    if np.any(largest >= 2**31) or np.any(largest >= 2.0 ** (31 - shift)):
        raise Refusal("its sums leave 31 bits: its weights are tiny beside its bias")
    return start


def _product(made: COperator, op: MatMul | Conv) -> None:
    weights = op.weights.values.reshape(op.out.channels, -1)
    padded = pad_rows(weights)
    patch, direct = _patch(op), _direct(op)
    if patch.step >= 2**16 or patch.width >= 2**16:
        raise Refusal("a map of more than 65535 positions")
    if made.bits == 8:
        start = _padded(_start(op, weights.astype(np.int64)), len(padded))
    else:
        start = np.zeros(len(padded), np.int64)
    matrix = made.matrix("weights", padded, start, made.bits == 8)
    fields = [matrix, _output(made, op, len(padded)), str(patch), str(int(not direct))]
    made.call(f"tinyse_product{made.bits}", made.struct("product", fields), made.pointer(op.x), made.pointer(op.out),
              f"arena + {made.at(op.out, SCRATCH)}")


def _depthwise(made: COperator, op: Depthwise) -> None:
    taps = op.weights.values.reshape(-1, op.out.channels)
    names = [made.array("int8_t", "weights", taps.reshape(-1), 32), "0"]
    if made.bits == 8:
        names[1] = made.array("int32_t", "start", _start(op, taps.T.astype(np.int64)))
    fields = [", ".join(names), _output(made, op, op.out.channels), str(_patch(op))]
    made.call(f"tinyse_depthwise{made.bits}", made.struct("depthwise", fields), made.pointer(op.x),
              made.pointer(op.out))


def _lstm(made: COperator, op: Lstm) -> None:
    x, h = op.x.grid, op.out.grid
    power = -round(math.log2(op.cell_scale))
    # The kernels know f c / 2^15 as a constant, and the cell's scale as a power of two.
    if op.cell_scale != 2.0**-power or not 0 <= power <= 30:
        raise Refusal(f"the cell's scale {op.cell_scale} is no power of two from 2^-30 to 1")
    if op.x.size != op.x.channels:
        raise Refusal("more than one step of time")
    inputs = [quantize_multiplier(x.scale * float(gate.kernel_scale) * GATE_ONE) for gate in op.gates]
    hidden = [quantize_multiplier(h.scale * float(gate.recurrent_scale) * GATE_ONE) for gate in op.gates]
    bias = np.concatenate([gate.bias for gate in op.gates]).astype(np.int64)
    matrices = []
    for suffix, scales, zero, start in (("kernel", inputs, x.zero_point, bias),
                                        ("recurrent", hidden, h.zero_point, np.zeros_like(bias))):
        weights = np.concatenate([getattr(gate, suffix) for gate in op.gates])
        taps = weights.astype(np.int64)
        start = start - zero * taps.sum(axis=1)
        largest = np.abs(start) + 128 * np.abs(taps).sum(axis=1)
        # The scalar kernels double a sum before they multiply; TFLM overflows at twice the bound.
        if np.any(largest << np.repeat([max(shift, 0) for _, shift in scales], op.units) >= 2**30):
            raise Refusal(f"{made.label}.{suffix}: sums leave 31 bits: its weights are tiny beside its bias")
        matrices.append(made.matrix(suffix, pack_gates(weights, op.units), pack_gates(start, op.units)))
    clip = int(min(op.cell_clip / op.cell_scale, 32767.0)) if op.cell_clip > 0 else 0
    ends = [quantize_multiplier(1 / UNIT_ONE**2 / scale) for scale in (op.cell_scale, h.scale)]
    fields = [*matrices, *(f"{{ {', '.join(map(_pair, scales))} }}" for scales in (inputs, hidden)),
              ", ".join(map(_pair, ends)), f"{power}, {-clip or -32768}, {clip or 32767}, {h.zero_point}",
              f"{op.units}, {units_at_once(op.units)}"]
    made.call("tinyse_lstm_step", made.struct("lstm", fields), made.pointer(op.x), made.pointer(op.out),
              made.pointer(op.out, H), made.pointer(op.out, C), f"arena + {made.at(op.out, SCRATCH)}")


def _pairs(op: Op) -> str:
    """tinyse_pairs: the output's axes, merged where both operands go on alike."""
    dims: list[list[int]] = []  # size, step of a, step of b
    steps = [1, 1]
    for axis, size in reversed(list(enumerate(op.out.shape))):
        here = []
        for index, tensor in enumerate(op.ins):
            length = ((1,) * (len(op.out.shape) - len(tensor.shape)) + tensor.shape)[axis]
            here.append(steps[index] if length > 1 else 0)
            steps[index] *= length
        if size > 1 and dims and all(step == dims[0][1 + k] * dims[0][0] for k, step in enumerate(here)):
            dims[0][0] *= size
        elif size > 1:
            dims.insert(0, [size, *here])
    if len(dims) > 3:
        raise Refusal("its operands meet along more than three axes")
    dims = [[1, 0, 0]] * (3 - len(dims)) + dims
    sizes, a, b = zip(*dims, strict=True)
    return f"{', '.join(map(str, sizes))}, {{ {', '.join(map(str, a))} }}, {{ {', '.join(map(str, b))} }}"


def _binary(made: COperator, op: Add | Mul) -> None:
    first, second = op.ins
    zeros = f"{first.grid.zero_point}, {second.grid.zero_point}, {op.out.grid.zero_point}"
    clamp = ", ".join(map(str, limits(op.out.grid, op.fused)))
    if isinstance(op, Mul):
        peak = _peak(first) * _peak(second)
        scales = [(0, 0), (0, 0), _scale(first.grid.scale * second.grid.scale / op.out.grid.scale, peak)]
        left, sign, function = 0, 1, "mul"
    else:
        left, sign, function = 20 if made.bits == 8 else 15, -1 if isinstance(op, Sub) else 1, "add"
        twice = 2.0 * max(first.grid.scale, second.grid.scale)
        scales = [quantize_multiplier(tensor.grid.scale / twice) for tensor in op.ins]
        scales.append(_scale(twice / (2.0**left * op.out.grid.scale), 0, below_one=True))
    fields = [f"{{ {_pairs(op)} }}", ", ".join(map(_pair, scales)), zeros, clamp, f"{left}, {sign}"]
    made.call(f"tinyse_{function}{made.bits}", made.struct("binary", fields), made.pointer(first),
              made.pointer(second), made.pointer(op.out))


def _max(made: COperator, op: Max) -> None:
    made.call(f"tinyse_max{made.bits}", made.struct("pairs", [_pairs(op)]), made.pointer(op.ins[0]),
              made.pointer(op.ins[1]), made.pointer(op.out))


def _maxpool(made: COperator, op: MaxPool) -> None:
    fields = str(_patch(op)).removeprefix("{ ").removesuffix(" }")
    made.call(f"tinyse_maxpool{made.bits}", made.struct("patch", [fields]), made.pointer(op.x), made.pointer(op.out))


def _lookup(made: COperator, op: Op, table: NDArray) -> None:
    """``table``: results of -128 to 127; the kernel indexes by the byte."""
    low, high = limits(op.out.grid, Fused.NONE)
    name = made.array("int8_t", "table", np.roll(np.clip(table, low, high), 128))
    made.call("tinyse_lookup", name, made.pointer(op.x), made.pointer(op.out), op.x.size)


def _curve(made: COperator, op: Sigmoid | Tanh) -> None:
    grid, sigmoid = op.x.grid, isinstance(op, Sigmoid)
    if made.bits == 8:
        return _lookup(made, op, (sigmoid8_table if sigmoid else tanh8_table)(grid.scale, grid.zero_point))
    if op.out.grid.bits != 16:
        raise Refusal(f"{op.out.name} has {op.out.grid.bits} bits, not 8 or 16")
    fraction, exponent = math.frexp(grid.scale)
    shift, multiplier = 0, grid.scale * 4096.0 * 3.0
    if fraction == 0.5 and exponent + 11 in ((0,) if sigmoid else (0, 1)):
        multiplier = float(3 << (exponent + 11))
    else:
        while multiplier <= 32767.0 / 2.0 and shift <= 30:
            multiplier, shift = 2.0 * multiplier, shift + 1
    if shift > 30 or 32768 * int(multiplier) + (1 << shift >> 1) >= 2**31:
        raise Refusal(f"{op.x.name} has scale {grid.scale:g}")
    values = np.array([-32768, -1, 1, 777, 32767], np.int64)
    assert np.array_equal((values * int(multiplier) + (1 << shift >> 1)) >> shift,
                          curve_argument(values, grid.scale, (0,) if sigmoid else (0, 1)))
    made.call(f"tinyse_{op.kind}_map", made.struct("curve", [f"{int(multiplier)}, {shift}, {op.x.size}"]),
              made.pointer(op.x), made.pointer(op.out))


def _prelu(made: COperator, op: Prelu) -> None:
    ratio, peak = op.x.grid.scale / op.out.grid.scale, _peak(op.x)
    scales = _scale(ratio, peak), _scale(op.x.grid.scale * op.alpha_scale / op.out.grid.scale, 128 * peak)
    grid = op.out.grid
    fields = [made.array("int8_t", "alpha", op.alpha), ", ".join(map(_pair, scales)),
              f"{op.x.grid.zero_point}, {grid.zero_point}, {grid.least}, {grid.most}",
              f"{op.x.size // op.x.channels}, {op.x.channels}"]
    made.call("tinyse_prelu8", made.struct("prelu", fields), made.pointer(op.x), made.pointer(op.out))


def _requantize(made: COperator, op: Requantize) -> None:
    source, grid, wide = op.x.grid, op.out.grid, 8 * op.out.grid.dtype.itemsize
    mantissa, shift = _scale(source.scale / grid.scale, _peak(op.x))
    if made.bits == wide == 8:
        from tinyse.graph.fixedpoint import rescale

        every = np.arange(-128, 128, dtype=np.int64) - source.zero_point
        return _lookup(made, op, rescale(every, mantissa, shift) + grid.zero_point)
    fields = [_pair((mantissa, shift)), f"{source.zero_point}, {grid.zero_point}, {grid.least}, {grid.most}",
              str(op.x.size)]
    made.call(f"tinyse_requantize_{made.bits}_{wide}", made.struct("requantize", fields), made.pointer(op.x),
              made.pointer(op.out))


def _copy(made: COperator, name: str, source: int, target: int, loops: tuple[tuple[int, int, int], ...],
          size: int) -> None:
    """``loops``: (count, step of the source, step of the target), outermost first, at most two; ``size`` bytes."""
    loops = tuple(loop for loop in loops if loop[0] > 1)
    if not loops:
        made.call("memcpy", f"arena + {target}", f"arena + {source}", size)
        return
    if len(loops) > 2:
        raise Refusal("it moves along more than three axes")
    (outer, from0, to0), (inner, from1, to1) = ((1, 0, 0),) * (2 - len(loops)) + loops
    made.data += (f"static const tinyse_copy {made.name}{name} = {{ {outer}, {inner}, {size}, {{ {from0}, {from1} }}, "
                  f"{{ {to0}, {to1} }} }};\n")
    made.call("tinyse_copy_blocks", f"&{made.name}{name}", f"arena + {source}", f"arena + {target}")


def _concat(made: COperator, op: Concat) -> None:
    outer = math.prod(op.out.shape[:op.axis])
    whole, at = op.out.bytes // outer, made.at(op.out)
    for index, tensor in enumerate(op.ins):
        size = tensor.bytes // outer
        if made.at(tensor) != at or outer > 1:  # else it has been written there
            _copy(made, f"_{index}", made.at(tensor), at, ((outer, size, whole),), size)
        at += size


def _slice(made: COperator, op: Slice) -> None:
    item, first = op.x.grid.dtype.itemsize, contiguous(op)
    if first is not None and made.arena and made.at(op.out) == made.at(op.x) + first * item:
        return
    steps = [item * math.prod(op.x.shape[axis + 1:]) for axis in range(len(op.x.shape))]
    source = made.at(op.x) + sum(start * step for start, step in zip(op.begin, steps, strict=True))
    size, axis = item, len(steps)
    while axis and steps[axis - 1] == size:  # as far as the taken values lie side by side
        axis -= 1
        size *= op.out.shape[axis]
    loops = tuple((op.out.shape[i], steps[i], item * math.prod(op.out.shape[i + 1:])) for i in range(axis))
    _copy(made, "", source, made.at(op.out), loops, size)


def _reshape(made: COperator, op: Reshape) -> None:
    if made.at(op.x) != made.at(op.out):
        _copy(made, "", made.at(op.x), made.at(op.out), (), op.out.bytes)


_KINDS: dict[type[Op], Callable[..., None]] = {
    MatMul: _product, Conv: _product, Depthwise: _depthwise, Lstm: _lstm, Add: _binary, Sub: _binary, Mul: _binary,
    Max: _max, Sigmoid: _curve, Tanh: _curve, Prelu: _prelu, MaxPool: _maxpool, Concat: _concat, Slice: _slice,
    Reshape: _reshape, Requantize: _requantize}


def check_c(graph: Graph) -> None:
    """Hold a graph to what the C library can do.

    Raises:
        ModelError: it cannot; the message names part, operator and tensor.
    """
    for index, op in enumerate(graph.ops):
        try:
            coperator(op, "op", f"{op.kind}_{index}")
        except ModelError as error:
            raise ModelError(f"{graph.name}: {error}", error.hint) from None


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
