"""The operators without weights in C: of one value, of two, and moves."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tinyse.export.arena import contiguous
from tinyse.export.coperator import COperator, Refusal, pair, peak_of, scale_of
from tinyse.graph.fixedpoint import quantize_multiplier, rescale, sigmoid8_table, tanh8_table
from tinyse.graph.ops import Add, Concat, Max, Mul, Op, Prelu, Requantize, Reshape, Sigmoid, Slice, Sub, Tanh
from tinyse.graph.products import limits
from tinyse.graph.tensor import Fused


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


def binary(made: COperator, op: Add | Mul) -> None:
    """ADD, SUB, MUL."""
    first, second = op.ins
    zeros = f"{first.grid.zero_point}, {second.grid.zero_point}, {op.out.grid.zero_point}"
    clamp = ", ".join(map(str, limits(op.out.grid, op.fused)))
    if isinstance(op, Mul):
        peak = peak_of(first) * peak_of(second)
        scales = [(0, 0), (0, 0), scale_of(first.grid.scale * second.grid.scale / op.out.grid.scale, peak)]
        left, sign, function = 0, 1, "mul"
    else:
        left, sign, function = 20 if made.bits == 8 else 15, -1 if isinstance(op, Sub) else 1, "add"
        twice = 2.0 * max(first.grid.scale, second.grid.scale)
        scales = [quantize_multiplier(tensor.grid.scale / twice) for tensor in op.ins]
        scales.append(scale_of(twice / (2.0**left * op.out.grid.scale), 0, below_one=True))
    fields = [f"{{ {_pairs(op)} }}", ", ".join(map(pair, scales)), zeros, clamp, f"{left}, {sign}"]
    made.call(f"tinyse_{function}{made.bits}", made.struct("binary", fields), made.pointer(first),
              made.pointer(second), made.pointer(op.out))


def maximum(made: COperator, op: Max) -> None:
    """MAXIMUM."""
    made.call(f"tinyse_max{made.bits}", made.struct("pairs", [_pairs(op)]), made.pointer(op.ins[0]),
              made.pointer(op.ins[1]), made.pointer(op.out))


def _lookup(made: COperator, op: Op, table: NDArray) -> None:
    """``table``: results of -128 to 127; the kernel indexes by the byte."""
    low, high = limits(op.out.grid, Fused.NONE)
    name = made.array("int8_t", "table", np.roll(np.clip(table, low, high), 128))
    made.call("tinyse_lookup", name, made.pointer(op.x), made.pointer(op.out), op.x.size)


def curve(made: COperator, op: Sigmoid | Tanh) -> None:
    """LOGISTIC, TANH: a table in int8, interpolated in int16."""
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
    made.call(f"tinyse_{op.kind}_map", made.struct("curve", [f"{int(multiplier)}, {shift}, {op.x.size}"]),
              made.pointer(op.x), made.pointer(op.out))


def prelu(made: COperator, op: Prelu) -> None:
    """PRELU."""
    ratio, peak = op.x.grid.scale / op.out.grid.scale, peak_of(op.x)
    scales = scale_of(ratio, peak), scale_of(op.x.grid.scale * op.alpha_scale / op.out.grid.scale, 128 * peak)
    grid = op.out.grid
    fields = [made.array("int8_t", "alpha", op.alpha), ", ".join(map(pair, scales)),
              f"{op.x.grid.zero_point}, {grid.zero_point}, {grid.least}, {grid.most}",
              f"{op.x.size // op.x.channels}, {op.x.channels}"]
    made.call("tinyse_prelu8", made.struct("prelu", fields), made.pointer(op.x), made.pointer(op.out))


def requantize(made: COperator, op: Requantize) -> None:
    """QUANTIZE: from int8 to int8 a table."""
    source, grid, wide = op.x.grid, op.out.grid, 8 * op.out.grid.dtype.itemsize
    mantissa, shift = scale_of(source.scale / grid.scale, peak_of(op.x))
    if made.bits == wide == 8:
        every = np.arange(-128, 128, dtype=np.int64) - source.zero_point
        return _lookup(made, op, rescale(every, mantissa, shift) + grid.zero_point)
    fields = [pair((mantissa, shift)), f"{source.zero_point}, {grid.zero_point}, {grid.least}, {grid.most}",
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


def concat(made: COperator, op: Concat) -> None:
    """CONCATENATION: what has not been written in place is copied."""
    outer = math.prod(op.out.shape[:op.axis])
    whole, at = op.out.bytes // outer, made.at(op.out)
    for index, tensor in enumerate(op.ins):
        size = tensor.bytes // outer
        if made.at(tensor) != at or outer > 1:  # else it has been written there
            _copy(made, f"_{index}", made.at(tensor), at, ((outer, size, whole),), size)
        at += size


def slices(made: COperator, op: Slice) -> None:
    """STRIDED_SLICE: nothing where the output is a part of the input."""
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


def reshape(made: COperator, op: Reshape) -> None:
    """RESHAPE: nothing where both lie in one place."""
    if made.at(op.x) != made.at(op.out):
        _copy(made, "", made.at(op.x), made.at(op.out), (), op.out.bytes)
